"""What surrounds every request and socket: an id that all its log lines carry, its trace, its count, a line of its own.

It stands outside everything else, the answer to an unexpected error included, so there is no answer without an id and
none that is not counted. A caller may bring its id (`X-Request-ID`) and its trace (`traceparent`); what is not of the
right form is as if it had not come. The line says the route, never the query, a header or a body. All lines are at
DEBUG but those of requests that failed through us (5xx) or were slow, which are warnings; of these no more than
`TROUBLED_LINES_MAX` a second are written, because when Redis is away every request is one.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterable

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import tracing
from api.telemetry import SLOW_SECONDS, Telemetry
from plimsoll import logs

TROUBLED_LINES_MAX = 20
"""Warnings a second and process. The first of the next second says how many were held back."""
GAVE_UP = 499
"""The status of a request whose caller left before the answer, as proxies write it."""
UNKNOWN_ROUTE = "none"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
_PATH_SHOWN_MAX = 200
_STARTS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}

_log = logging.getLogger(__name__)
_troubled = logging.getLogger(f"{__name__}.troubled")
_troubled.addFilter(logs.AtMostEvery(1.0, TROUBLED_LINES_MAX))


class Routes:
    """Finds the template of a path, so that what is counted is bounded by the routes and not by the paths."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        known = [route for route in routes if isinstance(route, Route)]
        self._plain = {route.path for route in known if "{" not in route.path}
        self._patterns = [(route.path, route.path_regex) for route in known if "{" in route.path]

    def template(self, path: str) -> str:
        """Such as `/risk/{portfolio_id}`; "none" where no route is meant."""
        if path in self._plain:
            return path
        return next((template for template, form in self._patterns if form.match(path)), UNKNOWN_ROUTE)


class Requests:
    """ASGI: the outermost layer. The application's `state.backend` has the `Telemetry`."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = Routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; add the id to the answer, and tell of it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = _enter(scope)
        telemetry: Telemetry = scope["app"].state.backend.telemetry
        began, status, took = telemetry.clock(), GAVE_UP, 0.0

        async def answering(message: Message) -> None:
            nonlocal status, took
            if message["type"] in _STARTS:
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id)]}
                status, took = message.get("status", 101), telemetry.clock() - began
            await send(message)

        try:
            await self._app(scope, receive, answering)
        finally:
            if scope["type"] == "http":
                self._tell(scope, telemetry, status, took if status != GAVE_UP else telemetry.clock() - began)

    def _tell(self, scope: Scope, telemetry: Telemetry, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = self._routes.template(scope["path"])
        telemetry.request(method, route, status, seconds)
        if status >= 500 or seconds >= SLOW_SECONDS:
            log, level = _troubled, logging.WARNING
        else:
            log, level = _log, logging.DEBUG
        if log.isEnabledFor(level):
            told = {"method": method, "route": route, "status": status, "ms": round(1e3 * seconds, 3)}
            log.log(level, "%s %s: %d", method, scope["path"][:_PATH_SHOWN_MAX], status, extra=told)


def _enter(scope: Scope) -> bytes:
    """Take over the caller's id and trace, or make an id. What this sets ends with the task of the request."""
    request_id = traceparent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
        elif name == b"traceparent":
            traceparent = tracing.accepted(value.decode("latin-1"))
    if request_id is None:
        # Nothing is decided by it, so it need not be hard to guess.
        request_id = b"%016x" % random.getrandbits(64)
    carried = {"request_id": request_id.decode()}
    if traceparent is not None:
        carried["trace_id"] = tracing.trace_id(traceparent)
    logs.CONTEXT.set(carried)
    tracing.enter(traceparent)
    return request_id
