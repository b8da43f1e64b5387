"""The ways to value at risk, one interface: scenario P&L in, the tail out. This is the place to add another.

| method | what it takes tomorrow to be |
| --- | --- |
| filtered_historical | a past session, each name's return rescaled to how volatile the name is now (Hull-White 1998) |
| historical | a past session as it was, all equally likely |
| age_weighted | a past session as it was, the recent ones likelier (Boudoukh-Richardson-Whitelaw 1998) |
| ewma_normal | normal around zero, with the exponentially weighted variance of the portfolio (RiskMetrics 1996) |
| normal | normal, with the mean and variance of the window |
| cornish_fisher | normal, bent by the window's skewness and kurtosis (Cornish-Fisher 1938, Maillard 2012) |
| monte_carlo | a draw from Student's t (or the normal law) with the exponentially weighted covariance |

Every method sees the same two P&L matrices, of the scenarios as they were and as they are filtered. Those that re-live
scenarios (`sample`) have a date for each quantile, and their value at risk and expected shortfall can be split among
holdings exactly. A method that is not defined for a portfolio answers NaN.

To add one: a member of `Method`, and a function for it in `_METHODS` (in `_SAMPLES` where it re-lives scenarios). The
command line, the API, the backtest and the dashboard take it from there: docs/how-to/add-a-var-method.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple, Self

import numpy as np

from plimsoll.risk import tails
from plimsoll.risk.arrays import BoolArray, FloatArray
from plimsoll.risk.tails import Quantile, TailRisk

DECAY = 0.94
"""RiskMetrics' daily decay of variance, lambda."""
AGE_DECAY = 0.99
"""The decay of a scenario's weight with its age, within the 0.98 to 0.995 of Boudoukh, Richardson and Whitelaw."""
DRAWS = 20_000
"""The 99 % quantile of as many has a standard error of about two per cent."""
DEGREES_OF_FREEDOM = 5.0
"""Of Student's t: about what daily stock returns show once their volatility is accounted for."""

_NORMAL = NormalDist()
_WEIGHT_MIN = 1e-14
"""A session whose weight is smaller adds nothing to a float's worth of variance."""


