"""For those who run this: is it alive, can it answer, and how much goes through it."""

from __future__ import annotations

from collections import Counter

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.backend import Backend
from plimsoll.errors import Unavailable

_PROMETHEUS = "text/plain; version=0.0.4"


class RequestCount:
    """ASGI middleware that counts answers by method and status. `counted` belongs to the application."""

    def __init__(self, app: ASGIApp, counted: Counter[tuple[str, int]]) -> None:
        self._app = app
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and look at the start of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A method of the caller's invention must not become a label of ours.
                method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
                self._counted[method, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counting)


async def live(_request: Request) -> Response:
    """The loop turns."""
    return JSONResponse({"status": "alive"})


async def ready(request: Request) -> Response:
    """Redis answers, so questions can be answered: without Kafka one can still read. 503 otherwise."""
    backend: Backend = request.app.state.backend
    status = await backend.summary.status()
    checks = [
        {"check": "redis", "ok": status.redis_connected, "required": True},
        {"check": "kafka", "ok": status.kafka_connected, "required": False},
        {"check": "engine", "ok": not status.stale, "required": False},
    ]
    return JSONResponse(
        {"status": "ready" if status.redis_connected else "not ready", "checks": checks},
        status_code=200 if status.redis_connected else 503,
    )


async def metrics(request: Request) -> Response:
    """Prometheus's text format."""
    backend: Backend = request.app.state.backend
    counted: Counter[tuple[str, int]] = request.app.state.counted
    try:
        await backend.store.ping()
        redis_up = 1
    except Unavailable:
        redis_up = 0
    age_ns = await backend.engine.age_ns()
    traffic = backend.fanout.traffic
    lines = _family("plimsoll_api_requests_total", "counter", "HTTP answers by method and status.")
    lines += [
        f'plimsoll_api_requests_total{{method="{method}",status="{status}"}} {count}'
        for (method, status), count in sorted(counted.items())
    ]
    for name, kind, about, value in (
        ("subscriptions_open", "gauge", "Readers of the fan-out now.", backend.fanout.readers),
        ("snapshots_received_total", "counter", "Snapshots heard from Redis.", traffic.received),
        ("snapshots_conflated_total", "counter", "Snapshots replaced before a reader took them.", traffic.conflated),
        ("subscriber_gaps_total", "counter", "Channels confirmed anew after an outage.", traffic.gaps),
        ("messages_refused_total", "counter", "Messages on a risk channel that were none.", traffic.refused),
        ("redis_up", "gauge", "1 while Redis answers.", redis_up),
        ("subscriber_up", "gauge", "1 while the subscriber has a connection.", int(backend.fanout.connected)),
        ("kafka_up", "gauge", "1 while Kafka answers.", int(backend.publisher.connected)),
        ("heartbeat_age_seconds", "gauge", "Since the engine's newest heartbeat.", _seconds(age_ns)),
    ):
        lines += [*_family(f"plimsoll_api_{name}", kind, about), f"plimsoll_api_{name} {value}"]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=_PROMETHEUS)


def _seconds(age_ns: int | None) -> str:
    return "NaN" if age_ns is None else msgspec.json.encode(age_ns / 1e9).decode()


def _family(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
