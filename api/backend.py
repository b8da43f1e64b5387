"""Everything that answers are made from, assembled in one place: the only module that knows every concrete part."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from redis.asyncio import Redis

from api import staleness
from api.admission import Admission
from api.analysis import Analysis
from api.audit import Audit
from api.engine_state import EngineState
from api.fanout import Fanout
from api.figures import Business
from api.follow import Follow
from api.health import Readiness
from api.identity import Caller, Role
from api.listing import Listing
from api.on_demand import Terms
from api.publisher import STOP_SECONDS, Publisher
from api.scenario_sets import ScenarioSets
from api.snapshots import SnapshotStore, connect
from api.summary import Summary
from api.telemetry import Telemetry
from api.tracing import spans_to
from api.updates import SEED_MAX, Updates
from api.views import NoUpdates, OwnEngineState, OwnFollow, OwnListing, OwnStore, OwnSummary
from plimsoll import transport
from plimsoll.settings import Settings

_CANCEL_AGAIN_SECONDS = 0.05
"""Nothing that is cancelled has much to do but the publisher, which waits for `STOP_SECONDS` at the most."""
VIEWS_MAX = 1_024
"""Views kept for those who ask; the one asked for the longest ago gives way, and is made anew in some microseconds."""

View: TypeAlias = tuple[str | None, bool]
"""The advisor to whom it is confined, if it is, and whether an operator has it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts. Whoever has one can answer any question of the contract, as far as it shows what is asked about."""

    settings: Settings
    clock: Callable[[], int]
    """UTC nanoseconds."""
    admission: Admission
    audit: Audit
    store: SnapshotStore
    listing: Listing
    engine: EngineState
    summary: Summary
    sets: ScenarioSets
    analysis: Analysis
    publisher: Publisher
    updates: Updates
    fanout: Fanout
    follow: Follow
    telemetry: Telemetry
    readiness: Readiness
    business: Business
    redis: Redis = field(repr=False)
    _views: OrderedDict[View, Backend] = field(default_factory=OrderedDict, init=False, repr=False, compare=False)

    def seen_by(self, caller: Caller) -> Backend:
        """The parts as this caller may see them."""
        view = (caller.view, Role.OPERATOR in caller.roles)
        if view == (None, True):
            return self
        found = self._views.get(view)
        if found is None:
            found = self._views[view] = self._seen_from(*view)
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(view)
        return found

    def _seen_from(self, advisor_id: str | None, is_operator: bool) -> Backend:
        permitted = self if is_operator else replace(self, updates=NoUpdates())
        if advisor_id is None:
            return permitted
        store = OwnStore(self.redis, self.store, advisor_id)
        listing = OwnListing(self.redis, advisor_id)
        return replace(
            permitted,
            store=store,
            listing=listing,
            engine=self.engine if is_operator else OwnEngineState(self.engine),
            summary=OwnSummary(
                store,
                listing,
                self.engine,
                self.publisher,
                sets=self.sets,
                terms=Terms.of(self.settings),
                clock=self.clock,
                whole=self.summary,
                is_operator=is_operator,
            ),
            analysis=self.analysis.over(store),
            follow=OwnFollow(self.fanout, self.store, self.listing, shown=store, advisor_id=advisor_id),
        )


def assemble(settings: Settings, clock: Callable[[], int]) -> Backend:
    """All parts, connected to one another and to nothing else yet. Needs a running event loop. Raises `BadSetting`."""
    at = transport.Redis.of(settings)
    redis = connect(at)
    store = SnapshotStore(redis)
    listing = Listing(redis)
    engine = EngineState(store, settings.stale_seconds, clock)
    publisher = Publisher(transport.Kafka.of(settings), settings.replication_factor)
    fanout = Fanout(at, is_stale=engine.stale_now)
    terms = Terms.of(settings)
    sets = ScenarioSets(store, terms.choice.model)
    admission = Admission.of(settings, clock)
    telemetry = Telemetry(spans_to(settings.otlp_endpoint))
    summary = Summary(store, listing, engine, publisher, sets=sets, terms=terms, clock=clock)
    return Backend(
        settings=settings,
        clock=clock,
        admission=admission,
        audit=Audit.of(settings),
        redis=redis,
        store=store,
        listing=listing,
        engine=engine,
        summary=summary,
        sets=sets,
        analysis=Analysis(store, sets, terms, clock, telemetry=telemetry),
        publisher=publisher,
        updates=Updates(store, publisher, clock, lambda: secrets.randbelow(SEED_MAX)),
        fanout=fanout,
        follow=Follow(fanout, store, listing),
        telemetry=telemetry,
        readiness=Readiness(store, engine, fanout, publisher, clock, troubles=lambda: admission.troubles),
        business=Business(summary, listing, engine, settings.stale_seconds, clock),
    )


@asynccontextmanager
async def running(settings: Settings, clock: Callable[[], int]) -> AsyncIterator[Backend]:
    """The parts at work. Neither Redis nor Kafka has to be there: both are sought in the background."""
    backend = assemble(settings, clock)
    # Whoever asks at once whether we are ready gets an answer.
    await backend.readiness.look()
    publishing = asyncio.create_task(backend.publisher.run(), name="publisher")
    tasks = [
        asyncio.create_task(backend.fanout.run(), name="fanout"),
        asyncio.create_task(backend.readiness.run(), name="readiness"),
        asyncio.create_task(backend.business.run(), name="business"),
        asyncio.create_task(backend.telemetry.watch_loop(), name="loop lag"),
        asyncio.create_task(backend.admission.run(), name="admission"),
        asyncio.create_task(staleness.watch(backend.engine, backend.fanout), name="staleness"),
    ]
    try:
        yield backend
    finally:
        ends = (_end(task, _CANCEL_AGAIN_SECONDS) for task in tasks)
        await asyncio.gather(_end(publishing, STOP_SECONDS + _CANCEL_AGAIN_SECONDS), *ends)
        backend.analysis.close()
        if backend.telemetry.spans is not None:
            await backend.telemetry.spans.close()
        await backend.redis.aclose()


async def _end(task: asyncio.Task[None], again_seconds: float) -> None:
    # redis-py and aiokafka may swallow a cancellation that meets them while they connect, so one may not be enough.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_seconds)
