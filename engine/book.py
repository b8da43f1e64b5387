"""What the engine holds: every portfolio's positions, as arrays. Pure state: no I/O, no clock, no risk.

Positions live in one arena of parallel arrays (symbol, quantity, sector); a portfolio is a row that points at its
stretch of the arena. An update writes a new stretch and abandons the old one; when the arena is full it is packed, with
a fifth of it to spare. So an update costs its own positions and its share of a packing, a tick costs one pass over the
arena, and nothing here is a Python object per position.

A portfolio normally comes through one partition, whose offsets order its updates. Clients differ in how they choose a
partition for a key, so two senders may put one portfolio into two; offsets of different partitions say nothing of each
other, and then the time of the Kafka record decides. Its *statement number* counts what was stated through all of them:
it grows with every record of the portfolio, and the log gives the same number in whatever order it is read.

Strings are numbered when first met (`Names`). Symbols are shared with the market: `book.symbols` numbers both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import PortfolioRecord, PortfolioUpdate, RiskTolerance

SYMBOLS_MAX = 20_000
"""Distinct symbols in one book. Each costs rows of returns, some 9 KB, so a stream of made-up ones must end."""
NO_VERSION = -1
NO_NAME = -1
NEVER_PUBLISHED = -1
RECENT_SESSIONS_MAX = 256
"""Sessions of the live backtest kept one by one: the 250 of Basel's traffic light, in whole bytes."""
SPARE = 0.2
"""Room kept beyond what is held, as a share of it. Arrays that double would take a portfolio's memory twice over; with
less room than this, copying them would take more time than it does for what is in them."""
TOLERANCES = list(RiskTolerance)

_ROW = np.dtype(
    [
        ("advisor", np.int32),
        ("client", np.int32),
        ("tolerance", np.int8),
        ("account", np.int32),
        ("cash", np.float64),
        ("event_time_ns", np.int64),
        ("version", np.int64),
        ("partition", np.int32),
        ("offset", np.int64),
        ("record_time_ms", np.int64),
        ("statement", np.int64),
        ("start", np.int64),
        ("length", np.int32),
        ("calculations", np.int64),
        ("calculation_ms", np.float64),
        ("history_minute", np.int64),
        ("published_ns", np.int64),
        ("published_watermark", np.int64),
        ("open", np.bool_),
        ("touched", np.bool_),
        ("restated", np.bool_),
        ("judged", np.int32),
        ("judged_from", np.int32),
        ("judged_to", np.int32),
        ("exceptions_95", np.int32),
        ("exceptions_99", np.int32),
        ("recent_95", np.uint8, (RECENT_SESSIONS_MAX // 8,)),
        ("recent_99", np.uint8, (RECENT_SESSIONS_MAX // 8,)),
        ("rejudged", np.bool_),
    ]
)
"""`calculation_ms` is the sum over all calculations; `restated`: positions not yet written since they
changed; `published_watermark`: the market watermark of the last snapshot of these positions. Of the live backtest: how
many sessions were judged, from which day to which (since 1970), and `rejudged`: not yet written since."""


class Origin(NamedTuple):
    """Where a record stands in Kafka, and when it was written there."""

    partition: int
    offset: int
    time_ms: int = 0

    def is_after(self, other: Origin) -> bool:
        """Whether this record is the later one: by offset within a partition, by time between two."""
        if self.partition == other.partition:
            return self.offset > other.offset
        return (self.time_ms, self.partition) > (other.time_ms, other.partition)


class Names:
    """Strings numbered from 0 in the order they were first met."""

    def __init__(self, known: list[str] | None = None) -> None:
        self.known: list[str] = list(known or ())
        self._number = {name: number for number, name in enumerate(self.known)}

    def __len__(self) -> int:
        return len(self.known)

    def number(self, name: str) -> int:
        """The name's number, a new one if it is new."""
        number = self._number.get(name)
        if number is None:
            number = self._number[name] = len(self.known)
            self.known.append(name)
        return number

    def find(self, name: str) -> int | None:
        """The name's number, None if it was never met."""
        return self._number.get(name)


@dataclass(slots=True)
class Arena:
    """Positions of all portfolios, side by side. `row` is -1 where a stretch was abandoned."""

    row: NDArray[np.int32] = field(default_factory=lambda: np.full(1024, -1, np.int32))
    symbol: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1024, np.int32))
    sector: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1024, np.int32))
    quantity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1024))
    end: int = 0
    abandoned: int = 0

    def __len__(self) -> int:
        return self.end - self.abandoned

    def resized(self, keep: NDArray[Any] | slice, capacity: int) -> Arena:
        """A copy holding only `keep`, in that order, with room for `capacity` positions."""
        kept = self.row[keep]
        new = Arena(
            np.full(capacity, -1, np.int32),
            np.zeros(capacity, np.int32),
            np.zeros(capacity, np.int32),
            np.zeros(capacity),
            end=len(kept),
            abandoned=int(np.count_nonzero(kept < 0)),
        )
        for name in ("row", "symbol", "sector", "quantity"):
            getattr(new, name)[: len(kept)] = getattr(self, name)[keep]
        return new


