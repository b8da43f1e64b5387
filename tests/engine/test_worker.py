"""A worker's start and end: what it refuses, how it waits, and that a stop is heard in every state."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from confluent_kafka import Producer

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.store import free_port
from engine import worker as module
from engine.manifest import SAVED_AFTER, DirectoryUnusable, Keeper, StateUnusable
from engine.redis_sink import connect
from engine.same_log import AnotherLog, Log
from engine.topics import Client, topic_ids, trimmed
from engine.worker import RecoveryDirectoryBusy, Start, _Guarded, _Worker, explained
from plimsoll import keys
from plimsoll.errors import Unavailable
from plimsoll.settings import Settings
from plimsoll.transport import Kafka, Redis

if TYPE_CHECKING:
    from tests.conftest import Processes

HERE = Log("cluster-a")
NOWHERE = "127.0.0.1:1"


def start(recovery: Path | None = None, *, rebuild: bool = False) -> Start:
    return Start(0, 1, recovery, timedelta(seconds=1), rebuild=rebuild)


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_a_directory_that_another_engine_holds_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.3)
    first, second = _Worker(Settings(), start(tmp_path), None), _Worker(Settings(), start(tmp_path), None)
    with first._recovery(HERE):
        began = time.monotonic()
        with pytest.raises(RecoveryDirectoryBusy, match="in use by another engine"), second._recovery(HERE):
            pass
        assert time.monotonic() - began >= 0.3
    first.drain.ask()
    with second._recovery(HERE):
        pass
    second.drain.ask()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = _Worker(Settings(), start(tmp_path / "file"), None)
    with pytest.raises(DirectoryUnusable, match="--recovery-directory"), one._recovery(HERE):
        pass


@pytest.fixture
def trimmed_broker(embedded_broker: EmbeddedBroker) -> EmbeddedBroker:
    """Its `portfolio-updates` [3] begins at offset 8."""
    client = Producer({"bootstrap.servers": embedded_broker.address})
    for _ in range(10):
        client.produce("portfolio-updates", key=b"k", value=b"v", partition=3)
    assert client.flush(10) == 0
    embedded_broker.trim("portfolio-updates", 3, 8)
    return embedded_broker


def with_results(redis_url: str, portfolios: int = 1) -> None:
    with connect(Redis(redis_url)) as client:
        for number in range(portfolios):
            client.zadd(keys.by_risk(), {f"portfolio-{number}": 1.0})


def test_the_first_offsets_of_a_log_are_told(trimmed_broker: EmbeddedBroker) -> None:
    client = Client(Kafka(trimmed_broker.address))
    assert trimmed(client, [2, 3, 4]) == {3: 8}


def test_a_broker_that_names_no_topics_is_not_asked_in_vain(broker_address: str) -> None:
    began = time.monotonic()
    assert topic_ids(Client(Kafka(broker_address))) is None
    assert time.monotonic() - began < 2


def test_building_anew_from_a_trimmed_log_is_refused_where_redis_knows_more(
    trimmed_broker: EmbeddedBroker, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(kafka_brokers=trimmed_broker.address, redis_url=redis_url)
    fresh = _Worker(settings, start(tmp_path), None)
    with fresh._recovery(HERE) as (_, keeper):
        assert fresh._claim(HERE, keeper) > 0, "an empty Redis misses nothing"
        with_results(redis_url, 2)
        with pytest.raises(StateUnusable, match=r"\[3\] begins at offset 8.*of the 2 portfolios in Redis.*--rebuild"):
            fresh._claim(HERE, keeper)
        with pytest.raises(StateUnusable):
            fresh._claim(HERE, None)
        assert keeper is not None
        for _ in range(SAVED_AFTER):
            keeper.saving()
        assert fresh._claim(HERE, keeper) > 0, "with a state nothing has to be read anew"
    fresh.drain.ask()


def test_an_operator_may_build_from_what_a_trimmed_log_still_holds(
    trimmed_broker: EmbeddedBroker, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(kafka_brokers=trimmed_broker.address, redis_url=redis_url)
    with_results(redis_url)
    for rebuild in (True, False):  # the second as after a crash, when nobody says it again
        one = _Worker(settings, start(tmp_path, rebuild=rebuild), None)
        with one._recovery(HERE) as (_, keeper):
            assert one._claim(HERE, keeper) > 0
        one.drain.ask()


def test_an_empty_store_beside_a_whole_log_is_an_ordinary_start(broker_address: str, redis_url: str) -> None:
    with_results(redis_url)
    one = _Worker(Settings(kafka_brokers=broker_address, redis_url=redis_url), start(), None)
    assert one._claim(HERE, None) > 0


def test_the_results_of_another_log_are_refused(broker_address: str, redis_url: str) -> None:
    one = _Worker(Settings(kafka_brokers=broker_address, redis_url=redis_url), start(), None)
    one._claim(HERE, None)
    with pytest.raises(AnotherLog):
        one._claim(Log("cluster-b"), None)


def test_each_start_takes_a_larger_token(broker_address: str, redis_url: str) -> None:
    one = _Worker(Settings(kafka_brokers=broker_address, redis_url=redis_url), start(), None)
    tokens = [one._claim(HERE, None) for _ in range(3)]
    assert tokens == sorted(set(tokens))


class FakeBook:
    def __init__(self, state: Any) -> None:
        self.state = state

    def snapshot(self) -> Any:
        return self.state


def test_a_book_is_built_only_where_its_state_is_not_missing(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "0/1")
    keeper.check(HERE)
    book: Any = _Guarded(FakeBook, keeper, None)  # type: ignore[arg-type]
    for _ in range(SAVED_AFTER):
        book.snapshot()
    assert _Guarded(FakeBook, keeper, {"a": 1}).snapshot() == {"a": 1}  # type: ignore[arg-type]
    with pytest.raises(StateUnusable, match="is lost"):
        _Guarded(FakeBook, keeper, None)  # type: ignore[arg-type]


def test_the_error_we_expect_is_found_beneath_those_around_it() -> None:
    inner = Unavailable("Redis", "away")
    outer = RuntimeError("error writing output batch")
    outer.__cause__ = inner
    assert explained(outer) is inner
    assert explained(ValueError("x")) is None
    panic = RuntimeError('SqliteFailure(Error { code: NotADatabase }, Some("x"))')
    assert isinstance(explained(panic), StateUnusable)


# --- real processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


Engine = Callable[..., Child]


@pytest.fixture
def engine(processes: Processes) -> Engine:
    def run(kafka: str, redis_url: str, *arguments: str | Path, health_port: int = 0) -> Child:
        environ = {"KAFKA_BROKERS": kafka, "REDIS_URL": redis_url, "PLIMSOLL_HEALTH_PORT": str(health_port)}
        return processes.python("-m", "engine", *arguments, environ=environ)

    return run


def stopped(child: Child, number: int = signal.SIGTERM) -> tuple[int | None, float]:
    """Exit code and how long it took."""
    began = time.monotonic()
    os.kill(child.pid, number)
    while child.exit_code() is None and time.monotonic() - began < 20:
        time.sleep(0.02)
    return child.exit_code(), time.monotonic() - began


def ends(child: Child, seconds: float = 30.0) -> int | None:
    deadline = time.monotonic() + seconds
    while child.exit_code() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return child.exit_code()


def health(port: int, path: str) -> httpx.Response | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2)
    except httpx.HTTPError:
        return None


@pytest.mark.parametrize("state", ["kafka away", "kafka mute"])  # the others: tests/faults/test_stops.py
def test_a_stop_is_heard_in_every_state(
    state: str, engine: Engine, processes: Processes, redis_url: str, mute: str
) -> None:
    port = free_port()
    child = engine({"kafka away": NOWHERE, "kafka mute": mute}[state], redis_url, health_port=port)

    def waiting() -> bool:
        answer = health(port, "/ready")
        return answer is not None and "Kafka" in {each["check"] for each in answer.json()["checks"] if not each["ok"]}

    processes.wait_for(waiting, f"a worker in the state: {state}", seconds=30)
    alive = health(port, "/live")
    assert alive is not None
    assert alive.status_code == 200, "waiting is not hanging"
    code, seconds = stopped(child)
    assert code == 0, child.tail()
    assert seconds < 10


def test_a_supervisor_that_was_killed_leaves_no_worker_and_its_next_start_does_not_trip(
    engine: Engine, processes: Processes, broker_address: str, redis_url: str, tmp_path: Path
) -> None:
    directory = tmp_path / "recovery"
    first = engine(broker_address, redis_url, "-r", directory)
    processes.wait_for(lambda: "reads from" in first.tail(), "a running worker", seconds=30)
    worker = int(first.tail().partition("started, pid ")[2].partition('"')[0])
    os.kill(first.pid, signal.SIGKILL)
    second = engine(broker_address, redis_url, "-r", directory)
    processes.wait_for(lambda: "reads from" in second.tail(), "a successor", seconds=30)
    processes.wait_for(lambda: not Path(f"/proc/{worker}").exists(), "end of the orphan", seconds=10)
    assert "died" not in second.tail()
    assert stopped(second)[0] == 0


def test_a_worker_run_by_itself_needs_no_supervisor(
    engine: Engine, processes: Processes, broker_address: str, redis_url: str
) -> None:
    child = engine(broker_address, redis_url, "--workers", "2", "--worker-index", "1")
    processes.wait_for(lambda: "worker 1/2 reads from" in child.tail(), "a running worker", seconds=30)
    assert "engine.supervisor" not in child.tail()
    assert stopped(child)[0] == 0


def test_a_worker_run_by_itself_serves_its_health_where_it_is_told_whatever_its_index(
    engine: Engine, processes: Processes, redis_url: str
) -> None:
    port = free_port()
    child = engine(NOWHERE, redis_url, "--workers", "2", "--worker-index", "1", "--health-port", str(port))
    processes.wait_for(lambda: health(port, "/live") is not None, "an answer", seconds=30)
    assert stopped(child)[0] == 0


def test_several_workers_cannot_share_one_port(engine: Engine) -> None:
    child = engine(NOWHERE, "redis://127.0.0.1:1", "--workers", "2", "--health-port", "9464")
    assert ends(child) == 2
    assert "--health-port: goes with --worker-index" in child.tail()


def test_a_worker_that_is_none_of_them_is_a_wrong_call(engine: Engine) -> None:
    child = engine(NOWHERE, "redis://127.0.0.1:1", "--workers", "2", "--worker-index", "2")
    assert ends(child) == 2
    assert "--worker-index: 2: the last of 2 is 1" in child.tail()
