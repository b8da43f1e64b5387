"""What is found beside the flow ends the worker with its reason, and a stop that hangs is cut short."""

from __future__ import annotations

import threading

import pytest

from engine import watch
from engine.drain import Drain
from engine.same_log import TopicChanged
from engine.watch import SameTopics, Watch
from plimsoll.errors import Unavailable

KNOWN = {"market-data": "id-1", "portfolio-updates": "id-2"}


def raising(error: Exception) -> None:
    raise error


def test_something_that_cannot_pass_stops_the_worker_and_is_kept() -> None:
    drain = Drain()
    looking = Watch(drain)
    looking.every(0.01, lambda: raising(TopicChanged("gone")))
    drain.wait(10)
    assert drain.asked
    assert str(looking.found) == "gone"


def test_a_broker_that_is_away_is_no_reason_to_stop() -> None:
    drain = Drain()
    looking = Watch(drain)
    looking.look(lambda: raising(Unavailable("Kafka", "away")))
    assert (drain.asked, looking.found) == (False, None)


def test_the_first_reason_is_the_one_that_counts() -> None:
    looking = Watch(Drain())
    looking.look(lambda: raising(TopicChanged("first")))
    looking.look(lambda: raising(TopicChanged("second")))
    assert str(looking.found) == "first"


@pytest.mark.parametrize(("found", "code"), [(None, 1), (TopicChanged("gone"), 4)])
def test_a_stop_that_takes_too_long_is_cut_short(
    monkeypatch: pytest.MonkeyPatch, found: TopicChanged | None, code: int
) -> None:
    monkeypatch.setattr(watch, "DRAIN_SECONDS_HARD", 0.3)
    ended, codes = threading.Event(), []
    drain = Drain()
    looking = Watch(drain, end=lambda number: (codes.append(number), ended.set()))
    looking.found = found
    looking.limit_the_drain()
    assert not ended.wait(0.5), "nobody asked for a stop"
    drain.ask()
    assert ended.wait(10)
    assert codes == [code]


# --- topics -----------------------------------------------------------------------------------------------------------


def test_topics_that_stay_are_fine() -> None:
    same = SameTopics(KNOWN, lambda: {**KNOWN, "market-closes": "id-3"})
    for _ in range(3):
        same.check()


def test_a_topic_that_was_made_anew_is_noticed_at_once() -> None:
    with pytest.raises(TopicChanged, match=r"topic market-data was deleted and made anew.*FLUSHDB.*--rebuild"):
        SameTopics(KNOWN, lambda: {**KNOWN, "market-data": "id-9"}).check()


def test_a_topic_that_is_missing_twice_was_deleted() -> None:
    here = {"portfolio-updates": "id-2"}
    same = SameTopics(KNOWN, lambda: here)
    same.check()
    with pytest.raises(TopicChanged, match="topic market-data was deleted while it was read"):
        same.check()


def test_a_topic_that_was_missing_once_was_not() -> None:
    answers = iter([{"portfolio-updates": "id-2"}, KNOWN, {"portfolio-updates": "id-2"}, None, KNOWN])
    same = SameTopics(KNOWN, lambda: next(answers))
    for _ in range(5):
        same.check()
