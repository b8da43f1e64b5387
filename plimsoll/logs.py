"""One JSON object a line on standard error: what a log collector wants and a person can still read.

A line carries what its request carries (`CONTEXT`), and never a password: what stands before the host of a URL is
struck out, wherever in the line it is.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
# Greedy, because passwords hold every character; bounded, because lines may be long and end in no @ at all.
_CREDENTIALS = re.compile(r'://(?:[^\s"\\]|\\[^nrt]){0,512}@')

CONTEXT: Final[ContextVar[dict[str, str]]] = ContextVar("log context", default={})  # noqa: B039  # see below
"""Fields of every line written in this task and those it starts, such as `request_id`. Set anew, never changed."""


class JsonLine(logging.Formatter):
    """Time, level, logger, message, the fields of `CONTEXT`, then whatever was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback goes into its own field, so a line stays a line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= CONTEXT.get()
        fields |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(fields, default=str, ensure_ascii=False))


def redacted(text: str) -> str:
    """A text without what URLs in it say before an @: names and passwords. Too much goes rather than too little."""
    return _CREDENTIALS.sub("://[redacted]@", text) if "://" in text else text


class AtMostEvery(logging.Filter):
    """Lets some lines of a logger through in each interval, and says how many it held back before.

    For what a library repeats many times a second while its other end is away.
    """

    def __init__(self, seconds: float, lines: int = 1) -> None:
        super().__init__()
        self._seconds = seconds
        self._lines = lines
        self._left = 0
        self._next = 0.0
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is due."""
        if record.created >= self._next:
            self._next = record.created + self._seconds
            self._left = self._lines
        if self._left == 0:
            self._held_back += 1
            return False
        self._left -= 1
        record.held_back = self._held_back
        self._held_back = 0
        return True


def configure(level: str) -> None:
    """Send every logger of the process to standard error as JSON lines, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
