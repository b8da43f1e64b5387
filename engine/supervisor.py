"""N workers under one parent: started together, restarted when one dies, stopped together.

Workers share nothing but Kafka and Redis, so one that dies takes nobody with it: it alone is started again, after a
pause that doubles. One that keeps dying is not a passing fault; then all are stopped and the exit code says so.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.drain import Drain

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""How long a worker may drain before it is killed."""
PAUSE_BASE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
DEATHS_MAX = 5
"""Deaths of one worker, each within `STEADY_SECONDS` of its start, before we stop trying."""
STEADY_SECONDS = 60.0
POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Worker:
    """One child and how it has fared."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    early_deaths: int = field(default=0)


def supervise(command: Callable[[int], Sequence[str]], workers: int, drain: Drain) -> int:
    """Run `command(index)` for every worker until told to stop; the exit code of the whole.

    0 after a clean drain, 1 where a worker kept dying or had to be killed.
    """
    children = [_Worker(index) for index in range(workers)]
    failed = False
    while not drain.asked and not failed:
        now = time.monotonic()
        for child in children:
            if child.process is None:
                if now >= child.start_at:
                    _start(child, command(child.index))
            elif child.process.poll() is not None:
                failed |= not _may_restart(child, now)
        drain.wait(POLL_SECONDS)
    return int(not _stop(children) or failed)


def _start(child: _Worker, command: Sequence[str]) -> None:
    child.process = subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True)
    child.started_at = time.monotonic()
    log.info("worker %d started, pid %d", child.index, child.process.pid)


def _may_restart(child: _Worker, now: float) -> bool:
    """Note a death and plan the next start; False once there have been too many."""
    code = child.process.returncode if child.process else 0
    child.process = None
    child.early_deaths = child.early_deaths + 1 if now - child.started_at < STEADY_SECONDS else 1
    if child.early_deaths >= DEATHS_MAX:
        log.error("worker %d died %d times (last exit code %s): stopping", child.index, child.early_deaths, code)
        return False
    pause = min(PAUSE_SECONDS_MAX, PAUSE_BASE_SECONDS * 2 ** (child.early_deaths - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
    child.start_at = now + pause
    log.error("worker %d died with exit code %s: starting it again in %.1f s", child.index, code, pause)
    return True


def _stop(children: list[_Worker]) -> bool:
    """Drain every worker; False where one had to be killed or drained badly."""
    running = [child.process for child in children if child.process and child.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    clean = True
    for process in running:
        try:
            clean &= process.wait(max(0.0, deadline - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            log.error("worker with pid %d did not drain in %.0f s: killed", process.pid, PATIENCE_SECONDS)
            process.kill()
            process.wait()
            clean = False
    return clean


def worker_command(arguments: Sequence[str]) -> Callable[[int], list[str]]:
    """This very program as one worker: the same arguments, and which of the workers it is."""
    # -P: a folder named `engine` where the caller stands is not this one.
    return lambda index: [sys.executable, "-P", "-m", "engine", *arguments, "--worker-index", str(index)]
