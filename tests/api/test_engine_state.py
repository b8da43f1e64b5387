from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from api.engine_state import EngineState
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat

if TYPE_CHECKING:
    from tests.api.conftest import Make

pytestmark = pytest.mark.anyio


class Heartbeats:
    """A store that answers slowly, and counts how often it is asked."""

    def __init__(self, beats: list[Heartbeat] | None) -> None:
        self.beats = beats
        self.asked = 0

    async def heartbeats(self) -> list[Heartbeat]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.beats is None:
            raise Unavailable("Redis", "away")
        return self.beats


async def test_all_who_ask_at_once_get_the_answer_of_one_reading(make: Make) -> None:
    store = Heartbeats([make.heartbeat()])
    engine = EngineState(store, 15, clock=lambda: 10**18)

    answers = await asyncio.gather(*(engine.crew() for _ in range(20)))

    assert store.asked == 1
    assert all(len(crew) == 1 for crew in answers)


async def test_while_redis_is_away_what_was_known_ages_and_turns_stale(make: Make) -> None:
    now = [10**18]
    store = Heartbeats([make.heartbeat(beat_at_ns=10**18)])
    engine = EngineState(store, 15, clock=lambda: now[0])
    assert not await engine.is_stale()

    store.beats = None
    now[0] += 15 * 10**9
    assert not await engine.is_stale()
    now[0] += 1
    assert await engine.is_stale()
    assert await engine.age_ns() == 15 * 10**9 + 1


async def test_a_crew_is_complete_when_each_of_its_workers_speaks(make: Make) -> None:
    beats = [make.heartbeat(0, 2), make.heartbeat(0, 1, beat_at_ns=1)]
    clock = beats[0].beat_at_ns
    engine = EngineState(Heartbeats(beats), 15, clock=lambda: clock)
    assert [beat.workers for beat in await engine.crew()] == [2]
    assert not await engine.is_complete()

    both = EngineState(Heartbeats([*beats, make.heartbeat(1, 2)]), 15, clock=lambda: clock)
    assert await both.is_complete()


async def test_an_engine_never_seen_is_stale() -> None:
    engine = EngineState(Heartbeats([]), 15, clock=lambda: 0)
    assert await engine.is_stale()
    assert not await engine.is_complete()
