"""Risk measures of scenario P&L: what could be lost, how much it swings, how far it moves with the market.

The axes are always (portfolio, scenario). P&L is signed, so a loss is negative; value at risk and expected shortfall
are losses and come out positive (`plimsoll.risk.tails`). Sums are taken in float64 whatever the input. NaN means "not
defined".

What could be lost is measured over the scenarios of the model in force; what has been (volatility, return, drawdown,
beta) over the returns as they were, of the positions held now. Nothing here knows where a scenario came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from plimsoll.risk import methods
from plimsoll.risk.arrays import FloatArray, IntArray, Sparse
from plimsoll.risk.methods import Method, Model, ScenarioPnl
from plimsoll.risk.score import risk_number, risk_score
from plimsoll.risk.tails import NO_SCENARIO, TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99, scenario_of

SESSIONS_IN_YEAR = 252

_ROUNDING = 1e-12
"""Relative to what was summed: a result smaller than this is the rounding of a zero."""


# --- returns ----------------------------------------------------------------------------------------------------------


def volatility(returns: FloatArray) -> FloatArray:
    """(portfolio,) annual volatility, a fraction: the sample standard deviation (ddof 1) times the root of 252.

    returns  (portfolio, scenario) fractions of market value. NaN with fewer than two scenarios.
    """
    return _deviation(returns) * math.sqrt(SESSIONS_IN_YEAR)


def expected_return(returns: FloatArray) -> FloatArray:
    """(portfolio,) annual expected return, a fraction: the mean times 252. NaN without scenarios."""
    return _mean(returns) * SESSIONS_IN_YEAR


def sharpe_ratio(returns: FloatArray, risk_free: float) -> FloatArray:
    """(portfolio,) annual Sharpe ratio, as empyrical: mean(r - rf / 252) / std(r) times the root of 252.

    returns    (portfolio, scenario) fractions of market value
    risk_free  annual, a fraction. NaN where nothing swings.
    """
    return _ratio(expected_return(returns) - risk_free, volatility(returns))


def sortino_ratio(returns: FloatArray, risk_free: float) -> FloatArray:
    """(portfolio,) annual Sortino ratio, as empyrical: mean(r - rf / 252) over the root mean square of what fell short.

    The root mean square is over all scenarios, those without a shortfall counting as 0. Arguments as `sharpe_ratio`;
    NaN where nothing ever falls short.
    """
    if not returns.shape[1]:
        return np.full(len(returns), np.nan)
    return _ratio(expected_return(returns) - risk_free, _downside(returns, risk_free))


def beta(returns: FloatArray, benchmark: FloatArray) -> FloatArray:
    """(portfolio,) slope of ordinary least squares on the benchmark; NaN where the benchmark does not move.

    returns (portfolio, scenario) and benchmark (scenario,), in fractions; where the benchmark is NaN the pair is left
    out.
    """
    returns, benchmark = _paired(returns, benchmark)
    if not len(benchmark):
        return np.full(len(returns), np.nan)
    swing = np.asarray(benchmark, np.float64) - np.mean(benchmark, dtype=np.float64)
    variation = swing @ swing
    # The swing sums to zero, so the portfolio's own mean drops out of the covariance.
    shared = _dot(returns, swing)
    return shared / variation if variation > 0.0 else np.full(len(returns), np.nan)


def tracking_error(returns: FloatArray, benchmark: FloatArray) -> FloatArray:
    """(portfolio,) annual standard deviation (ddof 1) of what the portfolio returned beyond the benchmark.

    Arguments as `beta`. NaN with fewer than two pairs.
    """
    returns, benchmark = _paired(returns, benchmark)
    return volatility(returns - benchmark)


def max_drawdown(returns: FloatArray) -> FloatArray:
    """(portfolio,) the deepest fall of wealth below its peak, a fraction: -0.2 is a fall of twenty per cent.

    returns  (portfolio, scenario) fractions of market value, oldest first

    Wealth starts at 1 before the first return, as in empyrical. A borrower who loses more than everything is ruined
    and stays so (-1): wealth below nothing has no returns. NaN where a return is.

    With g_t = 1 + r_t, wealth as a share of its peak so far is l_t = min(1, l_(t-1) g_t), from l_0 = 1; what is asked
    for is the least l_t. A step needs the one before it, so every stretch of every portfolio runs at once. A stretch
    that begins at the share x has min(l_t, x w_t), where l_t and w_t (its growth) are those of a stretch that begins at
    1; so their last and least values are all it takes to carry the share on from stretch to stretch.
    """
    portfolios, scenarios = returns.shape
    stretches = -(-scenarios // _STRETCH)
    if rest := stretches * _STRETCH - scenarios:
        # A return of nothing changes neither wealth nor its peak.
        returns = np.pad(returns, ((0, 0), (0, rest)))
    # (scenario of the stretch, stretch, portfolio)
    gain = np.add(returns.reshape(portfolios, stretches, _STRETCH).transpose(2, 1, 0), 1.0, dtype=np.float64, order="C")
    # Below nothing is ruin. Above, so that the growth of a stretch stays finite: infinitely often nothing is no number.
    np.clip(gain, 0.0, _GAIN_MAX, out=gain)
    growth, share = np.ones_like(gain[0]), np.ones_like(gain[0])
    least_growth, least_share = growth.copy(), share.copy()
    for each in gain:
        np.multiply(growth, each, out=growth)
        np.minimum(least_growth, growth, out=least_growth)
        np.multiply(share, each, out=share)
        np.minimum(share, 1.0, out=share)
        np.minimum(least_share, share, out=least_share)
    reached, least = np.ones(portfolios), np.ones(portfolios)
    for at in range(stretches):
        np.minimum(least, least_share[at], out=least)
        np.minimum(least, reached * least_growth[at], out=least)
        reached = np.minimum(share[at], reached * growth[at])
    return least - 1.0


_STRETCH = 25
"""Scenarios of one stretch: 20 stretches of 25 are 500, and neither number has to be."""
_GAIN_MAX = 1e12
"""What one scenario multiplies wealth by at the most: to the power of a stretch it is still a float, and whoever is not
back at the peak by it has lost all but a millionth of a millionth, which is as deep as it gets."""


def _downside(returns: FloatArray, risk_free: float) -> FloatArray:
    """(portfolio,) annual root mean square of what fell short of the risk-free rate."""
    short = np.minimum(returns - risk_free / SESSIONS_IN_YEAR if risk_free else returns, 0.0, dtype=np.float64)
    downside: FloatArray = np.sqrt(np.vecdot(short, short) * (SESSIONS_IN_YEAR / returns.shape[1]))
    return downside


def _paired(returns: FloatArray, benchmark: FloatArray) -> tuple[FloatArray, FloatArray]:
    known = np.isfinite(benchmark)
    return (returns, benchmark) if known.all() else (returns[:, known], benchmark[known])


def _mean(returns: FloatArray) -> FloatArray:
    if not returns.shape[1]:
        return np.full(len(returns), np.nan)
    mean: FloatArray = _dot(returns, np.ones(returns.shape[1])) / returns.shape[1]
    return mean


def _deviation(returns: FloatArray, mean: FloatArray | None = None) -> FloatArray:
    """(portfolio,) sample standard deviation (ddof 1); `mean` where it is known already.

    From the sum of squares, where the mean takes no more than half of it away: one digit is lost at most. Where it does
    take more, from the squares of what is left without the mean.
    """
    scenarios = returns.shape[1]
    if scenarios < 2:
        return np.full(len(returns), np.nan)
    returns = returns.astype(np.float64, copy=False)
    mean = _mean(returns) if mean is None else mean
    squares = np.vecdot(returns, returns)
    about_mean = squares - scenarios * mean**2
    near = ~(about_mean >= 0.5 * squares)
    if near.any():
        swing = returns[near] - mean[near, None]
        about_mean[near] = np.vecdot(swing, swing)
    deviation: FloatArray = np.sqrt(about_mean / (scenarios - 1))
    # Equal returns differ from their own mean by its rounding, which would make a Sharpe ratio of 1e16.
    deviation[deviation <= _ROUNDING * np.abs(mean)] = 0.0
    return deviation


def _dot(returns: FloatArray, weight: FloatArray) -> FloatArray:
    """(portfolio,) in float64. Not a matrix product, whose last digit depends on what else is in it."""
    product: FloatArray = np.vecdot(returns.astype(np.float64, copy=False), weight)
    return product


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    undefined: FloatArray = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0.0)


# --- concentration ----------------------------------------------------------------------------------------------------


def effective_names(exposure: FloatArray | Sparse) -> FloatArray:
    """(portfolio,) how many equal positions would be as concentrated: 1 / sum of squared gross weights (Herfindahl).

    exposure  (portfolio, symbol) money, dense or sparse; a short position counts as a long one. NaN without exposure.
    """
    size: Any = abs(exposure)
    return _ratio(np.asarray(size.sum(axis=1), np.float64) ** 2, np.asarray((size**2).sum(axis=1), np.float64))


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Every headline measure of many portfolios, arrays (portfolio,); NaN where one is not defined.

    Money in the reporting currency; `short_exposure` is negative. `_fraction`s, volatility, expected return, tracking
    error and drawdown are fractions of market value, the middle three annual. What is relative to market value is NaN
    where that is not positive, and where nothing that is held can be valued. `risk_score` is unrounded, `risk_number` a
    whole number; both are current, and `risk_number_structural` is of the long run. `coverage` is the share of gross
    exposure with a history of its own.
    `var_95_scenario` is the index of the scenario that `var_95` comes from, `NO_SCENARIO` where there is none.
    """

    market_value: FloatArray
    gross_exposure: FloatArray
    net_exposure: FloatArray
    long_exposure: FloatArray
    short_exposure: FloatArray
    cash: FloatArray
    var_95: FloatArray
    var_99: FloatArray
    es_975: FloatArray
    var_95_fraction: FloatArray
    var_99_fraction: FloatArray
    es_975_fraction: FloatArray
    volatility: FloatArray
    expected_return: FloatArray
    sharpe_ratio: FloatArray
    sortino_ratio: FloatArray
    beta: FloatArray
    tracking_error: FloatArray
    max_drawdown: FloatArray
    effective_names: FloatArray
    risk_score: FloatArray
    risk_number: FloatArray
    risk_number_structural: FloatArray
    day_pnl: FloatArray
    coverage: FloatArray
    var_95_scenario: IntArray

    def columns(self) -> dict[str, list[Any]]:
        """Each measure as a list, ready to be published: NaN is None, a risk number a whole int.

        The unrounded score and the index of a scenario mean nothing to a reader, and are left out.
        """
        return {name: _listed(getattr(self, name), whole=name.startswith("risk_number")) for name in _PUBLISHED}

    def rows(self) -> list[dict[str, float | int | None]]:
        """The same, one dict for each portfolio."""
        columns = self.columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_PUBLISHED = tuple(f.name for f in fields(Measures) if f.name not in ("risk_score", "var_95_scenario"))


