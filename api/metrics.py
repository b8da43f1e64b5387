"""What Prometheus is shown at `/metrics`: one table of families, and where each is read off.

Counting happens elsewhere, in `Telemetry` and in the parts themselves; here numbers get names. The registry is the
application's own. Several worker processes share a port, so a scrape meets any one of them: then each writes its
families to a directory once a second, and whichever is asked shows everybody's, told apart by a label `worker` (its
process id). So every series is one process's own and only ever grows; `sum without (worker)` is all of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from api.telemetry import BUCKETS, Cache, Refusal, Telemetry, Timing

if TYPE_CHECKING:
    from api.backend import Backend
    from api.figures import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARE_SECONDS = 1.0
"""How often a worker writes its families for the others to show."""
GONE_SECONDS = 10.0
"""A worker that has not written for so long is no more, and neither are its series."""
DIRECTORY_VARIABLE = "RISK_API_WORKERS_DIRECTORY"
"""Handed from `risk-api` to its own workers; nobody sets it."""

Labelled = Iterable[tuple[tuple[str, ...], Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """One name that Prometheus is shown. `read` gives (label values, number or Timing)."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    about: str
    labels: tuple[str, ...]
    read: Callable[[Backend], Labelled]
    confidential: bool = False
    """Whether it says how much there is or how risky: for those who may see everyone's risk."""


def _one(name: str, kind: str, about: str, read: Callable[[Backend], float]) -> Family:
    return Family(name, kind, about, (), lambda backend: [((), read(backend))])


def _by(name: str, kind: str, about: str, labels: str, read: Callable[[Telemetry], Mapping[Any, Any]]) -> Family:
    """A family with labels, from a mapping of `Telemetry` keyed by a tuple of their values, or by one."""
    return Family(name, kind, about, tuple(labels.split()), lambda backend: _keyed(read(backend.telemetry)))


def _keyed(counted: Mapping[Any, Any]) -> Labelled:
    for key, value in list(counted.items()):
        yield tuple(map(str, key)) if isinstance(key, tuple) else (str(key),), value


def _from_zero(labels: Iterable[Any], counted: Mapping[Any, int]) -> Mapping[Any, int]:
    """What was counted, and 0 for the rest: a series that begins with its first event has no rate at that event."""
    return {**dict.fromkeys(labels, 0), **counted}


def _of_firm(name: str, about: str, read: Callable[[Figures], float]) -> Family:
    """A gauge of everyone's portfolios together. There is none while the figures cannot be read."""
    return Family(
        name, "gauge", about, (), lambda b: _if_known(b, lambda known: [((), read(known))]), confidential=True
    )


def _if_known(backend: Backend, read: Callable[[Figures], Labelled]) -> Labelled:
    figures = backend.business.newest
    return () if figures is None else read(figures)


def _operation_seconds(telemetry: Telemetry) -> Mapping[Any, Timing]:
    """Over transports and outcomes. Without subscriptions: how long one is followed is no speed of ours."""
    summed: dict[tuple[str, str], Timing] = {}
    for (kind, field, _, _), timing in telemetry.operations.items():
        if kind in ("query", "mutation"):
            summed.setdefault((kind, field), Timing()).add(timing)
    return summed


def _counts(timings: Mapping[Any, Timing]) -> Mapping[Any, int]:
    return {key: timing.count for key, timing in timings.items()}


def _request_seconds(telemetry: Telemetry) -> Mapping[Any, Timing]:
    summed: dict[tuple[str, str], Timing] = {}
    for (method, route, _), timing in telemetry.requests.items():
        summed.setdefault((method, route), Timing()).add(timing)
    return summed


_PROTOCOLS = ("graphql-transport-ws", "graphql-ws")
_LOOKUPS = tuple(product(get_args(Cache), ("hit", "miss")))

