"""Scenario sets: the returns of past sessions, to be lived through once more by whatever is held today.

A set is a pure function of the official closes, so two programs that have read the same closes hold the same set
under the same id. Returns are simple (arithmetic) fractions, as in RiskMetrics (1996): P&L is then linear in the
value of a position. A return that was never observed is never made up as 0. A symbol with a gap stays out of the set,
and whoever holds it values it by `proxy_returns`, and says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from plimsoll.risk.arrays import BoolArray, FloatArray

OBSERVATIONS_MIN = 60
"""Fewer returns than this say nothing of a tail, so we refuse to measure with them."""
SESSIONS_IN_YEAR = 252
DEFAULT_BETA = 1.0


class TooFewObservations(ValueError):
    """Not enough sessions to measure risk with. Provide a longer history of closes, or widen the window."""

    def __init__(self, observations: int) -> None:
        super().__init__(
            f"{observations} returns, at least {OBSERVATIONS_MIN} are needed:"
            f" provide closes of {OBSERVATIONS_MIN + 1} or more sessions and a window of {OBSERVATIONS_MIN} or more"
        )
        self.observations = observations


class MissingBenchmark(ValueError):
    """The benchmark has a gap. Provide its closes for the sessions of the window, or name another benchmark."""

    def __init__(self, benchmark: str, missing: str) -> None:
        super().__init__(
            f"the benchmark {benchmark!r} has {missing}: provide its closes, or choose a benchmark that has them"
        )
        self.benchmark = benchmark


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioSet:
    """One immutable set of scenarios.

    scenario_set_id  names exactly these returns
    method           how the returns were made from the closes: `historical`
    benchmark        the symbol that beta is measured against; one of `symbols`
    sessions         (session,) the date of each row, oldest first
    returns          (session, symbol) float64, C order, read-only; a fraction: -0.02 is a fall of two per cent

    Raises `MissingBenchmark` where the benchmark is none of the symbols, ValueError where the shape is wrong.
    """

    scenario_set_id: str
    method: str
    benchmark: str
    symbols: tuple[str, ...]
    sessions: tuple[str, ...]
    returns: FloatArray
    typical_volatility: float = field(init=False, repr=False)
    """The median annual volatility, a fraction, of the symbols without the benchmark (its own if it is alone)."""
    _columns: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        returns = np.ascontiguousarray(self.returns, np.float64).view()
        if returns.shape != (len(self.sessions), len(self.symbols)):
            raise ValueError(f"returns {returns.shape} for {len(self.sessions)} sessions, {len(self.symbols)} symbols")
        if self.benchmark not in self.symbols:
            raise MissingBenchmark(self.benchmark, "no returns in this set")
        returns.flags.writeable = False
        object.__setattr__(self, "returns", returns)
        object.__setattr__(self, "typical_volatility", _typical_volatility(returns, self.symbols, self.benchmark))
        object.__setattr__(self, "_columns", {symbol: column for column, symbol in enumerate(self.symbols)})

    @property
    def observations(self) -> int:
        """How many scenarios there are."""
        return len(self.sessions)

    @property
    def benchmark_returns(self) -> FloatArray:
        """(session,) the benchmark's returns, fractions."""
        return self.returns[:, self._columns[self.benchmark]]

    def returns_of(self, symbol: str) -> FloatArray | None:
        """(session,) one symbol's returns, fractions; None where it has no history in this set."""
        column = self._columns.get(symbol)
        return None if column is None else self.returns[:, column]


def build(closes: Sequence[tuple[str, Mapping[str, float]]], benchmark: str, window: int) -> ScenarioSet:
    """The historical scenario set: the returns of the last `window` sessions, or of as many as there are.

    closes   (session date, {symbol: close}) in ascending order of session; a close that is not a positive number
             counts as missing
    raises   TooFewObservations, MissingBenchmark; ValueError where the sessions do not ascend
    """
    for (earlier, _), (later, _) in pairwise(closes):
        if earlier >= later:
            raise ValueError(f"session {later} follows {earlier}: give each session once, in ascending order")
    used = closes[-(window + 1) :] if window > 0 else closes[:0]
    if len(used) - 1 < OBSERVATIONS_MIN:
        raise TooFewObservations(max(len(used) - 1, 0))

    candidates = sorted(used[-1][1])
    price = np.array([[close.get(symbol, math.nan) for symbol in candidates] for _, close in used], np.float64)
    complete = np.all(np.isfinite(price) & (price > 0), axis=0)
    symbols = tuple(symbol for symbol, whole in zip(candidates, complete, strict=True) if whole)
    if benchmark not in symbols:
        raise MissingBenchmark(benchmark, f"no close in at least one session from {used[0][0]} to {used[-1][0]}")

    price = price[:, complete]
    returns = np.ascontiguousarray(price[1:] / price[:-1] - 1.0)
    sessions = tuple(session for session, _ in used[1:])
    fingerprint = _fingerprint("historical", benchmark, symbols, sessions, returns)
    return ScenarioSet(f"{sessions[-1]}-{fingerprint}", "historical", benchmark, symbols, sessions, returns)


