"""Scenario sets: the returns of past sessions, to be lived through once more by whatever is held today.

A set is a pure function of the official closes, so two programs that have read the same closes hold the same set under
the same id. Returns are simple (arithmetic) fractions, as in RiskMetrics (1996): P&L is then linear in the value of a
position. The newest `window` of them are the scenarios, as they were and filtered (`plimsoll.risk.volatility`); with
older ones they make the long run that the structural risk number is measured over. These warm up the volatilities.

A return that was never observed is never made up as 0. Where a whole portfolio is asked about, sessions in which one
of its names has none are left out (listwise). Where all names share the rows, as in the engine, what a name lacks is
filled by a proxy, beta times the benchmark and a residual, and whoever holds it says so.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from plimsoll.risk.arrays import BoolArray, FloatArray
from plimsoll.risk.methods import DECAY
from plimsoll.risk.volatility import ewma_volatility, filtered_returns

OBSERVATIONS_MIN = 60
"""Fewer returns than this say nothing of a tail, so we refuse to measure with them."""
SESSIONS_IN_YEAR = 252
LONG_RUN_SESSIONS = 5 * SESSIONS_IN_YEAR
"""At least five years for the structural risk number, where history allows."""
WARM_UP_REST = 1e-12
"""What may be left of the variance that volatilities start from when the window begins."""
WARM_UP_SESSIONS_MAX = 2_750
"""Eleven years, what a decay of 0.99 takes; with a slower one a little more is left of the start."""
LATE_SESSIONS = 5
"""A name listed within the window's first week costs a portfolio these scenarios; a later one is proxied instead."""
DEFAULT_BETA = 1.0
SHARED_GAPS_MAX = 0.05
"""Without a benchmark: a name that lacks a larger share of the window's returns costs nobody a scenario, and is not
valued in the stream."""


def warm_up_sessions(decay: float) -> int:
    """How many returns before the window make its volatilities independent of where they started: 447 at 0.94."""
    return min(math.ceil(math.log(WARM_UP_REST) / math.log(decay)), WARM_UP_SESSIONS_MAX)


def history_sessions(window: int, decay: float = DECAY) -> int:
    """How many returns a set of this window is made of, the window included; one close more is needed."""
    return max(LONG_RUN_SESSIONS, window + warm_up_sessions(decay))


class TooFewObservations(ValueError):
    """Not enough sessions to measure risk with. Provide a longer history of closes, or widen the window."""

    def __init__(self, observations: int, of: str = "") -> None:
        super().__init__(
            f"{observations} returns{of}, at least {OBSERVATIONS_MIN} are needed:"
            f" provide closes of {OBSERVATIONS_MIN + 1} or more sessions and a window of {OBSERVATIONS_MIN} or more"
        )
        self.observations = observations


class MissingBenchmark(ValueError):
    """The benchmark has no history. Provide its closes, or name another benchmark."""

    def __init__(self, benchmark: str, missing: str) -> None:
        super().__init__(
            f"the benchmark {benchmark!r} has {missing}: provide its closes, or choose a benchmark that has them,"
            " or none"
        )
        self.benchmark = benchmark


