"""How far a long computation has come: a bar on standard error, for a person at a terminal who has waited a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE_SECONDS = 1.0
"""What takes less needs no bar; it would only flicker."""


class Progress:
    """A bar that comes when the work takes long, and goes when it is done. It is called with (done, of how many)."""

    def __init__(self, what: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._began = clock()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None)
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if not self._shown and self._clock() - self._began >= PATIENCE_SECONDS:
            self._shown = True
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> Self:
        """Begin to wait."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the bar away."""
        if self._shown:
            self._bar.stop()