FAMILIES: tuple[Family, ...] = (
    _by("operations_total", "counter", "GraphQL operations that ended.", "kind field transport outcome",
        lambda t: _counts(t.operations)),
    _by("operation_seconds", "histogram", "Time to carry out a query or a mutation.", "kind field", _operation_seconds),
    _by("subscriptions_running", "gauge", "Subscriptions open now.", "field transport", lambda t: t.running),
    _by("requests_total", "counter", "HTTP answers; 499: the caller left before.", "method route status",
        lambda t: _counts(t.requests)),
    _by("request_seconds", "histogram", "Time until an HTTP answer begins.", "method route", _request_seconds),
    _by("refused_total", "counter", "Refused before anything was carried out.", "reason",
        lambda t: _from_zero(get_args(Refusal), t.refusals)),
    _by("sockets_open", "gauge", "Sockets open now.", "protocol", lambda t: _from_zero(_PROTOCOLS, t.sockets_open)),
    _by("sockets_opened_total", "counter", "Sockets accepted.", "protocol",
        lambda t: _from_zero(_PROTOCOLS, t.sockets_opened)),
    _by("sockets_closed_total", "counter", "Sockets ended, by close code and by which side closed.",
        "protocol code by", lambda t: t.sockets_closed),
    _one("messages_sent_total", "counter", "Messages handed to sockets.", lambda b: b.telemetry.messages_sent),
    _one("messages_conflated_total", "counter", "Messages replaced by newer ones before a slow reader took them.",
         lambda b: b.telemetry.messages_conflated),
    _one("slow_readers_closed_total", "counter", "Sockets closed because nothing was read in time.",
         lambda b: b.telemetry.slow_readers_closed),
    _by("lookups_total", "counter", "Look-ups in the caches of documents and of persisted queries, hit or miss.",
        "cache result", lambda t: _from_zero(_LOOKUPS, t.lookups)),
    _by("computation_seconds", "histogram", "Time of one computation on demand, its wait not counted.", "name",
        lambda t: t.computations),
    _by("computation_wait_seconds", "histogram", "Time that a computation waited for a thread.", "name",
        lambda t: t.waits),
    _by("computations_waiting", "gauge", "Computations that wait for a thread now.", "name", lambda t: t.waiting),
    _by("computations_running", "gauge", "Computations under way now.", "name", lambda t: t.computing),
    Family("loop_lag_seconds", "histogram", "By how much the event loop was late, asked ten times a second.", (),
           lambda b: [((), b.telemetry.lag)]),
    _one("subscriptions_open", "gauge", "Readers of the fan-out now.", lambda b: b.fanout.readers),
    _one("snapshots_received_total", "counter", "Snapshots heard from Redis.", lambda b: b.fanout.traffic.received),
    _one("snapshots_conflated_total", "counter", "Snapshots replaced before a reader took them.",
         lambda b: b.fanout.traffic.conflated),
    _one("subscriber_gaps_total", "counter", "Channels confirmed anew after an outage.",
         lambda b: b.fanout.traffic.gaps),
    _one("messages_refused_total", "counter", "Messages on a risk channel that were none.",
         lambda b: b.fanout.traffic.refused),
    _one("ready", "gauge", "1 while /ready says yes.",
         lambda b: all(check.ok for check in b.readiness.checks() if check.required)),
    _one("redis_up", "gauge", "1 while Redis answers, found out once a second.", lambda b: b.readiness.holds("redis")),
    _one("subscriber_up", "gauge", "1 while the subscriber has a connection.", lambda b: b.fanout.connected),
    _one("kafka_up", "gauge", "1 while Kafka answers.", lambda b: b.publisher.connected),
    _one("heartbeat_age_seconds", "gauge", "Since the engine's newest heartbeat; NaN: never heard of.",
         lambda b: b.readiness.heartbeat_age_seconds),
    _one("stale_after_seconds", "gauge", "PLIMSOLL_STALE_SECONDS: how long the engine may be silent.",
         lambda b: b.settings.stale_seconds),
    Family("tick_to_subscriber_seconds", "histogram",
           "From a price or update to its being handed to a stream's subscribers.", (),
           lambda b: [((), b.telemetry.tick_to_subscriber)]),
    _one("result_age_seconds", "gauge", "Since the newest price or update in any result; NaN: there is none.",
         lambda b: b.business.result_age_seconds),
    _one("portfolios_stale", "gauge", "Portfolios of engine workers that are silent for too long.",
         lambda b: b.business.stale),
    Family("portfolios", "gauge", "Portfolios by risk band; NONE: those without a risk number.", ("band",),
           lambda b: _if_known(b, lambda figures: _keyed(figures.by_band)), confidential=True),
    _of_firm("portfolios_at_risk", "Portfolios whose risk number is 70 or more.", lambda f: f.at_risk),
    _of_firm("firm_market_value_usd", "Market value of all portfolios.", lambda f: f.measured("market_value")),
    _of_firm("firm_var_95_usd", "Value at risk of all portfolios as one, a day, 95 %.", lambda f: f.measured("var_95")),
    _of_firm("firm_var_99_usd", "The same at 99 %.", lambda f: f.measured("var_99")),
    _of_firm("firm_es_975_usd", "Expected shortfall of all portfolios as one, a day, 97.5 %.",
             lambda f: f.measured("es_975")),
    _of_firm("firm_coverage_ratio", "Share of gross exposure that has a price history of its own.",
             lambda f: f.measured("coverage")),
    _of_firm("firm_partial", "1 while portfolios are missing in the firm's figures.", lambda f: f.firm.partial),
)  # fmt: skip
"""Every family of ours, without the prefix. `process_*` and `python_gc_*` come from the client library."""

