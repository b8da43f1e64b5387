"""How long we wait for a request, and how large its head may be: uvicorn alone waits for ever and keeps all.

A head is the request line and the headers. Whoever sends a request drop by drop holds a connection, and whoever never
stops sending a head fills the memory. Both are cut off here, below the application, which is asked once the head is
whole and is told that its client left when a body does not arrive. A request that comes in one piece, as nearly all
do, sets no timer.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SIZE_MAX = 65_536
"""Bytes. A GET may carry a whole document in its address."""
HEAD_WITHIN_SECONDS = 10.0
"""From the opening of a connection, or from the first byte of a later request."""
BODY_WITHIN_SECONDS = 10.0
"""From the head to the last byte of the body."""

_REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _Awaited(Enum):
    """What comes next on a connection."""

    REQUEST = auto()
    HEAD = auto()
    """The rest of it."""
    BODY = auto()
    FRAMES = auto()
    """Of a websocket: no business of ours."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and an end to its patience."""

    _awaited = _Awaited.HEAD
    _head_size = 0
    _impatient: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._impatient = self.loop.call_later(HEAD_WITHIN_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and see whether a request is whole by then."""
        super().data_received(data)
        if self._awaited is _Awaited.REQUEST:
            if self.cycle is None or not self.cycle.response_complete:
                return
            # Empty lines between two requests are part of neither, and sent for ever they would hold a connection.
            self._awaited = _Awaited.HEAD
        if self._awaited is _Awaited.FRAMES or self.transport.is_closing():
            return
        if self._awaited is _Awaited.HEAD:
            self._head_size += len(data)
            if self._head_size > HEAD_SIZE_MAX:
                self._refuse(431, f"the request line and headers are larger than {HEAD_SIZE_MAX:,} bytes; send less")
        if self._impatient is None:
            within = HEAD_WITHIN_SECONDS if self._awaited is _Awaited.HEAD else BODY_WITHIN_SECONDS
            self._impatient = self.loop.call_later(within, self._give_up)

    def handle_websocket_upgrade(self) -> None:
        """The connection goes on as a socket's."""
        self._awaited = _Awaited.FRAMES
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._awaited = _Awaited.HEAD
        self._head_size = 0

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._awaited = _Awaited.BODY
        self._wait_no_more()
        # For a stream whose reader does not read: what is queued for it would keep the connection.
        self.scope["state"]["transport"] = self.transport
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._awaited = _Awaited.REQUEST
        self._wait_no_more()
        super().on_message_complete()

    def _wait_no_more(self) -> None:
        if self._impatient is not None:
            self._impatient.cancel()
            self._impatient = None

    def _give_up(self) -> None:
        self._impatient = None
        if self.transport.is_closing():
            return
        if self._awaited is _Awaited.HEAD:
            self._refuse(408, f"the request's head did not arrive within {HEAD_WITHIN_SECONDS:g} s; send it faster")
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(
                408, f"the body did not arrive within {BODY_WITHIN_SECONDS:g} s; send it faster, or less of it"
            )

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the application's place, and end the connection."""
        self.transport.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(detail)}\r\nconnection: close\r\n\r\n{detail}".encode()
        )
        self.transport.close()
