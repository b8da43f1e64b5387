"""The engine, judged from its heartbeats: no I/O, and the time is an argument.

A crew is the N workers of one engine. Workers of an earlier crew leave their last heartbeat behind, which says nothing;
but where two crews of different numbers beat at the same time, two engines are running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.engine_state import present_crew
from plimsoll.messages import Heartbeat


@dataclass(frozen=True, slots=True)
class Crew:
    """The engine that spoke last. `beats` by worker index, silent ones among them; `workers` 0: never heard of."""

    workers: int
    beats: list[Heartbeat]
    silent: dict[int, float]
    """Worker index to the seconds since it last spoke, of those that were silent for too long."""
    unheard: list[int]
    """Indexes of workers that never spoke."""
    others: list[int]
    """Numbers of workers of other engines that speak now."""

    @property
    def absent(self) -> list[int]:
        """Workers that do not speak now, in order."""
        return sorted([*self.silent, *self.unheard])

    @property
    def is_complete(self) -> bool:
        """Whether every worker speaks."""
        return self.workers > 0 and not self.absent

    @property
    def is_silent(self) -> bool:
        """Whether none does."""
        return len(self.absent) == self.workers

    @property
    def state(self) -> str:
        """In a word or two: `running`, `catching-up`, `draining`, `incomplete`, `stopped`, `silent` or `never seen`."""
        if not self.workers:
            return "never seen"
        if self.is_silent:
            # One that ends as it should says so last.
            return "stopped" if all(beat.state == "draining" for beat in self.beats) else "silent"
        if self.absent:
            return "incomplete"
        states = {beat.state for beat in self.beats}
        return states.pop() if len(states) == 1 else "catching-up" if "catching-up" in states else "draining"


def crew_of(heartbeats: Sequence[Heartbeat], now_ns: int, stale_seconds: float) -> Crew:
    """Who is there at this time, in UTC nanoseconds; whoever is silent for longer than `stale_seconds` is not."""
    beats = present_crew(heartbeats)
    if not beats:
        return Crew(0, [], {}, [], [])
    ages = {beat.worker_index: age_seconds(beat, now_ns) for beat in beats}
    workers = beats[0].workers
    speaking = {beat.workers for beat in heartbeats if age_seconds(beat, now_ns) <= stale_seconds}
    return Crew(
        workers=workers,
        beats=beats,
        silent={index: age for index, age in ages.items() if age > stale_seconds},
        unheard=[index for index in range(workers) if index not in ages],
        others=sorted(speaking - {workers}),
    )


def age_seconds(beat: Heartbeat, now_ns: int) -> float:
    """Since a heartbeat, by our clock; negative where the worker's is ahead."""
    return (now_ns - beat.beat_at_ns) / 1e9


def ranges(indexes: Sequence[int]) -> str:
    """Ascending indexes as people write them: `0`, `1 to 3`, `0, 2`."""
    if len(indexes) > 2 and indexes[-1] - indexes[0] == len(indexes) - 1:
        return f"{indexes[0]} to {indexes[-1]}"
    return ", ".join(map(str, indexes))
