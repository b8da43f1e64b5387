"""SIGKILL, the crash that nothing can prepare for: of a worker, of one of two, of the supervisor."""

from __future__ import annotations

import random

import pytest
from kill_storm import AGAIN_SECONDS, storm, told
from load import Plan
from rig import Rig, kill

KILLS = 6
"""Of CI; `kill_storm.py` does twenty and more, under a heavier load."""
RATE = 1_000.0
"""The broker inside this process keeps 5 MB of a partition: two minutes of this."""


@pytest.mark.timeout(300)
def test_kills_at_random_moments_under_load_lose_nothing_and_never_go_back(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = rig.opened(Plan(rig.seed, rate=RATE, poison_share=0.01))
    rig.watch()
    sender.start()
    took = storm(rig, KILLS, random.Random(rig.seed), supervisor_every=3)
    sent = sender.stop()
    with capsys.disabled():
        print(f"\nseed {rig.seed}: {sent.total:,} records, {told(took)}")
    assert max(took) < AGAIN_SECONDS
    rig.holds()


def test_a_killed_worker_of_two_comes_back_and_the_other_never_stops(rig: Rig) -> None:
    sender = rig.opened(Plan(rig.seed, rate=500.0))
    rig.watch()
    sender.start()
    engine = rig.engine("--workers", "2")
    rig.running(engine)
    before = engine.workers()
    assert len(before) == 2
    kill(before[0])
    rig.until(
        lambda: len(engine.workers()) == 2 and before[0] not in engine.workers(), "worker in the dead one's place"
    )
    assert before[1] in engine.workers(), "the other worker was stopped too"
    sender.stop()
    rig.holds()
    assert engine.stopped()[0] == 0
