"""The pulse: what a supervisor still knows of a worker that is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from engine.pulse import Position, Pulse
from plimsoll import topics


def test_a_new_pulse_says_nothing() -> None:
    pulse = Pulse.create()
    assert (pulse.turned_at, pulse.flowing, pulse.progress, pulse.position) == (0.0, False, 0, None)
    pulse.close()


def test_what_one_side_writes_the_other_reads() -> None:
    ours = Pulse.create()
    theirs = Pulse(ours.descriptor, monotonic_ns=lambda: 12_500_000_000)
    theirs.starting()
    assert (ours.turned_at, ours.flowing) == (12.5, False)
    theirs.turned()
    theirs.reading("market-data", 2, 77)
    assert (ours.turned_at, ours.flowing, ours.progress) == (12.5, True, 0)
    assert ours.position == Position("market-data", 2, 77)
    theirs.progressed()
    assert (ours.progress, ours.position) == (1, None)
    ours.clear()
    assert (ours.turned_at, ours.flowing, ours.progress, ours.position) == (0.0, False, 0, None)


@pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
@pytest.mark.parametrize(("partition", "offset"), [(0, 0), (11, 1), (4_095, 2**44 - 1)])
def test_every_position_comes_back_as_it_was(topic: topics.Topic, partition: int, offset: int) -> None:
    pulse = Pulse.create()
    pulse.reading(topic.name, partition, offset)
    assert pulse.position == Position(topic.name, partition, offset)
    pulse.close()


WORKER = """
import sys, time
from engine.pulse import Pulse
pulse = Pulse(int(sys.argv[1]))
pulse.turned(); pulse.progressed(); pulse.reading("portfolio-updates", 3, 41)
print("written", flush=True)
time.sleep(60)
"""


def test_a_worker_that_was_killed_leaves_its_pulse_behind() -> None:
    pulse = Pulse.create()
    before = time.monotonic()
    command = [sys.executable, "-c", WORKER, str(pulse.descriptor)]
    with subprocess.Popen(command, pass_fds=[pulse.descriptor], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "written\n"
        worker.kill()
    assert worker.returncode == -signal.SIGKILL
    assert (pulse.progress, pulse.position) == (1, Position("portfolio-updates", 3, 41))
    assert before < pulse.turned_at < time.monotonic(), "the monotonic clock of two processes is not the same"
    pulse.close()
