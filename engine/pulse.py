"""A few bytes that a worker and its supervisor share: whether it lives, and what it was doing when it died.

The supervisor makes them, hands their descriptor to the worker, and reads them whenever it likes, also after the
worker is gone: they are memory of neither, so SIGKILL leaves them as they were. Writing one is a store into memory,
no system call, so a flow can afford it on every turn.

Times are of CLOCK_MONOTONIC, which is one clock for all processes of a machine since its start, and which nobody can
set: that is what lets one process judge another's silence, and what a step of the wall clock cannot fool.

Each field is eight aligned bytes, written by one store: a kill cannot leave half of one. That is why a position is
packed into a single number.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from plimsoll import topics

SILENCE_SECONDS_MAX = 10.0
"""A flow turns every few milliseconds, and every second at least; after this it hangs."""
STARTING_SECONDS_MAX = 60.0
"""The same before the flow has turned once: a large recovery state takes its time to read."""

_TURNED_NS, _FLOWING, _PROGRESS, _READING = range(4)
_FIELDS = 4
_SIZE = 8 * _FIELDS
_OFFSET_BITS, _PARTITION_BITS = 44, 12
"""17 trillion records a partition, 4,096 partitions a topic: with the topic's number they fit 63 bits."""
_TOPICS = [topic.name for topic in topics.ALL]


class Position(NamedTuple):
    """A record's place in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"topic {self.topic}, partition {self.partition}, offset {self.offset}"


class Pulse:
    """What one worker last did. The worker writes, the supervisor reads; neither ever waits for the other."""

    def __init__(self, descriptor: int, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._fields = memoryview(self._memory).cast("q")
        self._monotonic_ns = monotonic_ns

    @classmethod
    def create(cls, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> Self:
        """A new one, all zero, in a file without a name: it is gone with the last process that holds it."""
        if sys.platform == "linux":
            # In memory alone: on a full disk a write into a mapped file ends the process with SIGBUS.
            descriptor = os.memfd_create("plimsoll-pulse")
        else:
            descriptor, path = tempfile.mkstemp(prefix="plimsoll-pulse-")
            Path(path).unlink()
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor, monotonic_ns)

    @property
    def descriptor(self) -> int:
        """What a child has to inherit: it calls `Pulse(descriptor)`."""
        return self._descriptor

    # --- the worker's side ------------------------------------------------------------------------------------------

    def starting(self) -> None:
        """It is on its way: waiting for Kafka, for Redis, for a lock."""
        self._fields[_TURNED_NS] = self._monotonic_ns()

    def turned(self) -> None:
        """The flow runs, and its loop turned once more."""
        self._fields[_TURNED_NS] = self._monotonic_ns()
        self._fields[_FLOWING] = 1

    def reading(self, topic: str, partition: int, offset: int) -> None:
        """A batch that begins with this record is about to be applied."""
        number = 1 + _TOPICS.index(topic)
        self._fields[_READING] = (number << _PARTITION_BITS | partition) << _OFFSET_BITS | offset

    def progressed(self) -> None:
        """The batch was applied whole: whatever happens now, this record is not to blame."""
        self._fields[_PROGRESS] += 1
        self._fields[_READING] = 0

    # --- the supervisor's side --------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the last worker: another one is about to start."""
        for index in range(_FIELDS):
            self._fields[index] = 0

    @property
    def turned_at(self) -> float:
        """When the worker last gave a sign, in seconds of the monotonic clock; 0 if it never did."""
        return self._fields[_TURNED_NS] / 1e9

    @property
    def flowing(self) -> bool:
        """Whether its flow has begun to turn."""
        return self._fields[_FLOWING] != 0

    @property
    def progress(self) -> int:
        """Batches applied whole since it started."""
        return self._fields[_PROGRESS]

    @property
    def position(self) -> Position | None:
        """The first record of the batch in its hands; None between batches."""
        packed = self._fields[_READING]
        if not packed:
            return None
        where, offset = packed >> _OFFSET_BITS, packed & ((1 << _OFFSET_BITS) - 1)
        number, partition = where >> _PARTITION_BITS, where & ((1 << _PARTITION_BITS) - 1)
        return Position(_TOPICS[number - 1], partition, offset)

    def close(self) -> None:
        """Let go of the memory; whoever else holds it keeps it."""
        self._fields.release()
        self._memory.close()
        os.close(self._descriptor)
