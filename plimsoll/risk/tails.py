"""The tail of a sample of P&L: value at risk and expected shortfall, of equally or unequally likely scenarios.

The axes are always (portfolio, scenario). P&L is signed, so a loss is negative; value at risk and expected shortfall
are losses, so they come out positive, or negative where even the tail is a gain: nothing is clamped. The tail is stated
by its own probability (0.05, not a confidence of 0.95), because 1 - 0.95 is not 0.05 in floating point. Sums are taken
in float64 whatever the input.

With the scenarios of a portfolio sorted from the worst, L_1 >= L_2 >= ..., each of weight w_k, and m the last of those
with w_1 + ... + w_(m-1) <= p, value at risk is L_m (a loss that really occurred in a scenario) and expected shortfall
is the mean of the worst share p, (w_1 L_1 + ... + w_(m-1) L_(m-1) + rest * L_m) / p.

Nothing here knows where a scenario came from, or what a portfolio holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from plimsoll.risk.arrays import FloatArray, IntArray

TAIL_VAR_95 = 0.05
TAIL_VAR_99 = 0.01
TAIL_ES_975 = 0.025

NO_SCENARIO = -1
"""Where a scenario's index is asked for and no scenario is the answer."""

_TAIL_TOLERANCE = 1e-12
"""Of probability. The tail of 1 - 0.95 among 1000 is 50.00000000000004 scenarios, and 50 is meant."""


class Quantile(StrEnum):
    """Which of the textbook's quantiles value at risk is, by Hyndman and Fan (1996)."""

    LOWER = "lower"
    """Type 1: a loss that really occurred, so value at risk has a date. `np.quantile(…, method="inverted_cdf")`."""
    LINEAR = "linear"
    """Type 7: interpolated between two scenarios, so it has a date only where it falls on one. numpy's default."""


class TailRisk(NamedTuple):
    """Both measures of one tail, arrays (portfolio,) float64 money, a loss is positive; NaN where not defined."""

    value_at_risk: FloatArray
    expected_shortfall: FloatArray


def tail_risk(
    pnl: FloatArray,
    tails: Sequence[float],
    weight: FloatArray | None = None,
    quantile: Quantile = Quantile.LOWER,
) -> list[TailRisk]:
    """Value at risk and expected shortfall of each tail, for each portfolio; the sample is sorted once for all.

    pnl      (portfolio, scenario) money, a loss is negative
    tails    probabilities: 0.05 for 95 % value at risk
    weight   (scenario,) how likely each scenario is, summing to 1; None where all are equally likely

    Value at risk by `quantile` (Hyndman-Fan 1996), expected shortfall by Acerbi-Tasche (2002): the scenario on the
    boundary counts for the part of it that lies inside the tail. A plain mean of what lies beyond value at risk would
    be neither coherent nor continuous in the tail. Raises ValueError without scenarios, or where a tail is no
    probability.
    """
    for tail in tails:
        require(tail, pnl.shape[1])
    if weight is not None:
        return _of_weighted(pnl, tails, np.asarray(weight, np.float64), quantile)
    reach = max(_rank(tail, pnl.shape[1], quantile)[0] for tail in tails) + 2
    # Sorting all is quicker than selecting: numpy sorts whole vectors of lanes at a time, and cannot select so.
    worst = np.sort(pnl, axis=1)[:, :reach].astype(np.float64, order="C")
    return [
        TailRisk(
            _value_at_risk(worst, _rank(tail, pnl.shape[1], quantile)),
            _expected_shortfall(worst, _shortfall_share(tail, pnl.shape[1])),
        )
        for tail in tails
    ]


def value_at_risk(
    pnl: FloatArray, tail: float, weight: FloatArray | None = None, quantile: Quantile = Quantile.LOWER
) -> FloatArray:
    """(portfolio,) the loss that is exceeded in at most the share `tail` of scenarios. As `tail_risk`."""
    return tail_risk(pnl, [tail], weight, quantile)[0].value_at_risk


