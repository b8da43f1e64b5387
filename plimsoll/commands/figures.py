"""What two readings say together: rates are differences between them, and latencies those of what came in between.

Pure: readings in, figures out. A counter that went back (a worker that began anew) gives no rate until the next
reading, and what nobody tells is None, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from plimsoll import topics
from plimsoll.commands.soundings.live import Reading
from plimsoll.commands.soundings.ports import Sample
from plimsoll.errors import PlimsollError
from plimsoll.messages import Heartbeat

_RECORDS = "plimsoll_engine_records_total"
_TICK_TO_PUBLISH = "plimsoll_engine_tick_to_publish_seconds_bucket"
_LAG = "plimsoll_engine_lag_records"
_AWAITED = "plimsoll_engine_awaited"
_SOCKETS = "plimsoll_api_sockets_open"
_SUBSCRIPTIONS = "plimsoll_api_subscriptions_open"
_MESSAGES = "plimsoll_api_messages_sent_total"


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates are a second, latencies in seconds. Each is None where it is not known."""

    ticks: float | None
    """Prices read; every worker reads all of them, so this is not their sum."""
    updates: float | None
    published: float | None
    lag: int | None
    """Records not read yet. Of the market it is that of the worker furthest behind."""
    median: float | None
    """Age of the oldest new tick in what was written, once it was in Redis; infinite beyond the last bucket."""
    p99: float | None
    stale: int | None
    dead_lettered: int | None
    new_dead_letters: int | None
    """Since the reading before."""
    sockets: int | None
    subscriptions: int | None
    messages: float | None
    awaited: list[str]
    """What some worker waits for."""


def figures(before: Reading | None, now: Reading) -> Figures:
    """The figures of `now`, with rates since `before`."""
    beats, samples = _beats(now), _samples(now)
    median, p99 = _latencies(_samples(before) if before else {}, samples)
    api = now.api if isinstance(now.api, list) else None
    return Figures(
        ticks=_highest_rate(before, now, topics.MARKET_DATA.name),
        updates=_summed_rate(before, now, topics.PORTFOLIO_UPDATES.name),
        published=_published(before, now),
        lag=_lag(beats, samples),
        median=median,
        p99=p99,
        stale=sum(beat.stale for beat in beats.values()) if beats else None,
        dead_lettered=sum(beat.dead_lettered for beat in beats.values()) if beats else None,
        new_dead_letters=_new_dead_letters(_beats(before) if before else {}, beats),
        sockets=None if api is None else int(_sum(api, _SOCKETS)),
        subscriptions=None if api is None else int(_sum(api, _SUBSCRIPTIONS)),
        messages=_api_rate(before, now),
        awaited=sorted({each for some in samples.values() for each in _awaited(some)}),
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Below which `share` of what was observed lies, read off cumulative counts by their upper bounds.

    Within a bucket the observations are taken to lie evenly. None without observations; infinite where it lies beyond
    the last finite bound.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    wanted, low, below = share * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return bound
            inside = buckets[bound] - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, buckets[bound]
    return math.inf


def _awaited(samples: Iterable[Sample]) -> Iterator[str]:
    # Each dependency is shown from the start, with 0 while nobody waits for it.
    return (each.labels["dependency"] for each in samples if each.name == _AWAITED and each.value)


# --- workers ----------------------------------------------------------------------------------------------------------


def _beats(reading: Reading) -> dict[int, Heartbeat]:
    """Heartbeats of the workers that speak, by index."""
    if isinstance(reading.held, PlimsollError):
        return {}
    crew = reading.held.crew
    return {beat.worker_index: beat for beat in crew.beats if beat.worker_index not in crew.silent}


def _samples(reading: Reading) -> dict[int, list[Sample]]:
    return {index: told for index, told in reading.workers.items() if isinstance(told, list)}


def _sum(samples: Iterable[Sample], name: str, **labels: str) -> float:
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def _rates(before: Reading | None, now: Reading, count: Callable[[list[Sample]], float]) -> list[float]:
    """By worker, of those that were reached both times and have not begun anew."""
    if before is None:
        return []
    older, newer, seconds = _samples(before), _samples(now), now.at - before.at
    changes = [count(newer[index]) - count(older[index]) for index in newer.keys() & older.keys()]
    return [change / seconds for change in changes if change >= 0 and seconds > 0]


def _highest_rate(before: Reading | None, now: Reading, topic: str) -> float | None:
    return max(_rates(before, now, lambda some: _sum(some, _RECORDS, topic=topic)), default=None)


def _summed_rate(before: Reading | None, now: Reading, topic: str) -> float | None:
    rates = _rates(before, now, lambda some: _sum(some, _RECORDS, topic=topic))
    return sum(rates) if rates else None


def _published(before: Reading | None, now: Reading) -> float | None:
    """By the heartbeats, which every worker has: between two of its beats, not between our readings."""
    rates = []
    older = _beats(before) if before else {}
    for index, beat in _beats(now).items():
        then = older.get(index)
        if then is not None and beat.beat_at_ns > then.beat_at_ns and beat.published >= then.published:
            rates.append((beat.published - then.published) / ((beat.beat_at_ns - then.beat_at_ns) / 1e9))
    return sum(rates) if rates else None


def _new_dead_letters(older: Mapping[int, Heartbeat], newer: Mapping[int, Heartbeat]) -> int | None:
    changes = [newer[index].dead_lettered - older[index].dead_lettered for index in newer.keys() & older.keys()]
    return sum(max(0, change) for change in changes) if changes else None


def _lag(beats: Mapping[int, Heartbeat], samples: Mapping[int, list[Sample]]) -> int | None:
    """By the metrics where every worker is reached, else by the heartbeats, which do not tell topics apart."""
    if beats and beats.keys() <= samples.keys():
        market = max(_lag_of_market(samples[index]) for index in beats)
        return int(market + sum(_sum(samples[index], _LAG, topic=topics.PORTFOLIO_UPDATES.name) for index in beats))
    told = [beat.lag for beat in beats.values() if beat.lag is not None]
    return max(told) if told else None


def _lag_of_market(samples: list[Sample]) -> float:
    return sum(_sum(samples, _LAG, topic=topic.name) for topic in (topics.MARKET_DATA, topics.MARKET_CLOSES))


def _latencies(
    before: Mapping[int, list[Sample]], now: Mapping[int, list[Sample]]
) -> tuple[float | None, float | None]:
    """Median and 99th percentile of what was observed since `before`; since ever, of a worker not known before."""
    buckets: dict[float, float] = {}
    for index, samples in now.items():
        older = _buckets(before.get(index, []))
        newer = _buckets(samples)
        anew = any(newer.get(bound, 0.0) < count for bound, count in older.items())
        for bound, count in newer.items():
            buckets[bound] = buckets.get(bound, 0.0) + count - (0.0 if anew else older.get(bound, 0.0))
    return quantile(buckets, 0.5), quantile(buckets, 0.99)


def _buckets(samples: Iterable[Sample]) -> dict[float, float]:
    return {float(each.labels["le"]): each.value for each in samples if each.name == _TICK_TO_PUBLISH}


# --- the API ----------------------------------------------------------------------------------------------------------


def _api_rate(before: Reading | None, now: Reading) -> float | None:
    if before is None or not isinstance(before.api, list) or not isinstance(now.api, list):
        return None
    change, seconds = _sum(now.api, _MESSAGES) - _sum(before.api, _MESSAGES), now.at - before.at
    return change / seconds if change >= 0 and seconds > 0 else None
