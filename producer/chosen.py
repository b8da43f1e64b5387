"""What is played, by the flags: the bundled market or files of prices, an invented firm or a file of positions.

Files are read and planned by `plimsoll.reports`, as `plimsoll risk` and the demo do, so that all three say the same of
a bad one. Nothing is published here.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.errors import BadSetting
from plimsoll.reports import streamed
from plimsoll.reports.positions import Positions, read_positions
from plimsoll.reports.prices import read_prices
from producer import closes
from producer.market import Replay
from producer.portfolios import STOCKS, Stated, Universe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from plimsoll.settings import Settings

BUNDLED_START = "2020-02-19"
"""The bundled market's first session, where nobody says otherwise: the eve of the COVID crash."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A market, where its play begins, and whose portfolios are in it.

    first     number of the session that is played first; as many as there are where none is
    universe  what an invented firm may hold: all that has a price before that session, but for the benchmark
    stated    somebody's own portfolios; None where a firm is to be invented
    warnings  sentences about what will be missing
    """

    market: closes.Closes
    first: int
    universe: Universe
    stated: Stated | None
    warnings: list[str]


def chosen(prices: Sequence[Path], positions: Path | None, start: str | None, told: Settings) -> Chosen:
    """What the flags choose. `start` is a date, `latest`, or None for what suits the market.

    Raises `BadFile` naming file, row and column, `BadSetting` for a start, and `DamagedData`.
    """
    held = None if positions is None else read_positions(positions)
    stated = None if held is None else Stated(streamed.updates_of(held))
    if not prices:
        market = closes.load()
        warnings = [] if held is None else streamed.unpriced(held, market.symbols)
        return Chosen(market, _bundled_first(market, start or BUNDLED_START), STOCKS, stated, warnings)
    return _from_files(prices, held, stated, start, told)


def _from_files(
    prices: Sequence[Path], held: Positions | None, stated: Stated | None, start: str | None, told: Settings
) -> Chosen:
    planned = streamed.plan(read_prices(prices), start, told.benchmark, window=told.scenarios, decay=told.decay)
    warnings = [] if held is None else streamed.unvalued(held, planned)
    if told.benchmark is not None and planned.benchmark is None:
        warnings.append(
            f"{planned.prices.named}: no column {told.benchmark}, which is the benchmark: the engine values nothing"
            " until PLIMSOLL_BENCHMARK names a column, or is none"
        )
    sectors = {} if held is None else held.sectors
    market = closes.of_files(planned.prices, planned.benchmark, sectors)
    # Where the benchmark is all there is, the firm holds that.
    tradable = set(market.marks(planned.first - 1)) - {planned.benchmark} or {planned.benchmark or ""}
    return Chosen(market, planned.first, Universe(tradable, sectors), stated, warnings)


def _bundled_first(market: closes.Closes, start: str) -> int:
    """The number of the first session on or after the date `start`."""
    sessions = market.sessions
    if start == streamed.LATEST:
        return len(sessions)
    # One session more than the replay needs: the last before it opens the market.
    earliest = sessions[Replay.first_playable + 1]
    if not earliest <= start <= sessions[-1]:
        raise BadSetting("--from", f"{start} is not between {earliest} and {sessions[-1]}")
    return bisect.bisect_left(sessions, start)
