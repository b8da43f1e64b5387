"""What the engine holds: every portfolio's positions, as arrays. Pure state: no I/O, no clock, no risk.

Positions live in one arena of parallel arrays (symbol, quantity, sector); a portfolio is a row that points at its
stretch of the arena. An update writes a new stretch and abandons the old one; when the arena is full it is packed, with
a fifth of it to spare. So an update costs its own positions and its share of a packing, a tick costs one pass over the
arena, and nothing here is a Python object per position.

Updates are decided one by one and written together: `apply` numbers what an update says and sets it down in lists, and
the next look at the arrays (`rows`, `positions`, …) first writes all of them at once.

A portfolio normally comes through one partition, whose offsets order its updates. Clients differ in how they choose a
partition for a key, so two senders may put one portfolio into two; offsets of different partitions say nothing of each
other, and then the time of the Kafka record decides. Its *statement number* counts what was stated through all of them:
it grows with every record of the portfolio, and the log gives the same number in whatever order it is read.

Strings are numbered when first met (`Names`). Symbols are shared with the market: `book.symbols` numbers both.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engine.columns import ROWS_LEAST, Arena, Columns, roomy, stretches
from engine.names import NO_NAME, Names, admit
from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import PortfolioRecord, PortfolioUpdate, Position, RiskTolerance, require_symbols

NO_VERSION = -1
NEVER_PUBLISHED = -1
TOLERANCES = list(RiskTolerance)
_TOLERANCE = {tolerance: number for number, tolerance in enumerate(TOLERANCES)}


class Origin(Struct, frozen=True, order=True, gc=False):
    """Where a record stands in Kafka, and when it was written there."""

    partition: int
    offset: int
    time_ms: int = 0

    def is_after(self, other: Origin) -> bool:
        """Whether this record is the later one: by offset within a partition, by time between two."""
        if self.partition == other.partition:
            return self.offset > other.offset
        return (self.time_ms, self.partition) > (other.time_ms, other.partition)


_STATED = (
    "row", "length", "advisor", "client", "tolerance", "account", "cash", "event_time_ns", "version", "partition",
    "offset", "record_time_ms", "statement",
)  # fmt: skip
"""What is set down of an update on its way into the columns: where it goes, then by the columns' names."""


