"""One JSON object a line on standard error: what a log collector wants and a person can still read."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonLine(logging.Formatter):
    """Time, level, logger, message, then whatever was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback goes into its own field, so a line stays a line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class AtMostEvery(logging.Filter):
    """Lets one line of a logger through in each interval, and says how many it held back.

    For what a library repeats many times a second while its other end is away.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next = 0.0
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is due."""
        if record.created < self._next:
            self._held_back += 1
            return False
        record.held_back = self._held_back
        self._next = record.created + self._seconds
        self._held_back = 0
        return True


def configure(level: str) -> None:
    """Send every logger of the process to standard error as JSON lines, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