def _listed(column: FloatArray, *, whole: bool) -> list[Any]:
    undefined = np.isnan(column)
    known = np.where(undefined, 0.0, column)
    listed: list[Any] = (known.astype(np.int64) if whole else known).tolist()
    if undefined.any():
        return [None if missing else number for missing, number in zip(undefined.tolist(), listed, strict=True)]
    return listed


@dataclass(frozen=True, slots=True)
class Choice:
    """What measures are taken by: the method of value at risk, its model, and the annual risk-free rate."""

    method: Method = methods.DEFAULT
    model: Model = methods.STANDARD
    risk_free: float = 0.0


class FromPnl(NamedTuple):
    """What follows from scenario P&L and market value alone, arrays (portfolio,) named as in `Measures`.

    `current_deviation` is the daily standard deviation of the filtered scenarios, a fraction of market value.
    """

    var_95: FloatArray
    var_99: FloatArray
    es_975: FloatArray
    volatility: FloatArray
    expected_return: FloatArray
    sharpe_ratio: FloatArray
    sortino_ratio: FloatArray
    beta: FloatArray
    tracking_error: FloatArray
    max_drawdown: FloatArray
    current_deviation: FloatArray
    var_95_scenario: IntArray


def from_pnl(pnl: ScenarioPnl, value: FloatArray, benchmark_returns: FloatArray, choice: Choice) -> FromPnl:
    """The measures of P&L, by the functions above.

    value              (portfolio,) money, as `value_known` gives it
    benchmark_returns  (scenario,) fractions
    """
    var_95, var_99, es_975 = methods.tail_risk(
        choice.method, pnl, (TAIL_VAR_95, TAIL_VAR_99, TAIL_ES_975), choice.model
    )
    returns = pnl.historical / value[:, None]
    mean = _mean(returns)
    swing, expected = _deviation(returns, mean) * math.sqrt(SESSIONS_IN_YEAR), mean * SESSIONS_IN_YEAR
    return FromPnl(
        var_95=var_95.value_at_risk,
        var_99=var_99.value_at_risk,
        es_975=es_975.expected_shortfall,
        volatility=swing,
        expected_return=expected,
        sharpe_ratio=_ratio(expected - choice.risk_free, swing),  # `sharpe_ratio`, of what is known already
        sortino_ratio=_ratio(expected - choice.risk_free, _downside(returns, choice.risk_free)),  # and so this one
        beta=beta(returns, benchmark_returns),
        tracking_error=tracking_error(returns, benchmark_returns),
        max_drawdown=max_drawdown(returns),
        current_deviation=_deviation(pnl.filtered) / value,
        var_95_scenario=dated(choice.method, pnl, choice.model, var_95.value_at_risk),
    )


