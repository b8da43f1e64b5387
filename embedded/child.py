"""A process we started: in a session of its own, its output in a file, ended by its number and never by a name.

Ctrl-C in a terminal reaches only the terminal's own session, so nothing here meets it: whoever started a child
decides when it stops. On Linux a child is also told when its parent dies, however that happened. Elsewhere the kernel
offers no such thing: after a SIGKILL of the parent its children have to be stopped by hand.

A child may start processes itself, as the engine does its workers. Killing it ends them too, and whatever is left of
its process group when it ends by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 16_384
"""How much of the end of a log is read to show its last lines."""


class Child:
    """One process we started. Start it from the main thread: Linux ends it with the thread that started it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._swept = False

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str],
        log: Path,
        directory: Path | None = None,
        when_parent_dies: signal.Signals = signal.SIGTERM,
    ) -> Child:
        """Start `command` with exactly `environ`; standard output and error are appended to `log`.

        `directory` is where it works; None: where we do. Raises `OSError` when there is no such program.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(  # the command is ours, and no shell reads it
                [str(part) for part in command],
                env=dict(environ),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_told_when_parent_dies(when_parent_dies),  # noqa: PLW1509 - see there
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process's number, which is also its session's and its group's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; else its exit code, negative for the signal that ended it."""
        code = self._process.poll()
        if code is not None and not self._swept:
            # Once only, and at once: later the number may belong to somebody else.
            self._swept = True
            self._signal_group(signal.SIGKILL)
        return code

    def terminate(self) -> None:
        """Ask it to stop. Only the process itself is asked: it knows best in which order its own children go."""
        if self.exit_code() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self.exit_code() is None:
            # Found while it lives: afterwards they are nobody's children, and some lead groups of their own.
            offspring = _descendants(self.pid)
            self._signal_group(signal.SIGKILL)
            for pid in offspring:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait at most this long for it to end; say whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, seconds))
        return self.exit_code() is not None

    def stop(self, seconds: float = 5.0) -> int:
        """Ask, wait at most `seconds`, then kill. Returns the exit code. May be called again."""
        self.terminate()
        if not self.wait(seconds):
            self.kill()
            self._process.wait()
        code = self.exit_code()
        assert code is not None, "a reaped process has an exit code"  # noqa: S101
        return code

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def _signal_group(self, number: signal.Signals) -> None:
        # macOS answers EPERM where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def stop_all(children: Sequence[Child], seconds: float, hurry: Callable[[], bool] = lambda: False) -> list[str]:
    """Ask all at once, give them `seconds` together, then kill. Returns the names of those that had to be killed.

    `hurry` is asked all the while: once it says yes, nobody is waited for any longer.
    """
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    while any(child.exit_code() is None for child in children) and time.monotonic() < deadline and not hurry():
        time.sleep(0.02)
    late = [child for child in children if child.exit_code() is None]
    for child in late:
        child.stop(0.0)
    return [child.name for child in late]


def _descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    parent_of = _parents()
    found, unread = [], [pid]
    while unread:
        parent = unread.pop()
        children = [child for child, its_parent in parent_of.items() if its_parent == parent]
        found += children
        unread += children
    return found


def _parents() -> dict[int, int]:
    """The parent of every process there is."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)  # noqa: S607
        return {int(pid): int(parent) for pid, parent in map(str.split, listing.stdout.splitlines())}
    parent_of = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It has ended since it was listed.
            # The name before the last bracket may hold blanks and brackets of its own.
            parent_of[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return parent_of


def _told_when_parent_dies(number: signal.Signals) -> Callable[[], None] | None:
    """What a new process does before it becomes the program; None where the kernel has no such signal."""
    if not sys.platform.startswith("linux"):
        return None
    # Found before the fork: after it, in a process that had threads, nothing may be loaded.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # It died before we asked to be told.
            os._exit(1)

    return prepare
