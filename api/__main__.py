"""`risk-api`: serve the API until told to stop.

Exit codes: 0 stopped when asked, 2 a setting or an address that is refused, 3 the port is taken.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.types import Lifespan

from api import metrics, tracing
from api.admission import Admission
from api.app import create_app
from api.patience import PatientProtocol
from api.persisted import documents_of
from api.sockets.codes import Code
from plimsoll import logs
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings, load

SOCKET_MESSAGE_SIZE_MAX = 65_536
"""Bytes of one message from a subscriber."""
GARBAGE_THRESHOLD = 20_000
"""Objects made before the young ones are looked through: twenty pages of portfolios. Python's own 700 are not one."""
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
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - imported, it changes the environment

    # A worker is one process on one core: threads of its own arithmetic would wait for one another, turning.
    threadpool_limits(1)
    settings = _settings()
    logs.configure(settings.log_level)
    # It says at every attempt what `publisher` says once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # A line for each socket, with whatever its address holds, is no news and may be a secret.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    shared = os.environ.get(metrics.DIRECTORY_VARIABLE)
    app = create_app(settings, workers_directory=Path(shared) if shared else None)
    app.router.lifespan_context = _ending_streams_first(app.router.lifespan_context)
    # What is imported stays for good. Looking for garbage among it would hold up everybody for 50 ms now and then.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
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
    try:
        tracing.require_sdk(settings.otlp_endpoint)
        documents_of(settings)
    except BadSetting as error:
        _exit(EXIT_REFUSED, str(error))
    if (danger := _danger(settings, host)) is not None:
        _exit(EXIT_REFUSED, danger)
    if not _is_free(host, port):
        _exit(EXIT_PORT_TAKEN, f"{host}:{port} is taken by another program: stop it, or choose another --port")
    logs.configure(settings.log_level)
    # uvicorn repeats the signal to whoever handled it before, once it has shut down; by default that is a death.
    for each in STOP_SIGNALS:
        signal.signal(each, lambda *_: sys.exit(0))
    with _sharing_metrics(workers):
        uvicorn.run(
            "api.__main__:application",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http=PatientProtocol,
            ws=socket_protocol(),
            ws_max_size=SOCKET_MESSAGE_SIZE_MAX,
            # Compressing costs more for each client than all else, and what is shared would be compressed for each.
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=FINISH_SECONDS,
            log_config=None,
            access_log=False,
            server_header=False,
            # Who asks is known by what is shown, and nothing here goes by what a proxy says of an address.
            proxy_headers=False,
        )


@contextmanager
def _sharing_metrics(workers: int) -> Iterator[None]:
    """A directory of our own where several workers leave their metrics for one another; see `metrics`."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="risk-api-") as directory:
        os.environ[metrics.DIRECTORY_VARIABLE] = directory
        yield


def _danger(settings: Settings, host: str) -> str | None:
    """Why these settings must not be served at this address, or at all."""
    if not is_loopback(host):
        elsewhere = f"--host {host} is not this machine's own address, and "
        if settings.auth == "off":
            return elsewhere + "PLIMSOLL_AUTH=off lets everyone in: use --host 127.0.0.1, or switch sign-in on"
        if settings.token_secret:
            return elsewhere + (
                "whoever knows PLIMSOLL_TOKEN_SECRET can be anybody: use --host 127.0.0.1, or PLIMSOLL_JWKS instead"
            )
    try:
        Admission.of(settings, time.time_ns)
    except BadSetting as error:
        return str(error)
    return None


def socket_protocol() -> str:
    """What serves websockets: ours, where this uvicorn has what it is made from, else uvicorn's own."""
    try:
        importlib.import_module("api.server_socket")
    except ImportError as error:
        logging.getLogger(__name__).warning("sockets are served the slower way: %s", error)
        return "auto"
    return "api.server_socket:FrameProtocol"


def _ending_streams_first(lifespan: Lifespan[Starlette]) -> Lifespan[Starlette]:
    """A lifespan in which streams end as soon as we are asked to stop: uvicorn would wait for them, and kill them."""

    @asynccontextmanager
    async def wrapped(app: Starlette) -> AsyncIterator[None]:
        async with lifespan(app):
            loop, state = asyncio.get_running_loop(), app.state

            def end() -> None:
                # Sockets first: their code says that another server answers, and an error would say less.
                state.sockets.close_all(Code.RESTART, "this server stops")
                state.backend.fanout.end()

            def ending_first(then: Handler | int | None, number: int, frame: FrameType | None) -> None:
                loop.call_soon_threadsafe(end)
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
