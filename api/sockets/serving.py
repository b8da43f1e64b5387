"""Sockets and the streams they share, at work for as long as the application lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.backend import Backend
from api.shared_streams import SharedStreams
from api.sockets.codes import Code
from api.sockets.registry import Limits, Sockets


def limits_of(backend: Backend) -> Limits:
    """What the settings say, and our own numbers for the rest."""
    settings = backend.settings
    return Limits(
        sockets=settings.sockets,
        sockets_per_caller=settings.sockets_per_caller,
        operations_per_caller=settings.subscriptions_per_caller,
    )


@asynccontextmanager
async def serving(backend: Backend, streams: SharedStreams, limits: Limits | None = None) -> AsyncIterator[Sockets]:
    """The sockets of a process, looked after; at the end whatever is open is closed."""
    sockets = Sockets(backend.admission, limits or limits_of(backend), backend.telemetry)
    task = asyncio.create_task(sockets.run(), name="sockets")
    try:
        yield sockets
    finally:
        sockets.close_all(Code.RESTART, "this server stops")
        task.cancel()
        await asyncio.wait({task})
        await streams.aclose()
