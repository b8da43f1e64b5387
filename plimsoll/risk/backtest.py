"""Backtests: whether losses beyond value at risk were as many, as scattered and as deep as the model had said.

An exception is a day whose loss was strictly more than the value at risk stated before it. If the model is right, each
day is one with the tail's probability p whatever the days before it were, so among T days N is binomial:

| test | asks | under a right model |
| --- | --- | --- |
| Kupiec (1995) | is N / T near p? | LR_uc is chi-squared, 1 degree of freedom |
| Christoffersen (1998), independence | is an exception as likely after one as after none? | LR_ind, 1 degree |
| Christoffersen, conditional coverage | both at once | LR_cc = LR_uc + LR_ind, 2 degrees |
| Basel's traffic light (MAR32) | how unlikely are so many in 250 days at 99 %? | green in 89 % of cases, up to 4 |
| Acerbi-Szekely (2014), Z2 | are losses beyond value at risk as deep as expected shortfall? | 0, less where deeper |

P&L is signed, a loss is negative; value at risk and expected shortfall are positive losses. A tail is stated by its
probability. A day without value at risk (NaN) is not judged: it is neither an exception nor one of the T.

The lower quantile of n past days promises a little less than its name. Where all days are alike, the next one is beyond
it with probability (floor(p n) + 1) / (n + 1): 6 in 501, not 5 in 500, at 99 %.

`rolling` makes what is judged: for each session, the tail by the same functions as everywhere else, from the closes
before it and nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from plimsoll.risk.arrays import BoolArray, FloatArray, IntArray
from plimsoll.risk.methods import Method, Model, ScenarioPnl, tail_risk
from plimsoll.risk.scenarios import OBSERVATIONS_MIN
from plimsoll.risk.tails import TAIL_ES_975, TAIL_VAR_99
from plimsoll.risk.volatility import BACKCAST_RETURNS, ewma_volatility, filtered_returns

SIGNIFICANCE = 0.05
"""A likelihood ratio is rejected where a right model would show a larger one less often than this."""
TRAFFIC_LIGHT_DAYS = 250
YELLOW_FROM = 0.95
RED_FROM = 0.9999
"""Cumulative probabilities from which Basel's zones begin: at 99 % and 250 days, 5 exceptions and 10."""
Z2_CRITICAL = -0.70
"""Below it Z2 rejects at 5 % (Acerbi-Szekely 2014, for 250 days at 97.5 %, much the same for normal and for fat tails).
Z2 of a right model scatters less over more days, so there it rejects less often than that."""
PROGRESS_DAYS = 100
"""Judged sessions from one report of progress to the next."""


# --- exceptions -------------------------------------------------------------------------------------------------------


def exceptions(pnl: FloatArray, value_at_risk: FloatArray) -> BoolArray:
    """(..., day) whether the loss was strictly more than value at risk; both (..., day) money.

    False where either is NaN: such a day is not `judged`, and whoever counts days leaves it out of them as well.
    """
    beyond: BoolArray = -pnl > value_at_risk
    return beyond


def judged(pnl: FloatArray, value_at_risk: FloatArray) -> BoolArray:
    """(..., day) whether there is a loss and a value at risk to hold it against; both (..., day) money."""
    both: BoolArray = ~(np.isnan(pnl) | np.isnan(value_at_risk))
    return both


# --- how many, and how scattered --------------------------------------------------------------------------------------


class LikelihoodRatio(NamedTuple):
    """Of a hypothesis against the best fit of the same data: 0 where they agree, and larger the less they do.

    statistic  0 or more
    p_value    how often a right model would show at least as large a one, 0 to 1

    NaN where there is nothing to fit; that is not rejected.
    """

    statistic: float
    p_value: float

    @property
    def rejected(self) -> bool:
        """Whether the hypothesis is rejected at 5 %."""
        return self.p_value < SIGNIFICANCE


_UNDEFINED = LikelihoodRatio(math.nan, math.nan)


