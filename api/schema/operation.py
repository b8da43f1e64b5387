"""What the resolvers of one operation share. A socket carries many operations, so nothing here outlives its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from strawberry.types import Info as StrawberryInfo

from api.backend import Backend
from api.identity import Caller
from api.telemetry import Transport
from plimsoll.messages import PortfolioRecord, RiskSnapshot

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks, and the parts as that caller sees them: `backend` tells nothing that `caller` may not know."""

    backend: Backend
    caller: Caller
    transport: Transport = "http"


class Once(Generic[_Read]):
    """Reads by id, each once: all fields of an operation speak of the same. The store gathers those of one moment."""

    def __init__(self, read: Callable[[str], Awaitable[_Read]]) -> None:
        self._read = read
        self._known: dict[str, _Read] = {}

    async def load(self, own_id: str) -> _Read:
        """What there is under this id. Raises what reading does, and then the next one tries again."""
        if own_id not in self._known:
            found = await self._read(own_id)
            # Another field may have asked meanwhile, and what it was told stands.
            return self._known.setdefault(own_id, found)
        return self._known[own_id]


class Operation:
    """The backend, and what was read of it for this operation."""

    __slots__ = ("backend", "caller", "records", "risks", "transport")

    def __init__(self, session: Session) -> None:
        self.backend = session.backend
        self.caller = session.caller
        self.transport = session.transport
        self.risks: Once[RiskSnapshot | None] = Once(self.backend.store.risk)
        self.records: Once[PortfolioRecord | None] = Once(self.backend.store.record)


Info: TypeAlias = StrawberryInfo[Operation, None]
