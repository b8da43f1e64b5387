"""What two readings say together: rates, latencies, and nothing where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.commands.figures import figures, quantile
from plimsoll.commands.soundings.crew import crew_of
from plimsoll.commands.soundings.live import Held, Reading
from plimsoll.commands.soundings.ports import Sample
from plimsoll.commands.soundings.store import Contents
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat

Beat = Callable[..., Heartbeat]
AWAY = Unavailable("it", "away")


def reading(at: float, beats: list[Heartbeat], workers: dict[int, list[Sample]], now_ns: int) -> Reading:
    held = Held(Contents(beats, [], "set-1", True, 10, 3, None), crew_of(beats, now_ns, 15), [])
    return Reading(at, now_ns, held, None, {**workers}, AWAY)


def records(ticks: float, updates: float, ends: str = "applied") -> list[Sample]:
    return [
        Sample("plimsoll_engine_records_total", {"topic": "market-data", "end": ends}, ticks),
        Sample("plimsoll_engine_records_total", {"topic": "portfolio-updates", "end": ends}, updates),
    ]


def observed(counts: dict[str, float]) -> list[Sample]:
    name = "plimsoll_engine_tick_to_publish_seconds_bucket"
    return [Sample(name, {"le": bound}, count) for bound, count in counts.items()]


def test_updates_add_up_over_workers_and_ticks_do_not(beat: Beat, now_ns: int) -> None:
    beats = [beat(0, 2), beat(1, 2)]
    before = reading(100.0, beats, {0: records(50, 10), 1: records(50, 20)}, now_ns)
    now = reading(102.0, beats, {0: records(130, 16), 1: records(132, 24)}, now_ns)
    told = figures(before, now)
    assert (told.ticks, told.updates) == (41.0, 5.0)


def test_a_worker_that_began_anew_or_was_not_reached_gives_no_rate(beat: Beat, now_ns: int) -> None:
    before = reading(100.0, [beat()], {0: records(50, 10)}, now_ns)
    assert figures(before, reading(102.0, [beat()], {0: records(3, 1)}, now_ns)).ticks is None
    assert figures(before, reading(102.0, [beat()], {}, now_ns)).updates is None
    assert figures(None, before).updates is None


def test_what_is_published_is_counted_between_beats_of_which_every_worker_has_some(beat: Beat, now_ns: int) -> None:
    before = reading(100.0, [beat(age=2.0, published=100)], {}, now_ns)
    now = reading(102.0, [beat(age=0.5, published=400)], {}, now_ns)
    assert figures(before, now).published == pytest.approx(200.0)
    assert figures(now, now).published is None  # no beat in between


def test_a_silent_worker_is_in_no_figure(beat: Beat, now_ns: int) -> None:
    told = figures(None, reading(1.0, [beat(0, 2, stale=5), beat(1, 2, age=60, stale=7, lag=99)], {}, now_ns))
    assert (told.stale, told.lag) == (5, 3)
    nobody = figures(None, reading(1.0, [beat(age=60)], {}, now_ns))
    assert (nobody.stale, nobody.dead_lettered, nobody.lag) == (None, None, None)


def test_lag_adds_up_over_portfolios_and_is_the_worst_of_the_market(beat: Beat, now_ns: int) -> None:
    def lag(market: float, updates: float) -> list[Sample]:
        return [
            Sample("plimsoll_engine_lag_records", {"topic": topic, "partition": "0"}, records)
            for topic, records in (("market-data", market), ("portfolio-updates", updates))
        ]

    beats = [beat(0, 2, lag=7), beat(1, 2, lag=9)]
    assert figures(None, reading(1.0, beats, {0: lag(5, 2), 1: lag(4, 3)}, now_ns)).lag == 5 + 2 + 3
    assert figures(None, reading(1.0, beats, {0: lag(5, 2)}, now_ns)).lag == 9  # the other is known by its beat alone


def test_new_dead_letters_are_told(beat: Beat, now_ns: int) -> None:
    before = reading(1.0, [beat(dead_lettered=2)], {}, now_ns)
    assert figures(before, reading(2.0, [beat(dead_lettered=5)], {}, now_ns)).new_dead_letters == 3


def test_latencies_are_of_what_came_between_the_readings(beat: Beat, now_ns: int) -> None:
    before = reading(1.0, [beat()], {0: observed({"0.1": 1000, "0.5": 1000, "+Inf": 1000})}, now_ns)
    now = reading(2.0, [beat()], {0: observed({"0.1": 1000, "0.5": 1100, "+Inf": 1100})}, now_ns)
    told = figures(before, now)
    assert told.median == pytest.approx(0.3)
    assert told.p99 == pytest.approx(0.496)


def test_what_is_awaited_is_named_once(beat: Beat, now_ns: int) -> None:
    waits = [
        Sample("plimsoll_engine_awaited", {"worker": "0/1", "dependency": "Kafka"}, 1.0),
        Sample("plimsoll_engine_awaited", {"worker": "0/1", "dependency": "Redis"}, 0.0),
    ]
    assert figures(None, reading(1.0, [beat(0, 2), beat(1, 2)], {0: waits, 1: waits}, now_ns)).awaited == ["Kafka"]


def test_while_redis_is_away_nothing_is_known(now_ns: int) -> None:
    told = figures(None, Reading(1.0, now_ns, AWAY, None, {}, AWAY))
    assert {told.ticks, told.published, told.lag, told.median, told.stale, told.sockets} == {None}


def test_sockets_of_all_api_workers_are_counted(now_ns: int) -> None:
    def api(messages: float) -> list[Sample]:
        opened = [Sample("plimsoll_api_sockets_open", {"worker": each}, 4.0) for each in ("1", "2")]
        return [*opened, Sample("plimsoll_api_messages_sent_total", {}, messages)]

    before = Reading(1.0, now_ns, AWAY, None, {}, api(100))
    told = figures(before, Reading(3.0, now_ns, AWAY, None, {}, api(500)))
    assert (told.sockets, told.messages) == (8, 200.0)


# --- quantiles --------------------------------------------------------------------------------------------------------


def test_a_quantile_by_hand() -> None:
    # 10 up to 0.1 s, 30 more up to 0.2 s: the 20th lies a third of the way through the second bucket.
    assert quantile({0.1: 10, 0.2: 40, math.inf: 40}, 0.5) == pytest.approx(0.1 + 0.1 / 3)
    assert quantile({0.1: 10, math.inf: 40}, 0.99) == math.inf
    assert quantile({0.1: 0, math.inf: 0}, 0.5) is None
    assert quantile({}, 0.5) is None


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_that_holds_it(counts: list[int], share: float) -> None:
    cumulative = {float(bound + 1): float(sum(counts[: bound + 1])) for bound in range(len(counts))}
    found = quantile(cumulative, share)
    assert found is not None
    wanted = share * sum(counts)
    upper = min(bound for bound, count in cumulative.items() if count >= wanted)
    assert upper - 1 <= found <= upper
