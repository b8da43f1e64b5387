"""SIGTERM in every state: the end comes within ten seconds, nobody is left behind, nothing is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from load import Plan, Sender
from rig import Engine, Rig, kill, until

from embedded.broker import EmbeddedBroker

STOP_SECONDS = 10.0
WAITS_SECONDS = 30.0


def ends(rig: Rig, engine: Engine) -> int:
    """SIGTERM, and an end in time with nobody left; the exit code."""
    workers = engine.workers()
    code, took = engine.stopped(STOP_SECONDS)
    assert took < STOP_SECONDS
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "end of the workers", 1.0, rig.logs)
    return code


def under_load(rig: Rig, *arguments: str) -> tuple[Sender, Engine]:
    """An engine that publishes while records come in."""
    sender = rig.opened(Plan(rig.seed, rate=800.0))
    rig.watch()
    engine = rig.engine(*arguments)
    rig.running(engine)
    sender.start()
    rig.publishes()
    return sender, engine


def test_while_running(rig: Rig) -> None:
    sender, engine = under_load(rig, "--workers", "2")
    assert ends(rig, engine) == 0
    sender.stop()
    rig.running(rig.engine("--workers", "2"))
    rig.holds()


def test_while_kafka_is_away(rig: Rig, embedded_broker: EmbeddedBroker) -> None:
    sender, engine = under_load(rig)
    embedded_broker.down()
    time.sleep(1.0)
    ends(rig, engine)
    embedded_broker.up()
    sender.stop()
    rig.running(rig.engine())
    rig.holds()


def test_while_redis_is_away(rig: Rig) -> None:
    sender, engine = under_load(rig)
    rig.store.kill()
    rig.until(lambda: "redis is away" in engine.log(), "word that Redis is away")
    ends(rig, engine)
    sender.stop()
    rig.watcher.note_break("killed")  # type: ignore[union-attr]
    rig.store.start()
    rig.running(rig.engine())
    rig.holds()


def test_while_redis_is_frozen(rig: Rig) -> None:
    sender, engine = under_load(rig)
    kill(rig.store.pid, signal.SIGSTOP)
    try:
        ends(rig, engine)
    finally:
        kill(rig.store.pid, signal.SIGCONT)
    sender.stop()
    rig.running(rig.engine())
    rig.holds()


def test_at_the_start_while_redis_is_away(rig: Rig) -> None:
    """The same for Kafka, which is waited for first: tests/engine/test_worker.py."""
    rig.opened()
    rig.store.kill()
    engine = rig.engine()
    rig.until(lambda: "waiting for Redis" in engine.log(), "word that Redis is away", WAITS_SECONDS)
    ends(rig, engine)
    rig.store.start()
    rig.running(rig.engine())
    rig.holds()


def test_while_a_worker_hangs(rig: Rig) -> None:
    rig.opened()
    rig.watch()
    engine = rig.engine()
    rig.running(engine)
    (worker,) = engine.workers()
    kill(worker, signal.SIGSTOP)
    assert ends(rig, engine) != 0, "a worker that had to be killed is no clean end"
    rig.running(rig.engine())
    rig.holds()
