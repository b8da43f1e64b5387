"""The risk number: one figure from 1 to 99 for how much a portfolio could lose in six months.

D is the fraction of value lost over 126 sessions with 95 % confidence, from a normal law with the portfolio's own
daily mean and volatility; the score is D read off a curve through the anchors below. A portfolio is at risk from a
threshold upwards, and leaves that list only when its number is well below it. Nothing here knows of the client's
tolerance: it is shown beside the number and never bends it.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from plimsoll.risk.arrays import FloatArray

SESSIONS_IN_SIX_MONTHS = 126
NORMAL_QUANTILE_95 = 1.6449

AT_RISK_NUMBER = 70
"""From here on a risk number is high, and a portfolio at risk unless somebody asks for another threshold."""
HYSTERESIS = 3
"""Points below the threshold at which a portfolio that is at risk still is. At 70 they are more than a twentieth of the
six-month loss: far more than one price moves it, which only shifts weights, and little enough that selling some of what
is risky leaves the list.
"""

LIST_STEPS = 16
"""Steps of a point by which lists are in order. A power of two: their decimals are few, which Redis reads quickly."""

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

_LOSS, _SCORE = np.array(ANCHORS).T


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
    return np.clip(_on_curve(np.minimum(loss_percent, _LOSS[-1])), 1.0, 99.0)


def risk_number(score: FloatArray) -> FloatArray:
    """The score as the whole number we publish, 1 to 99, still a float so that NaN stays NaN.

    Rounded half up, not half to even: `number >= t` is then exactly `score >= t - 0.5` for every whole t from 2 to
    99, and a list kept in order of score can be cut at a number.
    """
    return np.clip(np.floor(np.asarray(score, np.float64) + 0.5), 1.0, 99.0)


def list_score(score: FloatArray) -> FloatArray:
    """The score that lists are kept in order of: the score, down to the next sixteenth; NaN stays NaN.

    Half points are on that grid, so a list can still be cut at a number. Below a sixteenth a score says nothing, and a
    list whose scores stand still while prices tick is one that need not be written.
    """
    return np.floor(np.asarray(score, np.float64) * LIST_STEPS) / LIST_STEPS


def risk_band(number: int) -> RiskBand:
    """The band of a risk number."""
    if number < 30:
        return RiskBand.LOW
    return RiskBand.MODERATE if number < AT_RISK_NUMBER else RiskBand.HIGH


def is_at_risk(number: int | None, threshold: int, was_at_risk: bool) -> bool:
    """Whether a portfolio is at risk: from `threshold` on, and if it was so before, until it falls below the band.

    number       the risk number; None where there is none, and such a portfolio is not at risk
    threshold    a risk number
    was_at_risk  the answer before this one; False for a portfolio met for the first time

    The band is `HYSTERESIS` wide: with a threshold of 70 a portfolio enters at 70 and leaves at 66. Without it, one
    whose number is on the threshold would enter and leave with every price.
    """
    if number is None:
        return False
    return number >= (threshold - HYSTERESIS if was_at_risk else threshold)


def _slopes() -> FloatArray:
    """The curve's slope at each anchor: Fritsch-Butland (1984), as scipy's `PchipInterpolator` has it.

    Monotone between its anchors, unlike a cubic spline: a riskier portfolio can never score lower. It is written out
    because importing scipy's costs every process a third of a second at its start; a test holds the two together.
    """
    width = np.diff(_LOSS)
    rise = np.diff(_SCORE) / width
    before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    # Every rise is positive, so none of the cases for a turning curve can occur within.
    inner = (before + after) / (before / rise[:-1] + after / rise[1:])
    return np.array([_end_slope(*width[:2], *rise[:2]), *inner, _end_slope(*width[:-3:-1], *rise[:-3:-1])])


def _end_slope(width: float, next_width: float, rise: float, next_rise: float) -> float:
    """The three-point slope at an end of the curve, held at or above level."""
    return max(((2 * width + next_width) * rise - width * next_rise) / (width + next_width), 0.0)


_SLOPE = _slopes()


def _on_curve(loss_percent: FloatArray) -> FloatArray:
    """The cubic Hermite curve through the anchors, at losses from the first anchor to the last; NaN stays NaN."""
    piece = np.clip(np.searchsorted(_LOSS, loss_percent, side="right") - 1, 0, len(_LOSS) - 2)
    width = _LOSS[piece + 1] - _LOSS[piece]
    t = (loss_percent - _LOSS[piece]) / width
    from_left = (1 + 2 * t) * (1 - t) ** 2 * _SCORE[piece] + t * (1 - t) ** 2 * width * _SLOPE[piece]
    from_right = t**2 * (3 - 2 * t) * _SCORE[piece + 1] + t**2 * (t - 1) * width * _SLOPE[piece + 1]
    score: FloatArray = from_left + from_right
    return score