@dataclass(frozen=True, slots=True, eq=False)
class Closes:
    """Official closes, oldest session first.

    sessions  (session,) dates as YYYY-MM-DD, ascending
    symbols   (symbol,) ascending
    price     (session, symbol) float64, read-only; NaN where there is no close

    Raises ValueError where sessions or symbols do not ascend, or the shape is wrong.
    """

    sessions: tuple[str, ...]
    symbols: tuple[str, ...]
    price: FloatArray

    def __post_init__(self) -> None:
        price = np.array(self.price, np.float64)
        if price.shape != (len(self.sessions), len(self.symbols)):
            raise ValueError(f"closes {price.shape} of {len(self.sessions)} sessions and {len(self.symbols)} symbols")
        for earlier, later in pairwise(self.sessions):
            if earlier >= later:
                raise ValueError(f"session {later} follows {earlier}: give each session once, in ascending order")
        for before, after in pairwise(self.symbols):
            if before >= after:
                raise ValueError(f"symbol {after} follows {before}: give each symbol once, in ascending order")
        price[~(np.isfinite(price) & (price > 0.0))] = np.nan
        price.flags.writeable = False
        object.__setattr__(self, "price", price)

    @classmethod
    def of(cls, sessions: Sequence[tuple[str, Mapping[str, float]]]) -> Closes:
        """From (session date, {symbol: close}), in ascending order of session."""
        symbols = tuple(sorted({symbol for _, closes in sessions for symbol in closes}))
        price = [[closes.get(symbol, math.nan) for symbol in symbols] for _, closes in sessions]
        return cls(
            tuple(session for session, _ in sessions),
            symbols,
            np.array(price, np.float64).reshape(len(sessions), len(symbols)),
        )

    def newest(self, count: int) -> Closes:
        """The newest `count` sessions, or as many as there are."""
        first = max(len(self.sessions) - count, 0)
        return Closes(self.sessions[first:], self.symbols, self.price[first:])

    def returns(self) -> FloatArray:
        """(session - 1, symbol) fractions, from each session to the next; NaN where either close is missing."""
        returns: FloatArray = self.price[1:] / self.price[:-1] - 1.0
        return returns


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioSet:
    """One immutable set of scenarios. Arrays are float64 and read-only; NaN where a name has no return.

    scenario_set_id  begins with the last session and names exactly this content
    benchmark        the symbol that beta is measured against, one of `symbols`; None where there is none
    window           how many scenarios were asked for
    observations     how many there are: the newest of `sessions`
    decay            lambda of the volatilities
    symbols          (symbol,) ascending
    sessions         (session,) the date of each row of the long run, oldest first
    returns          (session, symbol) fractions: -0.02 is a fall of two per cent
    volatility       (session, symbol) daily, as forecast for each session from those before
    volatility_now   (symbol,) daily, forecast for the session to come
    filtered         (scenario, symbol) the newest `observations` returns, rescaled to the volatility of now
    sectors          {symbol: sector}, where it is known
    stress_returns   {stress id: {symbol: return}} of those that traded through a named stress
    closes           what all of it was made from
    """

    scenario_set_id: str
    benchmark: str | None
    window: int
    observations: int
    decay: float
    symbols: tuple[str, ...]
    sessions: tuple[str, ...]
    returns: FloatArray
    volatility: FloatArray
    volatility_now: FloatArray
    filtered: FloatArray
    sectors: Mapping[str, str]
    stress_returns: Mapping[str, Mapping[str, float]]
    closes: Closes

    @property
    def scenario_sessions(self) -> tuple[str, ...]:
        """(scenario,) the date of each scenario, oldest first."""
        return self.sessions[-self.observations :]

    @property
    def historical(self) -> FloatArray:
        """(scenario, symbol) the scenarios as they were, fractions."""
        return self.returns[-self.observations :]

    @property
    def benchmark_returns(self) -> FloatArray:
        """(scenario,) the benchmark's returns, fractions; NaN where there are none."""
        return self.long_benchmark_returns[-self.observations :]

    @property
    def long_benchmark_returns(self) -> FloatArray:
        """(session,) the benchmark's returns over the long run."""
        if self.benchmark is None:
            return np.full(len(self.sessions), np.nan)
        return self.returns[:, self.symbols.index(self.benchmark)]


def build(
    closes: Closes,
    benchmark: str | None,
    window: int,
    *,
    decay: float = DECAY,
    sectors: Mapping[str, str] | None = None,
    stress_returns: Mapping[str, Mapping[str, float]] | None = None,
    held: Collection[str] | None = None,
) -> ScenarioSet:
    """The scenario set after the last of these closes: the newest `window` returns, or as many as there are.

    held    the names of one portfolio: sessions in which one of them has no return are left out, unless the name is
            listed too late (or too seldom) for that, and is proxied. None: all names share the rows, and only those
            without the benchmark are left out
    raises  TooFewObservations, MissingBenchmark

    The long run is of 1,260 returns, or of the window where that is longer. Nothing older than `history_sessions` is
    looked at, so that whoever keeps as much arrives at the same set.
    """
    used = closes.newest(history_sessions(window, decay) + 1)
    if len(used.sessions) - 1 < OBSERVATIONS_MIN or window < OBSERVATIONS_MIN:
        raise TooFewObservations(max(min(len(used.sessions) - 1, window), 0))
    returns = used.returns()
    volatility = ewma_volatility(returns, decay)
    rows = _rows(used.symbols, returns, benchmark, window, held)[-max(LONG_RUN_SESSIONS, window) :]
    observations = min(window, len(rows))
    kept = np.asarray(np.isfinite(returns[rows]).any(axis=0), np.bool_)
    symbols = tuple(symbol for symbol, any_return in zip(used.symbols, kept, strict=True) if any_return)
    returns, volatility_now = returns[rows][:, kept], volatility[-1, kept]
    volatility = volatility[rows][:, kept]
    newest = slice(len(rows) - observations, None)
    filtered = filtered_returns(returns[newest], volatility[newest], volatility_now)
    for array in (returns, volatility, volatility_now, filtered):
        array.flags.writeable = False
    sessions = tuple(used.sessions[row + 1] for row in rows)
    known_sectors = dict(sorted((sectors or {}).items()))
    known_stress = {stress: dict(sorted(each.items())) for stress, each in sorted((stress_returns or {}).items())}
    named = (benchmark, observations, decay, sessions, known_sectors, known_stress)
    return ScenarioSet(
        scenario_set_id=f"{used.sessions[-1]}-{_fingerprint(used, repr(named))}",
        benchmark=benchmark,
        window=window,
        observations=observations,
        decay=decay,
        symbols=symbols,
        sessions=sessions,
        returns=returns,
        volatility=volatility,
        volatility_now=volatility_now,
        filtered=filtered,
        sectors=known_sectors,
        stress_returns=known_stress,
        closes=used,
    )


