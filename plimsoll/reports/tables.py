"""Reports for people: a portfolio on a screen, readable at eighty columns. Machines read `--json`.

Money without decimals, in the currency of the prices; a dash stands for what is not known, and a line below says why.
Where the screen is narrower than a table, or numbers are very long, lines are too, and the terminal breaks them: a
number that is cut off is another number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Row: TypeAlias = dict[str, Any]

UNKNOWN = "-"
HOLDINGS_SHOWN = 8
STRESSES_SHOWN = 5
WIDTH_MAX = 100
"""Of a sentence; also where it goes to a file, which has no width of its own."""
WIDTH_UNBOUND = 10_000
"""More than any table needs, to ask it for what it does need."""


def show_risk(rows: Sequence[Row], console: Console) -> None:
    """One screen for each portfolio."""
    _show([_risk(row) for row in rows], console)


def show_backtest(rows: Sequence[Row], console: Console) -> None:
    """One table for each portfolio."""
    _show([_backtest(row) for row in rows], console)


def _show(reports: Sequence[Group], console: Console) -> None:
    tables = [part for report in reports for part in report.renderables if isinstance(part, Table)]
    needed = [
        Measurement.get(console, console.options.update(max_width=WIDTH_UNBOUND), each).maximum for each in tables
    ]
    console.width = max(min(console.width, WIDTH_MAX) if console.is_terminal else WIDTH_MAX, *needed, 0)
    for report in reports:
        console.print(report, highlight=False)


# --- risk -------------------------------------------------------------------------------------------------------------


def _risk(row: Row) -> Group:
    if row["problem"] is not None:
        return Group(_title(row["portfolio_id"], f"as of {row['as_of']}"), *_lines([row["problem"]]), Text())
    title = _title(
        row["portfolio_id"],
        f"as of {row['as_of']}, {row['observations']} scenarios {row['first_session']} to {row['last_session']}",
    )
    parts: list[RenderableType] = [title, _headline(row), Text(), _methods(row)]
    if row["contributions"]:
        parts += [Text(), _contributions(row), Text(), _stresses(row)]
    return Group(*parts, *_lines(_flags(row)), Text())


def _headline(row: Row) -> Table:
    table = _grid()
    pairs = [
        ("market value", _money(row["market_value"])),
        ("risk number", f"{_whole(row['risk_number'])} {(row['risk_band'] or '').lower()}".strip()),
        ("gross exposure", _money(row["gross_exposure"])),
        ("structural", _whole(row["risk_number_structural"])),
        ("net exposure", _money(row["net_exposure"])),
        ("volatility", _percent(row["volatility"])),
        ("cash", _money(row["cash"])),
        ("expected return", _percent(row["expected_return"])),
        ("session P&L", _money(row["session_pnl"])),
        ("max drawdown", _percent(row["max_drawdown"])),
        ("effective names", _number(row["effective_names"])),
        ("Sharpe, Sortino", f"{_number(row['sharpe_ratio'])}, {_number(row['sortino_ratio'])}"),
        ("beta", _number(row["beta"])),
        ("tracking error", _percent(row["tracking_error"])),
    ]
    for left, right in zip(pairs[::2], pairs[1::2], strict=True):
        table.add_row(*left, *right)
    return table


def _methods(row: Row) -> Table:
    table = _table("method", "VaR 95%", "", "VaR 99%", "", "ES 97.5%", "", "99% date")
    for method in row["var"]:
        figures = (row["var"][method]["0.95"], row["var"][method]["0.99"], row["es"][method]["0.975"])
        cells = [cell for each in figures for cell in (_money(each["amount"]), _percent(each["fraction"]))]
        style = "bold" if method == row["method"] else ""
        table.add_row(method, *cells, figures[1]["scenario_date"] or UNKNOWN, style=style)
    return table


def _contributions(row: Row) -> Table:
    table = _table("holding", "exposure", "VaR 95%", "VaR 99%", "ES 97.5%", "ES without it")
    largest = sorted(row["contributions"].items(), key=lambda each: -abs(each[1]["component_es_975"] or 0.0))
    for symbol, part in largest[:HOLDINGS_SHOWN]:
        table.add_row(
            symbol,
            _money(row["exposures"][symbol]),
            *(_money(part[f"component_{name}"]) for name in ("var_95", "var_99", "es_975")),
            _money(None if part["incremental_es_975"] is None else row["es_975"] - part["incremental_es_975"]),
        )
    if len(largest) > HOLDINGS_SHOWN:
        table.add_row(f"{len(largest) - HOLDINGS_SHOWN} more", *[""] * 5, style="dim")
    return table


def _stresses(row: Row) -> Table:
    table = _table("worst stresses", "P&L", "", "own returns")
    for each in sorted(row["stresses"], key=lambda each: each["pnl"])[:STRESSES_SHOWN]:
        table.add_row(each["name"], _money(each["pnl"]), _percent(each["fraction"]), f"{each['own_share']:.0%}")
    return table


def _flags(row: Row) -> Iterator[str]:
    for symbol, reason in row["incomplete_reasons"].items():
        yield f"{symbol} is in no number: {reason}"
    if row["proxied_symbols"]:
        names = ", ".join(row["proxied_symbols"])
        yield f"a proxy stands in for {names}; {row['coverage']:.0%} of gross exposure has a history of its own"
    for symbol, session in row["stale_symbols"].items():
        yield f"{symbol} is valued at its price of {session}"
    if row["alignment"] is not None:
        found = row["alignment"]
        yield (
            f"{found['risk_tolerance'].lower()} client, number {found['tolerance_number']}: this portfolio is"
            f" {found['verdict'].lower().replace('_', ' ')} ({found['gap']:+d} points)"
        )
    if row["liquidity_days"]:
        known = {symbol: days for symbol, days in row["liquidity_days"].items() if days is not None}
        if known:
            slowest = max(known, key=known.__getitem__)
            yield f"slowest to trade: {slowest}, {known[slowest]:.1f} days"
    yield from row["notes"]


# --- backtest ---------------------------------------------------------------------------------------------------------


def _backtest(row: Row) -> Group:
    flags = [f"{symbol} is in no number: {reason}" for symbol, reason in row["incomplete_reasons"].items()]
    if row["problem"] is not None:
        return Group(_title(row["portfolio_id"], ""), *_lines([row["problem"], *flags]), Text())
    if row["sessions_left_out"]:
        flags.append(f"{row['sessions_left_out']} sessions are left out: a name that it holds has no price in them")
    title = _title(
        row["portfolio_id"],
        f"{row['days']:,} sessions {row['first_session']} to {row['last_session']}, constant {row['hold']}",
    )
    table = _table("method", "level", "seen / due", "rate", "Kupiec", "indep.", "both", "zone", "Z2")
    for method, levels in row["methods"].items():
        for confidence, found in levels.items():
            table.add_row(
                method if confidence == "0.95" else "",
                f"{float(confidence) * 100:g}%",
                f"{found['exceptions']:,} / {found['expected']:.0f}",
                _percent(found["rate"]),
                *(_p_value(found[test]) for test in ("kupiec", "independence", "conditional_coverage")),
                (found["zone"] or "").lower(),
                _z2(found),
            )
    return Group(title, table, *_lines(flags), Text())


def _p_value(test: Row) -> Text:
    """How likely so much is under a right model; a star where it is rejected at 5 %."""
    if test["p_value"] is None:
        return Text(UNKNOWN)
    text = f"{test['p_value']:.3f}"
    return Text(text + "*", "bold red") if test["rejected"] else Text(text + " ")


def _z2(found: Row) -> Text:
    if found["z2"] is None:
        return Text("")
    return Text(f"{found['z2']:.2f}*", "bold red") if found["z2_rejected"] else Text(f"{found['z2']:.2f} ")


# --- pieces -----------------------------------------------------------------------------------------------------------


def _title(name: str, about: str) -> Text:
    return Text.assemble((name, "bold"), ("  " + about, "dim"))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _grid() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for column in range(4):
        table.add_column(justify="right" if column % 2 else "left", no_wrap=True)
    return table


def _lines(sentences: Sequence[str] | Iterator[str]) -> list[Text]:
    return [Text(f"  {sentence}", "yellow") for sentence in sentences]


def _money(amount: float | None) -> str:
    return UNKNOWN if amount is None else f"{amount:,.0f}"


def _percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else f"{fraction:.2%}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