def dated(method: Method, pnl: ScenarioPnl, model: Model, loss: FloatArray) -> IntArray:
    """(portfolio,) index of the scenario that a method's value at risk is; `NO_SCENARIO` where it is that of none."""
    relived = methods.sample(method, pnl, model)
    if relived is None:
        return np.full(len(loss), NO_SCENARIO, np.int64)
    return scenario_of(relived.pnl, loss)


class LongRun(NamedTuple):
    """Daily P&L over the long run, arrays (portfolio,) money: what the structural risk number is made of."""

    mean: FloatArray
    deviation: FloatArray


class Holdings(NamedTuple):
    """What follows from positions and marks alone, arrays (portfolio,) named as in `Measures`."""

    market_value: FloatArray
    gross_exposure: FloatArray
    net_exposure: FloatArray
    cash: FloatArray
    effective_names: FloatArray
    day_pnl: FloatArray
    coverage: FloatArray


def divisor(market_value: FloatArray, gross_exposure: FloatArray) -> FloatArray:
    """(portfolio,) the market value that fractions are of: NaN where it is not positive.

    A long and a short of one size may leave 1e-17 of market value, which is a zero, and nothing to divide by.
    """
    return np.where(market_value > _ROUNDING * gross_exposure, market_value, np.nan)


def value_known(held: Holdings) -> FloatArray:
    """(portfolio,) the same of what is held: NaN also where nothing of it can be valued, however much cash there is."""
    nothing_valued = (held.gross_exposure == 0.0) & (held.coverage == 0.0)
    return np.where(nothing_valued, np.nan, divisor(held.market_value, held.gross_exposure))


