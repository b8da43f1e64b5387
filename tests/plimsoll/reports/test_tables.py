"""What a person is shown: everything that matters, on a screen of eighty columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from plimsoll.reports.backtest_report import backtest_report
from plimsoll.reports.flags import BacktestTerms, Cash, RiskTerms
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series
from plimsoll.reports.progress import Progress
from plimsoll.reports.risk_report import risk_report
from plimsoll.reports.tables import show_backtest, show_risk
from plimsoll.risk.methods import Method


@pytest.fixture
def book() -> Positions:
    rows = {"AAA": 2, "GHOST": 3}
    growth = Portfolio("growth", {"AAA": 20_000.0, "GHOST": 1.0}, rows, risk_tolerance="Moderate")
    return Positions("positions.csv", [growth, Portfolio("ghost", {"GHOST": 1.0}, {"GHOST": 4})], {}, [])


def screen(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_risk_report_fits_eighty_columns(market: Series, book: Positions) -> None:
    console = screen(80)
    show_risk(risk_report(market, book, Cash(), RiskTerms()).rows, console)
    text = shown(console)
    for method in Method:
        assert method.value in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "GHOST is in no number: no column in the prices" in text
    assert "moderate client, number 50: this portfolio is" in text
    assert "nothing that it holds can be valued" in text


@pytest.mark.parametrize(("width", "quantity"), [(40, 20_000.0), (80, 1e12)])
def test_no_number_is_cut_off_on_a_narrow_screen_or_where_it_is_long(
    market: Series, width: int, quantity: float
) -> None:
    book = Positions("positions.csv", [Portfolio("growth", {"AAA": quantity}, {"AAA": 2})], {}, [])
    console = screen(width)
    report = risk_report(market, book, Cash(), RiskTerms())
    show_risk(report.rows, console)
    text = shown(console)
    assert "…" not in text
    assert f"{report.rows[0]['market_value']:,.0f}" in text
    assert f"{report.rows[0]['es_975']:,.0f}" in text


def test_a_backtest_fits_eighty_columns(market: Series, book: Positions) -> None:
    console = screen(80)
    show_backtest(backtest_report(market, book, BacktestTerms()).rows, console)
    text = shown(console)
    assert "399 sessions" in text
    assert "filtered_historical" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_bar_comes_after_a_second_and_only_at_a_terminal() -> None:
    now = [0.0]
    for terminal, seconds, comes in ((True, 2.0, True), (True, 0.5, False), (False, 2.0, False)):
        console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
        now[0] = 0.0
        with Progress("portfolios", console, clock=lambda: now[0]) as progress:
            now[0] = seconds
            progress(1, 10)
            progress(2, 10)
        assert ("portfolios" in shown(console)) == comes
