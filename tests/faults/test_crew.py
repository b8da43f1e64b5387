"""Several engines: two workers wherever they run, one that hangs, and one that comes back from the dead."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from typing import Any

from invariants import SCORE, Truth, read_store
from invariants import Store as Read
from load import Plan
from logfile import read_log
from rig import FENCED, START_SECONDS, Rig, kill

from embedded.broker import EmbeddedBroker
from engine.revalue import WATERMARK_RANGE
from plimsoll import keys
from plimsoll.risk.score import LIST_STEPS
from plimsoll.settings import load as load_settings

OF_THE_MOMENT = {
    "calculated_at_ns", "calculation_time_ms", "average_calculation_time_ms", "calculations", "started_at_ns",
    "beat_at_ns", "published",
}  # fmt: skip
"""What says when, how quickly and how often it was computed, and not what came out."""
OF_THE_ENGINE = ("engine", "history:")
"""Keys of one engine's own: heartbeats and fences; and the minutes at which it happened to look."""


SUMMED_SECONDS = 5.0
"""Sums of advisors take turns, and follow the last snapshot by about a second."""


def test_two_workers_of_one_machine_and_one_on_each_of_two_say_the_same(
    rigs: Callable[..., Rig], embedded_broker: EmbeddedBroker
) -> None:
    together, apart = rigs(embedded_broker.address), rigs(embedded_broker.address)
    sender = together.opened(Plan(together.seed, rate=1_000.0, poison_share=0.02))
    apart.sender = sender
    sender.run(2.0)
    sender.settle()
    together.engine("--workers", "2")
    apart.engine("--workers", "2", "--worker-index", "0", recovery="one")
    apart.engine("--workers", "2", "--worker-index", "1", recovery="other")
    truth = Truth.of(read_log(embedded_broker.address), load_settings({}), time.time_ns())
    end = dict.fromkeys(truth.expected.snapshots, truth.log.market_watermark)
    for rig in (together, apart):
        rig.until(lambda rig=rig: said_at(rig) == end, "snapshot of everything at the log's end", 40.0)  # type: ignore[misc]
    # Before Kafka is looked at: both publish there.
    settled = time.monotonic() + SUMMED_SECONDS
    while True:
        one, other = (comparable(read_store(rig.store.client)) for rig in (together, apart))
        # Sums of advisors are written in turns, so some may not be there at all yet.
        different = [
            *(one.keys() ^ other.keys()),
            *(key for key in one.keys() & other.keys() if not alike(one[key], other[key], nearness(key))),
        ]
        if not different or time.monotonic() > settled:
            break
    assert one.keys() == other.keys()
    assert not different, [(key, one[key], other[key]) for key in different[:3]]
    assert any(key.startswith(keys.advisor_pnl("")) for key in one)
    together.holds()
    apart.holds()


def said_at(rig: Rig) -> dict[str, int]:
    """The market watermark that each snapshot in Redis stands at."""
    risk = read_store(rig.store.client).risk
    return {portfolio_id: int(snapshot["sequence"]) % WATERMARK_RANGE for portfolio_id, snapshot in risk.items()}


def comparable(store: Read) -> dict[str, Any]:
    everything: dict[str, Any] = {**store.strings, **store.hashes, **store.sets}
    return {key: parsed(value) for key, value in everything.items() if not key.startswith(OF_THE_ENGINE)}


def parsed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: parsed(each) for name, each in value.items()}
    if not isinstance(value, bytes):
        return value
    try:
        tree = json.loads(value)
    except ValueError:
        return value
    if isinstance(tree, dict):
        # Sums of float32 differ in their last bits with what else was in the batch; they are compared as numbers.
        return {name: each for name, each in tree.items() if name not in {*OF_THE_MOMENT, "pnl", "long_run_pnl"}}
    return tree


def nearness(key: str) -> float:
    """How far apart two numbers of a key may be: a list's score may be on either of two steps whose edge it is on."""
    return 1 / LIST_STEPS if key.startswith(keys.by_risk()) else SCORE


def alike(one: Any, other: Any, near: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=near)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name], near) for name in one)
    return bool(one == other)


def test_a_worker_that_hangs_is_replaced(rig: Rig) -> None:
    sender = rig.opened(Plan(rig.seed, rate=500.0))
    rig.watch()
    engine = rig.engine()
    rig.running(engine)
    sender.start()
    rig.publishes()
    (frozen,) = engine.workers()
    kill(frozen, signal.SIGSTOP)
    rig.until(lambda: engine.workers() not in ([], [frozen]), "worker in the frozen one's place", 25.0)
    rig.publishes()
    sender.stop()
    rig.holds()


def test_a_zombie_with_a_successor_moves_nothing_back_and_ends(rig: Rig) -> None:
    """Frozen in the middle of its work (a paused virtual machine), it wakes up when another has its partitions."""
    alone = ("--workers", "1", "--worker-index", "0")
    sender = rig.opened(Plan(rig.seed, rate=800.0))
    rig.watch()
    zombie = rig.engine(*alone, recovery="of-the-first")
    rig.running(zombie)
    sender.start()
    rig.publishes()
    kill(zombie.pid, signal.SIGSTOP)
    time.sleep(0.3)
    successor = rig.engine(*alone, recovery="of-the-second")
    rig.publishes(START_SECONDS)
    time.sleep(1.0)
    kill(zombie.pid, signal.SIGCONT)
    assert zombie.ended(15.0, what="end of the zombie") == FENCED, rig.logs()
    rig.publishes()
    sender.stop()
    rig.holds()
    assert successor.child.exit_code() is None, "the zombie fenced its successor"
    assert successor.stopped()[0] == 0