def complete(held: Holdings, measured: FromPnl, long_run: LongRun, value: FloatArray) -> Measures:
    """All measures: those of P&L, those of what is held, and the fractions and scores that join the two.

    value  (portfolio,) money, as `value_known` gives it

    Both scores expect the mean of the long run; the current one swings as the filtered scenarios do, the structural one
    as the long run did.
    """
    mean = long_run.mean / value
    score = risk_score(measured.current_deviation, mean)
    from_pnl = measured._asdict()
    del from_pnl["current_deviation"]
    # Halves of sums, so that long and short add up to net, and their sizes to gross; the rounding of none is none.
    long, short = (held.gross_exposure + held.net_exposure) / 2.0, (held.net_exposure - held.gross_exposure) / 2.0
    rounding = _ROUNDING * held.gross_exposure
    return Measures(
        **held._asdict(),
        **from_pnl,
        long_exposure=np.where(long > rounding, long, 0.0),
        short_exposure=np.where(short < -rounding, short, 0.0),
        var_95_fraction=measured.var_95 / value,
        var_99_fraction=measured.var_99 / value,
        es_975_fraction=measured.es_975 / value,
        risk_score=score,
        risk_number=risk_number(score),
        risk_number_structural=risk_number(risk_score(long_run.deviation / value, mean)),
    )


def long_run_of(pnl: FloatArray) -> LongRun:
    """Mean and standard deviation (ddof 1) of daily P&L over the long run, (portfolio, session) money."""
    return LongRun(_mean(pnl), _deviation(pnl))


def aggregate(
    held: Holdings, pnl: ScenarioPnl, long_run_pnl: FloatArray, benchmark_returns: FloatArray, choice: Choice
) -> Measures:
    """Several portfolios measured as one, from the sum of their P&L vectors: value at risk does not add.

    held               their sums, one element each; what is not known of a sum is NaN
    pnl                (1, scenario) money, summed over portfolios
    long_run_pnl       (1, session) money, summed over portfolios
    benchmark_returns  (scenario,) fractions
    """
    value = value_known(held)
    return complete(held, from_pnl(pnl, value, benchmark_returns, choice), long_run_of(long_run_pnl), value)
