"""What files become in the stream: which sessions are played, what is sent, and what is refused with its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from plimsoll.errors import BadSetting
from plimsoll.reports import streamed
from plimsoll.reports.files import BadFile
from plimsoll.reports.positions import read_positions
from plimsoll.reports.prices import Series

Write = Callable[[str, str], Path]

HEADER = "portfolio_id,symbol,quantity,advisor_id,cash,sector\n"


def prices(count: int, symbols: Sequence[str] = ("AAA", "SP500"), late: int = 0) -> Series:
    """Closes of so many sessions; the first symbol has none in the first `late`."""
    days = tuple((date(2023, 1, 1) + timedelta(days=day)).isoformat() for day in range(count))
    moves = np.random.default_rng(5).normal(0.0, 0.01, (count, len(symbols)))
    value = 100.0 * np.exp(np.cumsum(moves, axis=0))
    value[:late, 0] = np.nan
    return Series(("prices.csv",), days, tuple(symbols), value)


def planned(
    known: Series, start: str | None = None, benchmark: str | None = "SP500", window: int = 500
) -> streamed.Plan:
    return streamed.plan(known, start, benchmark, window=window, decay=0.94)


@pytest.mark.parametrize(("count", "first"), [(61, 61), (62, 61), (81, 61), (82, 62), (700, 680)])
def test_the_newest_month_is_played_where_what_is_left_can_be_measured(count: int, first: int) -> None:
    found = planned(prices(count))
    assert found.first == first
    assert found.set_before.observations == min(first - 1, 500)


def test_a_date_is_the_session_on_it_or_the_next_and_latest_plays_nothing() -> None:
    known = prices(100)
    assert planned(known, "2023-03-20").opens_at == "2023-03-20"
    assert planned(known, "latest").first == 100
    for start, said in (
        ("2023-02-01", "leaves 31 sessions before it, 61 are needed; the first is 2023-03-03"),
        ("2024-01-01", "after the last session, 2023-04-10; 'latest' values at its close"),
        ("20.03.2026", "neither a date as 2020-02-19 nor 'latest'"),
    ):
        with pytest.raises(BadSetting, match=said):
            planned(known, start)


def test_prices_that_cannot_be_streamed_are_refused_with_the_remedy() -> None:
    with pytest.raises(BadFile, match=r"prices.csv: 60 sessions with prices, at least 61 are needed"):
        planned(prices(60))
    with pytest.raises(BadFile, match=r"prices.csv, column \^GSPC: no identifier: .*: rename the column"):
        planned(prices(70, ["AAA", "^GSPC"]))
    known = prices(70)
    ahead = dataclasses.replace(known, sessions=(*known.sessions[:-1], "9999-12-31"))
    with pytest.raises(BadFile, match=r"prices.csv: session 9999-12-31 lies in the future: .*; mend the dates"):
        planned(ahead)
    with pytest.raises(BadFile, match="no column DAX, which is to be the benchmark"):
        planned(prices(70), benchmark="DAX")


def test_the_default_benchmark_counts_where_there_is_such_a_column() -> None:
    assert planned(prices(70)).benchmark == "SP500"
    assert planned(prices(70, ["AAA", "BBB"])).benchmark is None
    assert planned(prices(70), benchmark=None).benchmark is None
    assert planned(prices(70), benchmark="AAA").benchmark == "AAA"


def test_a_portfolio_is_sent_as_its_file_states_it(write: Write) -> None:
    text = HEADER + "growth,AAA,10,desk-1,250.5,Energy\ngrowth,BBB,-2,,,\ngrowth,NIL,0,,,\nother,AAA,1,,,\n"
    growth, other = streamed.updates_of(read_positions(write("positions.csv", text)))
    assert (growth.id, growth.advisor_id, growth.cash) == ("growth", "desk-1", 250.5)
    assert [(each.symbol, each.quantity, each.sector) for each in growth.positions] == [
        ("AAA", 10.0, "Energy"), ("BBB", -2.0, None),
    ]  # fmt: skip
    assert (other.advisor_id, other.cash, other.positions[0].sector) == (streamed.ADVISOR, 0.0, "Energy")


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        ("growth fund,AAA,1,,,", "portfolio_id", "no identifier"),
        ("growth,BRK B,1,,,", "symbol", "no identifier"),
        ("growth,AAA,1e13,,,", "quantity", "above 1e+12"),
        ("growth,AAA,1,desk/1,,", "advisor_id", "no identifier"),
    ],
)
def test_what_a_reader_would_refuse_is_refused_with_its_place(write: Write, row: str, column: str, said: str) -> None:
    path = write("positions.csv", f"{HEADER}first,AAA,1,,,\n{row}\n")
    with pytest.raises(BadFile) as raised:
        streamed.updates_of(read_positions(path))
    assert (raised.value.row, raised.value.column) == (3, column)
    assert said in raised.value.detail


def test_what_will_be_in_no_number_is_said_once_and_by_name(write: Write) -> None:
    book = read_positions(write("positions.csv", f"{HEADER}a,AAA,1,,,\na,GONE,1,,,\nb,GONE,1,,,\n"))
    whole, late = prices(600), prices(600, late=500)
    path = book.path
    gone = f"{path}: GONE (row 3): no price, so whoever holds it is valued without it"
    assert streamed.unvalued(book, planned(whole)) == [gone]
    assert streamed.unvalued(book, planned(late)) == [gone]  # a proxy stands in
    (first, second) = streamed.unvalued(book, planned(late, benchmark=None))
    assert first == gone
    assert second.startswith(f"{path}: AAA (row 2): gaps in its prices that only a --benchmark could fill")
