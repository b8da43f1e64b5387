"""What each holding adds to the risk of its portfolio: component, marginal and incremental, three different things.

Value at risk and expected shortfall are homogeneous of degree one, so by Euler's theorem they are the sum of exposure
times derivative (Tasche 1999). With a sample of scenarios the derivative is plain: value at risk is the loss of one
scenario, expected shortfall a weighted mean of the worst, and each is linear in the exposures while the scenarios stay
the same ones.

- *component*: the holding's loss in those very scenarios. Components add up to the total, to the last digits.
- *marginal*: component over exposure, the change of the total for one more unit of money in the holding.
- *incremental*: the total less what it would be without the holding. These do not add up.

All are losses: positive where the holding adds risk, negative where it takes some away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.methods import Sample
from plimsoll.risk.tails import (
    Quantile,
    expected_shortfall,
    expected_shortfall_weight,
    value_at_risk,
    value_at_risk_weight,
)


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """How one measure of one portfolio splits among its parts, arrays (part,).

    total        money
    component    (part,) money, adding up to `total`
    marginal     (part,) a fraction: money of risk for one more unit of money in the part; NaN where it holds nothing
    incremental  (part,) money
    """

    total: float
    component: FloatArray
    marginal: FloatArray
    incremental: FloatArray


def value_at_risk_contributions(
    exposure: FloatArray, part: Sample, tail: float, quantile: Quantile = Quantile.LOWER
) -> Contributions:
    """How value at risk splits among holdings.

    exposure  (part,) money, short positions negative
    part      the sample with P&L (part, scenario) of each holding by itself, in the scenarios of the method in force
    tail      probability: 0.05 for 95 % value at risk
    """
    pnl = part.pnl.sum(axis=0, dtype=np.float64)
    inside = value_at_risk_weight(pnl, tail, part.weight, quantile)
    without = value_at_risk(pnl - part.pnl, tail, part.weight, quantile)
    return _split(exposure, part.pnl, inside, without, pnl)


def expected_shortfall_contributions(exposure: FloatArray, part: Sample, tail: float) -> Contributions:
    """How expected shortfall splits among holdings. Arguments as `value_at_risk_contributions`."""
    pnl = part.pnl.sum(axis=0, dtype=np.float64)
    inside = expected_shortfall_weight(pnl, tail, part.weight)
    return _split(exposure, part.pnl, inside, expected_shortfall(pnl - part.pnl, tail, part.weight), pnl)


def _split(
    exposure: FloatArray, part: FloatArray, inside: FloatArray, without: FloatArray, pnl: FloatArray
) -> Contributions:
    component = 0.0 - part.astype(np.float64) @ inside
    total = float(0.0 - pnl @ inside)
    undefined = np.full(len(exposure), np.nan)
    return Contributions(
        total, component, np.divide(component, exposure, out=undefined, where=exposure != 0.0), total - without
    )


def by_group(pnl: FloatArray, exposure: FloatArray, group: Sequence[str]) -> tuple[list[str], FloatArray, FloatArray]:
    """Holdings taken together, a sector at a time: names in order, (group, scenario) P&L, (group,) exposure.

    pnl       (part, scenario) money
    exposure  (part,) money
    group     (part,) what each belongs to

    What comes out goes in again as parts of their own.
    """
    names = sorted(set(group))
    belongs = np.array([[each == name for each in group] for name in names], np.float64).reshape(len(names), len(group))
    return names, belongs @ pnl, belongs @ exposure
