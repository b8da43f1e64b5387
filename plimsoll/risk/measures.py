"""Risk measures of scenario P&L: what could be lost, how much it swings, how far it moves with the market.

The axes are always (portfolio, scenario), and every scenario weighs the same. P&L is signed, so a loss is negative;
value at risk and expected shortfall are losses, so they come out positive, or negative where even the tail is a gain:
nothing is clamped. The tail is stated by its own probability (0.05, not a confidence of 0.95), because 1 - 0.95 is
not 0.05 in floating point. Sums are taken in float64 whatever the input. NaN means "not defined".

Nothing here knows where a scenario came from, or what a portfolio holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from plimsoll.risk.arrays import FloatArray, IntArray, Sparse
from plimsoll.risk.score import risk_number, risk_score

SESSIONS_IN_YEAR = 252
TAIL_VAR_95 = 0.05
TAIL_VAR_99 = 0.01
TAIL_ES_975 = 0.025

_TAIL_TOLERANCE = 1e-9
"""In scenarios. The tail of 1 - 0.95 among 1000 is 50.00000000000004 of them, and 50 is meant."""
_ROUNDING = 1e-12
"""Relative to what was summed: a result smaller than this is the rounding of a zero."""


# --- the tail of P&L --------------------------------------------------------------------------------------------------


def value_at_risk(pnl: FloatArray, tail: float) -> FloatArray:
    """The loss that is exceeded in at most the share `tail` of scenarios, for each portfolio.

    pnl      (portfolio, scenario) money, a loss is negative
    tail     probability of the tail: 0.05 for 95 % value at risk
    returns  (portfolio,) float64 money, a loss is positive

    The lower quantile of the loss, Hyndman-Fan type 1 (1996): a loss that really occurred in one of the scenarios,
    the same as `np.quantile(-pnl, 1 - tail, method="inverted_cdf")`. Raises ValueError without scenarios, or where
    `tail` is no probability.
    """
    whole, _ = _split(tail, pnl.shape[1])
    return _value_at_risk(_worst(pnl, whole + 1), whole)


def value_at_risk_scenario(pnl: FloatArray, tail: float) -> IntArray:
    """(portfolio,) index of the scenario that the value at risk is; the earliest of equals. As `value_at_risk`."""
    whole, _ = _split(tail, pnl.shape[1])
    return _first_equal(pnl, _worst(pnl, whole + 1)[:, whole])


def expected_shortfall(pnl: FloatArray, tail: float) -> FloatArray:
    """The mean loss over the worst share `tail` of scenarios, for each portfolio. Arguments as `value_at_risk`.

    Acerbi-Tasche (2002): the scenario on the boundary counts for the part of it that lies inside the tail. A plain
    mean of what lies beyond value at risk would be neither coherent nor continuous in `tail`.
    """
    whole, part = _split(tail, pnl.shape[1])
    return _expected_shortfall(_worst(pnl, whole + 1), whole, part)


def _split(tail: float, scenarios: int) -> tuple[int, float]:
    """How many scenarios lie wholly inside the tail, and what part of the next one does."""
    if not 0.0 < tail < 1.0:
        raise ValueError(f"tail {tail} is no probability between 0 and 1: give 0.05 for 95 %")
    if scenarios < 1:
        raise ValueError("no scenarios to measure a tail of: build a scenario set first")
    whole = min(math.floor(tail * scenarios + _TAIL_TOLERANCE), scenarios - 1)
    return whole, max(tail * scenarios - whole, 0.0)


def _worst(pnl: FloatArray, count: int) -> FloatArray:
    """(portfolio, count) the lowest P&Ls of each portfolio, from the worst up."""
    # Selecting and then sorting the few is twice as quick as sorting all, and four times as selecting several ranks.
    worst = np.partition(pnl, count - 1, axis=1)[:, :count].copy()
    worst.sort(axis=1)
    return worst


def _value_at_risk(worst: FloatArray, whole: int) -> FloatArray:
    # Subtracted from zero, not negated: the loss of a portfolio of cash is then 0, never -0.
    loss: FloatArray = 0.0 - worst[:, whole].astype(np.float64)
    return loss


def _expected_shortfall(worst: FloatArray, whole: int, part: float) -> FloatArray:
    inside: FloatArray = worst[:, :whole].sum(axis=1, dtype=np.float64) + part * worst[:, whole].astype(np.float64)
    return 0.0 - inside / (whole + part)


def _first_equal(pnl: FloatArray, wanted: FloatArray) -> IntArray:
    index: IntArray = (pnl == wanted[:, None]).argmax(axis=1).astype(np.int64)
    return index


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


def beta(returns: FloatArray, benchmark: FloatArray) -> FloatArray:
    """(portfolio,) slope of ordinary least squares on the benchmark; NaN where the benchmark does not move.

    returns (portfolio, scenario) and benchmark (scenario,), paired, in fractions.
    """
    if not len(benchmark):
        return np.full(len(returns), np.nan)
    swing = np.asarray(benchmark, np.float64) - np.mean(benchmark, dtype=np.float64)
    variation = swing @ swing
    # The swing sums to zero, so the portfolio's own mean drops out of the covariance.
    shared: FloatArray = np.einsum("ps,s->p", returns, swing, dtype=np.float64)
    return shared / variation if variation > 0.0 else np.full(len(returns), np.nan)


def max_drawdown(returns: FloatArray) -> FloatArray:
    """(portfolio,) the deepest fall of wealth below its peak, a fraction: -0.2 is a fall of twenty per cent.

    returns  (portfolio, scenario) fractions of market value, oldest first

    Wealth starts at 1 before the first return, as in empyrical. A borrower who loses more than everything is ruined
    and stays so (-1): wealth below nothing has no returns. NaN where wealth outgrows a float.
    """
    # Ratios of infinities are the NaN we promise.
    with np.errstate(over="ignore", invalid="ignore"):
        wealth = np.add(returns, 1.0, dtype=np.float64)
        np.maximum(wealth, 0.0, out=wealth)
        np.multiply.accumulate(wealth, axis=1, out=wealth)
        below_peak = np.maximum.accumulate(wealth, axis=1)
        np.maximum(below_peak, 1.0, out=below_peak)
        np.divide(wealth, below_peak, out=below_peak)
        depth: FloatArray = below_peak.min(axis=1, initial=1.0) - 1.0
        return depth


def _mean(returns: FloatArray) -> FloatArray:
    if not returns.shape[1]:
        return np.full(len(returns), np.nan)
    mean: FloatArray = returns.mean(axis=1, dtype=np.float64)
    return mean


def _deviation(returns: FloatArray) -> FloatArray:
    scenarios = returns.shape[1]
    if scenarios < 2:
        return np.full(len(returns), np.nan)
    mean = _mean(returns)
    swing = returns - mean[:, None]
    deviation: FloatArray = np.sqrt(np.einsum("ps,ps->p", swing, swing) / (scenarios - 1))
    # Equal returns differ from their own mean by its rounding, which would make a Sharpe ratio of 1e16.
    deviation[deviation <= _ROUNDING * np.abs(mean)] = 0.0
    return deviation


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

    Money in the reporting currency; `_fraction`s, volatility, expected return and drawdown are fractions of market
    value, the middle two annual. What is relative to market value is NaN where that is not positive. `risk_score` is
    unrounded, `risk_number` a whole number. `coverage` is the share of gross exposure with a history of its own.
    `var_95_scenario` is the index of the scenario that `var_95` comes from.
    """

    market_value: FloatArray
    gross_exposure: FloatArray
    net_exposure: FloatArray
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
    beta: FloatArray
    max_drawdown: FloatArray
    effective_names: FloatArray
    risk_score: FloatArray
    risk_number: FloatArray
    day_pnl: FloatArray
    coverage: FloatArray
    var_95_scenario: IntArray

    def rows(self) -> list[dict[str, float | int | None]]:
        """One dict for each portfolio, ready to be published: NaN is None, the risk number a whole int.

        The unrounded score and the index of a scenario mean nothing to a reader, and are left out.
        """
        columns = [_listed(getattr(self, name)) for name in _PUBLISHED]
        at = _PUBLISHED.index("risk_number")
        columns[at] = [None if number is None else int(number) for number in columns[at]]
        return [dict(zip(_PUBLISHED, row, strict=True)) for row in zip(*columns, strict=True)]


