"""One frame of `plimsoll top`: lines of text for a terminal of a given size. Pure: a reading and its figures go in.

No line is wider than the terminal and no frame taller: on a narrow one columns give way from the right, on a low one
the portfolios at less risk. What is not known is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.text import Text

from engine.dead_letters import harmless
from plimsoll.commands.figures import Figures
from plimsoll.commands.findings import reason_of
from plimsoll.commands.soundings.crew import ranges
from plimsoll.commands.soundings.live import Firm, Held, Reading
from plimsoll.errors import PlimsollError
from plimsoll.messages import RiskSnapshot
from plimsoll.risk.score import AT_RISK_NUMBER, RiskBand, risk_band

_STYLES = {RiskBand.LOW: "green", RiskBand.MODERATE: "yellow", RiskBand.HIGH: "red"}
_BAR_SIZE = 10
_ID_SIZE_MIN, _ID_SIZE_MAX = 12, 32
_NONE = "-"


@dataclass(frozen=True, slots=True)
class _Column:
    """Of the table of portfolios, besides their ids. `is_coloured`: by the band of the risk number."""

    name: str
    size: int
    is_coloured: bool = False


_COLUMNS = (
    _Column("risk", 4, is_coloured=True),
    _Column("", _BAR_SIZE, is_coloured=True),
    _Column("VaR 95 %", 13),
    _Column("of value", 8),
    _Column("market value", 16),
)
"""In the order of `_cells`; the last gives way first."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a frame is drawn for. `height` None: as tall as it gets; `ascii_only`: the terminal knows nothing else."""

    width: int
    height: int | None
    ascii_only: bool = False


def frame(reading: Reading, told: Figures, where: str, api: str, screen: Screen) -> list[Text]:
    """The lines. `where` is the place of Redis, `api` the address of the API."""
    lines = list(_head(reading, told, where, api, screen))
    if not isinstance(reading.held, PlimsollError):
        # One line stays empty, and one is the heading.
        room = len(reading.held.riskiest) if screen.height is None else screen.height - len(lines) - 2
        if room > 0:
            lines += [Text(), *_portfolios(reading.held.riskiest[:room], screen)]
    for line in lines:
        line.truncate(max(1, screen.width), overflow="crop" if screen.ascii_only else "ellipsis")
    return lines if screen.height is None else lines[: screen.height]


# --- the head ---------------------------------------------------------------------------------------------------------


def _head(reading: Reading, told: Figures, where: str, api: str, screen: Screen) -> Iterator[Text]:
    moment = datetime.fromtimestamp(reading.at_ns / 1e9, UTC)
    hint = "" if screen.height is None else "   q ends"
    yield Text(f"plimsoll top   {where}   {moment:%H:%M:%S} UTC{hint}", style="bold")
    if isinstance(reading.held, PlimsollError):
        yield Text(f"redis     away: {harmless(reason_of(reading.held))}; asked again until it is back", "bold red")
        yield _line("api", _api(reading, told, api))
        return
    yield _engine(reading.held, told)
    yield _line("rates", f"{_rate(told.ticks)} ticks/s   {_rate(told.updates)} updates/s   "
                         f"{_rate(told.published)} published/s   lag {_count(told.lag)}")  # fmt: skip
    yield _line("latency", f"tick to publish: p50 {_seconds(told.median)}   p99 {_seconds(told.p99)}")
    letters = f"{_count(told.dead_lettered)} dead"
    letters += f" (+{told.new_dead_letters:,})" if told.new_dead_letters else ""
    yield _line("records", f"{_count(told.stale)} stale   {letters}", "bold red" if told.new_dead_letters else "")
    yield _line("api", _api(reading, told, api))
    contents = reading.held.contents
    yield _line(
        "book", f"{contents.portfolios:,} portfolios   {contents.at_risk:,} at risk (number {AT_RISK_NUMBER} or more)"
    )
    yield _line("firm", _firm(reading.firm))


