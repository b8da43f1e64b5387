"""Positions: who holds what, said once, and every contradiction with its row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plimsoll.reports.files import BadFile
from plimsoll.reports.flags import cash_of
from plimsoll.reports.positions import read_positions
from plimsoll.reports.risk_report import with_cash

Write = Callable[[str, str], Path]

HEADER = "portfolio_id,symbol,quantity,sector,risk_tolerance,advisor_id\n"


def test_columns_may_stand_in_any_order_and_others_are_named(write: Write) -> None:
    text = "note,quantity,symbol,portfolio_id\nx,10,KO,growth\ny,-2.5,PG,income\nz,0,PG,growth\n"
    positions = read_positions(write("positions.csv", text))
    assert [each.portfolio_id for each in positions.portfolios] == ["growth", "income"]
    assert [each.quantities for each in positions.portfolios] == [{"KO": 10.0}, {"PG": -2.5}]
    assert positions.portfolios[1].rows == {"PG": 3}
    assert positions.ignored == ["note"]


def test_what_is_said_of_a_portfolio_may_stand_in_one_row(write: Write) -> None:
    text = HEADER + "growth,KO,10,Consumer,,\ngrowth,PG,10,,aggressive,advisor-1\nother,KO,1,,,\n"
    positions = read_positions(write("positions.csv", text))
    growth, other = positions.portfolios
    assert (growth.risk_tolerance, growth.advisor_id) == ("Aggressive", "advisor-1")
    assert (other.risk_tolerance, other.advisor_id) == (None, None)
    assert positions.sectors == {"KO": "Consumer"}


def test_cash_is_the_portfolio_s_and_is_said_in_one_row_or_in_all(write: Write) -> None:
    text = "portfolio_id,symbol,quantity,cash\na,KO,1,250.50\na,PG,1,\na,XOM,1,250.5\nb,KO,1,\nc,KO,1,0\n"
    positions = read_positions(write("positions.csv", text))
    assert [(each.cash, each.states_cash) for each in positions.portfolios] == [
        (250.5, True),
        (0.0, False),
        (0.0, True),
    ]
    cash = cash_of(["1000", "c=5"])
    assert [each.cash for each in with_cash(positions.portfolios, cash)] == [250.5, 1000.0, 5.0]
    with pytest.raises(BadFile, match=r"row 3, column cash: a is '2.0' here and '1.0' in row 2"):
        read_positions(write("bad.csv", "portfolio_id,symbol,quantity,cash\na,KO,1,1\na,PG,1,2\n"))


@pytest.mark.parametrize(
    ("text", "row", "column", "said"),
    [
        ("portfolio_id,ticker\ngrowth,KO\n", None, None, "no column symbol and no column quantity"),
        ("symbol,quantity,portfolio_id\nKO,1,\n", 2, "portfolio_id", "an empty cell"),
        ("portfolio_id,symbol,quantity\ngrowth,,1\n", 2, "symbol", "an empty cell"),
        ("portfolio_id,symbol,quantity\ngrowth,KO,\n", 2, "quantity", "no quantity"),
        ("portfolio_id,symbol,quantity\ngrowth,KO,NaN\n", 2, "quantity", "no quantity"),
        ("portfolio_id,symbol,quantity\ngrowth,KO,ten\n", 2, "quantity", "'ten' is not a number"),
        ("portfolio_id,symbol,quantity\ngrowth,KO,inf\n", 2, "quantity", "not a finite number"),
        ("portfolio_id,symbol,quantity\ngrowth,KO,-1e300\n", 2, "quantity", "'-1e300' is a number below -1e+12"),
        ("portfolio_id,symbol,quantity,cash\ngrowth,KO,1,1e16\n", 2, "cash", "'1e16' is a number above 1e+15"),
        ("portfolio_id,symbol,quantity\na,KO,1\nb,KO,1\na,KO,2\n", 4, "symbol", "a holds KO in row 2 already"),
        (HEADER + "a,KO,1,Consumer,,\nb,KO,1,Energy,,\n", 3, "sector", "KO is 'Energy' here and 'Consumer' in row 2"),
        (HEADER + "a,KO,1,,Moderate,\na,PG,1,,Aggressive,\n", 3, "risk_tolerance", "a is 'Aggressive' here"),
        (HEADER + "a,KO,1,,brave,\n", 2, "risk_tolerance", "'Brave' is none of Conservative"),
    ],
)
def test_a_bad_position_is_refused_with_its_place(
    write: Write, text: str, row: int | None, column: str | None, said: str
) -> None:
    path = write("positions.csv", text)
    with pytest.raises(BadFile, match=str(path)) as raised:
        read_positions(path)
    assert (raised.value.row, raised.value.column) == (row, column)
    assert said in raised.value.detail