_PUBLISHED = tuple(f.name for f in fields(Measures) if f.name not in ("risk_score", "var_95_scenario"))


def _listed(column: FloatArray) -> list[Any]:
    listed: list[float] = column.tolist()
    if not np.isnan(column).any():
        return listed
    return [None if math.isnan(number) else number for number in listed]


class FromPnl(NamedTuple):
    """What follows from scenario P&L and market value alone, arrays (portfolio,) named as in `Measures`."""

    var_95: FloatArray
    var_99: FloatArray
    es_975: FloatArray
    volatility: FloatArray
    expected_return: FloatArray
    beta: FloatArray
    max_drawdown: FloatArray
    var_95_scenario: IntArray


def from_pnl(pnl: FloatArray, value: FloatArray, benchmark_returns: FloatArray) -> FromPnl:
    """The measures of P&L, by the functions above; only the selection of the tail is shared between them.

    pnl                (portfolio, scenario) money, a loss is negative
    value              (portfolio,) money, as `divisor` gives it
    benchmark_returns  (scenario,) fractions
    """
    scenarios = pnl.shape[1]
    beyond_95, _ = _split(TAIL_VAR_95, scenarios)
    beyond_99, _ = _split(TAIL_VAR_99, scenarios)
    worst = _worst(pnl, beyond_95 + 1)
    returns = pnl / value[:, None]
    return FromPnl(
        var_95=_value_at_risk(worst, beyond_95),
        var_99=_value_at_risk(worst, beyond_99),
        es_975=_expected_shortfall(worst, *_split(TAIL_ES_975, scenarios)),
        volatility=volatility(returns),
        expected_return=expected_return(returns),
        beta=beta(returns, benchmark_returns),
        max_drawdown=max_drawdown(returns),
        var_95_scenario=_first_equal(pnl, worst[:, beyond_95]),
    )


