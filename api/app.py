"""The application, as a table of contents: its routes, what surrounds every request, and what lives as long as it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api import health, metrics, openapi, pages, persisted, rest
from api.admitted import Admitted
from api.backend import running
from api.bodies import Bodies
from api.graphql_http import GraphQLHTTP
from api.guard import Guard
from api.negotiation import accepts_html
from api.rates import RateLimit, Rates
from api.refusal import GRAPHQL_PATH
from api.requests import Requests
from api.shared_streams import SharedStreams
from api.sockets.endpoint import SocketEndpoint
from api.sockets.serving import serving
from plimsoll.settings import Settings

_LINKS = {"name": "Plimsoll", "graphql": "/graphql", "docs": "/docs", "openapi": "/openapi.json", "health": "/health"}

_NO_PAGES = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Plimsoll</title>
<h1>Plimsoll is running, without its web pages</h1>
<p>They are not in this install: <code>SKIP_WEB=1</code> was set, or no npm registry could be reached. To have them:
<code>uv sync --reinstall-package plimsoll</code>, and start again.</p>
<p>All else is there: <a href="/docs">the API and its routes</a>, GraphQL by POST to <code>/graphql</code>.</p></html>
"""


class Application(Starlette):
    """Starlette with `Requests` around all of it, the answer to an unexpected error included (`Guard` gives that).

    Nearly every request and every socket is one for GraphQL, which answers its errors itself: it is handed over before
    routes are looked through and errors are waited for. A request is spared that work, and a socket the memory of the
    coroutines in between, for as long as it is open.
    """

    graphql: ASGIApp
    sockets: ASGIApp

    def build_middleware_stack(self) -> ASGIApp:
        """What surrounds every request, from the outside in."""
        app: ASGIApp = _GraphQLFirst(
            self.graphql, self.sockets, ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        )
        for each in reversed(self.user_middleware):
            app = each.cls(app, *each.args, **each.kwargs)
        return Requests(app, self.routes)


class _GraphQLFirst:
    """ASGI: requests for GraphQL to `graphql`, sockets for it to `sockets`, all else to `others`."""

    def __init__(self, graphql: ASGIApp, sockets: ASGIApp, others: ASGIApp) -> None:
        self._at_path = {"http": graphql, "websocket": sockets}
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self._at_path.get(scope["type"], self._others) if scope.get("path") == GRAPHQL_PATH else self._others
        return app(scope, receive, send)


def create_app(
    settings: Settings, *, clock: Callable[[], int] = time.time_ns, workers_directory: Path | None = None
) -> Starlette:
    """The application. It starts without Redis and Kafka, and finds them in the background.

    `workers_directory` is where several processes of it share their metrics.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(settings, clock) as backend:
            app.state.backend = backend
            app.state.metrics = metrics.Metrics(backend, workers_directory)
            sharing = asyncio.create_task(app.state.metrics.run(), name="metrics")
            app.state.streams = SharedStreams()
            try:
                async with serving(backend, app.state.streams) as app.state.sockets:
                    yield
            finally:
                sharing.cancel()

    signs_in = settings.auth != "off"
    rates = Rates(settings.rate_signed_in if signs_in else 0, settings.rate_anyone, time.monotonic)
    graphiql = pages.graphiql_html if settings.profile == "development" else None
    documents = persisted.documents_of(settings)
    graphql = GraphQLHTTP(documents, rates, graphiql)
    sockets = SocketEndpoint(settings.allowed_origins, documents, rates)
    # Where everyone is let in, a page that makes its own name mean this machine would be let in too.
    hosts = None if signs_in else settings.allowed_hosts
    app = Application(
        routes=[
            Route("/graphql", graphql),
            WebSocketRoute("/graphql", sockets),
            *(route for endpoint in rest.ENDPOINTS for route in endpoint.routes()),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
            Route("/live", health.live),
            Route("/ready", health.ready),
            Route("/metrics", metrics.metrics),
            *pages.routes(),
            Route("/", _home),
        ],
        middleware=[
            Middleware(Bodies),
            Middleware(Guard, origins=settings.allowed_origins, hosts=hosts),
            Middleware(Admitted, rates=rates),
            *([Middleware(RateLimit, rates=rates)] if rates else []),
        ],
        exception_handlers=openapi.HANDLED,
        lifespan=lifespan,
    )
    app.graphql, app.sockets = graphql, sockets
    return app


async def _home(request: Request) -> Response:
    """The dashboard for a browser; for anything else, where to look."""
    if not accepts_html(request.headers.get("accept", "").encode("latin-1")):
        return JSONResponse(_LINKS, headers={"vary": "Accept"})
    headers = {"content-security-policy": pages.DASHBOARD_POLICY, "cache-control": "no-cache", "vary": "Accept"}
    return HTMLResponse(pages.dashboard_html() or _NO_PAGES, headers=headers)


async def _openapi(request: Request) -> Response:
    return JSONResponse(_document(request))


async def _docs(request: Request) -> Response:
    return openapi.page(_document(request), str(request.base_url))


def _document(request: Request) -> dict[str, Any]:
    return openapi.document(rest.ENDPOINTS, sign_in=request.app.state.backend.admission.required)
