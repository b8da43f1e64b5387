"""A TCP proxy on loopback that misbehaves when told to: refuses, resets, swallows, delays, or cuts an answer short.

One thread a direction of a connection; what it does next is read from one small, locked state. For Redis: a Kafka
client is told by its broker where to connect, and would go round it.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CHUNK = 16_384
POLL_SECONDS = 0.05


@dataclass
class _Mood:
    """What the proxy does now."""

    swallow: bool = False
    delay_seconds: float = 0.0
    cut_after: int | None = None
    cut_answers: bool = True
    refuse: bool = False


class FaultProxy:
    """Stands before a server. `with FaultProxy("redis://127.0.0.1:6379/0") as proxy`, then `proxy.url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(POLL_SECONDS)
        port = self._server.getsockname()[1]
        self.url = f"{parts.scheme}://127.0.0.1:{port}{parts.path}"
        self._mood = _Mood()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.accepted = 0
        self.refused = 0
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join(2.0)
        self._server.close()
        self._reset_all()

    # --- what to do next -----------------------------------------------------------------------------------------

    def pass_on(self) -> None:
        """Behave."""
        self._mood = _Mood()

    def refuse(self) -> None:
        """Reset every connection, and each new one."""
        self._mood = _Mood(refuse=True)
        self._reset_all()

    def swallow(self) -> None:
        """Keep connections open and let nothing through: a network that lost its way."""
        self._mood = _Mood(swallow=True)

    def delay(self, seconds: float) -> None:
        """Hold everything back for so long."""
        self._mood = _Mood(delay_seconds=seconds)

    def cut_answer(self, size: int) -> None:
        """Let so many more bytes of answers through, then reset the connection in the middle of one; once."""
        self._mood = _Mood(cut_after=size)

    def cut_question(self, size: int) -> None:
        """The same of what the client sends."""
        self._mood = _Mood(cut_after=size, cut_answers=False)

    # --- within --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            if self._mood.refuse:
                self.refused += 1
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=2.0)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            self.accepted += 1
            with self._lock:
                self._open |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                while self._mood.swallow and not self._stopped.is_set():
                    time.sleep(POLL_SECONDS)
                if self._mood.delay_seconds:
                    time.sleep(self._mood.delay_seconds)
                if answers is self._mood.cut_answers and self._is_cut(data, sink):
                    break
                sink.sendall(data)
        with self._lock:
            self._open -= {source, sink}
        for each in (source, sink):
            _reset(each)

    def _is_cut(self, data: bytes, sink: socket.socket) -> bool:
        """Send what may still pass, and say whether that was all."""
        with self._lock:
            left = self._mood.cut_after
            if left is None:
                return False
            self._mood.cut_after = left - len(data) if left > len(data) else None
            if left > len(data):
                return False
            self.cuts += 1
        sink.sendall(data[:left])
        return True

    def _reset_all(self) -> None:
        with self._lock:
            connections, self._open = list(self._open), set()
        for each in connections:
            _reset(each)


def _reset(connection: socket.socket) -> None:
    """Close with a reset, as a machine that died would answer; whoever waits in it wakes up."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