def divisor(market_value: FloatArray, gross_exposure: FloatArray) -> FloatArray:
    """(portfolio,) the market value that fractions are of: NaN where it is not positive.

    A long and a short of one size may leave 1e-17 of market value, which is a zero, and nothing to divide by.
    """
    return np.where(market_value > _ROUNDING * gross_exposure, market_value, np.nan)


def complete(
    measured: FromPnl,
    value: FloatArray,
    risk_free: float,
    *,
    market_value: FloatArray,
    gross_exposure: FloatArray,
    net_exposure: FloatArray,
    cash: FloatArray,
    effective_names: FloatArray,
    day_pnl: FloatArray,
    coverage: FloatArray,
) -> Measures:
    """All measures: those of P&L, those of what is held, and the fractions, ratio and score that join the two.

    risk_free  annual, a fraction
    value      (portfolio,) money, as `divisor` gives it; the others (portfolio,) as in `Measures`
    """
    score = risk_score(measured.volatility / math.sqrt(SESSIONS_IN_YEAR), measured.expected_return / SESSIONS_IN_YEAR)
    return Measures(
        market_value=market_value,
        gross_exposure=gross_exposure,
        net_exposure=net_exposure,
        cash=cash,
        var_95_fraction=measured.var_95 / value,
        var_99_fraction=measured.var_99 / value,
        es_975_fraction=measured.es_975 / value,
        sharpe_ratio=_ratio(measured.expected_return - risk_free, measured.volatility),
        effective_names=effective_names,
        risk_score=score,
        risk_number=risk_number(score),
        day_pnl=day_pnl,
        coverage=coverage,
        **measured._asdict(),
    )


def aggregate(
    pnl: FloatArray,
    market_value: float,
    gross_exposure: float,
    net_exposure: float,
    cash: float,
    day_pnl: float,
    covered_exposure: float,
    benchmark_returns: FloatArray,
    risk_free: float,
) -> Measures:
    """Several portfolios measured as one, from the sum of their P&L vectors: value at risk does not add.

    pnl               (scenario,) money, summed over portfolios, a loss is negative
    covered_exposure  the part of gross exposure whose symbols have a history of their own

    One row. `effective_names` is NaN: a sum of P&L does not say what is held. Nor does it tell an advisor without
    positions from one whose positions are all unpriced, so without gross exposure coverage is 0, the cautious answer.
    """
    value = divisor(np.array([market_value]), np.array([gross_exposure]))
    return complete(
        from_pnl(pnl[None, :], value, benchmark_returns),
        value,
        risk_free,
        market_value=np.array([market_value], np.float64),
        gross_exposure=np.array([gross_exposure], np.float64),
        net_exposure=np.array([net_exposure], np.float64),
        cash=np.array([cash], np.float64),
        effective_names=np.array([np.nan]),
        day_pnl=np.array([day_pnl], np.float64),
        coverage=np.array([covered_exposure / gross_exposure if gross_exposure > 0.0 else 0.0]),
    )