class Book:
    """The positions of one worker's portfolios.

    `rows` is a structured array, one element a portfolio; `ids[row]` is its id, empty where the row is free.
    """

    def __init__(self) -> None:
        self.symbols = Names()
        self.advisors = Names()
        self.clients = Names()
        self.accounts = Names()
        self.sector_names = Names()
        self.ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self.rows = np.zeros(256, _ROW)
        self.arena = Arena()
        self._free: list[int] = []
        self._closed: dict[str, Origin] = {}
        """Where a portfolio was closed: what came before it through another partition must not open it again."""
        self._offsets: dict[str, dict[int, int]] = {}
        """Newest offset in each partition, of the few portfolios that came through several."""

    def __len__(self) -> int:
        return len(self.row_of)

    # --- applying ------------------------------------------------------------------------------------------------

    def apply(self, update: PortfolioUpdate, event_time_ns: int, origin: Origin) -> bool:
        """Take a portfolio as its owner now states it. False if we already hold something newer (a stale record).

        Raises `BadMessage`: VERSION_CONFLICT where the sender reuses a version for other positions, OUT_OF_RANGE
        where the book knows too many symbols to take a new one.
        """
        row = self.row_of.get(update.id)
        if self._is_stale(update, row, origin):
            self._count(update.id, row, origin)
            return False
        symbols = [
            admit(self.symbols, position.symbol, f"positions[{index}].symbol")
            for index, position in enumerate(update.positions)
        ]
        statement = self._count(update.id, row, origin)
        if row is None:
            row = self._open(update.id)
        stretch = self._reserve(row, len(symbols))
        arena = self.arena
        arena.symbol[stretch] = symbols
        arena.quantity[stretch] = [position.quantity for position in update.positions]
        arena.sector[stretch] = [_number(self.sector_names, position.sector) for position in update.positions]
        stated = self.rows[row]
        stated["advisor"] = self.advisors.number(update.advisor_id)
        stated["client"] = _number(self.clients, update.client_id)
        stated["tolerance"] = TOLERANCES.index(update.risk_tolerance)
        stated["account"] = _number(self.accounts, update.account_type)
        stated["cash"] = update.cash
        stated["event_time_ns"] = event_time_ns
        stated["version"] = NO_VERSION if update.version is None else update.version
        stated["partition"], stated["offset"], stated["record_time_ms"] = origin
        stated["statement"] = statement
        self._closed.pop(update.id, None)
        stated["published_watermark"] = NEVER_PUBLISHED
        stated["touched"] = stated["restated"] = True
        return True

    def close(self, portfolio_id: str, origin: Origin) -> int | None:
        """Forget a portfolio; the statement number of its end. None if it was stated anew since (a stale record).

        One that is not held counts as closed: a log that was compacted may hold nothing else of it, and others may
        still show what an earlier engine said.
        """
        row = self.row_of.get(portfolio_id)
        held = self._held(portfolio_id, row)
        statement = self._count(portfolio_id, row, origin)
        if held is not None and not origin.is_after(held):
            return None
        self._closed[portfolio_id] = origin
        if row is None:
            return statement
        self._abandon(row)
        self.rows["open"][row] = False
        del self.row_of[portfolio_id]
        self.ids[row] = ""
        self._free.append(row)
        return statement

    def touch_holders(self, moved: NDArray[np.bool_]) -> None:
        """Mark every portfolio that holds one of the `moved` (symbol,) symbols as due for revaluation."""
        arena = self.arena
        held = arena.row[: arena.end][moved[arena.symbol[: arena.end]]]
        self.rows["touched"][held[held >= 0]] = True

    # --- reading -------------------------------------------------------------------------------------------------

    def open_rows(self) -> NDArray[np.int64]:
        """Every portfolio there is."""
        return np.flatnonzero(self.rows["open"])

    def positions(self, rows: NDArray[np.int64]) -> csr_array:
        """Quantities of some portfolios, (portfolio, symbol), in the order of `rows`."""
        where, starts = self._stretches(rows)
        return csr_array(
            (self.arena.quantity[where], self.arena.symbol[where], starts), shape=(len(rows), len(self.symbols))
        )

    def record(self, row: int) -> PortfolioRecord:
        """One portfolio's positions as applied."""
        stated = self.rows[row]
        stretch = slice(int(stated["start"]), int(stated["start"]) + int(stated["length"]))
        version = int(stated["version"])
        return PortfolioRecord(
            portfolio_id=self.ids[row],
            advisor_id=self.advisors.known[stated["advisor"]],
            client_id=_name(self.clients, int(stated["client"])),
            risk_tolerance=TOLERANCES[stated["tolerance"]],
            account_type=_name(self.accounts, int(stated["account"])),
            cash=float(stated["cash"]),
            symbols=[self.symbols.known[symbol] for symbol in self.arena.symbol[stretch].tolist()],
            quantities=self.arena.quantity[stretch].tolist(),
            sectors=[_name(self.sector_names, sector) for sector in self.arena.sector[stretch].tolist()],
            event_time_ns=int(stated["event_time_ns"]),
            version=None if version == NO_VERSION else version,
            source_partition=int(stated["partition"]),
            source_offset=int(stated["offset"]),
        )

    def sectors(self) -> dict[int, str]:
        """Sector by symbol number, as positions state it; where two disagree, one of them."""
        held = self.arena.row[: self.arena.end] >= 0
        sector = np.full(len(self.symbols), NO_NAME, np.int32)
        sector[self.arena.symbol[: self.arena.end][held]] = self.arena.sector[: self.arena.end][held]
        return {number: self.sector_names.known[sector[number]] for number in np.flatnonzero(sector >= 0).tolist()}

    # --- recovery state ------------------------------------------------------------------------------------------

    def recovery_state(self) -> dict[str, Any]:
        """A copy of everything above that cannot be derived: what is saved at an epoch."""
        self._pack()
        return {
            "names": [
                list(n.known) for n in (self.symbols, self.advisors, self.clients, self.accounts, self.sector_names)
            ],
            "ids": list(self.ids),
            "rows": self.rows[: len(self.ids)].copy(),
            "arena": self.arena.resized(slice(0, self.arena.end), self.arena.end),
            "closed": dict(self._closed),
            "offsets": {portfolio_id: dict(offsets) for portfolio_id, offsets in self._offsets.items()},
        }

    @classmethod
    def recovered(cls, state: dict[str, Any]) -> Book:
        """The book that `recovery_state` described."""
        book = cls()
        book.symbols, book.advisors, book.clients, book.accounts, book.sector_names = map(Names, state["names"])
        book.ids = list(state["ids"])
        book._closed, book._offsets = dict(state["closed"]), {k: dict(v) for k, v in state["offsets"].items()}
        book.row_of = {portfolio_id: row for row, portfolio_id in enumerate(book.ids) if portfolio_id}
        book._free = [row for row, portfolio_id in enumerate(book.ids) if not portfolio_id]
        book.rows = np.zeros(max(256, len(book.ids)), _ROW)
        book.rows[: len(book.ids)] = state["rows"]
        book.rows["touched"] = book.rows["restated"] = book.rows["rejudged"] = book.rows["open"]
        book.arena = state["arena"].resized(slice(0, state["arena"].end), _roomy(state["arena"].end))
        return book

    # --- the arena -----------------------------------------------------------------------------------------------

    def _held(self, portfolio_id: str, row: int | None) -> Origin | None:
        """Where the record stands that said last what a portfolio is, or that it is closed."""
        if row is None:
            return self._closed.get(portfolio_id)
        stated = self.rows[row]
        return Origin(int(stated["partition"]), int(stated["offset"]), int(stated["record_time_ms"]))

    def _count(self, portfolio_id: str, row: int | None, origin: Origin) -> int:
        """Count a record of the portfolio, stale or not; its statement number then."""
        held, offsets = self._held(portfolio_id, row), self._offsets.get(portfolio_id)
        if offsets is None and held is not None and held.partition != origin.partition:
            offsets = self._offsets[portfolio_id] = {held.partition: held.offset}
        if offsets is None:
            statement = 1 + (origin.offset if held is None else max(held.offset, origin.offset))
        else:
            offsets[origin.partition] = max(origin.offset, offsets.get(origin.partition, -1))
            statement = sum(offset + 1 for offset in offsets.values())
        if row is not None and self.rows["statement"][row] != statement:
            self.rows["statement"][row] = statement
            self.rows["touched"][row] = True
        return statement

    def _is_stale(self, update: PortfolioUpdate, row: int | None, origin: Origin) -> bool:
        held_at = self._held(update.id, row)
        if held_at is not None and not origin.is_after(held_at):
            return True
        held = NO_VERSION if row is None else int(self.rows["version"][row])
        if update.version is None or held == NO_VERSION or update.version > held:
            return False
        if row is not None and update.version == held and not self._says_the_same(row, update):
            raise BadMessage(
                Reason.VERSION_CONFLICT,
                f"version {held} of {update.id} was applied with other content; state changes under a new version",
                "version",
            )
        return True

    def _says_the_same(self, row: int, update: PortfolioUpdate) -> bool:
        held = self.record(row)
        return (
            held.advisor_id == update.advisor_id
            and held.cash == update.cash
            and dict(zip(held.symbols, held.quantities, strict=True))
            == {position.symbol: position.quantity for position in update.positions}
        )

    def _open(self, portfolio_id: str) -> int:
        if self._free:
            row = self._free.pop()
            self.ids[row] = portfolio_id
        else:
            row = len(self.ids)
            self.ids.append(portfolio_id)
            if row == len(self.rows):
                self.rows = np.concatenate([self.rows, np.zeros(_roomy(row) - row, _ROW)])
        self.rows[row] = np.zeros((), _ROW)
        self.rows["open"][row] = True
        self.row_of[portfolio_id] = row
        return row

    def _reserve(self, row: int, length: int) -> slice:
        """A fresh stretch of the arena for a portfolio, in place of the one it had."""
        self._abandon(row)
        if self.arena.end + length > len(self.arena.row):
            self._pack(room=length)
        start = self.arena.end
        self.arena.end += length
        self.arena.row[start : self.arena.end] = row
        self.rows["start"][row], self.rows["length"][row] = start, length
        return slice(start, self.arena.end)

    def _abandon(self, row: int) -> None:
        start, length = int(self.rows["start"][row]), int(self.rows["length"][row])
        self.arena.row[start : start + length] = -1
        self.arena.abandoned += length
        self.rows["length"][row] = 0

    def _pack(self, room: int = 0) -> None:
        """Drop what was abandoned, and leave some room, so that packing stays rare."""
        rows = self.open_rows()
        where, starts = self._stretches(rows)
        self.arena = self.arena.resized(where, _roomy(len(where) + room))
        self.rows["start"][rows] = starts[:-1]

    def _stretches(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the positions of `rows` lie in the arena, one after another, and where each portfolio starts."""
        lengths = self.rows["length"][rows].astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.rows["start"][rows] - starts[:-1], lengths)
        return np.arange(starts[-1]) + shift, starts


def _roomy(count: int) -> int:
    """How long an array of so many should be."""
    return max(1024, int((1.0 + SPARE) * count))


def admit(symbols: Names, symbol: str, field: str) -> int:
    """A symbol's number, a new one if it is new. Raises `BadMessage` naming `field` where the book is full."""
    known = symbols.find(symbol)
    if known is not None:
        return known
    if len(symbols) >= SYMBOLS_MAX:
        raise BadMessage(
            Reason.OUT_OF_RANGE, f"{symbol} is new, and the book knows {SYMBOLS_MAX} symbols, its most", field
        )
    return symbols.number(symbol)


def _number(names: Names, name: str | None) -> int:
    return NO_NAME if name is None else names.number(name)


def _name(names: Names, number: int) -> str | None:
    return None if number == NO_NAME else names.known[number]
