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
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from api.telemetry import BUCKETS, Telemetry, Timing

if TYPE_CHECKING:
    from api.backend import Backend

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


def _one(name: str, kind: str, about: str, read: Callable[[Backend], float]) -> Family:
    return Family(name, kind, about, (), lambda backend: [((), read(backend))])


def _by(name: str, kind: str, about: str, labels: str, read: Callable[[Telemetry], Mapping[Any, Any]]) -> Family:
    """A family with labels, from a mapping of `Telemetry` keyed by a tuple of their values, or by one."""
    return Family(name, kind, about, tuple(labels.split()), lambda backend: _keyed(read(backend.telemetry)))


def _keyed(counted: Mapping[Any, Any]) -> Labelled:
    for key, value in list(counted.items()):
        yield tuple(map(str, key)) if isinstance(key, tuple) else (str(key),), value


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


FAMILIES: tuple[Family, ...] = (
    _by("operations_total", "counter", "GraphQL operations that ended.", "kind field transport outcome",
        lambda t: _counts(t.operations)),
    _by("operation_seconds", "histogram", "Time to carry out a query or a mutation.", "kind field", _operation_seconds),
    _by("subscriptions_running", "gauge", "Subscriptions open now.", "field transport", lambda t: t.running),
    _by("requests_total", "counter", "HTTP answers; 499: the caller left before.", "method route status",
        lambda t: _counts(t.requests)),
    _by("request_seconds", "histogram", "Time until an HTTP answer begins.", "method route", _request_seconds),
    _by("refused_total", "counter", "Refused before anything was carried out.", "reason", lambda t: t.refusals),
    _by("sockets_open", "gauge", "Sockets open now.", "protocol", lambda t: t.sockets_open),
    _by("sockets_opened_total", "counter", "Sockets accepted.", "protocol", lambda t: t.sockets_opened),
    _by("sockets_closed_total", "counter", "Sockets ended, by close code and by which side closed.",
        "protocol code by", lambda t: t.sockets_closed),
    _one("messages_sent_total", "counter", "Messages handed to sockets.", lambda b: b.telemetry.messages_sent),
    _one("messages_conflated_total", "counter", "Messages replaced by newer ones before a slow reader took them.",
         lambda b: b.telemetry.messages_conflated),
    _one("slow_readers_closed_total", "counter", "Sockets closed because nothing was read in time.",
         lambda b: b.telemetry.slow_readers_closed),
    _by("lookups_total", "counter", "Look-ups in the caches of documents and of persisted queries, hit or miss.",
        "cache result", lambda t: t.lookups),
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
)  # fmt: skip
"""Every family of ours, without the prefix. `process_*` and `python_gc_*` come from the client library."""

PREFIX = "plimsoll_api_"


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

    async def text(self) -> bytes:
        """Everything, in Prometheus's text format.

        Numbers are read on the loop, which is what changes them; they are written out in a thread, which takes longer.
        """
        if self._directory is None:
            return await asyncio.to_thread(_written, list(self._registry.collect()))
        self.share()
        return await asyncio.to_thread(lambda: _written(self._everybody()))

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
    """Prometheus's text format."""
    return Response(await request.app.state.metrics.text(), media_type=CONTENT_TYPE)
