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

from producer.closes import BENCHMARK, Closes

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a vendor would say of a symbol before a session, from its closes until then. All annual fractions."""

    volatility: float
    expected_return: float
    beta: float


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One session to be played.

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
        between = np.round(before + (position - step) * (after - before), TICK_DECIMALS)
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
        self._benchmark = closes.symbols.index(BENCHMARK)

    def session(self, index: int) -> Session:
        """Session number `index` of the closes, as it will be played."""
        name, symbols, matrix = self.closes.sessions[index], self.closes.symbols, self.closes.matrix
        if index < self.first_playable:
            raise ValueError(f"session {name} has fewer than {RECENT_SESSIONS} returns before it")
        recent = np.diff(np.log(matrix[index - 1 - RECENT_SESSIONS : index]), axis=0).std(axis=0, ddof=1)
        paths = [
            bridge(matrix[index - 1, column], matrix[index, column], recent[column], self._rng(name, symbol))
            for column, symbol in enumerate(symbols)
        ]
        return Session(name, symbols, np.stack(paths), self._opinions(index), self.seed)

    def _rng(self, session: str, symbol: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, date.fromisoformat(session).toordinal(), zlib.crc32(symbol.encode())])

    def _opinions(self, index: int) -> tuple[Opinion, ...]:
        """One for each symbol, from the closes before session `index` only."""
        window = self.closes.matrix[max(0, index - 1 - TRAILING_SESSIONS) : index]
        returns = window[1:] / window[:-1] - 1.0
        covariance = np.cov(returns, rowvar=False, ddof=1)
        variance = covariance[self._benchmark, self._benchmark]
        volatility = np.sqrt(np.diag(covariance) * SESSIONS_PER_YEAR)
        expected = returns.mean(axis=0) * SESSIONS_PER_YEAR
        beta = covariance[self._benchmark] / variance
        return tuple(
            Opinion(*(round(number, 6) for number in row))
            for row in np.column_stack([volatility, expected, beta]).tolist()
        )


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
