"""What one worker knows of its own health and load.

The flow's thread writes it, the health server's reads it, and neither waits for the other: a mapping is replaced by
another one whole, never changed in place, so a reader sees one state or the next and nothing between. Times are
monotonic; a wall clock that is set changes no answer here.

*Alive* means the flow's loop turns. A sink that patiently tries again turns it too: waiting is not hanging, and a
worker that waits for Redis must not be killed for it. *Ready* means that its answers are to be relied on now: nothing
is awaited, the market has been read, and it is not far behind the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from engine.pulse import SILENCE_SECONDS_MAX, STARTING_SECONDS_MAX, Pulse
from plimsoll import topics
from plimsoll.errors import Reason

if TYPE_CHECKING:
    from engine.census import Census

MARKET = "market"
"""What a worker awaits from its start until `has`: the prices and closes that were in Kafka before it."""

DEPENDENCIES = (MARKET, "Kafka", "Kafka deliveries", "Redis", "recovery directory")
"""What may be awaited. Each is shown from the start, as is every end of a record: a series that begins with its first
event has no rate at that event."""
_RETRIED = ("Kafka", "Redis")
_ENDS = ("applied", "stale", "dead")
_TOPICS = (topics.PORTFOLIO_UPDATES.name, topics.MARKET_DATA.name, topics.MARKET_CLOSES.name)

_BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds. Densest around a window of 50 ms, where the promise is."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being alive or ready. `since` is a monotonic time; None where it was never otherwise."""

    check: str
    ok: bool
    reason: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the worker counted since ever: restored with its state, so a restart does not begin at zero."""

    applied: Mapping[str, int]
    stale: Mapping[str, int]
    dead: Mapping[str, int]
    reasons: Mapping[str, int]
    calculations: int
    published: int
    portfolios: int
    positions: int
    symbols: int


class Vitals:
    """One worker's health and load. Every method may be called some hundreds of times a second."""

    def __init__(
        self, worker: str, pulse: Pulse | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.worker = worker
        self._pulse = pulse
        self._monotonic = monotonic
        self._started_at = self._turned_at = monotonic()
        self._flowing = False
        self._awaited: dict[str, tuple[str, float]] = {MARKET: ("not read yet", self._started_at)}
        self._lag: Mapping[tuple[str, int], int] | None = None
        self._totals: Totals | None = None
        self.health_address: str | None = None
        """Where these are served, address:port; None while they are not."""
        self.census: Census | None = None
        """The portfolios, counted; None before the market was read."""
        self.batches = 0
        self._meters = _Meters(worker)
        self._meters.registry.register(_Readings(self))

    # --- what the flow says ------------------------------------------------------------------------------------------

    def starting(self) -> None:
        """On the way to the flow: something is waited for, or has just been done."""
        self._turned_at = self._monotonic()
        if self._pulse is not None:
            self._pulse.starting()

    def turned(self) -> None:
        """The flow's loop turned: the source polled, or a sink tried again."""
        self._turned_at = self._monotonic()
        self._flowing = True
        if self._pulse is not None:
            self._pulse.turned()

    def reading(self, topic: str, partition: int, offset: int) -> None:
        """A batch that begins with this record is about to be applied."""
        if self._pulse is not None:
            self._pulse.reading(topic, partition, offset)

    def progressed(self) -> None:
        """That batch was applied whole."""
        self.batches += 1
        if self._pulse is not None:
            self._pulse.progressed()

    def waits_for(self, dependency: str, reason: str) -> None:
        """Something is away: "Kafka", "Redis", "market". Said again, it is awaited since the first time."""
        since = self._awaited.get(dependency, (reason, self._monotonic()))[1]
        self._awaited = {**self._awaited, dependency: (reason, since)}

    def has(self, dependency: str) -> None:
        """It is there (again)."""
        if dependency in self._awaited:
            self._awaited = {name: since for name, since in self._awaited.items() if name != dependency}

    def lag(self, where: Mapping[tuple[str, int], int]) -> None:
        """Records not read yet, by (topic, partition)."""
        self._lag = dict(where)

    def counted(
        self,
        *,
        applied: Mapping[str, int],
        stale: Mapping[str, int],
        dead: Mapping[str, int],
        reasons: Mapping[str, int],
        calculations: int,
        published: int,
        portfolios: int,
        positions: int,
        symbols: int,
    ) -> None:
        """Totals since ever: records by topic and by how they ended, dead letters by reason, and the book's size."""
        self._totals = Totals(
            dict(applied), dict(stale), dict(dead), dict(reasons), calculations, published, portfolios, positions,
            symbols,
        )  # fmt: skip

    def window_took(self, seconds: float) -> None:
        """A window was revalued."""
        self._meters.window.observe(seconds)

    def wrote(self, snapshots: int, tick_age_seconds: float | None) -> None:
        """So many snapshots are in Redis now; the age of the oldest tick that is new in them, None without one."""
        self._meters.written.inc(snapshots)
        if tick_age_seconds is not None:
            self._meters.tick_to_publish.observe(max(0.0, tick_age_seconds))

    def epoch_took(self, seconds: float) -> None:
        """An epoch's output was settled and its state handed over for saving."""
        self._meters.epoch.observe(seconds)

    def retried(self, dependency: str) -> None:
        """A call of a dependency failed and will be tried again."""
        self._meters.retries.labels(self.worker, dependency).inc()

    # --- what the health server asks ---------------------------------------------------------------------------------

    def alive(self) -> Check:
        """Whether the flow's loop turns."""
        age = self._monotonic() - self._turned_at
        limit = SILENCE_SECONDS_MAX if self._flowing else STARTING_SECONDS_MAX
        if age <= limit:
            reason = "the flow turns" if self._flowing else "starting"
            return Check("flow", ok=True, reason=reason, since=None)
        reason = f"the flow has not turned for {age:.1f} s, and {limit:g} are allowed"
        return Check("flow", ok=False, reason=reason, since=self._turned_at)

    def ready(self, lag_max: int) -> list[Check]:
        """Every condition of being ready; all must hold. `lag_max` in records, over all partitions."""
        awaited = dict(self._awaited)
        checks = [self.alive()]
        checks += [Check(each, ok=False, reason=reason, since=since) for each, (reason, since) in awaited.items()]
        checks += [Check(MARKET, ok=True, reason="read", since=None)] if MARKET not in awaited else []
        return [*checks, self._lag_check(lag_max)]

    def age(self, check: Check) -> float | None:
        """Seconds since a check has failed; None where it holds."""
        return None if check.since is None else self._monotonic() - check.since

    def metrics(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self._meters.registry)

    def _lag_check(self, lag_max: int) -> Check:
        if self._lag is None:
            return Check("lag", ok=False, reason="not measured yet", since=self._started_at)
        behind = sum(self._lag.values())
        if behind <= lag_max:
            return Check("lag", ok=True, reason=f"{behind} records", since=None)
        (topic, partition), most = max(self._lag.items(), key=lambda each: each[1])
        reason = f"{behind} records behind, {lag_max} are allowed; most in {topic} [{partition}]: {most}"
        return Check("lag", ok=False, reason=reason, since=None)

    # --- for the metrics ---------------------------------------------------------------------------------------------

    @property
    def silence_seconds(self) -> float:
        """Since the loop last turned."""
        return self._monotonic() - self._turned_at

    @property
    def awaited(self) -> Mapping[str, tuple[str, float]]:
        """What is awaited: dependency to reason and monotonic time of its beginning."""
        return self._awaited

    @property
    def lag_by_partition(self) -> Mapping[tuple[str, int], int]:
        """Records not read yet; empty before they were first counted."""
        return self._lag or {}

    @property
    def behind(self) -> int | None:
        """Records not read yet, over all partitions; None before they were first counted."""
        return None if self._lag is None else sum(self._lag.values())

    @property
    def totals(self) -> Totals | None:
        """What was counted; None before the first count."""
        return self._totals


class _Meters:
    """What is counted and timed here, on a registry of the worker's own: a process may hold several in a test."""

    def __init__(self, worker: str) -> None:
        self.registry = CollectorRegistry()
        self.window = self._histogram(worker, "window_seconds", "Time to revalue one window.")
        self.tick_to_publish = self._histogram(
            worker, "tick_to_publish_seconds", "Age of the oldest new tick in what was written, once it was in Redis."
        )
        self.epoch = self._histogram(worker, "epoch_seconds", "Time to settle the output of an epoch.")
        self.written = Counter(
            "plimsoll_engine_snapshots_written", "Snapshots written to Redis.", ["worker"], registry=self.registry
        ).labels(worker)
        self.retries = Counter(
            "plimsoll_engine_retries",
            "Calls of a dependency that failed and were tried again.",
            ["worker", "dependency"],
            registry=self.registry,
        )
        for dependency in _RETRIED:
            self.retries.labels(worker, dependency)
        Gauge(
            "plimsoll_engine_start_time_seconds", "When the worker started.", ["worker"], registry=self.registry
        ).labels(worker).set_to_current_time()
        ProcessCollector(registry=self.registry)

    def _histogram(self, worker: str, name: str, about: str) -> Histogram:
        whole = Histogram(f"plimsoll_engine_{name}", about, ["worker"], buckets=_BUCKETS, registry=self.registry)
        return whole.labels(worker)


class _Readings(Collector):
    """What is read off the vitals when somebody asks. Counters among them go on after a restart where they were."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    @override
    def collect(self) -> Iterator[Metric]:
        vitals = self._vitals
        yield self._one("turn_age_seconds", "Time since the flow's loop last turned.", vitals.silence_seconds)
        batches = self._counter("batches", "Batches applied whole.")
        batches.add_metric([vitals.worker], vitals.batches)
        yield batches
        lag = self._gauge("lag_records", "Records not read yet.", "topic", "partition")
        for (topic, partition), records in vitals.lag_by_partition.items():
            lag.add_metric([vitals.worker, topic, str(partition)], records)
        yield lag
        awaited = self._gauge("awaited", "1 while the dependency is waited for.", "dependency")
        for dependency in dict.fromkeys((*DEPENDENCIES, *vitals.awaited)):
            awaited.add_metric([vitals.worker, dependency], dependency in vitals.awaited)
        yield awaited
        if (totals := vitals.totals) is not None:
            yield from self._counts(totals)
        if (census := vitals.census) is not None:
            yield from self._census(census)

    def _counts(self, totals: Totals) -> Iterator[Metric]:
        worker = self._vitals.worker
        records = self._counter("records", "Records read, by how they ended: applied, stale or dead.", "topic", "end")
        for end, counts in zip(_ENDS, (totals.applied, totals.stale, totals.dead), strict=True):
            for topic, count in {**dict.fromkeys(_TOPICS, 0), **counts}.items():
                records.add_metric([worker, topic, end], count)
        yield records
        letters = self._counter("dead_letters", "Records set aside, by reason.", "reason")
        for reason, count in {**dict.fromkeys(map(str, Reason), 0), **totals.reasons}.items():
            letters.add_metric([worker, reason], count)
        yield letters
        for name, about, total in (
            ("calculations", "Portfolios valued.", totals.calculations),
            ("snapshots", "Snapshots made to be published.", totals.published),
        ):
            counter = self._counter(name, about)
            counter.add_metric([worker], total)
            yield counter
        yield self._one("portfolios", "Open portfolios in the book.", totals.portfolios)
        yield self._one("positions", "Positions in the book.", totals.positions)
        yield self._one("symbols", "Symbols met.", totals.symbols)

    def _census(self, census: Census) -> Iterator[Metric]:
        worker = self._vitals.worker
        zones = self._gauge(
            "backtest_portfolios",
            "Portfolios by Basel's zone at 99 %; NONE: judged in fewer than 250 sessions.",
            "zone",
        )
        for zone, portfolios in census.by_zone.items():
            zones.add_metric([worker, zone], portfolios)
        yield zones
        yield self._one(
            "backtest_sessions", "Sessions judged by the live backtest, over open portfolios.", census.sessions
        )
        about = "Those in which more was lost than value at risk had said, by its confidence."
        exceptions = self._gauge("backtest_exceptions", about, "confidence")
        for confidence, count in (("0.95", census.exceptions_95), ("0.99", census.exceptions_99)):
            exceptions.add_metric([worker, confidence], count)
        yield exceptions
        yield self._one("portfolios_incomplete", "Portfolios that hold something without a price.", census.incomplete)

    def _one(self, name: str, about: str, value: float) -> Metric:
        gauge = self._gauge(name, about)
        gauge.add_metric([self._vitals.worker], value)
        return gauge

    def _gauge(self, name: str, about: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"plimsoll_engine_{name}", about, labels=["worker", *labels])

    def _counter(self, name: str, about: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"plimsoll_engine_{name}", about, labels=["worker", *labels])