class Christoffersen(NamedTuple):
    """Christoffersen's (1998) two tests, and the transitions that they count.

    independence          LR_ind: an exception is as likely after one as after none
    conditional_coverage  LR_uc + LR_ind: and they are as many as they should be
    n00, n01, n10, n11    pairs of one day and the next: n01 is how often an exception followed a day without one
    """

    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    n00: int
    n01: int
    n10: int
    n11: int


def kupiec(exceptions: int, days: int, probability: float) -> LikelihoodRatio:
    """Unconditional coverage (Kupiec 1995): LR_uc = -2 ln[(1-p)^(T-N) p^N / ((1-N/T)^(T-N) (N/T)^N)].

    exceptions   N, among
    days         T; the ratio is NaN without any
    probability  p that each day should have been one: 0.01 at 99 %

    Raises ValueError where there are more exceptions than days, or p is no probability.
    """
    _require(exceptions, days, probability)
    if not days:
        return _UNDEFINED
    without = days - exceptions
    return _ratio(
        _log_likelihood(exceptions, without, probability), _log_likelihood(exceptions, without, exceptions / days), 1
    )


def non_rejection_region(days: int, probability: float, level: float = SIGNIFICANCE) -> tuple[int, int]:
    """The least and the most exceptions in so many days that `kupiec` does not reject at `level`, both inclusive.

    Raises ValueError where it rejects any count: at a high level, no share of a few days is near enough to p.
    """
    accepted = [count for count in range(days + 1) if kupiec(count, days, probability).p_value >= level]
    if not accepted:
        raise ValueError(f"any count of exceptions in {days} days is rejected at {level}: take more days")
    return accepted[0], accepted[-1]


def christoffersen(exceptions: BoolArray, probability: float) -> Christoffersen:
    """Independence and conditional coverage (Christoffersen 1998).

    exceptions   (day,) whether each day was one, oldest first
    probability  that each should have been: 0.01 at 99 %

    LR_ind is 0 where no exception follows another and none could be told from chance: 0 ln 0 is 0. LR_uc is Kupiec's,
    of all days, the first included. Both are NaN with fewer than two days. Raises ValueError as `kupiec`.
    """
    hit = np.asarray(exceptions, np.bool_)
    before, after = hit[:-1], hit[1:]
    n00, n01 = int((~before & ~after).sum()), int((~before & after).sum())
    n10, n11 = int((before & ~after).sum()), int((before & after).sum())
    coverage = kupiec(int(hit.sum()), len(hit), probability)
    if len(hit) < 2:
        return Christoffersen(_UNDEFINED, _UNDEFINED, n00, n01, n10, n11)
    independence = _ratio(
        _best_log_likelihood(n01 + n11, n00 + n10), _best_log_likelihood(n01, n00) + _best_log_likelihood(n11, n10), 1
    )
    statistic = coverage.statistic + independence.statistic
    both = LikelihoodRatio(statistic, _chi_squared_beyond(statistic, 2))
    return Christoffersen(independence, both, n00, n01, n10, n11)


def _ratio(restricted: float, free: float, degrees: int) -> LikelihoodRatio:
    # The free fit includes the restricted one, so only rounding can make it the worse.
    statistic = max(2.0 * (free - restricted), 0.0)
    return LikelihoodRatio(statistic, _chi_squared_beyond(statistic, degrees))


def _chi_squared_beyond(statistic: float, degrees: int) -> float:
    """The probability of more, for one degree of freedom or two: both are elementary, and need no scipy to start."""
    return math.erfc(math.sqrt(statistic / 2.0)) if degrees == 1 else math.exp(-statistic / 2.0)


def _best_log_likelihood(hits: int, misses: int) -> float:
    """At the probability that fits them best: their own share."""
    return _log_likelihood(hits, misses, hits / (hits + misses)) if hits + misses else 0.0


def _log_likelihood(hits: int, misses: int, probability: float) -> float:
    """Of independent days, with 0 ln 0 = 0."""
    of_hits = hits * math.log(probability) if hits else 0.0
    return of_hits + (misses * math.log1p(-probability) if misses else 0.0)


