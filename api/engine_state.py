"""Is the engine alive, and which of its workers speak for the present? Judged from their heartbeats alone.

Workers of an earlier crew (another number of workers) leave their fields behind, so only those whose number agrees
with the newest heartbeat count. Heartbeats are read at most once a second for each process: they change no quicker,
and every answer asks for them. While Redis is away the last ones known simply age.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from api.snapshots import SnapshotStore
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat

READ_EVERY_NS = 1_000_000_000
"""None are not kept: an engine that has just started is seen at once."""


class EngineState:
    """The engine as its heartbeats describe it. `clock` gives UTC nanoseconds."""

    def __init__(self, store: SnapshotStore, stale_seconds: float, clock: Callable[[], int]) -> None:
        self._store = store
        self._stale_ns = int(stale_seconds * 1e9)
        self._clock = clock
        self._reading = asyncio.Lock()
        self._read_at_ns: int | None = None
        self._heartbeats: list[Heartbeat] = []
        self._newest_ns: int | None = None

    async def crew(self) -> list[Heartbeat]:
        """The heartbeats of the present crew, by worker index. Empty where no engine was ever seen."""
        async with self._reading:
            if self._is_due():
                # What was known ages while Redis is away, and turns stale by itself.
                with contextlib.suppress(Unavailable):
                    self._heartbeats = await self._store.heartbeats()
                    self._newest_ns = max((beat.beat_at_ns for beat in self._heartbeats), default=None)
                self._read_at_ns = self._clock()
        return present_crew(self._heartbeats)

    async def is_stale(self) -> bool:
        """Whether the engine has been silent for longer than it may be."""
        if self._is_due():
            await self.crew()
        return self.stale_now()

    def stale_now(self) -> bool:
        """The same of the heartbeats known already: for whoever has no time to wait, while somebody else reads on."""
        # The newest heartbeat of all is also the newest of the present crew.
        return self._newest_ns is None or self._clock() - self._newest_ns > self._stale_ns

    def _is_due(self) -> bool:
        if not self._heartbeats or self._read_at_ns is None:
            return True
        return self._clock() - self._read_at_ns >= READ_EVERY_NS

    async def age_ns(self) -> int | None:
        """How long ago the newest heartbeat was; None where there is none."""
        beats = [beat.beat_at_ns for beat in await self.crew()]
        return self._clock() - max(beats) if beats else None

    async def is_complete(self) -> bool:
        """Whether every worker of the present crew has spoken of late."""
        crew = await self.crew()
        fresh = [beat for beat in crew if self._clock() - beat.beat_at_ns <= self._stale_ns]
        return bool(fresh) and len(fresh) == fresh[0].workers


def present_crew(heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
    """Those whose number of workers is that of the newest heartbeat, by worker index."""
    if not heartbeats:
        return []
    newest = max(heartbeats, key=lambda beat: beat.beat_at_ns)
    crew = [beat for beat in heartbeats if beat.workers == newest.workers]
    return sorted(crew, key=lambda beat: beat.worker_index)
