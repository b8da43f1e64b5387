"""How far a batch has come, on standard error: a bar for a person at a terminal, a line now and then for a log.

It counts what the broker acknowledged, not what was handed over: a full bar means that nothing is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from types import TracebackType

LINES = 10
"""Plain lines in a whole batch."""


class Progress:
    """Progress of `total` records of one topic; with `total` None nothing is shown."""

    def __init__(self, topic: str, total: int | None, console: Console | None = None) -> None:
        self._topic = topic
        self._total = total
        self._done = 0
        self._console = console or Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=total is None or not self._console.is_terminal,
        )
        self._shown = self._bar.add_task(topic, total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def acknowledged(self, topic: str, records: int) -> None:
        """Count records that the broker has; those of other topics are not part of the batch."""
        if topic != self._topic or not self._total:
            return
        before, self._done = self._done, self._done + records
        self._bar.advance(self._shown, records)
        if self._bar.disable and before * LINES // self._total < self._done * LINES // self._total:
            self._console.print(
                f"{self._topic}: {self._done:,} of {self._total:,} acknowledged", highlight=False, soft_wrap=True
            )
