"""N workers under one parent: started together, restarted when one dies, stopped together.

Workers share nothing but Kafka and Redis, so one that dies takes nobody with it: it alone is started again. What its
death says decides how, and `Fate` reads that off the exit code and the pulse:

- It got somewhere before it died (an operator's kill, the kernel out of memory): at once, however often.
- It got nowhere: after a pause that doubles.
- It died three times with the same record in its hands: that record would kill it for ever. All are stopped, and the
  last line names the record.
- It ended with a code that says it cannot pass, or that another engine took its place: all are stopped, with that code.

A worker that hangs does not die by itself: one whose pulse is silent is killed, and starts again like the others.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.drain import Drain
from engine.pulse import SILENCE_SECONDS_MAX, STARTING_SECONDS_MAX, Position, Pulse
from plimsoll.errors import EXIT_FAILED, EXIT_LASTING, EXIT_SUPERSEDED, EXIT_USAGE

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 8.0
"""How long a worker may drain before it is killed. The whole has to be done within ten."""
PAUSE_BASE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
DEATHS_AT_ONE_RECORD_MAX = 3
DEATHS_WITHOUT_PROGRESS_MAX = 10
"""Two minutes of trying, with these pauses. Whoever started us may do so again, and sees meanwhile that we failed."""
POLL_SECONDS = 0.05
NAP_SECONDS = 2.0
"""If our own loop stood still as long, everybody was suspended, and nobody's silence says anything."""
FINAL = (EXIT_USAGE, EXIT_LASTING, EXIT_SUPERSEDED)
"""Exit codes after which another start would only say the same."""

Command = Callable[[int, int, bool], Sequence[str]]
"""Worker index, descriptor of its pulse, and whether this is its first start -> the program to run."""


@dataclass(frozen=True, slots=True)
class Death:
    """What was left of a worker: exit code (negative: the signal), the record in its hands, batches it had applied."""

    code: int
    position: Position | None
    progress: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after a pause."""

    pause_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop everything and end with this code; the reason is the last thing said."""

    code: int
    reason: str


@dataclass(slots=True)
class Fate:
    """What the deaths of one worker, one after another, say about its next start. Chance is an argument."""

    without_progress: int = 0
    position: Position | None = None
    at_position: int = 0

    def after(self, death: Death, chance: float) -> Restart | GiveUp:
        """Note a death. `chance` is from 0 to 1, and spreads the pauses of many over time."""
        if death.code in FINAL:
            return GiveUp(death.code, f"it ended with code {death.code}: its own last line says what to do")
        self._note_position(death)
        if death.position is not None and self.at_position >= DEATHS_AT_ONE_RECORD_MAX:
            return GiveUp(
                EXIT_FAILED,
                f"it died {self.at_position} times applying the records that begin at {death.position}. Find out "
                "which of them it is (kafka-console-consumer with that partition and offset), publish its key again "
                "with a value that is well, and start again",
            )
        if death.progress:
            self.without_progress = 0
            return Restart(PAUSE_BASE_SECONDS)
        self.without_progress += 1
        if self.without_progress >= DEATHS_WITHOUT_PROGRESS_MAX:
            return GiveUp(
                EXIT_FAILED,
                f"it died {self.without_progress} times in a row before it had applied anything (last exit code "
                f"{death.code}): its own last lines say why",
            )
        pause = min(PAUSE_SECONDS_MAX, PAUSE_BASE_SECONDS * 2 ** (self.without_progress - 1))
        return Restart(pause * (0.5 + chance / 2))

    def _note_position(self, death: Death) -> None:
        if death.position is not None:
            self.at_position = self.at_position + 1 if death.position == self.position else 1
            self.position = death.position
        elif death.progress:
            self.position, self.at_position = None, 0


@dataclass(slots=True)
class _Worker:
    """One child and how it has fared."""

    index: int
    pulse: Pulse = field(default_factory=Pulse.create)
    fate: Fate = field(default_factory=Fate)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started_at: float = 0.0
    start_at: float = 0.0


