"""How a worker is told to stop: SIGTERM or SIGINT sets a flag, the source sees it and ends, all else follows.

Bytewax itself dies at once of SIGTERM, without a last recovery state; and a shell's background job starts with SIGINT
ignored, so both handlers are installed explicitly.

The times of a stop nest, so that each outer one still sees the inner one out: a dependency may hold it up for five
seconds, a worker ends itself after seven, its supervisor kills it after eight, and the whole is done within ten.
"""

from __future__ import annotations

import queue
import signal
import time
from types import FrameType

DRAIN_SECONDS_MAX = 5.0
"""How long a dependency that is away may hold up a stop."""
DRAIN_SECONDS_HARD = 7.0
"""After this a worker that is still there ends itself, whatever it waits for: the next start repeats what it must."""


class Drain:
    """A flag that is raised once. Waits notice it at once instead of at their end."""

    def __init__(self) -> None:
        self._asked = False
        self._asked_at = 0.0
        # A signal handler may interrupt a wait anywhere. An Event's lock could be held just then, and the handler
        # would wait for its own thread for ever; a SimpleQueue's `put` is made to be called so.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Raise the flag at SIGTERM or SIGINT. Only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        """Raise the flag."""
        if not self._asked:
            self._asked_at = time.monotonic()
            self._asked = True
            self._bell.put(None)

    @property
    def asked(self) -> bool:
        """Whether the worker is to stop."""
        return self._asked

    @property
    def asked_seconds(self) -> float:
        """How long ago the worker was told to stop; 0 while it was not."""
        return time.monotonic() - self._asked_at if self._asked else 0.0

    @property
    def overdue(self) -> bool:
        """Whether whoever still waits for a dependency must give up."""
        return self.asked_seconds > DRAIN_SECONDS_MAX

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the flag is raised; once it is, in short steps."""
        if self._asked:
            time.sleep(min(seconds, 0.1))
            return
        try:
            self._bell.get(timeout=seconds)
        except queue.Empty:
            return
        self._bell.put(None)  # for whoever else waits

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()
