"""The wall clock steps, back and forth, under a running engine.

`clock.c` shifts it for the engine's processes alone, in Python and in Bytewax's Rust, which both ask the C library.
So what is tested is everything that asks what time it is: a source that Bytewax was told to poll again at a time that
is an hour ahead now would wait that hour, and a portfolio published an hour from now would not be due. What is not
tested is the kernel: a wait until a point of real time that began before the step (librdkafka's) ends as it would have.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from load import Plan
from rig import START_SECONDS, Rig

from plimsoll import keys

HOUR = 3_600
AGAIN_SECONDS = 10.0 + START_SECONDS
"""Ten until a silent worker is noticed, and a start."""


class Clock:
    """What the engine takes for the time."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or not sys.platform.startswith("linux"):
            pytest.skip("needs Linux and a C compiler: nothing else shifts the clock that Bytewax reads")
        library, self._file = directory / "clock.so", directory / "shift"
        source = Path(__file__).parent / "clock.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
        self._seconds = 0
        self._file.write_bytes(struct.pack("q", 0))
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._file)}

    def step(self, seconds: int) -> None:
        self._seconds += seconds
        with self._file.open("r+b") as file:  # In place: the engine has the file mapped.
            file.write(struct.pack("q", self._seconds))

    def now(self) -> float:
        return time.time() + self._seconds


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def beat_at(rig: Rig) -> float:
    """When the engine says it beat last, by its own clock."""
    return max((json.loads(beat)["beat_at_ns"] / 1e9 for beat in rig.store.client.hvals(keys.ENGINE)), default=0.0)  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [-HOUR, -4, HOUR], ids=["an hour back", "four seconds back", "an hour on"])
def test_a_step_of_the_clock_is_survived(rig: Rig, clock: Clock, seconds: int) -> None:
    # Never of the future by either time: whether a hanging worker is started again, and judges every record anew by the
    # new time, is a matter of milliseconds.
    sender = rig.opened(Plan(rig.seed, rate=500.0), now=lambda: time.time() + min(0, seconds))
    rig.watch()
    rig.running(rig.engine(environ=clock.environ))
    sender.start()
    rig.publishes()
    clock.step(seconds)
    time.sleep(0.3)
    rig.publishes(AGAIN_SECONDS)
    rig.until(lambda: abs(beat_at(rig) - clock.now()) < 5.0, "heartbeat by the new time", AGAIN_SECONDS)
    sender.stop()
    rig.holds(now=clock.now)
