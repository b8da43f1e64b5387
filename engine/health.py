"""A worker's own small server: `/live`, `/ready` and `/metrics`, on a thread and a port of its own.

It answers while the flow is busy, waits or hangs, because it shares nothing with it but `Vitals`. There are no
secrets in its answers (names of topics and dependencies, counts, times), so it may listen on every address where an
orchestrator or Prometheus asks from outside; by default it listens on this machine's alone.

A port that is taken is no reason to stop valuing portfolios: it is said once, and tried again until it is free.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from typing_extensions import override

from engine.vitals import Check, Vitals

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
CLOSE_SECONDS = 0.5
REQUEST_SECONDS_MAX = 5.0
"""How long a client may take to ask. One thread serves it meanwhile."""

Answer = tuple[HTTPStatus, str, bytes]


def answer(path: str, vitals: Vitals, ready_lag: int, now: datetime) -> Answer:
    """What a path is answered: status, content type, body. `now` only names the times of a body."""
    match path.partition("?")[0]:
        case "/live":
            return _judged("live", [vitals.alive()], vitals, now)
        case "/ready":
            return _judged("ready", vitals.ready(ready_lag), vitals, now)
        case "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, vitals.metrics()
    return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"/live, /ready and /metrics are here\n"


def _text_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _judged(name: str, checks: Sequence[Check], vitals: Vitals, now: datetime) -> Answer:
    holds = all(check.ok for check in checks)
    body = {name: holds, "checks": [_described(check, vitals, now) for check in checks]}
    status = HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(body).encode() + b"\n"


def _described(check: Check, vitals: Vitals, now: datetime) -> dict[str, Any]:
    age = vitals.age(check)
    since = None if age is None else (now - timedelta(seconds=age)).isoformat(timespec="milliseconds")
    return {"check": check.check, "ok": check.ok, "reason": check.reason, "since": since}


class HealthServer:
    """Serves one worker's vitals until the process ends, or `close`."""

    def __init__(
        self,
        vitals: Vitals,
        host: str,
        port: int,
        ready_lag: int,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._vitals = vitals
        self._address = (host, port)
        self._ready_lag = ready_lag
        self._wall = wall
        self._retry_seconds = retry_seconds
        self._closed = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    def start(self) -> None:
        """Listen, or begin trying to. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._thread.join()

    @property
    def port(self) -> int | None:
        """Where it listens; None while it cannot."""
        return None if self._server is None else int(self._server.server_address[1])

    def _serve(self) -> None:
        server = self._bind()
        if server is None:
            return
        with server:
            self._server = server
            self._vitals.health_address = _text_of(self._address[0], server.server_port)
            log.info("health of worker %s on http://%s:%d/ready", self._vitals.worker, self._address[0], self.port)
            server.timeout = CLOSE_SECONDS
            # The library's own loop cannot be stopped before it has begun, and `close` may come that early.
            while not self._closed.is_set():
                server.handle_request()

    def _bind(self) -> ThreadingHTTPServer | None:
        """The listening server, as soon as its port can be had; None once closed."""
        host, port = self._address
        said = False
        while not self._closed.is_set():
            try:
                return _Listener(self._address, self._handler())
            except OSError as error:
                if not said:
                    log.error(
                        "worker %s cannot serve its health on %s port %d (%s): it works on without, and tries again. "
                        "Set PLIMSOLL_HEALTH_PORT to a free port, or to 0 for none",
                        *(self._vitals.worker, host, port, error.strerror or error),
                    )
                said = True
            self._closed.wait(self._retry_seconds)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        respond = self._respond

        class Handler(BaseHTTPRequestHandler):
            """Hands a path over and writes down what it is told."""

            timeout = REQUEST_SECONDS_MAX

            def do_GET(self) -> None:
                status, kind, body = respond(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, format: str, *args: object) -> None:
                log.debug(format, *args)

        return Handler

    def _respond(self, path: str) -> Answer:
        return answer(path, self._vitals, self._ready_lag, self._wall())


class _Listener(ThreadingHTTPServer):
    """Speaks IPv6 where the address does, and takes a client that hangs up half-way as the everyday thing it is."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    @override
    def server_bind(self) -> None:
        # The library's own would look the host's name up, which can take seconds where no name server answers.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a client of the health server went away", exc_info=True)
