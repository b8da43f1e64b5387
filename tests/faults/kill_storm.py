"""SIGKILLs at random moments under load, and how soon the engine publishes again after each.

    python tests/faults/kill_storm.py [--kills 20] [--rate 5000] [--seed 7] [--kafka HOST:PORT] [--supervisor-every 5]

Without `--kafka` the embedded broker is used, which keeps 5 MB of a partition: enough for a minute at 2,000 records a
second, and the run refuses to call a longer one lossless. Exit code 1 where an invariant does not hold or a restart
took longer than `AGAIN_SECONDS`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from invariants import check, report
from load import Plan
from rig import START_SECONDS, Rig, Store, kill

from embedded.broker import EmbeddedBroker
from plimsoll.settings import load as load_settings

AGAIN_SECONDS = START_SECONDS
"""A restart that has not published by then counts as failed: it is a start like any other. The target is five."""
CALM_SECONDS = (0.2, 1.5)
"""Between a first snapshot after a kill and the next kill: at random, so that epochs are hit anywhere."""


def storm(rig: Rig, kills: int, chance: random.Random, *, supervisor_every: int = 0, workers: int = 1) -> list[float]:
    """Kill `kills` times under the rig's running load; seconds from each kill to the next snapshot.

    Every `supervisor_every`-th kill takes the supervisor instead of a worker, and starts another. The load must be
    running and the rig be watched.
    """
    arguments = ("--workers", str(workers))
    engine = rig.engine(*arguments)
    rig.running(engine)
    took = []
    for number in range(1, kills + 1):
        time.sleep(chance.uniform(*CALM_SECONDS))
        began = time.monotonic()
        if supervisor_every and number % supervisor_every == 0:
            orphans = engine.workers()
            kill(engine.pid)
            engine.child.wait(5.0)
            rig.until(lambda: not any(_runs(pid) for pid in orphans), "end of the orphaned workers")  # noqa: B023
            engine = rig.engine(*arguments)
        else:
            victim = chance.choice(rig.until(engine.workers, "worker to kill"))
            kill(victim)
            rig.until(lambda: not _runs(victim), "death of the worker")  # noqa: B023
        if workers == 1:
            took.append(_seconds_to_next(rig, began))
        else:
            rig.until(lambda: len(engine.workers()) == workers, "worker in the dead one's place", AGAIN_SECONDS)  # noqa: B023
    return took


def _seconds_to_next(rig: Rig, began: float) -> float:
    """From a death to the next snapshot that is announced: one that was on its way before it does not count."""
    time.sleep(0.1)
    rig.publishes(AGAIN_SECONDS)
    return time.monotonic() - began


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def told(took: list[float]) -> str:
    """One line on how long restarts took."""
    return (
        f"{len(took)} kills; seconds to the next snapshot: median {statistics.median(took):.2f}, "
        f"worst {max(took):.2f} ({', '.join(f'{each:.2f}' for each in took)})"
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill the engine under load, again and again.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5_000.0, help="records a second")
    parser.add_argument("--portfolios", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--supervisor-every", type=int, default=5)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a real broker, whose topics are empty")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plimsoll-storm-")))
        brokers = chosen.kafka or stack.enter_context(EmbeddedBroker.start()).address
        store = Store(directory / "store")
        rig = Rig(brokers, store, directory, chosen.seed)
        stack.callback(store.stop)
        stack.callback(rig.close)
        store.start()
        sender = rig.opened(Plan(chosen.seed, portfolios=chosen.portfolios, rate=chosen.rate))
        watcher = rig.watch()
        sender.start()
        took = storm(rig, chosen.kills, random.Random(chosen.seed), supervisor_every=chosen.supervisor_every)
        sent = sender.stop()
        found = check(
            brokers,
            store.client,
            load_settings(rig.settings_environ()),
            watcher.path,
            wait=60.0,
            before_reading=watcher.flush,
        )
        print(f"{sent.total:,} records, {told(took)}\n{report(found)}")
        return int(bool(found) or max(took) > AGAIN_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
