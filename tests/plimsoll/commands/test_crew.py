"""The engine as its heartbeats describe it, and where its workers can be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plimsoll.commands.soundings.crew import crew_of, ranges
from plimsoll.commands.soundings.ports import address_of
from plimsoll.messages import Heartbeat

Beat = Callable[..., Heartbeat]
STALE_SECONDS = 15


def test_an_engine_that_never_spoke_was_never_seen(now_ns: int) -> None:
    crew = crew_of([], now_ns, STALE_SECONDS)
    assert (crew.state, crew.workers, crew.is_complete) == ("never seen", 0, False)


def test_a_crew_that_speaks_whole_is_in_the_state_of_its_workers(beat: Beat, now_ns: int) -> None:
    crew = crew_of([beat(1, 2), beat(0, 2)], now_ns, STALE_SECONDS)
    assert (crew.state, crew.is_complete, [each.worker_index for each in crew.beats]) == ("running", True, [0, 1])
    crew = crew_of([beat(1, 2, state="catching-up"), beat(0, 2)], now_ns, STALE_SECONDS)
    assert (crew.state, crew.is_complete) == ("catching-up", True)


def test_who_is_silent_and_who_never_spoke_are_told_apart(beat: Beat, now_ns: int) -> None:
    crew = crew_of([beat(0, 4), beat(2, 4, age=40)], now_ns, STALE_SECONDS)
    assert (crew.state, crew.silent, crew.unheard, crew.absent) == ("incomplete", {2: 40.0}, [1, 3], [1, 2, 3])


def test_an_engine_that_ended_as_it_should_is_stopped_and_another_silent(beat: Beat, now_ns: int) -> None:
    assert crew_of([beat(age=20, state="draining")], now_ns, STALE_SECONDS).state == "stopped"
    assert crew_of([beat(age=20)], now_ns, STALE_SECONDS).state == "silent"


def test_an_earlier_crew_says_nothing_unless_it_still_speaks(beat: Beat, now_ns: int) -> None:
    gone = [beat(0, 1), beat(0, 3, age=100), beat(1, 3, age=100)]
    assert crew_of(gone, now_ns, STALE_SECONDS).others == []
    both = [beat(0, 1), beat(0, 3, age=2)]
    assert crew_of(both, now_ns, STALE_SECONDS).others == [3]


@pytest.mark.parametrize(
    ("indexes", "said"), [([0], "0"), ([0, 1], "0, 1"), ([1, 2, 3], "1 to 3"), ([0, 2, 3], "0, 2, 3")]
)
def test_indexes_are_written_as_people_do(indexes: list[int], said: str) -> None:
    assert ranges(indexes) == said


@pytest.mark.parametrize(
    ("stated", "url"),
    [
        ({"health": None}, None),
        ({"health": "127.0.0.1:9464"}, "http://127.0.0.1:9464"),
        ({"health": "0.0.0.0:9464"}, "http://127.0.0.1:9464"),
        ({"health": "[::]:9464"}, "http://[::1]:9464"),
        ({"health": "10.0.0.7:9464", "host": "there"}, "http://10.0.0.7:9464"),
        ({"health": "0.0.0.0:9464", "host": "there"}, "http://there:9464"),
        # Another machine's own address is ours too, and somebody else may listen there.
        ({"health": "127.0.0.1:9464", "host": "there"}, None),
        ({"health": "127.0.0.1:9464", "host": None}, None),
        ({"health": "nonsense:9464"}, None),
    ],
)
def test_a_worker_is_asked_only_where_its_own_address_leads_to_it(
    beat: Beat, stated: dict[str, Any], url: str | None
) -> None:
    assert address_of(beat(**stated), "here") == url
