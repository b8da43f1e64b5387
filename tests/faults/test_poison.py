"""Records that cannot be applied: one in ten, and nothing but."""

from __future__ import annotations

from collections import Counter

import pytest
from load import Plan
from rig import REFUSED, Rig, counted, engine_knows, kill

from plimsoll.errors import Reason

BURST = 6_000
"""Records of nothing but poison: more than the share of the newest thousands is taken over."""


def test_every_kind_of_poison_is_set_aside_for_its_own_reason(rig: Rig) -> None:
    sender = rig.opened(Plan(rig.seed, rate=1_000.0, poison_share=0.1))
    rig.watch()
    rig.running(rig.engine())
    for made in sender.stream.every_kind():
        sender.send(made)
    sender.run(3.0)
    sent = sender.settle()
    rig.holds()
    reasons = Counter(sent.poison.values())
    assert set(reasons) == set(Reason) - {Reason.INTERNAL}, "the load did not hold every kind of poison"
    assert 0.06 < reasons.total() / sent.total < 0.2, reasons
    rig.poison_is_set_aside(sent)
    assert counted(rig.store)["dead_lettered"] == reasons.total()


def test_a_killed_worker_sends_no_letter_twice_under_another_name(rig: Rig) -> None:
    """It may repeat letters; by their key each is one."""
    sender = rig.opened(Plan(rig.seed, rate=1_500.0, poison_share=0.3))
    rig.watch()
    engine = rig.engine()
    rig.running(engine)
    sender.start()
    for _ in range(2):
        rig.publishes()
        (worker,) = rig.until(engine.workers, "worker")
        kill(worker)
        rig.until(lambda worker=worker: engine.workers() not in ([], [worker]), "another worker")  # type: ignore[misc]
        rig.publishes()
    sent = sender.stop()
    rig.holds()
    rig.poison_is_set_aside(sent)


@pytest.mark.skipif(not engine_knows("PLIMSOLL_DEAD_LETTER_SHARE"), reason="this engine has no limit on dead letters")
def test_nothing_but_poison_stops_the_engine_with_a_reason_and_mending_it_goes_on(rig: Rig) -> None:
    sender = rig.opened()
    rig.watch()
    engine = rig.engine(environ={"PLIMSOLL_DEAD_LETTER_NEWEST": str(BURST // 2)})
    rig.running(engine)
    for _ in range(BURST):
        sender.send(sender.stream.poison_of(Reason.SCHEMA))
    sender.settle()
    assert engine.ended(20.0) == REFUSED
    assert "PLIMSOLL_DEAD_LETTER_SHARE" in engine.log()
    assert "portfolio-updates" in engine.log()
    assert counted(rig.store)["dead_lettered"] < BURST, "the topic was drained into the dead letters all the same"
    rig.running(rig.engine(environ={"PLIMSOLL_DEAD_LETTER_SHARE": "1"}))
    rig.holds()
    rig.poison_is_set_aside(sender.sent)