def proxy_returns(scenarios: ScenarioSet, symbol: str, beta: float | None, volatility: float | None) -> FloatArray:
    """(session,) returns, fractions, for a symbol without history: beta times the benchmark, and a residual.

    beta        to the set's benchmark; 1 where nobody says
    volatility  annual, a fraction, of the whole; the median of the set's own symbols where nobody says

    The residual has no mean and no correlation with the benchmark, to the last digit, so beta and volatility come out
    as asked for. Where beta alone is more volatile than `volatility` there is no residual. Its shape depends on the
    symbol's name alone: two programs draw the same one, and two symbols never move together by accident of seed.
    """
    slope = DEFAULT_BETA if beta is None else beta
    wanted = scenarios.typical_volatility if volatility is None else volatility
    benchmark = scenarios.benchmark_returns
    daily_variance = wanted**2 / SESSIONS_IN_YEAR - slope**2 * float(np.var(benchmark, ddof=1))
    residual = math.sqrt(max(daily_variance, 0.0))
    return slope * benchmark + residual * _residual_shape(symbol, benchmark)


def _typical_volatility(returns: FloatArray, symbols: tuple[str, ...], benchmark: str) -> float:
    others = [column for column, symbol in enumerate(symbols) if symbol != benchmark]
    if len(returns) < 2:
        return math.nan
    daily = np.std(returns[:, others] if others else returns, axis=0, ddof=1)
    return float(np.median(daily)) * math.sqrt(SESSIONS_IN_YEAR)


def _residual_shape(symbol: str, benchmark: FloatArray) -> FloatArray:
    # Not `hash`, which differs from one process to the next.
    seed = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8], "little")
    draw = np.random.default_rng(seed).standard_normal(len(benchmark))
    draw -= draw.mean()
    slope = benchmark - benchmark.mean()
    if slope.any():
        draw -= slope * (draw @ slope) / (slope @ slope)
    return draw / np.std(draw, ddof=1)


def _fingerprint(
    method: str, benchmark: str, symbols: tuple[str, ...], sessions: tuple[str, ...], returns: FloatArray
) -> str:
    named = "\n".join((method, benchmark, ",".join(symbols), ",".join(sessions)))
    return hashlib.sha256(named.encode() + b"\n" + returns.astype("<f8").tobytes()).hexdigest()[:12]


class Opinion(NamedTuple):
    """What a vendor says of a priced symbol: annual volatility, a fraction, and beta. None where nothing is said."""

    volatility: float | None = None
    beta: float | None = None


def returns_by_symbol(
    scenarios: ScenarioSet, symbols: Sequence[str], opinions: Mapping[str, Opinion], dtype: type[np.floating]
) -> tuple[FloatArray, BoolArray]:
    """What every symbol did in every scenario, in the order of `symbols`: the one place where that is decided.

    opinions  of every symbol that has a price; one that has none is valued with nothing
    returns   (symbol, scenario) fractions of type `dtype`: a symbol's own history where the set has it, else a proxy
              where it is priced, else zeros; and (symbol,) whether they are its own
    """
    returns = np.zeros((len(symbols), scenarios.observations), dtype)
    own_history = np.zeros(len(symbols), np.bool_)
    for row, symbol in enumerate(symbols):
        own, opinion = scenarios.returns_of(symbol), opinions.get(symbol)
        if own is not None:
            returns[row], own_history[row] = own, True
        elif opinion is not None:
            returns[row] = proxy_returns(scenarios, symbol, opinion.beta, opinion.volatility)
    return returns, own_history
