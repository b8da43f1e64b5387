"""How a worker is told to stop: SIGTERM or SIGINT sets a flag, the source sees it and ends, all else follows.

Bytewax itself dies at once of SIGTERM, without a last recovery state; and a shell's background job starts with SIGINT
ignored, so both handlers are installed explicitly.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

DRAIN_SECONDS_MAX = 5.0
"""How long a dependency that is away may hold up a stop. The supervisor's patience is ten."""


class Drain:
    """A flag that is raised once. Waits notice it at once instead of at their end."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_at = 0.0

    def listen(self) -> None:
        """Raise the flag at SIGTERM or SIGINT. Only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        """Raise the flag."""
        if not self._asked.is_set():
            self._asked_at = time.monotonic()
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether the worker is to stop."""
        return self._asked.is_set()

    @property
    def overdue(self) -> bool:
        """Whether whoever still waits for a dependency must give up."""
        return self.asked and time.monotonic() - self._asked_at > DRAIN_SECONDS_MAX

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the flag is raised; once it is, in short steps."""
        if self.asked:
            time.sleep(min(seconds, 0.1))
        else:
            self._asked.wait(seconds)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()
