"""What a process costs, read from outside: CPU and memory as Linux counts them, and a count sampled beside them.

A rate is taken of the steady part of a run only: between a tenth and nine tenths of the work, so that neither a start
(imports, connections) nor the last, emptier window is in it. CPU is taken over the very same span.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plimsoll.errors import PlimsollError

SAMPLE_SECONDS = 0.05
STEADY_FROM, STEADY_TO = 0.1, 0.9
"""The part of the work that a rate is taken of."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Stuck(PlimsollError):
    """What is measured stopped short of its end. The end of its log says why."""


# --- one process ------------------------------------------------------------------------------------------------------


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, all threads of each; one that has ended counts nothing."""
    return sum(_cpu_ticks(pid) for pid in pids) / _TICKS_PER_SECOND


def _cpu_ticks(pid: int) -> int:
    try:
        # The name before the last bracket may hold blanks and brackets of its own.
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(columns[11]) + int(columns[12])


def memory_bytes(pid: int) -> int:
    """Proportional set size: what the process alone keeps in memory, and its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def resident_bytes(pid: int) -> int:
    """What the process has in memory, with all that it shares."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children_of(pid: int) -> list[int]:
    """The processes that this one started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            columns = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended since it was listed.
            continue
        if int(columns[1]) == pid and columns[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


# --- a count that grows -----------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """How far the work had come, and what each group of processes had cost by then."""

    at: float
    done: int
    cpu: dict[str, float]


class Steady(NamedTuple):
    """A run between a tenth and nine tenths of its work."""

    per_second: float
    cpu_per_1000: dict[str, float]
    """CPU seconds for each 1,000, by group of processes."""
    whole_per_second: float
    """From the moment that reading began until the last: a head start of reading over writing counts here."""
    whole_cpu_per_1000: dict[str, float]
    """The same as `cpu_per_1000`, of the whole."""


def watch(
    what: str,
    count: Callable[[], int],
    total: int,
    groups: Mapping[str, Callable[[], Iterable[int]]],
    *,
    seconds_max: float,
    alive: Callable[[], bool] = lambda: True,
) -> list[Sample]:
    """Sample until `count` reaches `total`. Raises `Stuck` when it never does, or when `alive` says no."""
    samples: list[Sample] = []
    began = time.monotonic()
    while not samples or samples[-1].done < total:
        samples.append(Sample(time.monotonic(), count(), {name: cpu_seconds(pids()) for name, pids in groups.items()}))
        progress(f"{what}: {samples[-1].done:,} of {total:,}")
        if not alive() or time.monotonic() - began > seconds_max:
            progress("")
            raise Stuck(f"{what}: {samples[-1].done:,} of {total:,} after {time.monotonic() - began:.0f} s")
        time.sleep(SAMPLE_SECONDS)
    progress("")
    return samples


def steady(samples: Sequence[Sample], total: int, began: float = 0.0) -> Steady:
    """Rate and cost of the middle of a run of `total`; where it came all at once, of the whole.

    began  the monotonic moment at which reading began; 0 for that of the first sample
    """
    low = next(sample for sample in samples if sample.done >= STEADY_FROM * total)
    high = next(sample for sample in samples if sample.done >= STEADY_TO * total)
    if high.at == low.at:
        low, high = samples[0], samples[-1]
    done = high.done - low.done
    first, last = max((sample for sample in samples if sample.at <= began), default=samples[0]), samples[-1]
    return Steady(
        done / (high.at - low.at),
        {name: (high.cpu[name] - low.cpu[name]) / done * 1000 for name in high.cpu},
        last.done / (last.at - max(began, samples[0].at)),
        {name: (last.cpu[name] - first.cpu[name]) / last.done * 1000 for name in last.cpu},
    )


def median_of(runs: Sequence[Steady]) -> Steady:
    """The median of each figure."""
    return Steady(
        statistics.median(run.per_second for run in runs),
        _medians([run.cpu_per_1000 for run in runs]),
        statistics.median(run.whole_per_second for run in runs),
        _medians([run.whole_cpu_per_1000 for run in runs]),
    )


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least squares: how much `y` grows for each unit of `x`."""
    at, value = np.asarray(x, np.float64), np.asarray(y, np.float64)
    swing = at - at.mean()
    return float(swing @ (value - value.mean()) / (swing @ swing))


# --- waiting and telling ----------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Poll until it holds; how long that took. Raises `Stuck`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise Stuck(f"no {what} within {seconds:g} s")
        time.sleep(0.01)
    return time.monotonic() - began


def progress(text: str) -> None:
    """One line that replaces itself, on standard error and only at a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