def expected_shortfall(pnl: FloatArray, tail: float, weight: FloatArray | None = None) -> FloatArray:
    """(portfolio,) the mean loss over the worst share `tail` of scenarios. As `tail_risk`."""
    return tail_risk(pnl, [tail], weight)[0].expected_shortfall


def scenario_of(pnl: FloatArray, loss: FloatArray) -> IntArray:
    """(portfolio,) index of the scenario that lost just that, the earliest of equals; `NO_SCENARIO` where none did.

    loss  (portfolio,) as `value_at_risk` gives it: an interpolated one is that of no scenario
    """
    # A float32 P&L comes back from float64 unchanged, so equality is exact.
    wanted = (0.0 - loss).astype(pnl.dtype)[:, None] == pnl
    found: IntArray = wanted.argmax(axis=1).astype(np.int64)
    return np.where(wanted.any(axis=1), found, NO_SCENARIO)


def value_at_risk_weight(
    pnl: FloatArray, tail: float, weight: FloatArray | None = None, quantile: Quantile = Quantile.LOWER
) -> FloatArray:
    """(scenario,) how much of each scenario is in the value at risk of one portfolio: VaR = -weight @ pnl.

    pnl  (scenario,) money. One scenario weighs 1, or two share it where the quantile is interpolated. As `tail_risk`.
    """
    require(tail, len(pnl))
    order = np.argsort(pnl, kind="stable")
    inside = np.zeros(len(pnl))
    rank, part = _rank(tail, len(pnl), quantile) if weight is None else _weighted_rank(weight[order], tail, quantile)
    inside[order[rank]] = 1.0 - part
    if part:
        inside[order[rank + 1]] = part
    return inside


def expected_shortfall_weight(pnl: FloatArray, tail: float, weight: FloatArray | None = None) -> FloatArray:
    """(scenario,) how much of each scenario is in the expected shortfall of one portfolio: ES = -weight @ pnl.

    pnl  (scenario,) money. The weights sum to 1; each is at most the scenario's own over `tail`. As `tail_risk`.
    """
    require(tail, len(pnl))
    order = np.argsort(pnl, kind="stable")
    likely = np.full(len(pnl), 1.0 / len(pnl)) if weight is None else np.asarray(weight, np.float64)[order]
    before = np.concatenate([[0.0], np.cumsum(likely)[:-1]])
    inside = np.clip(tail - before, 0.0, likely)
    share = np.zeros(len(pnl))
    share[order] = inside / inside.sum()
    return share


def require(tail: float, scenarios: int) -> None:
    """Raise ValueError without scenarios, or where a tail is no probability."""
    if not 0.0 < tail < 1.0:
        raise ValueError(f"tail {tail} is no probability between 0 and 1: give 0.05 for 95 %")
    if scenarios < 1:
        raise ValueError("no scenarios to measure a tail of: build a scenario set first")


# --- equally likely scenarios -----------------------------------------------------------------------------------------


def _split(tail: float, scenarios: int) -> tuple[int, float]:
    """How many scenarios lie wholly inside the tail, and what part of the next one does."""
    whole = min(math.floor((tail + _TAIL_TOLERANCE) * scenarios), scenarios - 1)
    return whole, max(tail * scenarios - whole, 0.0)


def _rank(tail: float, scenarios: int, quantile: Quantile) -> tuple[int, float]:
    """The scenario from the worst, from 0, that value at risk is, and how much of the next one is mixed in."""
    if quantile is Quantile.LOWER:
        return _split(tail, scenarios)[0], 0.0
    position = (scenarios - 1) * tail
    rank = math.floor(position + _TAIL_TOLERANCE * scenarios)
    part = max(position - rank, 0.0)
    return rank, part if part > _TAIL_TOLERANCE * scenarios else 0.0


