"""Redis killed, emptied, frozen, full, slow, cut off: a cache that may lose everything, and does."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest
import redis
from load import Plan
from proxy import FaultProxy
from rig import Rig, kill

from embedded.broker import EmbeddedBroker
from plimsoll import keys

CUTS = 8


@pytest.fixture
def loaded(rig: Rig) -> Rig:
    """An engine at work under a load."""
    return at_work(rig)


def at_work(rig: Rig) -> Rig:
    sender = rig.opened(Plan(rig.seed, rate=600.0))
    rig.watch()
    rig.running(rig.engine())
    sender.start()
    rig.publishes()
    return rig


def spared(rig: Rig) -> None:
    """The engine never ended, nor did its worker: whatever Redis did, nobody had to be started again."""
    (engine,) = rig.engines
    assert engine.child.exit_code() is None, rig.logs()
    assert engine.log().count("worker 0 started") == 1, rig.logs()


def test_redis_killed_and_started_empty_gets_everything_back(loaded: Rig) -> None:
    loaded.store.kill()
    time.sleep(1.0)
    loaded.watcher.note_break("killed")  # type: ignore[union-attr]
    loaded.store.start()
    assert not loaded.store.client.exists(keys.risk("nobody"))
    loaded.publishes()
    loaded.sender.stop()  # type: ignore[union-attr]
    loaded.holds()
    assert "redis is away" in loaded.engines[0].log(), "the engine never noticed"
    spared(loaded)


def test_redis_killed_and_started_with_its_data_goes_on(
    rigs: Callable[..., Rig], embedded_broker: EmbeddedBroker
) -> None:
    rig = at_work(rigs(embedded_broker.address, kept=True))
    before = rig.count()
    rig.store.kill()
    time.sleep(1.0)
    rig.store.start()
    assert rig.count() >= before - 2, "the store came back without its data: this was the other test"
    rig.publishes()
    rig.sender.stop()  # type: ignore[union-attr]
    rig.holds()
    assert "redis is away" in rig.engines[0].log(), "the engine never noticed"
    spared(rig)


def test_redis_frozen_for_longer_than_a_timeout_changes_nothing(loaded: Rig) -> None:
    kill(loaded.store.pid, signal.SIGSTOP)
    try:
        with pytest.raises(redis.RedisError):
            loaded.store.client.ping()
        loaded.until(lambda: "redis is away" in loaded.engines[0].log(), "word that Redis is away")
    finally:
        kill(loaded.store.pid, signal.SIGCONT)
    loaded.publishes()
    loaded.sender.stop()  # type: ignore[union-attr]
    loaded.holds()
    assert "redis is away" in loaded.engines[0].log(), "the engine never noticed"
    spared(loaded)


def test_a_flush_with_no_further_input_brings_everything_back(rig: Rig) -> None:
    rig.opened()
    rig.watch()
    rig.running(rig.engine())
    rig.holds()
    rig.watcher.note_break("flush")  # type: ignore[union-attr]
    rig.store.client.flushall()
    rig.holds(10.0)
    spared(rig)


def test_a_full_redis_refuses_and_is_caught_up_with(loaded: Rig) -> None:
    client = loaded.store.client
    client.config_set("maxmemory", "1mb")
    loaded.until(lambda: loaded.store.errors("OOM") > 2, "refusal for want of memory")
    kept = loaded.count()
    assert kept > 0, "a full Redis has to be readable still"
    client.config_set("maxmemory", "0")
    loaded.publishes()
    loaded.sender.stop()  # type: ignore[union-attr]
    loaded.holds()
    spared(loaded)


def test_a_read_only_redis_is_waited_for(loaded: Rig) -> None:
    client = loaded.store.client
    client.replicaof("127.0.0.1", "1")
    loaded.until(lambda: loaded.store.errors("READONLY") > 2, "refusal of a replica")
    client.replicaof("NO", "ONE")
    loaded.publishes()
    loaded.sender.stop()  # type: ignore[union-attr]
    loaded.holds()
    spared(loaded)


def test_connections_that_break_at_any_byte_leave_nothing_half_done(rig: Rig) -> None:
    """The engine talks to Redis through a proxy that cuts it short in both directions, delays it, and resets it."""
    chance = random.Random(rig.seed)
    sender = rig.opened(Plan(rig.seed, rate=600.0))
    watcher = rig.watch()
    with FaultProxy(rig.store.url) as proxy:
        rig.running(rig.engine(environ={"REDIS_URL": proxy.url}))
        sender.start()
        for number in range(1, CUTS + 1):
            # An answer is short: it says that all is well. A question holds the snapshots.
            if number % 2:
                proxy.cut_answer(chance.randrange(40))
            else:
                proxy.cut_question(chance.randrange(100_000))
            rig.until(lambda number=number: proxy.cuts == number, "cut in a connection")  # type: ignore[misc]
            rig.publishes()
        proxy.delay(0.2)
        rig.publishes()
        proxy.swallow()
        time.sleep(2.0)  # What had passed has arrived by then.
        heard = watcher.announced
        time.sleep(1.0)
        assert watcher.announced == heard, "something came through"
        proxy.refuse()
        time.sleep(1.0)
        proxy.pass_on()
        rig.publishes()
        sender.stop()
        rig.holds()
    assert proxy.refused > 0, "nobody was refused"
    spared(rig)