def silence(pulse: Pulse, heard_at_least: float, now: float) -> float | None:
    """How long a worker has given no sign, in seconds, where that is too long; else None.

    Both times are monotonic. `heard_at_least` is when it was started, or when we ourselves came back from standing
    still: before that its silence says nothing.
    """
    silent = now - max(pulse.turned_at, heard_at_least)
    return silent if silent > (SILENCE_SECONDS_MAX if pulse.flowing else STARTING_SECONDS_MAX) else None


def supervise(command: Command, workers: int, drain: Drain) -> int:
    """Run `command` for every worker until told to stop; the exit code of the whole.

    0 after a clean drain, a worker's own code where it cannot go on, 1 where one kept dying or had to be killed.
    """
    children = [_Worker(index) for index in range(workers)]
    given_up: tuple[_Worker, GiveUp] | None = None
    awake_since = seen_at = time.monotonic()
    while not drain.asked and given_up is None:
        now = time.monotonic()
        awake_since = now if now - seen_at > NAP_SECONDS else awake_since
        seen_at = now
        for child in children:
            verdict = _look_after(child, command, now, awake_since)
            if isinstance(verdict, GiveUp) and given_up is None:
                given_up = child, verdict
        drain.wait(POLL_SECONDS)
    code = _stop(children)
    for child in children:
        child.pulse.close()
    if given_up is None:
        return code
    child, verdict = given_up
    log.error("worker %d: stopped for good: %s", child.index, verdict.reason)
    return verdict.code


def _look_after(child: _Worker, command: Command, now: float, awake_since: float) -> GiveUp | None:
    """Start it, kill it or bury it, whichever is due."""
    if child.process is None:
        if now >= child.start_at:
            _start(child, command)
        return None
    if child.process.poll() is not None:
        return _bury(child, now)
    if (silent := silence(child.pulse, max(child.started_at, awake_since), now)) is not None:
        log.error("worker %d has given no sign for %.1f s: it hangs and is killed", child.index, silent)
        child.process.kill()
        child.process.wait()
        return _bury(child, now)
    return None


def _start(child: _Worker, command: Command) -> None:
    child.pulse.clear()
    child.process = subprocess.Popen(
        command(child.index, child.pulse.descriptor, child.starts == 0),
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        pass_fds=[child.pulse.descriptor],
        start_new_session=True,
    )
    child.starts += 1
    child.started_at = time.monotonic()
    log.info("worker %d started, pid %d", child.index, child.process.pid)


def _bury(child: _Worker, now: float) -> GiveUp | None:
    """Note a death and plan the next start, or give up."""
    code = child.process.returncode if child.process else 0
    child.process = None
    death = Death(code, child.pulse.position, child.pulse.progress)
    verdict = child.fate.after(death, random.random())  # noqa: S311 - nothing secret about a pause
    if isinstance(verdict, GiveUp):
        log.error("worker %d ended with exit code %d", child.index, code)
        return verdict
    where = f" while it was applying {death.position}" if death.position else ""
    log.error(
        "worker %d died%s (exit code %d, %d batches applied): starting it again in %.1f s",
        *(child.index, where, code, death.progress, verdict.pause_seconds),
    )
    child.start_at = now + verdict.pause_seconds
    return None


def _stop(children: list[_Worker]) -> int:
    """Drain every worker; the exit code: 0 where all ended well."""
    running = [child.process for child in children if child.process and child.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    codes = []
    for process in running:
        try:
            codes.append(process.wait(max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            log.error("worker with pid %d did not drain in %.0f s: killed", process.pid, PATIENCE_SECONDS)
            process.kill()
            codes.append(process.wait())
    # One that had not yet installed its handler dies of the signal: it had not begun.
    bad = [code for code in codes if code not in (0, -signal.SIGTERM)]
    return next((code for code in bad if code in FINAL), EXIT_FAILED) if bad else 0


def worker_command(arguments: Sequence[str], only_first: Sequence[str] = ()) -> Command:
    """This very program as one worker: the same arguments, which of the workers it is, and where its pulse is.

    `only_first` are arguments for a worker's first start alone.
    """

    def command(index: int, descriptor: int, first: bool) -> list[str]:
        own = ["--worker-index", str(index), "--pulse", str(descriptor)]
        # -P: a folder named `engine` where the caller stands is not this one.
        return [sys.executable, "-P", "-m", "engine", *arguments, *(only_first if first else ()), *own]

    return command
