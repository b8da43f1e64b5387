"""Every record ends in exactly one of applied, stale or dead-lettered; this is where it is decided and counted.

`Ledger.take` folds one Kafka record into the book or the marks. It never raises for what a record holds: one stray
exception ends a Bytewax flow, and a flow that dies at a record dies there again after every restart.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from engine.book import Book, Origin
from engine.market import Marks
from engine.names import admit
from engine.tally import Flood, Tally
from plimsoll import messages, topics
from plimsoll.errors import BadMessage, PlimsollError, Reason
from plimsoll.messages import DeadLetter

STATE_FORMAT = 3
"""Of the recovery state: raise it whenever one written before cannot be continued (steps, fields, meaning)."""
RAW_SIZE_MAX = 64 * 1024
"""Bytes of a record that a dead letter keeps, so that the letter itself always fits the broker's limit."""
KEY_SIZE_MAX = 1_024
"""Bytes of a key that a dead letter keeps. Ours have 64 at the most, so one that is cut is none of ours either way."""
TEXT_SIZE_MAX = 1_000
"""Characters of a letter's field and detail: they quote what a record holds, and may be as long as it is."""

log = logging.getLogger(__name__)


class Record(Struct, frozen=True, gc=False):
    """One Kafka record as the source read it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int = 0
    """When it was written, as Kafka has it."""

    @property
    def origin(self) -> Origin:
        """Where it stands among the records of its topic."""
        return Origin(self.partition, self.offset, self.time_ms)


class StateOfAnotherVersion(PlimsollError):
    """The recovery state has another layout. Start with another recovery directory: the log has everything."""


class Closed(NamedTuple):
    """A portfolio that its owner closed, and the statement number of its end."""

    portfolio_id: str
    statement: int


@dataclass(slots=True)
class Ledger:
    """The book, the marks, how far each market partition has been read, and the counters.

    `judged_to` is the newest session that the live backtest has counted; empty before the first.
    """

    book: Book
    marks: Marks
    tally: Tally = field(default_factory=Tally)
    flood: Flood = field(default_factory=lambda: Flood(1.0, 1))
    read_to: dict[tuple[str, int], int] = field(default_factory=dict)
    """Market topic and partition to the next offset: what the market watermark is the sum of."""
    reread: dict[tuple[str, int], int] = field(default_factory=dict)
    """Closes are read again at every start; those below this offset were counted before."""
    closed: dict[str, Closed] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    judged_to: str = ""
    corrections: int = 0
    """How often the market was derived anew because of what was said of a proxied symbol."""

    @property
    def market_watermark(self) -> int:
        """How many market records the marks and the scenario set know of, and how often proxies changed between them.

        Never falls. A proxy follows what others say of its symbol, in records that are counted elsewhere or were
        counted before; without this, what is then valued anew would have the sequence of what it corrects.
        """
        return sum(self.read_to.values()) + self.corrections

    @property
    def applied(self) -> int:
        """Records folded in."""
        return self.tally.applied.total()

    @property
    def stale(self) -> int:
        """Records older than what was held."""
        return self.tally.stale.total()

    @property
    def dead_lettered(self) -> int:
        """Records set aside."""
        return self.tally.dead.total()

    def take_all(
        self, records: Sequence[Record], now_ns: int, reading: Callable[[str, int, int], None] | None = None
    ) -> None:
        """`take` for each; `reading` is told topic, partition and offset before, so that a death there has a place.

        Raises `DeadLetterBurst` where too large a share of a topic ends as dead letters.
        """
        dead_before = self.tally.dead.copy()
        for record in records:
            if reading is not None:
                reading(record.topic, record.partition, record.offset)
            self.take(record, now_ns)
        for topic, count in Counter(record.topic for record in records).items():
            self.flood.note(topic, count, self.tally.dead[topic] - dead_before[topic])

    def take(self, record: Record, now_ns: int) -> None:
        """Apply one record, or count it stale, or set it aside; `now_ns` is our clock, against claims of the future."""
        try:
            applied = self._apply(record, now_ns)
        except BadMessage as bad:
            self._set_aside(record, bad, now_ns)
        except Exception as error:
            # The last resort that keeps the flow alive: the record is kept, and the cause is ours to mend.
            log.exception("a record could not be applied", extra={"source": _position(record)})
            internal = BadMessage(Reason.INTERNAL, f"{type(error).__name__}; the engine's log has the cause")
            self._set_aside(record, internal, now_ns)
        else:
            if not self._was_counted(record):
                (self.tally.applied if applied else self.tally.stale)[record.topic] += 1

    def _was_counted(self, record: Record) -> bool:
        """Whether it is one of the closes that are read again at every start."""
        return bool(self.reread) and record.offset < self.reread.get((record.topic, record.partition), 0)

    def _apply(self, record: Record, now_ns: int) -> bool:
        """Fold the record in; False where something newer is held already. Raises `BadMessage`."""
        if record.topic == topics.PORTFOLIO_UPDATES.name:
            return self._apply_portfolio(record, now_ns)
        where = (record.topic, record.partition)
        reread = record.offset < self.reread.get(where, 0)
        if record.offset < self.read_to.get(where, 0) and not reread:
            return False
        # Also where the record turns out bad: the watermark says what has been read.
        self.read_to[where] = max(self.read_to.get(where, 0), record.offset + 1)
        if record.value is None:
            raise BadMessage(Reason.SCHEMA, "a null value: a price or a close cannot be taken back, only replaced")
        if record.topic == topics.MARKET_DATA.name:
            tick, time_ns = messages.decode_timed_tick(record.key, record.value, now_ns)
            admit(self.book.symbols, tick.symbol, "symbol")
            self.marks.tick(tick, time_ns)
        else:
            close = messages.decode_market_close(record.key, record.value, now_ns)
            for symbol in close.closes:
                admit(self.book.symbols, symbol, f"closes.{symbol}")
            self.marks.close(close, record.time_ms)
        return True

    def _apply_portfolio(self, record: Record, now_ns: int) -> bool:
        if record.value is None:
            portfolio_id = messages.decode_closed_portfolio(record.key)
            statement = self.book.close(portfolio_id, record.origin)
            if statement is None:
                return False
            self.closed[portfolio_id] = Closed(portfolio_id, statement)
            return True
        update, time_ns = messages.decode_timed_update(record.key, record.value, now_ns)
        applied = self.book.apply(update, time_ns, record.origin)
        if applied and self.closed:
            self.closed.pop(update.id, None)
        return applied

    def _set_aside(self, record: Record, bad: BadMessage, now_ns: int) -> None:
        if self._was_counted(record):
            return  # Its letter was out before the state was saved that says so.
        self.tally.dead[record.topic] += 1
        self.tally.reasons[bad.reason] += 1
        raw = record.value or b""
        self.dead.append(
            DeadLetter(
                reason=bad.reason,
                field=bad.field[:TEXT_SIZE_MAX],
                detail=bad.detail[:TEXT_SIZE_MAX],
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=None if record.key is None else record.key[:KEY_SIZE_MAX],
                raw=raw[:RAW_SIZE_MAX],
                raw_size=len(raw),
                raw_truncated=len(raw) > RAW_SIZE_MAX,
                sha256=hashlib.sha256(raw).hexdigest(),
                dead_at_ns=now_ns,
            )
        )

    def take_closed(self) -> list[Closed]:
        """The portfolios closed since last asked."""
        closed, self.closed = list(self.closed.values()), {}
        return closed

    def take_dead(self) -> list[DeadLetter]:
        """The dead letters written since last asked."""
        dead, self.dead = self.dead, []
        return dead

    # --- recovery state ------------------------------------------------------------------------------------------

    def recovery_state(self) -> dict[str, Any]:
        """A copy of what an epoch saves: positions, ticks, offsets and counters."""
        return {
            "format": STATE_FORMAT,
            "book": self.book.recovery_state(),
            "marks": self.marks.recovery_state(),
            "read_to": dict(self.read_to),
            "tally": self.tally.recovery_state(),
            "judged_to": self.judged_to,
            "corrections": self.corrections,
        }

    @classmethod
    def recovered(cls, state: dict[str, Any] | None, benchmark: str | None, window: int, decay: float) -> Ledger:
        """The ledger that `recovery_state` described; an empty one without a state."""
        if state is None:
            book = Book()
            return cls(book, Marks(book.symbols, benchmark, window, decay))
        if state.get("format") != STATE_FORMAT:
            raise StateOfAnotherVersion(
                "the recovery directory was written by another version of the engine: delete it, or give another one;"
                " everything in it is built again from Kafka"
            )
        book = Book.recovered(state["book"])
        marks = Marks(book.symbols, benchmark, window, decay)
        marks.recover(state["marks"])
        read_to = dict(state["read_to"])
        closes = {where: offset for where, offset in read_to.items() if where[0] == topics.MARKET_CLOSES.name}
        tally = Tally.recovered(state["tally"])
        return cls(
            book,
            marks,
            tally,
            read_to=read_to,
            reread=closes,
            judged_to=state["judged_to"],
            corrections=state["corrections"],
        )


def _position(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