def build_shared(
    closes: Closes,
    benchmark: str | None,
    window: int,
    *,
    decay: float = DECAY,
    sectors: Mapping[str, str] | None = None,
    stress_returns: Mapping[str, Mapping[str, float]] | None = None,
) -> ScenarioSet:
    """The set that all portfolios of a stream share. Raises as `build` does.

    With a benchmark it has every session in which that has a return, and proxies fill what a name lacks. Without one
    nothing can stand in for a name, so the sessions in which one lacks a return are left out, for all alike.
    """
    held = None if benchmark is not None else _steady(closes.newest(history_sessions(window, decay) + 1), window)
    return build(closes, benchmark, window, decay=decay, sectors=sectors, stress_returns=stress_returns, held=held)


def _steady(used: Closes, window: int) -> list[str]:
    """The names with a return in all but a few sessions of the window."""
    lacking = np.isnan(used.returns()[-window:]).mean(axis=0) if len(used.sessions) > 1 else np.ones(len(used.symbols))
    return [used.symbols[column] for column in np.flatnonzero(lacking <= SHARED_GAPS_MAX).tolist()]


def _rows(
    symbols: tuple[str, ...], returns: FloatArray, benchmark: str | None, window: int, held: Collection[str] | None
) -> list[int]:
    """Which sessions are scenarios: the rows of `returns`, oldest first."""
    observed = np.isfinite(returns)
    if benchmark is not None:
        if benchmark not in symbols or not observed[:, symbols.index(benchmark)].any():
            raise MissingBenchmark(benchmark, "no returns in these closes")
        with_benchmark = observed[:, symbols.index(benchmark)]
    else:
        with_benchmark = np.ones(len(returns), np.bool_)
    if held is None:
        rows = with_benchmark
        lacking = " of the benchmark"
    else:
        columns = [symbols.index(symbol) for symbol in sorted(held) if symbol in symbols]
        proxied = [column for column in columns if _needs_proxy(observed[:, column], window)]
        whole = [column for column in columns if column not in proxied]
        rows = np.asarray(observed[:, whole].all(axis=1), np.bool_)
        # Whoever is not in these closes at all is proxied too.
        if (proxied or not columns or len(columns) < len(set(held))) and benchmark is not None:
            rows &= with_benchmark
        lacking = " in sessions in which all that is held has one"
    if rows.sum() < OBSERVATIONS_MIN:
        raise TooFewObservations(int(rows.sum()), lacking)
    return np.flatnonzero(rows).tolist()


def _needs_proxy(observed: BoolArray, window: int) -> bool:
    """Whether a name was listed well after the window began, or has hardly a return in it: its gaps are no accident."""
    within = observed[-window:]
    listed_by = len(observed) - len(within) + LATE_SESSIONS
    return not observed[:listed_by].any() or int(within.sum()) < OBSERVATIONS_MIN


