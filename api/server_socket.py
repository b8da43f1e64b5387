"""uvicorn's websocket, with a way past ASGI for those who send the same frame to a thousand clients.

ASGI takes text, encodes it and makes a frame of it, for each client anew, in a coroutine. Here a finished frame is
written to the transport. That, and an end that does not wait for a client who has stopped reading, needs parts of
uvicorn that it does not promise to keep; where one of them is missing, nothing is offered, and plain ASGI is used.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from fcntl import ioctl
from functools import lru_cache
from struct import Struct
from termios import TIOCOUTQ
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from api.sockets.outbox import EXTENSION

SEND_BUFFER_SIZE = 65_536
"""Bytes that the kernel keeps for a client (it doubles this). Its own choice is megabytes: seconds of stale frames."""
ABORT_SECONDS = 0.5
"""What a client gets to read its close frame when the server stops."""

_PARTS = (
    "transport",
    "writable",
    "queue",
    "conn",
    "loop",
    "scope",
    "handshake_complete",
    "close_sent",
    "close_timer",
    "disconnected",
    "read_paused",
)
"""What we use of uvicorn's, checked on each connection."""
_FINAL_TEXT = 0x81
_SHORT, _MEDIUM, _LONG = Struct("!BB"), Struct("!BBH"), Struct("!BBQ")
_INTEGER = Struct("@i")
_UNREADABLE = b"a socket is opened by a GET without a body, with 128 headers at most, each of 8,192 bytes or less"
_log = logging.getLogger(__name__)


@lru_cache(4096)
def header(size: int) -> bytes:
    """The header of an unmasked text frame that is a whole message (RFC 6455, 5.2)."""
    if size < 126:
        return _SHORT.pack(_FINAL_TEXT, size)
    if size < 65_536:
        return _MEDIUM.pack(_FINAL_TEXT, 126, size)
    return _LONG.pack(_FINAL_TEXT, 127, size)


class FrameProtocol(WebSocketsSansIOProtocol):
    """One connection. An application finds it in `scope["extensions"][EXTENSION]`, and may use it as a `Wire`."""

    is_clear = False
    """Whether a frame written now leaves now: the application has opened it, it is not closed, and the client reads."""
    _flush: Callable[[], None] | None = None
    _written = 0
    _descriptor = -1

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as in the class above
        """Keep little for a client who does not read."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_SIZE)
                # What TLS makes of a message has another size, so there only the transport is asked.
                self._descriptor = -1 if transport.get_extra_info("ssl_object") else raw.fileno()

    def data_received(self, data: bytes) -> None:
        """Refuse a handshake that cannot be read (a body, a header of 9 kB): uvicorn would keep it and say nothing."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(_UNREADABLE), _UNREADABLE)
            )
            self.transport.close()

    def handle_connect(self, event: Any) -> None:  # noqa: ANN401
        """Offer the connection to the application, whose task has been made and has not run yet."""
        super().handle_connect(event)
        missing = [part for part in _PARTS if not hasattr(self, part)]
        if not missing:
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self
        elif missing != ["scope"]:  # That alone is a handshake that was refused.
            _log.warning("this uvicorn has no %s: sockets are served the slower way", ", ".join(missing))

    # --- as a wire ----------------------------------------------------------------------------------------------------

    def open(self, flush: Callable[[], None]) -> None:
        """From now on frames may be written, and `flush` is called when the client reads again."""
        self._flush = flush
        self.is_clear = self.writable.is_set() and not self.close_sent and not self.disconnected

    def write(self, head: bytes, tail: bytes) -> None:
        """Send a text message made of two parts, which are UTF-8."""
        size = len(head) + len(tail)
        self._written += size
        self.transport.write(b"".join((header(size), head, tail)))

    def wake(self) -> None:
        """The transport says by itself when it takes more; if it does already, that was a moment ago."""
        if self.is_clear and self._flush is not None:
            self.loop.call_soon(self._flush)

    def unread(self) -> int:
        """Bytes that the client's system has not taken, be they in the transport or in the kernel."""
        waiting = self.transport.get_write_buffer_size()
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                waiting += _INTEGER.unpack(ioctl(self._descriptor, TIOCOUTQ, bytes(_INTEGER.size)))[0]
        return waiting

    def read_so_far(self, unread: int) -> int:
        """Bytes that it has taken. What uvicorn writes by itself is not counted, so it may be a little less."""
        return self._written - unread

    def close(self) -> None:
        """Write no more."""
        self.is_clear = False
        self._flush = None
        self._descriptor = -1

    def end(self, code: int, reason: str, linger_seconds: float) -> None:
        """Close, and wait for nobody: a client that does not read is cut off after so long."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.close()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Until then its answer is read, which ends it sooner.
        self.close_timer = self.loop.call_later(linger_seconds, self.transport.abort)

    # --- what ends or halts it ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self.is_clear = False

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._flush is not None and not self.close_sent and not self.disconnected:
            self.is_clear = True
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.close()
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        """Answer, but not who does not read: the answers would wait here, as many as there are pings."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: Any) -> None:  # noqa: ANN401
        """The client leaves, or answers that we did."""
        self.close()
        super().handle_close(event)

    def handle_parser_exception(self) -> None:
        """The client sent what is no websocket frame, or too large a one."""
        self.close()
        super().handle_parser_exception()

    def keepalive_timeout(self) -> None:
        """The client does not answer pings of the websocket's own."""
        self.close()
        super().keepalive_timeout()

    def send_receive_event_to_app(self) -> None:
        """Close on text that is not UTF-8; uvicorn does so too, with a traceback in the log."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def shutdown(self) -> None:
        """The server stops (uvicorn asks each connection): 1012, unless it has been closed already."""
        self.close()
        super().shutdown()
        self.loop.call_later(ABORT_SECONDS, self.transport.abort)
