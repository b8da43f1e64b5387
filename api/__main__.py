"""`risk-api`: serve the API until told to stop.

Exit codes: 0 stopped when asked, 2 a setting or an address that is refused, 3 the port is taken.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.types import Lifespan

from api.app import create_app
from plimsoll import logs
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings, load

SOCKET_MESSAGE_SIZE_MAX = 65_536
"""Bytes of one message from a subscriber."""
FINISH_SECONDS = 1
"""What open requests and sockets get to end by themselves."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_REFUSED = 2
EXIT_PORT_TAKEN = 3

Handler = Callable[[int, FrameType | None], Any]


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; a name counts only where all it stands for is."""
    try:
        found = {each[4][0] for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(address).split("%")[0]).is_loopback for address in found)


def application() -> Starlette:
    """The application of one worker process, from the environment."""
    settings = _settings()
    logs.configure(settings.log_level)
    # It says at every attempt what `publisher` says once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    app = create_app(settings)
    app.router.lifespan_context = _ending_streams_first(app.router.lifespan_context)
    return app


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine's own without sign-in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 6066,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes; each serves all of the API.")] = 1,
) -> None:
    """Serve GraphQL, REST and subscriptions."""
    settings = _settings()
    if settings.auth == "off" and not is_loopback(host):
        _exit(
            EXIT_REFUSED,
            f"--host {host} is not this machine's own address, and PLIMSOLL_AUTH=off lets everyone in: "
            "use --host 127.0.0.1, or switch sign-in on",
        )
    if not _is_free(host, port):
        _exit(EXIT_PORT_TAKEN, f"{host}:{port} is taken by another program: stop it, or choose another --port")
    logs.configure(settings.log_level)
    # uvicorn repeats the signal to whoever handled it before, once it has shut down; by default that is a death.
    for each in STOP_SIGNALS:
        signal.signal(each, lambda *_: sys.exit(0))
    uvicorn.run(
        "api.__main__:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_SIZE_MAX,
        timeout_graceful_shutdown=FINISH_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
    )


def _ending_streams_first(lifespan: Lifespan[Starlette]) -> Lifespan[Starlette]:
    """A lifespan in which streams end as soon as we are asked to stop: uvicorn would wait for them, and kill them."""

    @asynccontextmanager
    async def wrapped(app: Starlette) -> AsyncIterator[None]:
        async with lifespan(app):
            loop, fanout = asyncio.get_running_loop(), app.state.backend.fanout

            def ending_first(then: Handler | int | None, number: int, frame: FrameType | None) -> None:
                loop.call_soon_threadsafe(fanout.end)
                if callable(then):
                    then(number, frame)

            for each in STOP_SIGNALS:
                signal.signal(each, partial(ending_first, signal.getsignal(each)))
            yield

    return wrapped


def main() -> None:
    """The console script."""
    typer.run(serve)


def _settings() -> Settings:
    try:
        return load(os.environ, Path(".env"))
    except BadSetting as error:
        _exit(EXIT_REFUSED, str(error))
        raise


def _is_free(host: str, port: int) -> bool:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _exit(code: int, text: str) -> None:
    sys.stderr.write(f"risk-api: {text}\n")
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
