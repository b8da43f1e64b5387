"""What the scripts promise, on a real Redis: larger sequences win, repeating changes nothing, indexes agree."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.drain import Drain
from engine.fence import Fenced
from engine.redis_sink import WINDOWS_WAITING_MAX, Background, RedisWriter
from engine.revalue import Publication
from engine.vitals import Vitals
from engine.window import Window
from plimsoll import keys
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat, Mark, ScenarioSetRecord
from plimsoll.transport import Redis


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connected:
        yield connected


@pytest.fixture
def writer(redis_url: str) -> Iterator[RedisWriter]:
    made = RedisWriter(Redis(redis_url), "0/1", range(12), 390, Drain())
    yield made
    made.close()


def publication(
    portfolio_id: str,
    sequence: int,
    advisor_id: str = "a-1",
    score: float = 50.0,
    minute_ms: int = 0,
    partition: int = 0,
) -> Publication:
    snapshot = {
        "sequence": str(sequence),
        "advisor_id": advisor_id,
        "source_partition": partition,
        "portfolio_id": portfolio_id,
        "client_id": None,
    }
    return Publication(
        portfolio_id=portfolio_id,
        risk_score=score,
        snapshot=json.dumps(snapshot, separators=(",", ":")).encode(),
        positions=b'{"of":"' + portfolio_id.encode() + b'"}',
        backtest=b"",
        minute_ms=minute_ms,
        again=False,
    )


def stored(client: redis.Redis, portfolio_id: str) -> int:
    return int(json.loads(client.get(keys.risk(portfolio_id)) or '{"sequence":-1}')["sequence"])


@given(st.lists(st.integers(1, 10**20), min_size=1, max_size=12))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_order_the_largest_sequence_stays(
    writer: RedisWriter, client: redis.Redis, sequences: list[int]
) -> None:
    client.flushdb()
    seen = []
    for sequence in sequences:
        writer.write(Window(publications=[publication("p-0", sequence)]))
        seen.append(stored(client, "p-0"))
    assert seen == [max(sequences[: n + 1]) for n in range(len(sequences))]


def test_writing_a_window_again_announces_nothing(writer: RedisWriter, client: redis.Redis) -> None:
    window = Window(publications=[publication("p-0", 1), publication("p-1", 1)])
    with client.pubsub() as subscriber:
        subscriber.subscribe(keys.risk_channel("a-1"), "end")
        writer.write(window)
        writer.write(window)
        client.publish("end", "")
        said = _until_end(subscriber)
    assert [[one["portfolio_id"] for one in batch["snapshots"]] for batch in said] == [["p-0", "p-1"]]


def test_the_indexes_say_what_the_snapshots_say(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(publications=[publication("p-0", 1, "a-1", 71.5), publication("p-1", 1, "a-2", 20.0)]))
    assert client.zrange(keys.by_risk(), 0, -1, withscores=True) == [("p-1", 20.0), ("p-0", 71.5)]
    assert client.zrange(keys.by_risk("a-1"), 0, -1) == ["p-0"]
    assert client.zrange(keys.by_id("a-2"), 0, -1) == ["p-1"]
    assert client.zrange(keys.by_id(), 0, -1) == ["p-0", "p-1"]
    assert client.zrange(keys.ADVISORS, 0, -1) == ["a-1", "a-2"]
    assert json.loads(client.get(keys.portfolio("p-0"))) == {"of": "p-0"}


def test_a_portfolio_that_changes_its_advisor_leaves_the_old_one_and_says_so(
    writer: RedisWriter, client: redis.Redis
) -> None:
    writer.write(Window(publications=[publication("p-0", 1, "a-1")]))
    with client.pubsub() as subscriber:
        subscriber.subscribe(keys.risk_channel("a-1"), keys.risk_channel("a-2"), "end")
        writer.write(Window(publications=[publication("p-0", 2, "a-2")]))
        client.publish("end", "")
        said = _until_end(subscriber)
    assert {"snapshots": [], "moved": [{"portfolio_id": "p-0", "advisor_id": "a-2"}]} in said
    assert [one["sequence"] for batch in said for one in batch["snapshots"]] == ["2"]
    assert client.zrange(keys.ADVISORS, 0, -1) == ["a-2"]
    assert not client.exists(keys.by_risk("a-1"), keys.by_id("a-1"))


def test_a_closed_portfolio_is_gone_and_a_replay_cannot_open_it(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(publications=[publication("p-0", 5, minute_ms=60_000)]))
    with client.pubsub() as subscriber:
        subscriber.subscribe(keys.risk_channel("a-1"), "end")
        writer.write(Window(closed=[("p-0", "9")]))
        client.publish("end", "")
        assert _until_end(subscriber) == [{"closed": ["p-0"]}]
    writer.write(Window(publications=[publication("p-0", 7)]))
    assert sorted(client.keys()) == [keys.CLOSED, keys.FENCES]
    writer.write(Window(publications=[publication("p-0", 11)]))
    assert stored(client, "p-0") == 11
    assert not client.exists(keys.CLOSED)


def test_closing_again_after_it_was_opened_anew_does_nothing(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(publications=[publication("p-0", 11)]))
    writer.write(Window(closed=[("p-0", "9")]))
    assert stored(client, "p-0") == 11


def test_one_point_of_history_a_minute_however_often_it_is_written(writer: RedisWriter, client: redis.Redis) -> None:
    for sequence in range(1, 4):
        writer.write(Window(publications=[publication("p-0", sequence, minute_ms=60_000)]))
    writer.write(Window(publications=[publication("p-0", 9, minute_ms=120_000)]))
    assert [entry for entry, _ in client.xrange(keys.history("p-0"))] == ["60000-0", "120000-0"]


def test_a_scenario_set_of_a_day_that_has_not_come_gives_way(writer: RedisWriter, client: redis.Redis) -> None:
    client.set(keys.CURRENT_SCENARIO_SET, "9999-12-31-aa")
    served = ScenarioSetRecord("2020-01-03-bb", "SP500", 500, 0.94, ["A"], ["2020-01-02"], b"12345678", {}, {})
    writer.write(Window(scenario_set=served))
    assert client.get(keys.CURRENT_SCENARIO_SET) == "2020-01-03-bb"


def test_a_worker_that_lags_does_not_put_an_older_scenario_set_back(writer: RedisWriter, client: redis.Redis) -> None:
    def served(scenario_set_id: str) -> ScenarioSetRecord:
        return ScenarioSetRecord(scenario_set_id, "SP500", 500, 0.94, ["A"], ["2020-01-02"], b"12345678", {}, {})

    for scenario_set_id in ("2020-01-02-aa", "2020-01-03-bb", "2020-01-02-aa"):
        writer.write(Window(scenario_set=served(scenario_set_id)))
    assert client.get(keys.CURRENT_SCENARIO_SET) == "2020-01-03-bb"
    assert client.exists(keys.scenario_set("2020-01-02-aa"), keys.scenario_set("2020-01-03-bb")) == 2


def test_a_point_of_history_is_the_beginning_of_its_snapshot(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(publications=[publication("p-0", 3, minute_ms=60_000)]))
    ((_, fields),) = client.xrange(keys.history("p-0"))
    point = json.loads(fields["point"])
    assert point == {"sequence": "3", "advisor_id": "a-1", "source_partition": 0, "portfolio_id": "p-0"}


def test_marks_are_served_by_symbol(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(marks={"AAPL": Mark(price=2.5, event_time_ns=7)}))
    assert json.loads(client.hget(keys.MARKS, "AAPL"))["price"] == 2.5  # type: ignore[arg-type]


def test_more_portfolios_than_one_call_takes_are_all_written(writer: RedisWriter, client: redis.Redis) -> None:
    writer.write(Window(publications=[publication(f"p-{n:04}", 1) for n in range(1_201)]))
    assert client.zcard(keys.by_risk()) == 1_201


def test_a_write_waits_for_redis_and_gives_up_only_when_told_to_stop(redis_url: str) -> None:
    drain = Drain()
    nobody = RedisWriter(Redis("redis://127.0.0.1:1/0"), "0/1", range(12), 390, drain)
    drain.ask()
    drain._asked_at -= 60.0  # told long ago
    with pytest.raises(Unavailable, match="Redis is unavailable"):
        nobody.write(Window(publications=[publication("p-0", 1)]))


def test_a_write_succeeds_once_memory_is_there_again(
    writer: RedisWriter, client: redis.Redis, redis_server: Any
) -> None:
    if not redis_server.ours:
        pytest.skip("another's server is not ours to run out of memory")
    pauses = []

    class Healing(Drain):
        def wait(self, seconds: float) -> None:
            pauses.append(seconds)
            client.config_set("maxmemory", "0")

    writer._drain = Healing()
    client.config_set("maxmemory", "1")
    try:
        writer.write(Window(publications=[publication("p-0", 1)]))
    finally:
        client.config_set("maxmemory", "0")
    assert len(pauses) == 1
    assert stored(client, "p-0") == 1


@pytest.mark.parametrize(("workers", "warned"), [(1, False), (2, True)])
def test_a_portfolio_that_two_workers_hold_is_said_aloud(
    redis_url: str, caplog: pytest.LogCaptureFixture, workers: int, warned: bool
) -> None:
    writer = RedisWriter(Redis(redis_url), f"0/{workers}", range(0, 12, workers), 390, Drain())
    writer.write(Window(publications=[publication("p-0", 1, partition=3)]))
    writer.write(Window(publications=[publication("p-0", 2, partition=6)]))
    writer.close()
    assert ("p-0 through 3 as well" in caplog.text) == warned


def test_a_superseded_worker_is_kept_out_and_its_successor_goes_on(redis_url: str, client: redis.Redis) -> None:
    zombie = RedisWriter(Redis(redis_url), "0/2", [0, 2], 390, Drain(), token=5)
    successor = RedisWriter(Redis(redis_url), "0/4", [0, 4], 390, Drain(), token=12)
    zombie.write(Window(publications=[publication("p-0", 1)]))
    successor.write(Window(publications=[publication("p-0", 2)]))
    for late in (Window(publications=[publication("p-0", 3)]), Window(closed=[("p-0", "9")])):
        with pytest.raises(Fenced, match="partition 0"):
            zombie.write(late)
    assert stored(client, "p-0") == 2
    assert client.hgetall(keys.FENCES) == {"0": "12", "2": "5", "4": "12"}


def test_after_a_flush_the_fence_stands_again_with_the_first_write_of_the_living(
    redis_url: str, client: redis.Redis
) -> None:
    zombie = RedisWriter(Redis(redis_url), "0/1", [0], 390, Drain(), token=5)
    living = RedisWriter(Redis(redis_url), "0/1", [0], 390, Drain(), token=12)
    living.write(Window(publications=[publication("p-0", 1)]))
    client.flushdb()
    zombie.write(Window(publications=[publication("p-0", 1)]))
    living.write(Window(publications=[publication("p-0", 2)]))
    with pytest.raises(Fenced):
        zombie.write(Window(publications=[publication("p-0", 3)]))
    assert stored(client, "p-0") == 2


def test_a_flush_is_noticed_with_the_next_beat_and_a_start_is_none(redis_url: str, client: redis.Redis) -> None:
    emptied = threading.Event()
    writer = RedisWriter(Redis(redis_url), "0/1", [0], 390, Drain(), emptied=emptied)
    beat = Heartbeat(0, 1, 0, 0, "running", 0, 0, 0, 0, 0, 0.0, 0, None, None, None)
    for _ in range(2):
        writer.write(Window(heartbeat=beat))
    assert not emptied.is_set()
    client.flushdb()
    writer.write(Window(publications=[publication("p-0", 1)]))
    assert not emptied.is_set()
    writer.write(Window(heartbeat=beat))
    assert emptied.is_set()


# --- in the background ------------------------------------------------------------------------------------------------


class Slow:
    """A writer that waits for a word before each window, and fails when it is told to."""

    def __init__(self) -> None:
        self.may_write = threading.Semaphore(0)
        self.written: list[Window] = []
        self.fails: Exception | None = None
        self.closed = False

    def write(self, window: Window) -> None:
        self.may_write.acquire()
        if self.fails is not None:
            raise self.fails
        self.written.append(window)

    def close(self) -> None:
        self.closed = True


def test_an_epoch_waits_until_redis_has_every_window_in_order() -> None:
    slow = Slow()
    sink = Background(slow, Vitals("0/1"))  # type: ignore[arg-type]
    windows = [Window(closed=[(f"p-{n}", "1")]) for n in range(WINDOWS_WAITING_MAX)]
    sink.write_batch(windows)
    assert slow.written == []
    later = threading.Timer(0.05, lambda: slow.may_write.release(len(windows)))
    later.start()
    sink.snapshot()
    assert slow.written == windows
    sink.close()
    assert slow.closed


def test_the_flow_waits_when_too_many_windows_do() -> None:
    slow = Slow()
    sink = Background(slow, Vitals("0/1"))  # type: ignore[arg-type]
    sink.write_batch([Window()] * WINDOWS_WAITING_MAX)
    blocked = threading.Thread(target=sink.write_batch, args=([Window()],))
    blocked.start()
    blocked.join(0.2)
    assert blocked.is_alive()
    slow.may_write.release(WINDOWS_WAITING_MAX + 1)
    blocked.join(5.0)
    assert not blocked.is_alive()
    sink.close()


def test_what_goes_wrong_in_the_background_ends_the_flow() -> None:
    slow = Slow()
    slow.fails = Unavailable("Redis", "gone")
    sink = Background(slow, Vitals("0/1"))  # type: ignore[arg-type]
    sink.write_batch([Window()])
    slow.may_write.release()
    with pytest.raises(Unavailable, match="gone"):
        sink.snapshot()
    sink.close()  # does not say it again: Bytewax calls it while it unwinds, and would abort
    assert slow.closed


def _until_end(subscriber: redis.client.PubSub) -> list[dict[str, list[dict[str, str]]]]:
    """Every batch that was announced before the channel `end`."""
    said = []
    for message in subscriber.listen():
        if message["type"] == "message":
            if message["channel"] == "end":
                return said
            said.append(json.loads(message["data"]))
    raise AssertionError("the connection ended")