class Method(StrEnum):
    """A way to value at risk, in the order they are shown. The values are a contract; `label` is for people."""

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        """A member with its label; looking one up by its value needs none."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member

    FILTERED_HISTORICAL = "filtered_historical", "Filtered historical simulation"
    HISTORICAL = "historical", "Historical simulation"
    AGE_WEIGHTED = "age_weighted", "Age-weighted historical simulation"
    EWMA_NORMAL = "ewma_normal", "Normal, exponentially weighted variance"
    NORMAL = "normal", "Normal"
    CORNISH_FISHER = "cornish_fisher", "Cornish-Fisher"
    MONTE_CARLO = "monte_carlo", "Monte Carlo, Student's t"


DEFAULT = Method.FILTERED_HISTORICAL


@dataclass(frozen=True, slots=True)
class Model:
    """What the methods leave to choose.

    decay               lambda of the exponentially weighted variance, 0 to 1
    age_decay           lambda of the age weights, 0 to 1
    quantile            which quantile value at risk is, where it is one of a sample
    draws               how many the Monte Carlo makes, an even number
    seed                of the Monte Carlo: the same seed, the same draws
    degrees_of_freedom  of its Student's t, above 2; infinity is the normal law

    Raises ValueError where one is out of range.
    """

    decay: float = DECAY
    age_decay: float = AGE_DECAY
    quantile: Quantile = Quantile.LOWER
    draws: int = DRAWS
    seed: int = 7
    degrees_of_freedom: float = DEGREES_OF_FREEDOM

    def __post_init__(self) -> None:
        for name in ("decay", "age_decay"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is not between 0 and 1")
        if self.draws < 2 or self.draws % 2:
            raise ValueError(f"{self.draws} draws: take an even number of them, two or more")
        if not self.degrees_of_freedom > 2.0:
            raise ValueError(f"{self.degrees_of_freedom} degrees of freedom have no variance: take more than 2")


STANDARD = Model()


class ScenarioPnl(NamedTuple):
    """What portfolios would make of each scenario, (portfolio, scenario) money, oldest scenario first.

    historical  of returns as they were
    filtered    of returns rescaled to the volatility of now
    """

    historical: FloatArray
    filtered: FloatArray


class Sample(NamedTuple):
    """Scenarios that a method re-lives.

    pnl     (portfolio, scenario) money, a loss is negative
    weight  (scenario,) how likely each is, summing to 1; None where all are equally likely
    """

    pnl: FloatArray
    weight: FloatArray | None = None


def tail_risk(method: Method, pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
    """Value at risk and expected shortfall for each tail probability: 0.05 for 95 % value at risk.

    Money, (portfolio,), a loss is positive; NaN where the method is not defined. Raises ValueError without scenarios,
    or where a tail is no probability.
    """
    if method not in RELIVE:
        # A sample is checked where its tail is taken, a law nowhere else.
        for tail in probabilities:
            tails.require(tail, pnl.historical.shape[1])
    return _METHODS[method](pnl, probabilities, model)


def sample(method: Method, pnl: ScenarioPnl, model: Model) -> Sample | None:
    """The dated scenarios that a method re-lives; None for one that assumes a law instead."""
    make = _SAMPLES.get(method)
    return None if make is None else make(pnl, model)


def prepare(observations: int, model: Model) -> None:
    """Make the draws of the Monte Carlo for so many scenarios. They are kept, so nobody waits for them afterwards."""
    nothing = np.zeros((1, observations))
    tail_risk(Method.MONTE_CARLO, ScenarioPnl(nothing, nothing), [0.5], model)


def decay_weights(count: int, decay: float) -> FloatArray:
    """(session,) weights of `count` sessions, oldest first, falling by `decay` with each of age, summing to 1."""
    weight = decay ** np.arange(count - 1, -1, -1.0)
    normalised: FloatArray = weight / weight.sum()
    return normalised


# --- the methods ------------------------------------------------------------------------------------------------------


def _filtered(pnl: ScenarioPnl, model: Model) -> Sample:
    return Sample(pnl.filtered)


def _historical(pnl: ScenarioPnl, model: Model) -> Sample:
    return Sample(pnl.historical)


def _age_weighted(pnl: ScenarioPnl, model: Model) -> Sample:
    return Sample(pnl.historical, decay_weights(pnl.historical.shape[1], model.age_decay))


def _relived(make: Callable[[ScenarioPnl, Model], Sample]) -> _Measure:
    def measure(pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
        made = make(pnl, model)
        return tails.tail_risk(made.pnl, probabilities, made.weight, model.quantile)

    return measure


def _ewma_normal(pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
    """RiskMetrics (1996): zero mean, so value at risk is z sigma.

    The variance is that of the portfolio's own P&L, which is positive whatever the covariances are.
    """
    square = np.square(pnl.historical, dtype=np.float64)
    # Not a matrix product, whose last digit depends on the portfolios that are measured with this one.
    deviation = np.sqrt(np.einsum("ps,s->p", square, _variance_weight(pnl, model)))
    return _normal_tails(np.zeros(len(deviation)), deviation, probabilities)


def _normal(pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
    """Value at risk is z sigma - mu, with the sample mean and standard deviation (ddof 1) of the window."""
    mean, deviation, _, _ = moments(pnl.historical)
    return _normal_tails(mean, deviation, probabilities)


def _normal_tails(mean: FloatArray, deviation: FloatArray, probabilities: Sequence[float]) -> list[TailRisk]:
    return [
        TailRisk(-_NORMAL.inv_cdf(tail) * deviation - mean, _density(tail) / tail * deviation - mean)
        for tail in probabilities
    ]


def _cornish_fisher(pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
    """Cornish-Fisher (1938) as Maillard (2012) has it: z + (z²-1) S/6 + (z³-3z) K/24 - (2z³-5z) S²/36.

    Bias-corrected skewness S and excess kurtosis K. Expected shortfall is the integral of the same quantile over the
    tail, in closed form. NaN where the bent quantile is not monotone: it would then be the quantile of nothing.
    """
    mean, deviation, skewness, kurtosis = moments(pnl.historical)
    # What never swings has neither, and its every quantile is its mean.
    skewness, kurtosis = np.nan_to_num(skewness, nan=0.0), np.nan_to_num(kurtosis, nan=0.0)
    within = cornish_fisher_domain(skewness, kurtosis)
    skew, excess, scale = (np.where(within, each, np.nan) for each in (skewness, kurtosis, deviation))
    found = []
    for tail in probabilities:
        z = _NORMAL.inv_cdf(tail)
        bent = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
        mean_bent = 1 + z * skew / 6 + (z**2 - 1) * excess / 24 - (2 * z**2 - 1) * skew**2 / 36
        found.append(TailRisk(-scale * bent - mean, scale * _density(tail) / tail * mean_bent - mean))
    return found


def cornish_fisher_domain(skewness: FloatArray, kurtosis: FloatArray) -> BoolArray:
    """(portfolio,) whether the bent quantile grows with z everywhere (Maillard 2012); NaN is outside.

    Its slope 1 + zS/3 + (z²-1) K/8 - (6z²-5) S²/36 is a parabola in z, which must stay above zero.
    """
    bend = kurtosis / 8 - skewness**2 / 6
    level = 1 - kurtosis / 8 + 5 * skewness**2 / 36
    within: BoolArray = (bend >= 0) & (level >= 0) & (skewness**2 / 9 <= 4 * bend * level)
    return within


def _monte_carlo(pnl: ScenarioPnl, probabilities: Sequence[float], model: Model) -> list[TailRisk]:
    """Student's t, zero mean, with the exponentially weighted covariance; normal for infinite degrees of freedom.

    Mixing past sessions with random signs and sizes, sum over t of sqrt(w_t) x_t r_t, has exactly that covariance, so
    no matrix needs to be factored and portfolios of one draw move together. Each draw comes with its mirror image.
    """
    weight = _variance_weight(pnl, model)
    kept = weight > _WEIGHT_MIN
    mix = _mixes(model.draws // 2, int(kept.sum()), model.seed, model.degrees_of_freedom)
    found: list[list[TailRisk]] = []
    for portfolio in pnl.historical[:, kept].astype(np.float64) * np.sqrt(weight[kept]):
        drawn = mix @ portfolio
        found.append(tails.tail_risk(np.concatenate([drawn, -drawn])[None, :], probabilities, None, model.quantile))
    if not found:
        return [TailRisk(np.empty(0), np.empty(0)) for _ in probabilities]
    return [
        TailRisk(*(np.concatenate(column) for column in zip(*(each[level] for each in found), strict=True)))
        for level in range(len(probabilities))
    ]


@lru_cache(maxsize=2)
def _mixes(pairs: int, sessions: int, seed: int, degrees_of_freedom: float) -> FloatArray:
    """(draw, session) how much of each session is in each draw, before its mirror image."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((pairs, sessions))
    if math.isfinite(degrees_of_freedom):
        # Scaled back to unit variance: it is the covariance that is given.
        shock = rng.chisquare(degrees_of_freedom, pairs) / degrees_of_freedom
        mix *= np.sqrt((degrees_of_freedom - 2) / degrees_of_freedom / shock)[:, None]
    mix.flags.writeable = False
    return mix


