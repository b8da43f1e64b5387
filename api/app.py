"""The application, as a table of contents: its routes, what surrounds every request, and what lives as long as it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import health, openapi, pages, rest
from api.backend import running
from api.graphql_view import GraphQLView
from plimsoll.settings import Settings

BODY_SIZE_MAX = 1_000_000
"""Bytes of one request: as large as a record of Kafka may be."""


def create_app(settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> Starlette:
    """The application. It starts without Redis and Kafka, and finds them in the background."""
    counted: Counter[tuple[str, int]] = Counter()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(settings, clock) as backend:
            app.state.backend = backend
            yield

    graphql = GraphQLView(pages.graphiql_html)
    app = Starlette(
        routes=[
            Route("/graphql", graphql),
            WebSocketRoute("/graphql", graphql),
            *(route for endpoint in rest.ENDPOINTS for route in endpoint.routes()),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
            Route("/live", health.live),
            Route("/ready", health.ready),
            Route("/metrics", health.metrics),
            *pages.routes(),
            Route("/", _links),
        ],
        middleware=[Middleware(health.RequestCount, counted=counted), Middleware(_BodyLimit)],
        exception_handlers=openapi.HANDLED,
        lifespan=lifespan,
    )
    app.state.counted = counted
    return app


async def _links(_request: Request) -> Response:
    """Where to look."""
    return JSONResponse(
        {"name": "Plimsoll", "graphql": "/graphql", "docs": "/docs", "openapi": "/openapi.json", "health": "/health"}
    )


async def _openapi(_request: Request) -> Response:
    return JSONResponse(openapi.document(rest.ENDPOINTS))


async def _docs(request: Request) -> Response:
    return openapi.page(openapi.document(rest.ENDPOINTS), str(request.base_url))


class _BodyLimit:
    """ASGI middleware: no more than `BODY_SIZE_MAX` of a request's body is read, whatever its headers say."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_SIZE_MAX:
                raise HTTPException(413, f"the body is larger than {BODY_SIZE_MAX:,} bytes; send less at a time")
            return message

        await self._app(scope, limited, send)
