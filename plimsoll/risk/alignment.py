"""A client's tolerance beside the portfolio's risk number: whether the two agree, and which way they differ.

A tolerance is stated as a number of the same scale, so that it can be compared: the anchors of the score's curve for
six-month losses of 5.5 %, 9.5 % and 15 %. A portfolio within 10 points of it suits the client. The comparison looks
at the number and leaves it alone: a tolerance never bends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

TOLERANCE_NUMBERS: Mapping[str, int] = {"Conservative": 35, "Moderate": 50, "Aggressive": 70}
"""The risk number that a client of each tolerance asked for: that of losing 5.5 %, 9.5 % and 15 % in six months."""
TOLERANCE_GAP = 10
"""Points either way that still suit the client. The tolerances are 15 and 20 apart, so a number between two of them
suits at least one.
"""


class Verdict(StrEnum):
    """How a portfolio's risk compares with what its client asked for."""

    ALIGNED = "ALIGNED"
    TOO_RISKY = "TOO_RISKY"
    TOO_CAUTIOUS = "TOO_CAUTIOUS"


class Alignment(NamedTuple):
    """A risk number beside a tolerance.

    tolerance_number  the tolerance as a risk number, 1 to 99
    gap               risk number less tolerance number, in points: positive where the portfolio is the riskier
    verdict           aligned up to `TOLERANCE_GAP` points either way, inclusive
    """

    tolerance_number: int
    gap: int
    verdict: Verdict


def alignment(number: int | None, tolerance: str) -> Alignment | None:
    """How a portfolio's risk number compares with its client's tolerance; None where it has no number.

    number     the risk number, 1 to 99
    tolerance  one of `TOLERANCE_NUMBERS`

    Raises ValueError for another tolerance.
    """
    wanted = TOLERANCE_NUMBERS.get(tolerance)
    if wanted is None:
        raise ValueError(f"no tolerance {tolerance!r}; the known ones are {', '.join(TOLERANCE_NUMBERS)}")
    if number is None:
        return None
    gap = number - wanted
    return Alignment(wanted, gap, _verdict(gap))


def _verdict(gap: int) -> Verdict:
    if abs(gap) <= TOLERANCE_GAP:
        return Verdict.ALIGNED
    return Verdict.TOO_RISKY if gap > 0 else Verdict.TOO_CAUTIOUS
