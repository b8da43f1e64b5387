"""The risk number: one figure from 1 to 99 for how much a portfolio could lose in six months.

D is the fraction of value lost over 126 sessions with 95 % confidence, from a normal law with the portfolio's own
daily mean and volatility; the score is D read off a curve through the anchors below. Nothing here knows of the
client's tolerance: it is shown beside the number and never bends it.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from scipy.interpolate import PchipInterpolator

from plimsoll.risk.arrays import FloatArray

SESSIONS_IN_SIX_MONTHS = 126
NORMAL_QUANTILE_95 = 1.6449

ANCHORS = (
    (0.0, 1.0),
    (1.5, 20.0),
    (5.5, 35.0),
    (9.5, 50.0),
    (15.0, 70.0),
    (20.0, 85.0),
    (25.0, 90.0),
    (35.0, 95.0),
    (40.0, 97.0),
    (55.0, 99.0),
)
"""(loss in per cent, score): where the curve must pass. A larger loss than the last scores as the last."""

# Monotone between its anchors, unlike a cubic spline: a riskier portfolio can never score lower.
_CURVE = PchipInterpolator([loss for loss, _ in ANCHORS], [score for _, score in ANCHORS])
_LOSS_MAX = ANCHORS[-1][0]


class RiskBand(StrEnum):
    """Low below 30, moderate from 30, high from 70."""

    LOW = "LOW"
    MODERATE = "MODERATE"
    HIGH = "HIGH"


def six_month_loss(daily_volatility: FloatArray, daily_mean: FloatArray) -> FloatArray:
    """The loss over 126 sessions that 95 % of outcomes stay within, never below 0.

    daily_volatility, daily_mean  any shape, fractions of market value
    returns                       the same shape, a fraction: 0.1 is a loss of ten per cent
    """
    spread = NORMAL_QUANTILE_95 * math.sqrt(SESSIONS_IN_SIX_MONTHS) * np.asarray(daily_volatility, np.float64)
    return np.maximum(spread - SESSIONS_IN_SIX_MONTHS * np.asarray(daily_mean, np.float64), 0.0)


def risk_score(daily_volatility: FloatArray, daily_mean: FloatArray) -> FloatArray:
    """The unrounded score, 1 to 99; NaN where an argument is. Same arguments as `six_month_loss`."""
    loss_percent = 100.0 * six_month_loss(daily_volatility, daily_mean)
    return np.clip(_CURVE(np.minimum(loss_percent, _LOSS_MAX)), 1.0, 99.0)


def risk_number(score: FloatArray) -> FloatArray:
    """The score as the whole number we publish, 1 to 99, still a float so that NaN stays NaN.

    Rounded half up, not half to even: `number >= t` is then exactly `score >= t - 0.5` for every whole t from 2 to
    99, and a list kept in order of score can be cut at a number.
    """
    return np.clip(np.floor(np.asarray(score, np.float64) + 0.5), 1.0, 99.0)


def risk_band(number: int) -> RiskBand:
    """The band of a risk number."""
    if number < 30:
        return RiskBand.LOW
    return RiskBand.MODERATE if number < 70 else RiskBand.HIGH