def _fingerprint(used: Closes, named: str) -> str:
    """Of all that a set is made from, and not only of its rows: closes of a session left out move volatilities too."""
    # A symbol that closed only before `used` begins is known to some readers and not to others.
    closed = np.flatnonzero(~np.isnan(used.price).all(axis=0)).tolist()
    symbols = tuple(used.symbols[column] for column in closed)
    text = f"{named}\n{symbols!r}\n{used.sessions!r}\n"
    return hashlib.sha256(text.encode() + used.price[:, closed].astype("<f8").tobytes()).hexdigest()[:12]


# --- what every symbol did, with proxies ------------------------------------------------------------------------------


class Opinion(NamedTuple):
    """What others say of a symbol: annual volatility, a fraction, beta, and its sector. None where nothing is said."""

    volatility: float | None = None
    beta: float | None = None
    sector: str | None = None


class Rows(NamedTuple):
    """What every symbol did in every scenario, fractions; C order.

    historical   (symbol, scenario) as it was
    filtered     (symbol, scenario) rescaled to the volatility of now
    long_run     (symbol, session) the whole history of the set
    own_history  (symbol,) whether all its scenarios are its own; False where some are a proxy's
    valued       (symbol,) whether it has scenarios at all; zeros where not, and it must not be valued
    """

    historical: FloatArray
    filtered: FloatArray
    long_run: FloatArray
    own_history: BoolArray
    valued: BoolArray


def rows_by_symbol(
    scenarios: ScenarioSet, symbols: Sequence[str], opinions: Mapping[str, Opinion], dtype: type[np.floating]
) -> Rows:
    """The returns of symbols in the order asked for: the one place where it is decided what stands for a name.

    A symbol's own returns where the set has them; a proxy for those that it lacks, if the set has a benchmark and
    either some returns of the symbol or an opinion of it (`opinions` names every symbol with a price). Where there is
    no proxy to be had, a symbol that lacks returns in the scenarios or in the long run is not valued.
    """
    count, observations = len(symbols), scenarios.observations
    long_run = np.zeros((count, len(scenarios.sessions)))
    filtered = np.zeros((count, observations))
    column = {symbol: number for number, symbol in enumerate(scenarios.symbols)}
    known = [row for row, symbol in enumerate(symbols) if symbol in column]
    columns = [column[symbols[row]] for row in known]
    long_run[known] = scenarios.returns[:, columns].T
    filtered[known] = scenarios.filtered[:, columns].T
    valued = np.zeros(count, np.bool_)
    valued[known] = True
    own = valued & np.isfinite(filtered).all(axis=1)
    proxies = _Proxies(scenarios)
    for row in np.flatnonzero(~(own & np.isfinite(long_run).all(axis=1))).tolist():
        symbol = symbols[row]
        if not can_be_valued(scenarios, symbol, symbol in opinions):
            # Nothing can fill its gaps, and a return of 0 would be made up.
            valued[row] = False
            long_run[row], filtered[row] = 0.0, 0.0
            continue
        mine = long_run[row] if valued[row] else np.full(len(scenarios.sessions), np.nan)
        long_proxy, filtered_proxy = proxies.of(symbol, opinions.get(symbol, Opinion()), mine)
        lacks = ~np.isfinite(mine)
        long_run[row] = np.where(lacks, long_proxy, mine)
        filtered[row] = np.where(lacks[-observations:], filtered_proxy, filtered[row])
        valued[row] = True
    historical = np.ascontiguousarray(long_run[:, -observations:], dtype)
    return Rows(historical, filtered.astype(dtype), long_run.astype(dtype), own, valued)


def can_be_valued(scenarios: ScenarioSet, symbol: str, has_opinion: bool) -> bool:
    """Whether a symbol has returns in every session of a set, its own or a proxy's; `has_opinion` as it has a price."""
    column = bisect_left(scenarios.symbols, symbol)
    known = scenarios.symbols[column : column + 1] == (symbol,)
    if scenarios.benchmark is not None:
        return known or has_opinion
    return known and bool(np.isfinite(scenarios.returns[:, column]).all())