def _require(exceptions: int, days: int, probability: float) -> None:
    if not 0.0 < probability < 1.0:
        raise ValueError(f"tail {probability} is no probability between 0 and 1: give 0.05 for 95 %")
    if not 0 <= exceptions <= days:
        raise ValueError(f"{exceptions} exceptions in {days} days: there are 0 or more, and at most one a day")


# --- Basel's traffic light --------------------------------------------------------------------------------------------


class Zone(StrEnum):
    """Where a model stands with Basel's supervisors (MAR32). The values are a contract."""

    GREEN = "GREEN"
    YELLOW = "YELLOW"
    RED = "RED"


def cumulative_probability(exceptions: int, days: int, probability: float) -> float:
    """How likely a right model has so many exceptions or fewer, 0 to 1: the binomial law.

    Basel's table (MAR32) is this for 250 days and 0.01. Raises ValueError as `kupiec`.
    """
    _require(exceptions, days, probability)
    # By logarithms: the number of ways overflows a float from a thousand days on.
    terms = (
        math.exp(
            math.lgamma(days + 1)
            - math.lgamma(count + 1)
            - math.lgamma(days - count + 1)
            + _log_likelihood(count, days - count, probability)
        )
        for count in range(exceptions + 1)
    )
    return min(math.fsum(terms), 1.0)


def traffic_light(exceptions: int, days: int = TRAFFIC_LIGHT_DAYS, probability: float = TAIL_VAR_99) -> Zone:
    """Basel's zone (MAR32): yellow from a cumulative probability of 95 %, red from 99.99 %.

    At 99 % and 250 days: green up to 4 exceptions, yellow 5 to 9, red from 10. The same probabilities make the zones of
    any other number of days and tail. Raises ValueError as `kupiec`.
    """
    cumulative = cumulative_probability(exceptions, days, probability)
    # In a few days none at all is the likely thing, and accuses nobody.
    if not exceptions or cumulative < YELLOW_FROM:
        return Zone.GREEN
    return Zone.YELLOW if cumulative < RED_FROM else Zone.RED


# --- how deep ---------------------------------------------------------------------------------------------------------


def acerbi_szekely(pnl: FloatArray, value_at_risk: FloatArray, expected_shortfall: FloatArray, tail: float) -> float:
    """Z2 = sum over n days of X I / (n p ES) + 1 (Acerbi-Szekely 2014, their second test).

    pnl                 (day,) money, X
    value_at_risk       (day,) money; I is 1 on a day whose loss was strictly more
    expected_shortfall  (day,) money, of the same tail
    tail                p: 0.025 at 97.5 %

    A pure number: 0 is expected of a right model, 1 is no exception at all, and it falls with exceptions that are too
    many or too deep, to be rejected below `Z2_CRITICAL`. NaN without days, and where expected shortfall is not positive
    on one of them, for then nothing can be measured in it. Raises ValueError where the tail is no probability.
    """
    _require(0, len(pnl), tail)
    if not len(pnl) or not (expected_shortfall > 0.0).all():
        return math.nan
    beyond = np.where(exceptions(pnl, value_at_risk), pnl, 0.0)
    return float(np.sum(beyond / expected_shortfall) / (len(pnl) * tail)) + 1.0


