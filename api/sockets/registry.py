"""All open sockets of a process: how many there may be, and who looks after them.

One task looks at every socket once a second, so that a socket has no timer of its own. Another asks, for each caller
and not for each socket, whether the caller may stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.admission import Admission
from api.identity import ANYONE, Caller
from api.sockets.codes import Code
from api.sockets.outbox import Sent
from api.telemetry import Telemetry
from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from api.sockets.connection import Connection

AT_ONCE = 256
"""Sockets that are looked at before others get their turn on the loop."""
ASKED_AT_ONCE = 64
"""Callers of whom it is asked at the same time whether they may stay."""
_log = logging.getLogger(__name__)


class TooMany(PlimsollError):
    """More than one caller, or this process, may have. Close some, or come back later."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, and how much it may ask for. Counts are of one process."""

    sockets: int = 10_000
    """At 40 KB each, 400 MB."""
    sockets_per_caller: int = 100
    """A browser's tabs, or a service's processes. A caller who did not sign in is everyone, and not counted."""
    operations_per_caller: int = 2_000
    operations_per_socket: int = 100
    """Two screens full of tiles, each with its own subscription."""
    messages_per_second: int = 100
    message_burst: int = 500
    """A page that opens sends all its subscriptions at once, and again when it comes back."""
    init_seconds: float = 10.0
    quiet_seconds: float = 12.0
    """Below the 15 seconds after which mobile networks and some proxies forget a connection."""
    pong_seconds: float = 20.0
    send_seconds: float = 10.0
    """In which a client reads something, however little. Then it is closed as too slow."""
    linger_seconds: float = 10.0
    """In which a client that was closed may still read why; then it is cut off."""
    still_seconds: float = 10.0
    """How often it is asked whether a caller may stay; 15 at most."""
    look_seconds: float = 1.0


class Sockets:
    """The open ones. `run` it as long as the process lives. Clocks give seconds, `wall` since 1970."""

    def __init__(
        self,
        admission: Admission,
        limits: Limits,
        telemetry: Telemetry,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self.monotonic = monotonic
        self.sent = Sent()
        self._telemetry = telemetry
        self.closed: Counter[int] = Counter()
        """How many have been closed with which code, by whichever side."""
        self._admission = admission
        self._wall = wall
        self._open: set[Connection] = set()
        self._by_subject: defaultdict[str, set[Connection]] = defaultdict(set)
        """Of callers who signed in."""
        self._streams: Counter[str] = Counter()
        """Open streams over plain HTTP, of callers who signed in."""
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def operations(self) -> int:
        """How many are carried out now, over all sockets."""
        return sum(len(each.operations) for each in self._open)

    @property
    def messages_sent(self) -> int:
        """How many messages left, since the process started."""
        return self.sent.messages + sum(each.outbox.count for each in self._open if each.closed_with is None)

    @property
    def is_full(self) -> bool:
        """Whether no other one is taken."""
        return self._stopping or len(self._open) >= self.limits.sockets

    def add(self, connection: Connection) -> None:
        """One has opened."""
        self._open.add(connection)
        self._telemetry.socket_opened(connection.protocol.name)
        if self._stopping:
            connection.close(Code.RESTART, "this server stops")

    def remove(self, connection: Connection) -> None:
        """One has ended."""
        self._open.discard(connection)
        caller = connection.caller
        if caller is not None and caller.subject in self._by_subject:
            self._by_subject[caller.subject].discard(connection)
            if not self._by_subject[caller.subject]:
                del self._by_subject[caller.subject]
        code = connection.closed_with or Code.NORMAL
        self.closed[code] += 1
        self._telemetry.socket_closed(connection.protocol.name, code, "server" if connection.closed_by_us else "client")

    def admit(self, connection: Connection, caller: Caller) -> None:
        """A socket's caller is known. Raises `TooMany` where the caller has enough of them."""
        if caller == ANYONE:
            return
        theirs = self._by_subject[caller.subject]
        if len(theirs) >= self.limits.sockets_per_caller:
            raise TooMany(
                "TOO_MANY_SOCKETS",
                f"{len(theirs)} sockets are open already, and one caller may have {self.limits.sockets_per_caller}",
            )
        theirs.add(connection)

    def require_room(self, connection: Connection) -> None:
        """Raise `TooMany` where a socket, or its caller, has as many operations as it may."""
        limits, mine = self.limits, len(connection.operations)
        if mine >= limits.operations_per_socket:
            raise TooMany(
                "TOO_MANY_OPERATIONS", f"a socket carries {limits.operations_per_socket} operations; complete one first"
            )
        if connection.caller is not None:
            self._require_room_of(connection.caller)

    @contextmanager
    def holding(self, caller: Caller) -> Iterator[None]:
        """A stream over plain HTTP, which counts as an operation of its caller. Raises `TooMany` before it begins."""
        if caller == ANYONE:
            yield
            return
        self._require_room_of(caller)
        self._streams[caller.subject] += 1
        try:
            yield
        finally:
            self._streams[caller.subject] -= 1
            if not self._streams[caller.subject]:
                del self._streams[caller.subject]

    def _require_room_of(self, caller: Caller) -> None:
        theirs = self._by_subject.get(caller.subject, ())
        count = sum(len(each.operations) for each in theirs) + self._streams[caller.subject]
        if count >= self.limits.operations_per_caller:
            raise TooMany(
                "TOO_MANY_OPERATIONS",
                f"a caller has {self.limits.operations_per_caller} operations; complete one first",
            )

    def close_all(self, code: Code, why: str) -> None:
        """Close every socket, and whichever opens yet."""
        self._stopping = True
        for connection in tuple(self._open):
            connection.close(code, why)

    async def run(self) -> None:
        """Look after them. Ends only by being cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            tasks.create_task(self._ask())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.limits.look_seconds)
            self._telemetry.messages_sent = self.messages_sent
            self._telemetry.messages_conflated = self.sent.conflated
            for number, connection in enumerate(tuple(self._open)):
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)
                try:
                    connection.look(self.monotonic(), self._wall())
                except Exception:
                    # Nobody would look after the others.
                    _log.exception("a socket could not be looked after")
                    connection.close(Code.INTERNAL, "internal error")

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(self.limits.still_seconds)
            await self.ask()

    async def ask(self) -> None:
        """Ask for each caller whether it may stay, and close the sockets of those who may not."""
        callers = [each for each in {each.caller for each in self._open} if each is not None and each != ANYONE]
        for start in range(0, len(callers), ASKED_AT_ONCE):
            asked = callers[start : start + ASKED_AT_ONCE]
            answers = await asyncio.gather(*(self._may_stay(caller) for caller in asked))
            gone = {caller for caller, may_stay in zip(asked, answers, strict=True) if not may_stay}
            for connection in tuple(self._open):
                if connection.caller in gone:
                    connection.close(Code.FORBIDDEN, "Forbidden: you are not admitted any more; sign in again")

    async def _may_stay(self, caller: Caller) -> bool:
        """Whether a caller is still admitted; yes where nobody can say just now, and it is asked again."""
        try:
            async with asyncio.timeout(self.limits.still_seconds / 2):
                return await self._admission.still(caller)
        except Exception as error:
            # Whatever it is, it says nothing about the caller.
            _log.warning("nobody can say whether %s is still admitted: %s", caller.subject, error)
            return True
