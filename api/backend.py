"""Everything that answers are made from, assembled in one place: the only module that knows every concrete part."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from api.analysis import Analysis
from api.engine_state import EngineState
from api.fanout import Fanout
from api.follow import Follow
from api.listing import Listing
from api.on_demand import Terms
from api.publisher import Publisher
from api.scenario_sets import ScenarioSets
from api.snapshots import SnapshotStore, connect
from api.summary import Summary
from api.updates import SEED_MAX, Updates
from plimsoll.settings import Settings

_CANCEL_AGAIN_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts. Whoever has one can answer any question of the contract."""

    settings: Settings
    clock: Callable[[], int]
    """UTC nanoseconds."""
    redis: Redis
    store: SnapshotStore
    listing: Listing
    engine: EngineState
    summary: Summary
    analysis: Analysis
    publisher: Publisher
    updates: Updates
    fanout: Fanout
    follow: Follow


def assemble(settings: Settings, clock: Callable[[], int]) -> Backend:
    """All parts, connected to one another and to nothing else yet. Needs a running event loop."""
    redis = connect(settings.redis_url)
    store = SnapshotStore(redis)
    listing = Listing(redis)
    engine = EngineState(store, settings.stale_seconds, clock)
    publisher = Publisher(settings.kafka_brokers, settings.replication_factor)
    fanout = Fanout(settings.redis_url)
    terms = Terms.of(settings)
    sets = ScenarioSets(store, terms.choice.model)
    return Backend(
        settings=settings,
        clock=clock,
        redis=redis,
        store=store,
        listing=listing,
        engine=engine,
        summary=Summary(store, listing, engine, publisher, sets=sets, terms=terms, clock=clock),
        analysis=Analysis(store, sets, terms, clock),
        publisher=publisher,
        updates=Updates(store, publisher, clock, lambda: secrets.randbelow(SEED_MAX)),
        fanout=fanout,
        follow=Follow(fanout, store, listing),
    )


@asynccontextmanager
async def running(settings: Settings, clock: Callable[[], int]) -> AsyncIterator[Backend]:
    """The parts at work. Neither Redis nor Kafka has to be there: both are sought in the background."""
    backend = assemble(settings, clock)
    tasks = [
        asyncio.create_task(backend.fanout.run(), name="fanout"),
        asyncio.create_task(backend.publisher.run(), name="publisher"),
    ]
    try:
        yield backend
    finally:
        await asyncio.gather(*(_end(task) for task in tasks))
        backend.analysis.close()
        await backend.redis.aclose()


async def _end(task: asyncio.Task[None]) -> None:
    # aiokafka swallows a cancellation that meets it while it connects, so one may not be enough.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)