def _line(name: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{name:<10}", "dim"), (text, style))


def _engine(held: Held, told: Figures) -> Text:
    crew = held.crew
    if not crew.workers:
        return _line("engine", "never seen: no heartbeat in this Redis", "bold red")
    if crew.is_silent:
        silent = min(crew.silent.values())
        return _line("engine", f"{crew.state} for {silent:.0f} s: these are its last words", "bold red")
    said = [crew.state, f"{crew.workers - len(crew.absent)} of {crew.workers} workers"]
    if crew.absent:
        said.append(f"missing: {ranges(crew.absent)}")
    if told.awaited:
        said.append(f"waits for {' and '.join(told.awaited)}")
    newest = max(crew.beats, key=lambda beat: beat.beat_at_ns)
    said.append(f"set {newest.scenario_set_id or 'none'}")
    said.append(f"{newest.market_source or 'no prices'}" + (f" of {newest.replay.session}" if newest.replay else ""))
    troubled = crew.absent or told.awaited
    return _line("engine", harmless("   ".join(said)), "bold red" if troubled else "green")


def _api(reading: Reading, told: Figures, api: str) -> str:
    if isinstance(reading.api, PlimsollError):
        return f"none at {api} ({harmless(reason_of(reading.api))})"
    return (
        f"{_count(told.sockets)} sockets   {_count(told.subscriptions)} subscriptions   "
        f"{_rate(told.messages)} messages/s"
    )


def _firm(firm: Firm | None) -> str:
    if firm is None:
        return _NONE
    number = "" if firm.risk_number is None else f"number {firm.risk_number}  "
    return f"{number}value {firm.market_value:,.0f}  VaR 95% {firm.var_95:,.0f}  ES 97.5% {firm.es_975:,.0f}"


# --- the portfolios ---------------------------------------------------------------------------------------------------


def _portfolios(riskiest: Sequence[RiskSnapshot], screen: Screen) -> Iterator[Text]:
    """A heading, and a line for each; columns that do not fit are left out."""
    shown, ids = _that_fit(screen.width)
    size = max(1, min(_ID_SIZE_MAX, ids // 2))
    heading = [f"{'portfolio':<{size}}", f"{'advisor':<{size}}", *(f"{each.name:>{each.size}}" for each in shown)]
    yield Text(" ".join(heading), style="dim")
    for snapshot in riskiest:
        line = Text(" ".join(_fit(each, size, screen) for each in (snapshot.portfolio_id, snapshot.advisor_id)))
        band = "" if snapshot.risk_number is None else _STYLES[risk_band(snapshot.risk_number)]
        for cell, column in zip(_cells(snapshot, screen), shown, strict=False):
            line.append(f" {cell:>{column.size}}", style=band if column.is_coloured else "")
        yield line


def _that_fit(width: int) -> tuple[list[_Column], int]:
    """The columns that fit beside the ids, and how much is left for these."""
    shown: list[_Column] = []
    ids = width - 1
    for column in _COLUMNS:
        if ids - column.size - 1 < 2 * _ID_SIZE_MIN:
            break
        shown.append(column)
        ids -= column.size + 1
    return shown, ids


def _cells(snapshot: RiskSnapshot, screen: Screen) -> Iterator[str]:
    number = snapshot.risk_number
    yield _NONE if number is None else str(number)
    filled = 0 if number is None else max(1, round(number / 100 * _BAR_SIZE))
    full, empty = ("#", ".") if screen.ascii_only else ("█", "░")
    yield full * filled + empty * (_BAR_SIZE - filled)
    yield f"{snapshot.var_95:,.0f}"
    yield _NONE if snapshot.var_95_fraction is None else f"{snapshot.var_95_fraction:.2%}"
    yield f"{snapshot.market_value:,.0f}"


def _fit(name: str, size: int, screen: Screen) -> str:
    safe = harmless(name)
    if len(safe) <= size:
        return f"{safe:<{size}}"
    return safe[: size - 1] + ("~" if screen.ascii_only else "…")


# --- numbers ----------------------------------------------------------------------------------------------------------


def _rate(number: float | None) -> str:
    if number is None:
        return _NONE
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _count(number: int | None) -> str:
    return _NONE if number is None else f"{number:,}"


def _seconds(number: float | None) -> str:
    if number is None:
        return _NONE
    if math.isinf(number):
        return "over 10 s"
    return f"{number:.2f} s" if number >= 1 else f"{number * 1e3:.0f} ms"