PREFIX = "plimsoll_api_"
_CONFIDENTIAL = frozenset(PREFIX + family.name for family in FAMILIES if family.confidential)


class _Families(Collector):
    """The table, read when somebody asks."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @override
    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            # The library's name of a counter has no `_total`; its samples do.
            metric = Metric(PREFIX + family.name.removesuffix("_total"), family.about, family.kind)
            for values, value in family.read(self._backend):
                labels = dict(zip(family.labels, values, strict=True))
                if isinstance(value, Timing):
                    _add_timing(metric, labels, value)
                else:
                    metric.add_sample(PREFIX + family.name, labels, float(value))
            yield metric


def _add_timing(metric: Metric, labels: dict[str, str], timing: Timing) -> None:
    upper_ends = [*map(str, BUCKETS), "+Inf"]
    for upper_end, count in zip(upper_ends, accumulate(timing.counts), strict=True):
        metric.add_sample(f"{metric.name}_bucket", labels | {"le": upper_end}, count)
    metric.add_sample(f"{metric.name}_count", labels, timing.count)
    metric.add_sample(f"{metric.name}_sum", labels, timing.seconds)


class Told(msgspec.Struct, array_like=True):
    """A family with its samples, as one worker leaves it for the others."""

    name: str
    about: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


class Metrics:
    """One process's metrics. With a `directory` they are shared with the other workers that write there."""

    def __init__(
        self,
        backend: Backend,
        directory: Path | None = None,
        worker: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Families(backend))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._directory = directory
        self._worker = worker or str(os.getpid())
        self._wall = wall

    async def text(self, *, with_risk: bool = True) -> bytes:
        """Everything, in Prometheus's text format; `with_risk` or without what is confidential.

        Numbers are read on the loop, which is what changes them; they are written out in a thread, which takes longer.
        """
        shown = _everything if with_risk else _without_risk
        if self._directory is None:
            return await asyncio.to_thread(_written, shown(self._registry.collect()))
        self.share()
        return await asyncio.to_thread(lambda: _written(shown(self._everybody())))

    async def run(self) -> None:
        """Write for the other workers once a second; ends at once where there are none."""
        while self._directory is not None:
            self.share()
            await asyncio.sleep(SHARE_SECONDS)

    def share(self) -> None:
        """Write what there is, whole or not at all."""
        assert self._directory is not None  # noqa: S101  # whoever calls has looked
        mine = [
            Told(metric.name, metric.documentation, metric.type,
                 [(each.name, dict(each.labels), each.value) for each in metric.samples])
            for metric in self._registry.collect()
        ]  # fmt: skip
        path = self._directory / self._worker
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(msgspec.msgpack.encode(mine))
        unfinished.replace(path)

    def _everybody(self) -> Iterator[Metric]:
        assert self._directory is not None  # noqa: S101
        merged: dict[str, Metric] = {}
        for path in sorted(self._directory.iterdir()):
            if path.suffix or self._wall() - path.stat().st_mtime > GONE_SECONDS:
                continue
            for told in msgspec.msgpack.decode(path.read_bytes(), type=list[Told]):
                metric = merged.setdefault(told.name, Metric(told.name, told.about, told.kind))
                for name, labels, value in told.samples:
                    metric.add_sample(name, {"worker": path.name} | labels, value)
        yield from merged.values()


def _everything(families: Iterable[Metric]) -> list[Metric]:
    return list(families)


def _without_risk(families: Iterable[Metric]) -> list[Metric]:
    return [family for family in families if family.name not in _CONFIDENTIAL]


class _Collected(Collector):
    """Families that are read already, in the form that the library writes from."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    @override
    def collect(self) -> Iterable[Metric]:
        return self._families


def _written(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(families)))
    return generate_latest(registry)


async def metrics(request: Request) -> Response:
    """Prometheus's text format. How much risk there is, is for those who may see everyone's."""
    with_risk = request.state.caller.view is None
    return Response(await request.app.state.metrics.text(with_risk=with_risk), media_type=CONTENT_TYPE)