class Book:
    """The positions of one worker's portfolios. `ids[row]` is a portfolio's id, empty where the row is free."""

    def __init__(self) -> None:
        self.symbols = Names()
        self.advisors = Names()
        self.clients = Names()
        self.accounts = Names()
        self.sector_names = Names()
        self.ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self._rows = Columns()
        self._arena = Arena()
        self._free: list[int] = []
        self._closed: dict[str, Origin] = {}
        """Where a portfolio was closed: what came before it through another partition must not open it again."""
        self._offsets: dict[str, dict[int, int]] = {}
        """Newest offset in each partition, of the few portfolios that came through several."""
        self._stated: list[tuple[Any, ...]] = []
        self._stated_rows: set[int] = set()
        self._stated_symbols: list[int] = []
        self._stated_quantities: list[float] = []
        self._stated_sectors: list[int] = []

    def __len__(self) -> int:
        return len(self.row_of)

    # --- applying ------------------------------------------------------------------------------------------------

    def apply(self, update: PortfolioUpdate, event_time_ns: int, origin: Origin) -> bool:
        """Take a portfolio as its owner now states it. False if we already hold something newer (a stale record).

        Its symbols are looked at here, where most are known. Raises `BadMessage`: SCHEMA where one is no identifier,
        DUPLICATE_SYMBOL where it is held twice, OUT_OF_RANGE where the book knows too many to take a new one, and
        VERSION_CONFLICT where the sender reuses a version for other positions.
        """
        row = self.row_of.get(update.id)
        if row in self._stated_rows:
            self._settle()
        positions, numbered = update.positions, self.symbols.numbered
        try:
            symbols = [numbered[position.symbol] for position in positions]
        except KeyError:
            symbols = [admit(self.symbols, held.symbol, f"positions[{i}].symbol") for i, held in enumerate(positions)]
        if len(set(symbols)) < len(symbols):
            require_symbols(update)
        statement = self._statement(update, row, origin)
        if statement is None:
            return False
        if row is None:
            row = self._open(update.id)
            self._closed.pop(update.id, None)
        self._stated_rows.add(row)
        self._stated_symbols += symbols
        self._stated_quantities += [position.quantity for position in positions]
        self._stated_sectors += self._sectors_of(positions)
        self._stated.append(
            (
                row,
                len(symbols),
                self.advisors.number(update.advisor_id),
                self.clients.number_of_optional(update.client_id),
                _TOLERANCE[update.risk_tolerance],
                self.accounts.number_of_optional(update.account_type),
                update.cash,
                event_time_ns,
                NO_VERSION if update.version is None else update.version,
                origin.partition,
                origin.offset,
                origin.time_ms,
                statement,
            )
        )
        return True

    def close(self, portfolio_id: str, origin: Origin) -> int | None:
        """Forget a portfolio; the statement number of its end. None if it was stated anew since (a stale record).

        One that is not held counts as closed: a log that was compacted may hold nothing else of it, and others may
        still show what an earlier engine said.
        """
        self._settle()
        row = self.row_of.get(portfolio_id)
        held = self._held(portfolio_id, row)
        statement = self._count(portfolio_id, row, origin)
        if held is not None and not origin.is_after(held):
            return None
        self._closed[portfolio_id] = origin
        if row is None:
            return statement
        self._abandon(np.array([row]))
        self._rows["open"][row] = False
        del self.row_of[portfolio_id]
        self.ids[row] = ""
        self._free.append(row)
        return statement

    def touch_holders(self, moved: NDArray[np.float64]) -> None:
        """Mark every portfolio that holds a symbol whose mark moved as due for revaluation, and by how much money.

        moved  (symbol,) by how much each mark moved since last told, whatever the direction
        """
        arena, rows = self.arena, self._rows
        held = slice(arena.end)
        money = np.abs(arena.quantity[held])
        money *= moved[arena.symbol[held]]
        # Abandoned stretches belong to row -1: theirs is the first sum, and nobody's.
        movement = np.bincount(arena.row[held] + 1, money, len(rows) + 1)[1:]
        rows["movement"] += movement
        rows["touched"] |= movement > 0.0

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Columns:
        """One element a portfolio in each column."""
        self._settle()
        return self._rows

    @property
    def arena(self) -> Arena:
        """The positions of all portfolios."""
        self._settle()
        return self._arena

    def open_rows(self) -> NDArray[np.int64]:
        """Every portfolio there is."""
        return np.flatnonzero(self.rows["open"])

    def positions(self, rows: NDArray[np.int64]) -> csr_array:
        """Quantities of some portfolios, (portfolio, symbol), in the order of `rows`.

        A position of 0 units is stated, but holds nothing: it is no entry.
        """
        where, starts = self._stretches(rows)
        quantity = csr_array(
            (self._arena.quantity[where], self._arena.symbol[where], starts), shape=(len(rows), len(self.symbols))
        )
        if not quantity.data.all():
            quantity.eliminate_zeros()
        return quantity

    def record(self, row: int) -> PortfolioRecord:
        """One portfolio's positions as applied."""
        return self.records(np.array([row]))[0]

    def records(self, rows: NDArray[np.int64]) -> list[PortfolioRecord]:
        """Several portfolios' positions as applied, in the order of `rows`."""
        where, starts = self._stretches(rows)
        symbol, sector = (
            self.symbols.names(self._arena.symbol[where]),
            self.sector_names.names(self._arena.sector[where]),
        )
        quantity, cut = self._arena.quantity[where].tolist(), list(pairwise(starts.tolist()))
        table = self._rows
        version = table["version"][rows].tolist()
        columns = {
            "portfolio_id": [self.ids[row] for row in rows.tolist()],
            "advisor_id": self.advisors.names(table["advisor"][rows]),
            "client_id": self.clients.names(table["client"][rows]),
            "risk_tolerance": [TOLERANCES[number] for number in table["tolerance"][rows].tolist()],
            "account_type": self.accounts.names(table["account"][rows]),
            "cash": table["cash"][rows].tolist(),
            "symbols": [symbol[first:end] for first, end in cut],
            "quantities": [quantity[first:end] for first, end in cut],
            "sectors": [sector[first:end] for first, end in cut],
            "event_time_ns": table["event_time_ns"][rows].tolist(),
            "version": [None if number == NO_VERSION else number for number in version],
            "source_partition": table["partition"][rows].tolist(),
            "source_offset": table["offset"][rows].tolist(),
        }
        return list(map(PortfolioRecord, *(columns[name] for name in PortfolioRecord.__struct_fields__)))

    def sectors(self) -> dict[int, str]:
        """Sector by symbol number, as positions state it, where any does; where two disagree, one of them."""
        arena = self.arena
        held = (arena.row[: arena.end] >= 0) & (arena.sector[: arena.end] != NO_NAME)
        sector = np.full(len(self.symbols), NO_NAME, np.int32)
        sector[arena.symbol[: arena.end][held]] = arena.sector[: arena.end][held]
        return {number: self.sector_names.known[sector[number]] for number in np.flatnonzero(sector >= 0).tolist()}

    # --- recovery state ------------------------------------------------------------------------------------------

    def recovery_state(self) -> dict[str, Any]:
        """A copy of everything above that cannot be derived: what is saved at an epoch."""
        self._settle()
        self._pack()
        return {
            "names": [
                list(n.known) for n in (self.symbols, self.advisors, self.clients, self.accounts, self.sector_names)
            ],
            "ids": list(self.ids),
            "rows": self._rows.first(len(self.ids)),
            "arena": self._arena.resized(slice(0, self._arena.end), self._arena.end),
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
        rows = book._rows = Columns.holding(state["rows"])
        rows["touched"] = rows["restated"] = rows["rejudged"] = rows["open"]
        rows["movement"] = np.where(rows["open"], np.inf, 0.0)
        rows["published_ns"] = 0  # by whatever clock that was
        book._arena = state["arena"].resized(slice(0, state["arena"].end), roomy(state["arena"].end))
        return book

    # --- deciding ------------------------------------------------------------------------------------------------

    def _held(self, portfolio_id: str, row: int | None) -> Origin | None:
        """Where the record stands that said last what a portfolio is, or that it is closed."""
        if row is None:
            return self._closed.get(portfolio_id)
        rows = self._rows
        return Origin(rows["partition"].item(row), rows["offset"].item(row), rows["record_time_ms"].item(row))

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
        if row is not None and self._rows["statement"].item(row) != statement:
            self._rows["statement"][row] = statement
            self._rows["touched"][row] = True
            self._rows["movement"][row] = np.inf
        return statement

    def _statement(self, update: PortfolioUpdate, row: int | None, origin: Origin) -> int | None:
        """The update's statement number, counted; None where it is stale."""
        if row is None and update.version is None and update.id not in self._closed:
            return 1 + origin.offset  # never heard of, as far as we know: most of a first reading
        stale = self._is_stale(update, row, origin)
        statement = self._count(update.id, row, origin)
        return None if stale else statement

    def _is_stale(self, update: PortfolioUpdate, row: int | None, origin: Origin) -> bool:
        held_at = self._held(update.id, row)
        if held_at is not None and not origin.is_after(held_at):
            return True
        held = NO_VERSION if row is None else self._rows["version"].item(row)
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

    def _sectors_of(self, positions: list[Position]) -> list[int]:
        numbered = self.sector_names.numbered
        try:
            return [numbered[position.sector] for position in positions]  # type: ignore[index]  # None is not known
        except KeyError:
            return [self.sector_names.number_of_optional(position.sector) for position in positions]

    def _open(self, portfolio_id: str) -> int:
        if self._free:
            row = self._free.pop()
            self.ids[row] = portfolio_id
            self._rows.clear(row)
        else:
            row = len(self.ids)
            self.ids.append(portfolio_id)
            if row == len(self._rows):
                self._rows.grow(roomy(row, ROWS_LEAST))
        self._rows["open"][row] = True
        self.row_of[portfolio_id] = row
        return row

    # --- writing -------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Write into the arrays what was stated since the last time: no portfolio twice, so their order is free."""
        if not self._stated:
            return
        count = len(self._stated)
        by_column = dict(zip(_STATED, zip(*self._stated, strict=True), strict=True))
        rows = np.fromiter(by_column.pop("row"), np.int64, count)
        length = np.fromiter(by_column["length"], np.int64, count)
        self._abandon(rows)
        total = len(self._stated_symbols)
        if self._arena.end + total > len(self._arena.row):
            self._pack(room=total)
        arena, start = self._arena, self._arena.end
        stretch = slice(start, start + total)
        arena.end += total
        arena.row[stretch] = np.repeat(rows, length)
        arena.symbol[stretch] = np.fromiter(self._stated_symbols, np.int32, total)
        arena.quantity[stretch] = np.fromiter(self._stated_quantities, np.float64, total)
        arena.sector[stretch] = np.fromiter(self._stated_sectors, np.int32, total)
        table = self._rows
        table["start"][rows] = start + np.cumsum(length) - length
        for name, values in by_column.items():
            column = table[name]
            column[rows] = np.fromiter(values, column.dtype, count)
        table["published_watermark"][rows] = NEVER_PUBLISHED
        table["touched"][rows] = table["restated"][rows] = True
        table["movement"][rows] = np.inf
        self._stated, self._stated_rows = [], set()
        self._stated_symbols, self._stated_quantities, self._stated_sectors = [], [], []

    def _abandon(self, rows: NDArray[np.int64]) -> None:
        where, _ = stretches(self._rows["start"][rows], self._rows["length"][rows])
        self._arena.row[where] = -1
        self._arena.abandoned += len(where)
        self._rows["length"][rows] = 0

    def _pack(self, room: int = 0) -> None:
        """Drop what was abandoned, and leave some room, so that packing stays rare."""
        rows = np.flatnonzero(self._rows["open"])
        where, starts = stretches(self._rows["start"][rows], self._rows["length"][rows])
        self._arena = self._arena.resized(where, roomy(len(where) + room))
        self._rows["start"][rows] = starts[:-1]

    def _stretches(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the positions of `rows` lie in the arena, one after another, and where each portfolio starts."""
        table = self.rows
        return stretches(table["start"][rows], table["length"][rows])