class _Proxies:
    """Stand-ins for what a name never did: beta times the benchmark, and a residual of its own.

    Beta and volatility are those of the name where it has at least sixty returns in the window, else what a vendor
    says, else the median of its sector, else 1 and the median of all. The residual has no mean and no correlation with
    the benchmark, to the last digit, so beta and volatility come out as asked for. Where beta alone is more volatile
    there is none. What it is on a date depends on the symbol and the date: two programs draw the same, and two symbols
    never move together by accident of seed.
    """

    def __init__(self, scenarios: ScenarioSet) -> None:
        self._scenarios = scenarios
        self._typical: dict[str | None, tuple[float, float]] = {}

    def of(self, symbol: str, opinion: Opinion, own: FloatArray) -> tuple[FloatArray, FloatArray]:
        """((session,), (scenario,)) returns for a symbol over the long run, and filtered; fractions.

        own  (session,) what it did itself, NaN where nothing is known
        """
        scenarios, observations = self._scenarios, self._scenarios.observations
        benchmark = scenarios.long_benchmark_returns
        beta, volatility = self._beta_and_volatility(opinion, own[-observations:], scenarios.sectors.get(symbol))
        daily_variance = volatility**2 / SESSIONS_IN_YEAR - beta**2 * float(np.var(benchmark[-observations:], ddof=1))
        residual = math.sqrt(max(daily_variance, 0.0)) * self._residual(symbol, benchmark)
        assert scenarios.benchmark is not None  # noqa: S101  # whoever asks for a proxy has made sure
        filtered = scenarios.filtered[:, scenarios.symbols.index(scenarios.benchmark)]
        return beta * benchmark + residual, beta * filtered + residual[-observations:]

    def _beta_and_volatility(self, opinion: Opinion, own: FloatArray, sector: str | None) -> tuple[float, float]:
        observed = np.isfinite(own)
        if observed.sum() >= OBSERVATIONS_MIN:
            return _beta(own[observed], self._scenarios.benchmark_returns[observed]), _annual(own[observed])
        typical_beta, typical_volatility = self._of_sector(sector or opinion.sector)
        return (
            typical_beta if opinion.beta is None else opinion.beta,
            typical_volatility if opinion.volatility is None else opinion.volatility,
        )

    def _of_sector(self, sector: str | None) -> tuple[float, float]:
        """The median beta and annual volatility of a sector's names with a whole history; of all where it has none."""
        if sector not in self._typical:
            self._typical[sector] = self._medians(sector)
        return self._typical[sector]

    def _medians(self, sector: str | None) -> tuple[float, float]:
        scenarios = self._scenarios
        whole = np.asarray(np.isfinite(scenarios.historical).all(axis=0), np.bool_)
        others = [
            column
            for column, symbol in enumerate(scenarios.symbols)
            if whole[column] and symbol != scenarios.benchmark
            if sector is None or scenarios.sectors.get(symbol) == sector
        ]
        if sector is not None:
            if not others:
                return self._of_sector(None)
            betas = [_beta(scenarios.historical[:, column], scenarios.benchmark_returns) for column in others]
            beta = float(np.median(betas))
        else:
            beta = DEFAULT_BETA
        if not others:
            return beta, _annual(scenarios.benchmark_returns)
        return beta, float(np.median([_annual(scenarios.historical[:, column]) for column in others]))

    def _residual(self, symbol: str, benchmark: FloatArray) -> FloatArray:
        """(session,) unit sample deviation, in the window and before it, by symbol and date."""
        # Not `hash`, which differs from one process to the next.
        seed = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8], "little")
        day = (np.array(self._scenarios.sessions, "datetime64[D]") - np.datetime64("1900-01-01")).astype(np.int64)
        draw = np.random.default_rng(seed).standard_normal(int(day[-1]) + 1)[day]
        newest = len(draw) - self._scenarios.observations
        return np.concatenate([_shaped(draw[:newest], benchmark[:newest]), _shaped(draw[newest:], benchmark[newest:])])


def _shaped(draw: FloatArray, benchmark: FloatArray) -> FloatArray:
    """Without mean, without correlation to the benchmark, and of unit deviation."""
    if len(draw) < 3:
        return np.zeros(len(draw))
    draw = draw - draw.mean()
    slope = benchmark - benchmark.mean()
    if slope.any():
        draw -= slope * (draw @ slope) / (slope @ slope)
    shaped: FloatArray = draw / np.std(draw, ddof=1)
    return shaped


def _beta(returns: FloatArray, benchmark: FloatArray) -> float:
    swing = benchmark - benchmark.mean()
    variation = float(swing @ swing)
    return float(returns @ swing) / variation if variation > 0.0 else DEFAULT_BETA


def _annual(returns: FloatArray) -> float:
    return float(np.std(returns, ddof=1)) * math.sqrt(SESSIONS_IN_YEAR)
