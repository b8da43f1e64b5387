"""Prices: one for each session and symbol, above zero, and several files are one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plimsoll.reports.files import BadFile
from plimsoll.reports.marks import marks_of
from plimsoll.reports.prices import average_volumes, read_prices, read_volumes

Write = Callable[[str, str], Path]


def test_prices_come_by_session_and_symbol_in_order(write: Write) -> None:
    prices = read_prices([write("prices.csv", "day,PG,KO\n2022-01-03,160,59\n2022-01-04,161,\n")])
    assert prices.sessions == ("2022-01-03", "2022-01-04")
    assert prices.symbols == ("KO", "PG")
    assert prices.value.tolist()[0] == [59.0, 160.0]
    assert math.isnan(prices.value[1, 0])


def test_files_are_joined_on_their_dates(write: Write) -> None:
    stocks = write("stocks.csv", "Date,KO\n2022-01-03,59\n2022-01-04,60\n")
    index = write("index.csv", "when,AAA\n2022-01-03,4800\n2022-01-04,4790\n")
    joined = read_prices([stocks, index])
    assert joined.symbols == ("AAA", "KO")
    assert joined.value.tolist() == [[4800.0, 59.0], [4790.0, 60.0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Date,KO\n2022-01-03,59\n2022-01-04,60\n", "column KO: both have this column"),
        ("Date,PG\n2022-01-03,59\n", "their dates differ: 2022-01-04 is in"),
        ("Date,PG\n2022-01-03,59\n2022-01-04,60\n2022-01-05,60\n", "their dates differ: 2022-01-05 is in"),
    ],
)
def test_files_that_do_not_fit_are_both_named(write: Write, text: str, said: str) -> None:
    one, other = write("one.csv", "Date,KO\n2022-01-03,59\n2022-01-04,60\n"), write("other.csv", text)
    with pytest.raises(BadFile) as raised:
        read_prices([one, other])
    assert f"{one} and {other}" in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "row", "column", "said"),
    [
        ("Date\n2022-01-03\n", None, None, "one column only"),
        ("Date,KO\n2022-01-03,1\n2022-01-03,2\n", 3, "Date", "a second time"),
        ("Date,KO\n2022-01-04,1\n\n2022-01-03,2\n", 4, "Date", "2022-01-03 follows 2022-01-04"),
        ("Date,KO\nsoon,1\n", 2, "Date", "'soon' is not a date"),
        ("Date,KO,PG\n2022-01-03,1,1\n2022-01-04,1,0\n", 3, "PG", "a price of 0: a price is above zero"),
        ("Date,KO\n2022-01-03,-5\n", 2, "KO", "a price of -5"),
        ("Date,KO\n2022-01-03,five\n", 2, "KO", "'five' is not a number"),
        ("Date,KO\n2022-01-03,1e200\n", 2, "KO", "'1e200' is a number above 1e+09"),
        ("Date,KO\n2022-01-03,inf\n", 2, "KO", "not a finite number"),
    ],
)
def test_a_bad_price_is_refused_with_its_place(
    write: Write, text: str, row: int | None, column: str | None, said: str
) -> None:
    path = write("prices.csv", text)
    with pytest.raises(BadFile, match=str(path)) as raised:
        read_prices([path])
    assert (raised.value.row, raised.value.column) == (row, column)
    assert said in raised.value.detail


def test_what_comes_after_a_day_is_not_known_on_it(write: Write) -> None:
    prices = read_prices([write("prices.csv", "Date,KO\n2022-01-03,59\n2022-01-05,60\n")])
    assert prices.until("2022-01-04").sessions == ("2022-01-03",)
    with pytest.raises(BadFile, match="the first date is 2022-01-03, after 2022-01-02"):
        prices.until("2022-01-02")


def test_a_mark_is_the_newest_price_and_says_how_old_it_is(write: Write) -> None:
    text = "Date,KO,OLD,NEW,NONE\n2022-01-03,59,7,,\n2022-01-04,60,,,\n2022-01-05,61,,9,\n"
    marks = marks_of(read_prices([write("prices.csv", text)]))
    assert marks["KO"] == (61.0, 60.0, "2022-01-05")
    assert marks["OLD"] == (7.0, 7.0, "2022-01-03")
    assert marks["NEW"].price == 9.0
    assert math.isnan(marks["NEW"].previous_close)
    assert "NONE" not in marks


def test_the_average_volume_is_of_the_newest_month_and_may_be_zero(write: Write) -> None:
    rows = [f"2022-01-{day:02d},{1000 if day <= 4 else day},0,\n" for day in range(1, 26)]
    average = average_volumes(read_volumes(write("volumes.csv", "Date,KO,DEAD,NONE\n" + "".join(rows))))
    assert average == {"KO": pytest.approx(np.mean(range(5, 26))), "DEAD": 0.0}


def test_a_day_without_any_price_is_no_session(write: Write) -> None:
    text = "Date,KO,PG\n2022-01-03,59,\n2022-01-04,,\n2022-01-05,,160\n"
    assert read_prices([write("prices.csv", text)]).sessions == ("2022-01-03", "2022-01-05")
    with pytest.raises(BadFile, match="there is no price in it"):
        read_prices([write("empty.csv", "Date,KO\n2022-01-03,\n")])


def test_a_file_may_come_from_a_spreadsheet_on_windows_or_from_a_data_frame_with_its_numbering(write: Write) -> None:
    plain = read_prices([write("plain.csv", "Date,KO\n2022-01-03,59\n2022-01-04,60\n")])
    spreadsheet = "\ufeffDate,KO\r\n2022-01-03,59\r\n2022-01-04,60\r\n,\r\n"
    for name, text in {"w": spreadsheet, "p": ",Date,KO\n0,2022-01-03,59\n1,2022-01-04,60\n"}.items():
        read = read_prices([write(f"{name}.csv", text)])
        assert (read.sessions, read.symbols) == (plain.sessions, plain.symbols)
        assert read.value.tolist() == plain.value.tolist()