_Measure = Callable[[ScenarioPnl, Sequence[float], Model], list[TailRisk]]
_SAMPLES: Mapping[Method, Callable[[ScenarioPnl, Model], Sample]] = {
    Method.FILTERED_HISTORICAL: _filtered,
    Method.HISTORICAL: _historical,
    Method.AGE_WEIGHTED: _age_weighted,
}
RELIVE = tuple(_SAMPLES)
"""The methods that have a `sample`: a headline number has a date, and splits among holdings."""
_METHODS: Mapping[Method, _Measure] = {method: _relived(make) for method, make in _SAMPLES.items()} | {
    Method.EWMA_NORMAL: _ewma_normal,
    Method.NORMAL: _normal,
    Method.CORNISH_FISHER: _cornish_fisher,
    Method.MONTE_CARLO: _monte_carlo,
}


# --- moments ----------------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Of P&L, arrays (portfolio,): mean and standard deviation (ddof 1) in money, the others pure numbers."""

    mean: FloatArray
    deviation: FloatArray
    skewness: FloatArray
    kurtosis: FloatArray


def moments(pnl: FloatArray) -> Moments:
    """Mean, standard deviation, skewness and excess kurtosis, bias-corrected as scipy's `bias=False`.

    pnl  (portfolio, scenario). The last two are NaN where nothing swings, or with fewer than four scenarios.
    """
    count = pnl.shape[1]
    exact = np.asarray(pnl, np.float64)
    mean = exact.mean(axis=1)
    swing = exact - mean[:, None]
    root = np.sqrt(np.mean(np.square(swing), axis=1))
    deviation = root * math.sqrt(count / max(count - 1, 1))
    # Equal P&Ls differ from their mean by its rounding, and the ratios of such dust mean nothing.
    swings = (deviation > 1e-12 * np.abs(mean)) & (count > 3)
    if count <= 3:
        return Moments(mean, deviation, np.full(len(mean), np.nan), np.full(len(mean), np.nan))
    # In units of the root, so that no power of a tiny P&L underflows.
    unit = np.divide(swing, root[:, None], out=np.full_like(swing, np.nan), where=swings[:, None])
    skew, excess = np.mean(unit**3, axis=1), np.mean(unit**4, axis=1) - 3.0
    return Moments(
        mean,
        deviation,
        skew * math.sqrt(count * (count - 1)) / (count - 2),
        ((count + 1) * excess + 6.0) * (count - 1) / ((count - 2) * (count - 3)),
    )


def _variance_weight(pnl: ScenarioPnl, model: Model) -> FloatArray:
    return decay_weights(pnl.historical.shape[1], model.decay)


def _density(tail: float) -> float:
    """The normal density at the quantile of `tail`."""
    return _NORMAL.pdf(_NORMAL.inv_cdf(tail))
