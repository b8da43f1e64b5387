"""Positions from a file: what each portfolio holds, and what its owner says of it.

| column | |
| --- | --- |
| `portfolio_id`, `symbol`, `quantity` | needed, in any order; a short position has a negative quantity |
| `sector` | of the symbol: the same wherever the symbol stands |
| `risk_tolerance` | of the portfolio's client: Conservative, Moderate or Aggressive |
| `advisor_id` | of the portfolio |
| `cash` | of the portfolio, money; what `--cash` says of it by name goes before |

Other columns are ignored, and named. What is said of a portfolio may stand in one of its rows or in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from plimsoll.messages import CASH_MAX, QUANTITY_MAX
from plimsoll.reports.files import BadFile, Table, read_table
from plimsoll.risk.alignment import TOLERANCE_NUMBERS

NEEDED = ("portfolio_id", "symbol", "quantity")
OPTIONAL = ("sector", "risk_tolerance", "advisor_id", "cash")


@dataclass(slots=True)
class Portfolio:
    """What one portfolio holds.

    quantities      {symbol: units}, short positions negative, none of them 0
    rows            {symbol: row of the file}
    cash            money
    states_cash     whether the file says how much; where not, it is 0
    risk_tolerance  one of `alignment.TOLERANCE_NUMBERS`; None where nothing is said
    """

    portfolio_id: str
    quantities: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    cash: float = 0.0
    states_cash: bool = False
    risk_tolerance: str | None = None
    advisor_id: str | None = None


@dataclass(frozen=True, slots=True)
class Positions:
    """Portfolios in order of first appearance.

    sectors  {symbol: sector}, where it is stated
    ignored  columns that mean nothing to us
    """

    path: str
    portfolios: list[Portfolio]
    sectors: dict[str, str]
    ignored: list[str]


def read_positions(path: Path) -> Positions:
    """Who holds what. Raises `BadFile` naming file, row and column."""
    table = read_table(path)
    missing = [name for name in NEEDED if name not in table.header]
    if missing:
        raise BadFile(
            table.path, f"no column {' and no column '.join(missing)}; the header has {', '.join(table.header)}"
        )
    column = {name: table.header.index(name) for name in (*NEEDED, *OPTIONAL) if name in table.header}
    portfolios: dict[str, Portfolio] = {}
    stated: dict[tuple[str, str], tuple[str, int]] = {}
    for record in range(len(table.rows)):
        portfolio_id = _identifier(table, record, column["portfolio_id"])
        symbol = _identifier(table, record, column["symbol"])
        portfolio = portfolios.setdefault(portfolio_id, Portfolio(portfolio_id))
        _hold(portfolio, symbol, table, record, column)
        for name in OPTIONAL:
            if name in column:
                _state(stated, (name, symbol if name == "sector" else portfolio_id), table, record, column[name])
    for portfolio in portfolios.values():
        portfolio.risk_tolerance = stated.get(("risk_tolerance", portfolio.portfolio_id), (None, 0))[0]
        portfolio.advisor_id = stated.get(("advisor_id", portfolio.portfolio_id), (None, 0))[0]
        cash, _ = stated.get(("cash", portfolio.portfolio_id), (None, 0))
        portfolio.cash, portfolio.states_cash = float(cash or 0.0), cash is not None
        portfolio.quantities = {symbol: units for symbol, units in portfolio.quantities.items() if units != 0.0}
    return Positions(
        path=table.path,
        portfolios=list(portfolios.values()),
        sectors={owner: text for (name, owner), (text, _) in stated.items() if name == "sector"},
        ignored=[name for name in table.header if name not in column],
    )


def _identifier(table: Table, record: int, column: int) -> str:
    text = table.text(record, column)
    if not text:
        raise table.bad("an empty cell: every position needs one", record, column)
    return text


def _hold(portfolio: Portfolio, symbol: str, table: Table, record: int, column: dict[str, int]) -> None:
    if symbol in portfolio.rows:
        raise table.bad(
            f"{portfolio.portfolio_id} holds {symbol} in row {portfolio.rows[symbol]} already: add the two up",
            record,
            column["symbol"],
        )
    quantity = table.number(record, column["quantity"], QUANTITY_MAX)
    if quantity != quantity:  # noqa: PLR0124  # NaN, which stands for an empty cell
        raise table.bad("no quantity: give a number of units, 0 where none is held", record, column["quantity"])
    portfolio.rows[symbol] = table.rows[record]
    portfolio.quantities[symbol] = quantity


def _state(
    stated: dict[tuple[str, str], tuple[str, int]], of: tuple[str, str], table: Table, record: int, column: int
) -> None:
    """Note what a row says of a symbol or a portfolio; it must not contradict another row."""
    text = table.text(record, column)
    if not text:
        return
    name, owner = of
    if name == "risk_tolerance":
        text = text.capitalize()
        if text not in TOLERANCE_NUMBERS:
            raise table.bad(f"{text!r} is none of {', '.join(TOLERANCE_NUMBERS)}", record, column)
    if name == "cash":
        amount = table.number(record, column, CASH_MAX)
        if amount != amount:  # noqa: PLR0124  # NaN, which says nothing
            return
        text = repr(amount)
    before, row = stated.setdefault(of, (text, table.rows[record]))
    if before != text:
        raise table.bad(f"{owner} is {text!r} here and {before!r} in row {row}", record, column)
