from __future__ import annotations

import pytest

from engine.tally import DeadLetterBurst, Flood, Tally


def test_a_tally_is_recovered_as_it_was() -> None:
    tally = Tally()
    tally.applied["a"] += 3
    tally.reasons["SCHEMA"] += 1
    recovered = Tally.recovered(tally.recovery_state())
    tally.applied["a"] += 1
    assert (recovered.applied, recovered.reasons, recovered.stale) == ({"a": 3}, {"SCHEMA": 1}, {})


def test_a_flood_ends_the_worker_and_names_topic_share_and_remedy() -> None:
    flood = Flood(share=0.5, newest=100)
    flood.note("updates", 99, 99)
    with pytest.raises(DeadLetterBurst, match=r"100 of the newest 100 records of updates .*PLIMSOLL_DEAD_LETTER_SHARE"):
        flood.note("updates", 1, 1)


def test_a_share_below_the_bound_goes_on_for_ever() -> None:
    flood = Flood(share=0.5, newest=100)
    for _ in range(1000):
        flood.note("updates", 10, 5)


def test_what_was_good_long_ago_does_not_excuse_a_flood_now() -> None:
    flood = Flood(share=0.5, newest=100)
    for _ in range(100):
        flood.note("updates", 100, 0)
    flood.note("updates", 100, 100)
    with pytest.raises(DeadLetterBurst):
        flood.note("updates", 100, 100)


def test_good_records_of_one_topic_do_not_hide_the_bad_of_another() -> None:
    flood = Flood(share=0.5, newest=100)
    flood.note("ticks", 10_000, 0)
    with pytest.raises(DeadLetterBurst, match="updates"):
        flood.note("updates", 100, 51)


def test_a_share_of_one_never_stops() -> None:
    flood = Flood(share=1.0, newest=1)
    flood.note("updates", 1_000_000, 1_000_000)