# --- all of them at once ----------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What the tests say of one method, for one portfolio at one tail.

    probability     of the tail: 0.01 at 99 %
    days            how many were judged
    exceptions      among them
    expected        as many as there should have been: days times probability
    rate            exceptions / days, a fraction; NaN without days
    kupiec          unconditional coverage
    christoffersen  independence, and conditional coverage
    zone            Basel's, of the last 250 judged days; None with fewer, and at any tail but 1 %, which Basel means
    z2              Acerbi-Szekely's, of all judged days; None at any tail but 2.5 %, which its critical value is for
    """

    probability: float
    days: int
    exceptions: int
    expected: float
    rate: float
    kupiec: LikelihoodRatio
    christoffersen: Christoffersen
    zone: Zone | None
    z2: float | None

    @property
    def z2_rejected(self) -> bool | None:
        """Whether expected shortfall is rejected as too small; None where Z2 is not asked for."""
        return None if self.z2 is None else self.z2 < Z2_CRITICAL


def judge(pnl: FloatArray, value_at_risk: FloatArray, expected_shortfall: FloatArray, probability: float) -> Verdict:
    """Every test of one portfolio, one method and one tail; arrays (day,) money, oldest first.

    Days that are not `judged` are left out, and those on either side of them follow one another. Raises ValueError
    where the probability is none.
    """
    kept = judged(pnl, value_at_risk)
    pnl, value_at_risk, expected_shortfall = pnl[kept], value_at_risk[kept], expected_shortfall[kept]
    hit = exceptions(pnl, value_at_risk)
    days, count = len(hit), int(hit.sum())
    has_zone = _same(probability, TAIL_VAR_99) and days >= TRAFFIC_LIGHT_DAYS
    has_z2 = _same(probability, TAIL_ES_975)
    return Verdict(
        probability=probability,
        days=days,
        exceptions=count,
        expected=days * probability,
        rate=count / days if days else math.nan,
        kupiec=kupiec(count, days, probability),
        christoffersen=christoffersen(hit, probability),
        zone=traffic_light(int(hit[-TRAFFIC_LIGHT_DAYS:].sum())) if has_zone else None,
        z2=acerbi_szekely(pnl, value_at_risk, expected_shortfall, probability) if has_z2 else None,
    )


def _same(probability: float, tail: float) -> bool:
    """1 - 0.99 is not 0.01 in floating point, and 0.01 is meant."""
    return math.isclose(probability, tail, rel_tol=1e-9)


# --- rolling through the closes ---------------------------------------------------------------------------------------


class Hold(StrEnum):
    """What a portfolio is taken to have held on each day of the past."""

    WEIGHTS = "weights"
    """Its weights at the last close, of its value at the last close, restored every day: what it is now, in the money
    of now, so each year counts alike, as in every measure here. The last close says how large a holding is, never what
    its risk was."""
    QUANTITIES = "quantities"
    """What it holds now, unit for unit: a name that has since grown a hundredfold hardly counted then."""


@dataclass(frozen=True, slots=True, eq=False)
class Rolling:
    """What portfolios made each day, and what each method had said the evening before.

    sessions            (day,) index of each judged session among the closes
    probabilities       (level,) of the tails
    pnl                 (portfolio, day) money, a loss is negative
    value_at_risk       {method: (portfolio, level, day)} money, a loss is positive; NaN where not defined
    expected_shortfall  {method: (portfolio, level, day)} as value at risk
    """

    sessions: IntArray
    probabilities: tuple[float, ...]
    pnl: FloatArray
    value_at_risk: Mapping[Method, FloatArray]
    expected_shortfall: Mapping[Method, FloatArray]

    def verdict(self, method: Method, portfolio: int, level: int) -> Verdict:
        """What the tests say of a method; `portfolio` and `level` are indices of the arrays."""
        at_risk, shortfall = self.value_at_risk[method], self.expected_shortfall[method]
        return judge(
            self.pnl[portfolio], at_risk[portfolio, level], shortfall[portfolio, level], self.probabilities[level]
        )


def rolling(
    closes: FloatArray,
    quantity: FloatArray,
    *,
    window: int,
    methods: Sequence[Method],
    probabilities: Sequence[float],
    model: Model,
    hold: Hold = Hold.WEIGHTS,
    follows: BoolArray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rolling:
    """Value at risk and expected shortfall of every session by what was known before it, and what then happened.

    closes         (session, symbol) prices above 0 without gaps, oldest first
    quantity       (portfolio, symbol) units, a short position is negative; what is held now
    window         scenarios: the newest returns before each session. The first to be judged has that many before it
    methods        each judged on the same days
    probabilities  of the tails: 0.05 for 95 % value at risk
    hold           what is taken to have been held in the past
    follows        (session - 1,) whether each session but the first follows upon the one before it here; where some
                   between were left out there is no return of one session, which would be judged as that of a day
    progress       called with (judged sessions done, of how many) every hundred of them, and at the last

    Raises ValueError for a window below 60, fewer than window + 2 sessions or window + 1 returns, a price that is
    missing or not positive, a quantity that is not finite, shapes that disagree, or a tail that is no probability.
    """
    closes, quantity = np.asarray(closes, np.float64), np.asarray(quantity, np.float64)
    _require_market(closes, quantity, window)
    for probability in probabilities:
        _require(0, 0, probability)
    ends = np.arange(1, len(closes)) if follows is None else np.flatnonzero(follows) + 1
    before, after = closes[ends - 1], closes[ends]
    returns = after / before - 1.0
    days = len(returns) - window
    if days < 1:
        raise ValueError(
            f"{len(returns)} returns: a window of {window} needs {window + 1} or more to judge one of them"
        )
    volatility = ewma_volatility(returns, model.decay)
    shape = (len(quantity), len(probabilities), days)
    value_at_risk = {method: np.empty(shape) for method in methods}
    expected_shortfall = {method: np.empty(shape) for method in methods}
    for day in range(days):
        known = window + day
        past = slice(day, known)
        forecast = _forecast(returns, volatility, known, model.decay)
        filtered = filtered_returns(returns[past], forecast[past], forecast[known])
        # The close of the evening before the session that is judged.
        exposure = quantity * (closes[-1] if hold is Hold.WEIGHTS else before[known])
        pnl = ScenarioPnl(exposure @ returns[past].T, exposure @ filtered.T)
        for method in methods:
            for level, tail in enumerate(tail_risk(method, pnl, probabilities, model)):
                value_at_risk[method][:, level, day] = tail.value_at_risk
                expected_shortfall[method][:, level, day] = tail.expected_shortfall
        if progress is not None and ((day + 1) % PROGRESS_DAYS == 0 or day + 1 == days):
            progress(day + 1, days)
    moves = closes[-1] * returns[window:] if hold is Hold.WEIGHTS else (after - before)[window:]
    return Rolling(ends[window:], tuple(probabilities), quantity @ moves.T, value_at_risk, expected_shortfall)


def _forecast(returns: FloatArray, volatility: FloatArray, known: int, decay: float) -> FloatArray:
    """(known + 1 or more, symbol) volatilities as they were forecast when `known` returns were.

    Each forecast is of the returns before it, so those of the whole run are those of the time: but the start is a mean
    of the first returns, and while these were still coming in it was of fewer.
    """
    return volatility if known >= BACKCAST_RETURNS else ewma_volatility(returns[:known], decay)


def _require_market(closes: FloatArray, quantity: FloatArray, window: int) -> None:
    if closes.ndim != 2 or quantity.ndim != 2 or closes.shape[1] != quantity.shape[1]:
        raise ValueError(f"closes {closes.shape} and quantities {quantity.shape}: give both a column for each symbol")
    if window < OBSERVATIONS_MIN:
        raise ValueError(f"a window of {window} returns: at least {OBSERVATIONS_MIN} are needed to speak of a tail")
    if len(closes) < window + 2:
        raise ValueError(
            f"{len(closes)} sessions of closes: a window of {window} needs {window + 2} or more to judge one of them"
        )
    bad = np.argwhere(~(np.isfinite(closes) & (closes > 0.0)))
    if len(bad):
        session, symbol = bad[0].tolist()
        raise ValueError(
            f"the close of session {session}, symbol {symbol} (from 0) is {closes[session, symbol]}:"
            " a backtest needs a positive price everywhere"
        )
    if not np.isfinite(quantity).all():
        portfolio, symbol = np.argwhere(~np.isfinite(quantity))[0].tolist()
        raise ValueError(
            f"portfolio {portfolio} holds {quantity[portfolio, symbol]} of symbol {symbol} (from 0):"
            " give a finite number of units"
        )
