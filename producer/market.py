"""A replay of real closes: every session starts at the last close, ends at the real one, and ticks in between.

The closes are history; only the way from one to the next is drawn, as a Brownian bridge in the logarithm of the
price, as wide as the symbol's own recent daily volatility. A path is a pure function of seed, session and symbol, so
any tick can be computed again, and a faster feed shows more points of the same path, never another one.

Nothing here reads a clock or sends anything. Time is a fraction of the session: 0 is the previous close, 1 the close.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from producer.closes import Closes

SOURCE = "replay"
"""What every tick and close says of itself, so that nobody takes history for a live price."""

BRIDGE_STEPS = 4096
"""Points of a path, with straight lines between: one each 6 s of a trading day."""
RECENT_SESSIONS = 21
"""Returns that a session's volatility is taken from: one month."""
TRAILING_SESSIONS = 252
"""Returns behind the annual volatility, return and beta on a tick: one year, or what there is of it."""
SESSIONS_PER_YEAR = 252
TICK_DECIMALS = 4
"""A hundredth of a cent: finer than the data, and short on the wire."""
ROUNDED_FROM = 0.01
"""A cheaper price would lose more than a hundredth of itself, or all of it."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a vendor would say of a symbol before a session, from its closes until then. All annual fractions.

    None where it has too few closes, or where nobody would believe it (see `MarketTick`).
    """

    volatility: float | None
    expected_return: float | None
    beta: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One session to be played, of the symbols that closed in it.

    price_by_step  (symbol, step) dollars; column 0 is the previous close, the last column the session's close
    opinions       one for each symbol
    """

    session: str
    symbols: tuple[str, ...]
    price_by_step: NDArray[np.float64]
    opinions: tuple[Opinion, ...]
    seed: int

    def prices(self, symbol: NDArray[np.intp], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Price of symbol number `symbol[i]` when `fraction[i]` of the session is over; dollars."""
        position = np.clip(fraction, 0.0, 1.0) * BRIDGE_STEPS
        step = np.minimum(position.astype(np.intp), BRIDGE_STEPS - 1)
        before, after = self.price_by_step[symbol, step], self.price_by_step[symbol, step + 1]
        between = before + (position - step) * (after - before)
        between = np.where(between < ROUNDED_FROM, between, np.round(between, TICK_DECIMALS))
        # Both ends are real closes, to the last bit: neither interpolated nor rounded.
        return np.select([position == 0.0, position == BRIDGE_STEPS], [before, after], between)

    def order(self, first: int, past: int) -> NDArray[np.intp]:
        """Which symbols tick as number `first` up to but excluding `past` of the session.

        In each round every symbol ticks once, in an order drawn anew for each round.
        """
        count = len(self.symbols)
        rounds = range(first // count, -(-past // count))
        day = date.fromisoformat(self.session).toordinal()
        drawn = [np.random.default_rng([self.seed, day, number]).permutation(count) for number in rounds]
        return np.concatenate(drawn or [np.empty(0, np.intp)])[first - count * rounds.start :][: past - first]


class Replay:
    """The closes and a seed, ready to give any session from number `first_playable` on."""

    first_playable = RECENT_SESSIONS + 1
    """Before it there are too few returns to say how volatile a symbol has been."""

    def __init__(self, closes: Closes, seed: int) -> None:
        self.closes = closes
        self.seed = seed

    def session(self, index: int) -> Session:
        """Session number `index` of the closes, as it will be played.

        A symbol starts at its newest close, however old that is; one that never closed before stands at its first.
        """
        name = self.closes.sessions[index]
        if index < self.first_playable:
            raise ValueError(f"session {name} has fewer than {RECENT_SESSIONS} returns before it")
        closes, before = self.closes.of(index), self.closes.marks(index - 1)
        recent = dict(zip(self.closes.symbols, self._recent_volatility(index), strict=True))
        opinions = self.opinions(index)
        paths = [
            bridge(before.get(symbol, close), close, recent[symbol], self._rng(name, symbol))
            for symbol, close in closes.items()
        ]
        return Session(name, tuple(closes), np.stack(paths), tuple(opinions[symbol] for symbol in closes), self.seed)

    def opinions(self, index: int) -> dict[str, Opinion]:
        """One for each symbol, from the closes before session `index` only."""
        closes = self.closes.matrix[max(0, index - 1 - TRAILING_SESSIONS) : index]
        returns = closes[1:] / closes[:-1] - 1.0
        none = np.full(len(returns), np.nan)
        symbols, benchmark = self.closes.symbols, self.closes.benchmark
        market = none if benchmark is None else returns[:, symbols.index(benchmark)]
        return {symbol: _opinion(returns[:, column], market) for column, symbol in enumerate(symbols)}

    def _recent_volatility(self, index: int) -> list[float]:
        """The standard deviation of each symbol's newest daily log returns before session `index`; 0 where unknown."""
        returns = np.diff(np.log(self.closes.matrix[index - 1 - RECENT_SESSIONS : index]), axis=0)
        return [_deviation(column) or 0.0 for column in returns.T]

    def _rng(self, session: str, symbol: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, date.fromisoformat(session).toordinal(), zlib.crc32(symbol.encode())])


def _opinion(returns: NDArray[np.float64], market: NDArray[np.float64]) -> Opinion:
    """What a symbol's daily returns say of it beside those of the market; NaN where one is not known."""
    deviation = _deviation(returns)
    volatility = None if deviation is None else deviation * math.sqrt(SESSIONS_PER_YEAR)
    expected = None if deviation is None else float(np.nanmean(returns)) * SESSIONS_PER_YEAR
    beta, both = None, np.isfinite(returns) & np.isfinite(market)
    if both.sum() > 1 and (variance := float(np.var(market[both], ddof=1))) > 0.0:
        beta = float(np.cov(returns[both], market[both], ddof=1)[0, 1]) / variance
    return Opinion(_believed(volatility, 10.0), _believed(expected, 10.0), _believed(beta, 20.0))


def _believed(number: float | None, most: float) -> float | None:
    """To six digits; None where a reader of ticks would refuse the whole tick for it."""
    return None if number is None or abs(number) > most else round(number, 6)


def _deviation(returns: NDArray[np.float64]) -> float | None:
    """The sample standard deviation of those that are known; None where there are not two."""
    known = returns[np.isfinite(returns)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def bridge(previous: float, close: float, volatility: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A path (step,) in dollars, `BRIDGE_STEPS + 1` points, from `previous` exactly to `close` exactly.

    `volatility` is the standard deviation of the symbol's daily log return.
    """
    time = np.linspace(0.0, 1.0, BRIDGE_STEPS + 1)
    walk = np.zeros(BRIDGE_STEPS + 1)
    np.cumsum(rng.standard_normal(BRIDGE_STEPS) / math.sqrt(BRIDGE_STEPS), out=walk[1:])
    path: NDArray[np.float64] = previous * np.exp(
        time * math.log(close / previous) + volatility * (walk - time * walk[-1])
    )
    path[0], path[-1] = previous, close
    return path
