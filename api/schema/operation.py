"""What the resolvers of one operation share. A socket carries many operations, so nothing here outlives its own."""

from __future__ import annotations

from typing import TypeAlias

from strawberry.dataloader import DataLoader
from strawberry.types import Info as StrawberryInfo

from api.backend import Backend
from plimsoll.messages import PortfolioRecord, RiskSnapshot


class Operation:
    """The backend, and reads that are gathered into one round trip for all fields that ask at once."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.risks: DataLoader[str, RiskSnapshot | None] = DataLoader(backend.store.risks)
        self.records: DataLoader[str, PortfolioRecord | None] = DataLoader(backend.store.records)


Info: TypeAlias = StrawberryInfo[Operation, None]
