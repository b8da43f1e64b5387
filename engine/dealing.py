"""Which worker owns which partitions: a pure function, so that every machine deals alike without talking."""

from __future__ import annotations


def partitions_of(worker_index: int, workers: int, partition_count: int) -> list[int]:
    """The partitions of `portfolio-updates` that one of `workers` owns: every one of them has exactly one owner.

    Raises ValueError where the worker is none of them.
    """
    if not 0 <= worker_index < workers:
        raise ValueError(f"worker {worker_index} is none of {workers}: the first is 0, the last {workers - 1}")
    return list(range(worker_index, partition_count, workers))


def worker_name(worker_index: int, workers: int) -> str:
    """What a worker's recovery state, Redis fields and log lines are filed under."""
    return f"{worker_index}/{workers}"