def _value_at_risk(worst: FloatArray, rank: tuple[int, float]) -> FloatArray:
    at, part = rank
    quantile = worst[:, at]
    if part:
        quantile = quantile + part * (worst[:, at + 1] - quantile)
    # Subtracted from zero, not negated: the loss of a portfolio of cash is then 0, never -0.
    loss: FloatArray = 0.0 - quantile
    return loss


def _expected_shortfall(worst: FloatArray, share: FloatArray) -> FloatArray:
    # Not a matrix product: its last digit depends on which other portfolios are in it, and a replay would not agree.
    loss: FloatArray = 0.0 - np.einsum("ps,s->p", worst[:, : len(share)], share)
    return loss


def _shortfall_share(tail: float, scenarios: int) -> FloatArray:
    """(scenario,) how much of each scenario, from the worst, is in the expected shortfall; no further than it goes."""
    whole, part = _split(tail, scenarios)
    share = np.ones(whole + 1)
    share[whole] = part
    return share / (whole + part)


# --- unequally likely scenarios ---------------------------------------------------------------------------------------


def _of_weighted(pnl: FloatArray, tails: Sequence[float], weight: FloatArray, quantile: Quantile) -> list[TailRisk]:
    if weight.shape != pnl.shape[1:]:
        raise ValueError(f"{weight.shape} weights for {pnl.shape[1]} scenarios: give each scenario one")
    order = np.argsort(pnl, axis=1, kind="stable")
    ordered = np.take_along_axis(pnl, order, axis=1).astype(np.float64)
    likely = weight[order]
    before = np.cumsum(likely, axis=1) - likely
    found = []
    for tail in tails:
        inside = np.clip(tail - before, 0.0, likely)
        shortfall = 0.0 - np.einsum("ps,ps->p", inside, ordered) / inside.sum(axis=1)
        ranks = [_weighted_rank(each, tail, quantile) for each in likely] if quantile is Quantile.LINEAR else None
        found.append(TailRisk(_weighted_value_at_risk(ordered, before, tail, ranks), shortfall))
    return found


def _weighted_value_at_risk(
    ordered: FloatArray, before: FloatArray, tail: float, ranks: list[tuple[int, float]] | None
) -> FloatArray:
    """The lower quantile, or that of the `ranks` of each portfolio."""
    portfolio = np.arange(len(ordered))
    if ranks is None:
        at = np.count_nonzero(before <= tail + _TAIL_TOLERANCE, axis=1) - 1
        lower: FloatArray = 0.0 - ordered[portfolio, at]
        return lower
    at = np.array([rank for rank, _ in ranks], np.intp)
    part = np.array([part for _, part in ranks])
    following = ordered[portfolio, np.minimum(at + 1, ordered.shape[1] - 1)]
    between: FloatArray = ordered[portfolio, at] + part * (following - ordered[portfolio, at])
    return 0.0 - between


def _weighted_rank(likely: FloatArray, tail: float, quantile: Quantile) -> tuple[int, float]:
    """As `_rank`, for the weights of scenarios sorted from the worst.

    The linear one is type 7 for unequal weights: scenario k stands at (k - 1) w_k + (n - 1) (w_1 + ... + w_(k-1)),
    which for equal weights is its rank.
    """
    before = np.cumsum(likely) - likely
    if quantile is Quantile.LOWER:
        return int(np.searchsorted(before, tail + _TAIL_TOLERANCE, side="right")) - 1, 0.0
    count = len(likely)
    place = np.maximum.accumulate(np.arange(count) * likely + (count - 1) * before)
    wanted = tail * place[-1]
    rank = min(int(np.searchsorted(place, wanted + _TAIL_TOLERANCE, side="right")) - 1, count - 1)
    if rank == count - 1 or place[rank + 1] <= place[rank]:
        return rank, 0.0
    part = max((wanted - place[rank]) / (place[rank + 1] - place[rank]), 0.0)
    return rank, float(part) if part > _TAIL_TOLERANCE else 0.0
