"""What one socket has yet to be sent, and how it is sent.

While the client reads, a frame goes out as it comes and nothing waits. While it does not, events wait here, the newest
of each portfolio of each operation, and every other message in its turn: so memory is bounded by what is watched, and
what a slow client gets when it reads again is new. `WAITING_MAX` and `WAITING_SIZE_MAX` bound the rest; past them the
socket is given up.

Bytes leave in one of two ways. The connection of a uvicorn that lets us is itself a wire: frames go right into its
transport (`api.server_socket`). `TaskWire` hands text to the ASGI server, whichever it is, and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Send

from api.frames import Frame, merged

EXTENSION = "plimsoll.frames"
"""Where an application finds the connection of `api.server_socket` in its scope."""
WAITING_MAX = 200_000
"""Messages of one socket: ten times the portfolios that one may watch with good reason."""
WAITING_SIZE_MAX = 8_000_000
"""Bytes of answers and the like. Events are not counted: their bytes are shared, or not even written yet."""
AT_ONCE = 64
"""Messages that are sent in one go when a client reads again, before others get their turn on the loop."""


class Wire(Protocol):
    """The way to one client."""

    is_clear: bool
    """Whether something written now leaves now."""

    def write(self, head: bytes, tail: bytes) -> None:
        """Send a text message made of two parts. Only while it is clear."""

    def wake(self) -> None:
        """Something waits: ask for it when the client reads."""

    def unread(self) -> int:
        """How much has left that the client has not read, as far as can be known from here; 0 where that is nothing."""

    def read_so_far(self, unread: int) -> int:
        """How much it has read. It grows while the client reads, however slowly."""

    def close(self) -> None:
        """Send no more."""


class Operation(Protocol):
    """Whose events they are."""

    prefix: bytes


@dataclass(slots=True)
class Sent:
    """What left through the sockets of a process, those that are open apart."""

    messages: int = 0
    conflated: int = 0
    """Events that a client never saw, because a newer one replaced them; of all sockets."""


class Outbox:
    """The messages of one socket. `on_full` is called once it is given up."""

    __slots__ = ("_closed", "_on_full", "_sent", "_size", "_turn", "_waiting", "count", "wire")

    def __init__(self, sent: Sent, on_full: Callable[[], None]) -> None:
        self.wire: Wire = _Nowhere()
        self.count = 0
        """Messages sent."""
        self._sent = sent
        self._on_full = on_full
        self._waiting: dict[object, tuple[bytes, Frame | None, bytes]] = {}
        self._size = 0
        self._turn = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def say(self, message: bytes) -> None:
        """Send a message after all that waits."""
        if not self._waiting and self.wire.is_clear:
            self.count += 1
            self.wire.write(b"", message)
        elif not self._closed:
            self._turn += 1
            self._keep(self._turn, (b"", None, message))
            self._size += len(message)
            if self._size > WAITING_SIZE_MAX:
                self._give_up()

    def tell(self, operation: Operation, frame: Frame) -> None:
        """Send an event; or leave it in the place of the one of its portfolio that still waits."""
        wire = self.wire
        if wire.is_clear and not self._waiting:
            self.count += 1
            wire.write(operation.prefix, frame.tail)
        elif not self._closed:
            key = (operation, frame.key)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting[1] is not None:
                self._sent.conflated += 1
                newest = merged(waiting[1], frame)
                if newest is None:
                    del self._waiting[key]
                    return
                frame = newest
            self._keep(key, (operation.prefix, frame, b""))

    def forget(self, operation: Operation) -> None:
        """Drop what waits of an operation that nobody wants any more."""
        mine = [key for key in self._waiting if isinstance(key, tuple) and key[0] is operation]
        for key in mine:
            del self._waiting[key]

    def flush(self) -> None:
        """Send what waits, while the client reads."""
        for _ in range(AT_ONCE):
            if not self._waiting or not self.wire.is_clear:
                return
            head, tail = self._take()
            self.count += 1
            self.wire.write(head, tail)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)

    def take(self) -> bytes | None:
        """The message that waited longest, for a wire that asks."""
        if not self._waiting:
            return None
        head, tail = self._take()
        self.count += 1
        return head + tail

    def close(self) -> None:
        """Drop everything, and take nothing more."""
        if not self._closed:
            self._sent.messages += self.count
        self._closed = True
        self._waiting.clear()
        self._size = 0
        self.wire.close()
        self.wire = _Nowhere()

    def _take(self) -> tuple[bytes, bytes]:
        key = next(iter(self._waiting))
        head, frame, message = self._waiting.pop(key)
        if frame is None:
            self._size -= len(message)
            return head, message
        return head, frame.tail

    def _keep(self, key: object, what: tuple[bytes, Frame | None, bytes]) -> None:
        self._waiting[key] = what
        if len(self._waiting) > WAITING_MAX:
            self._give_up()
        elif len(self._waiting) == 1:
            self.wire.wake()

    def _give_up(self) -> None:
        self._waiting.clear()
        self._on_full()


class _Nowhere:
    """The wire of a socket that is not open yet, or not any more."""

    is_clear = False

    def write(self, head: bytes, tail: bytes) -> None:
        """Nothing to do."""

    def wake(self) -> None:
        """Nothing to do."""

    def unread(self) -> int:
        """Nothing."""
        return 0

    def read_so_far(self, _unread: int) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """Nothing to do."""


class TaskWire:
    """Text handed to the ASGI server by a task of this socket's own, which waits for each message to be taken."""

    is_clear = False

    def __init__(self, send: Send, outbox: Outbox) -> None:
        self._send = send
        self._outbox = outbox
        self._waiting = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="socket writer")
        self._taken = 0
        self._is_sending = False

    def write(self, head: bytes, tail: bytes) -> None:
        """Never called: it is never clear, so that everything passes the outbox."""

    def wake(self) -> None:
        """Something waits."""
        self._waiting.set()

    def unread(self) -> int:
        """1 while the server keeps us waiting with the message that it was given last."""
        return int(self._is_sending)

    def read_so_far(self, _unread: int) -> int:
        """Messages that the server has taken."""
        return self._taken

    def close(self) -> None:
        """Send no more."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            while (message := self._outbox.take()) is not None:
                self._is_sending = True
                try:
                    await self._send({"type": "websocket.send", "text": message.decode()})
                except Exception:
                    return  # Each server has an error of its own for a client that has left.
                self._is_sending = False
                self._taken += 1
