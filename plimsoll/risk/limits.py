"""Limits: what a portfolio should not become, and which of them a trade would breach.

A limit is breached beyond its bound, never on it; only the list of those at risk begins with its threshold. A figure
that is not defined exceeds nothing. Where market value is not positive, leverage and every fraction have nothing to be
relative to: that is said, and nothing else is judged. Limits forbid nothing here: they are sentences for whoever
decides, and tell what a trade brings from what was so before.

Money is in the reporting currency; value at risk is a loss, so it is positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from plimsoll.risk.alignment import TOLERANCE_GAP, alignment
from plimsoll.risk.score import AT_RISK_NUMBER

_ROUNDING = 1e-12
"""Relative to what was summed: what is less beyond its bound than this is on it."""


class LimitCode(StrEnum):
    """Which limit is meant. The values are a contract; breaches are told in this order."""

    NO_VALUE = "NO_VALUE"
    AT_RISK = "AT_RISK"
    ABOVE_TOLERANCE = "ABOVE_TOLERANCE"
    SINGLE_NAME = "SINGLE_NAME"
    LEVERAGE = "LEVERAGE"
    VALUE_AT_RISK = "VALUE_AT_RISK"
    NEGATIVE_CASH = "NEGATIVE_CASH"


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds. The defaults are for a private client's portfolio, and each has its reason; choose your own.

    at_risk_number        the risk number from which a portfolio is at risk: where the high band begins
    tolerance_gap         points that the number may lie above the client's tolerance: more is misaligned
    single_name_fraction  of gross exposure in one name: what US tax law (IRC 851(b)(3)) lets a fund hold of one issuer
    leverage              gross exposure over market value: half the borrowing that Regulation T grants a new purchase
    var_99_fraction       of market value in a day at 99 %: about twice what UCITS allows a fund, 20 % in 20 days
                          (CESR/10-788), which is 4.5 % in one

    Raises ValueError, naming the field, where one is not a positive finite number.
    """

    at_risk_number: int = AT_RISK_NUMBER
    tolerance_gap: int = TOLERANCE_GAP
    single_name_fraction: float = 0.25
    leverage: float = 1.5
    var_99_fraction: float = 0.10

    def __post_init__(self) -> None:
        for each in fields(self):
            bound = getattr(self, each.name)
            if not (math.isfinite(bound) and bound > 0):
                raise ValueError(f"{each.name} is {bound}: a limit is a positive number")


STANDARD = Limits()


@dataclass(frozen=True, slots=True)
class Standing:
    """What limits look at in a portfolio, before a trade or after it.

    exposure         {symbol: money}, short positions negative
    cash             money
    risk_number      1 to 99; None where there is none
    tolerance        the client's, one of `alignment.TOLERANCE_NUMBERS`; None where there is no client
    var_99_fraction  one day's value at risk at 99 %, of market value; None or NaN where it is not defined
    """

    exposure: Mapping[str, float]
    cash: float
    risk_number: int | None = None
    tolerance: str | None = None
    var_99_fraction: float | None = None

    @property
    def gross_exposure(self) -> float:
        """Money, long and short alike."""
        return math.fsum(abs(value) for value in self.exposure.values())

    @property
    def market_value(self) -> float:
        """Money, with cash; exactly 0 where long, short and cash cancel but for rounding."""
        value = math.fsum(self.exposure.values()) + self.cash
        return 0.0 if abs(value) <= _ROUNDING * (self.gross_exposure + abs(self.cash)) else value

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Every name with its share of gross exposure, a fraction, the largest first; empty without exposure."""
        gross = self.gross_exposure
        shares = [(symbol, abs(value) / gross) for symbol, value in self.exposure.items() if value]
        return sorted(shares, key=lambda share: (-share[1], share[0]))


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that a portfolio exceeds.

    message           a sentence for a person, with the figure and its bound
    value, bound      in the unit of the limit: points, a fraction, a ratio, money
    symbol            the name that is meant, where one is
    already_breached  the portfolio exceeded it before the trade as well: for a single name, by the same one
    """

    code: LimitCode
    message: str
    value: float
    bound: float
    symbol: str | None = None
    already_breached: bool = False


def breaches(before: Standing, after: Standing, limits: Limits = STANDARD) -> list[Breach]:
    """Every limit that a portfolio exceeds after a trade, in the order of `LimitCode`; the largest name first.

    A portfolio that is left without positive market value breaches NO_VALUE and is judged by nothing else. Raises
    ValueError for a tolerance that nobody knows.
    """
    already = {(breach.code, breach.symbol) for breach in _exceeded(before, limits)}
    found = [
        replace(breach, already_breached=(breach.code, breach.symbol) in already) for breach in _exceeded(after, limits)
    ]
    without_value = [breach for breach in found if breach.code is LimitCode.NO_VALUE]
    return without_value or found


def _exceeded(standing: Standing, limits: Limits) -> Iterator[Breach]:
    """Every limit exceeded, in the order of `LimitCode`."""
    value = standing.market_value
    if value <= 0.0:
        yield Breach(LimitCode.NO_VALUE, f"Market value is {value:,.2f}; it has to be above 0.", value, 0.0)
    yield from _by_number(standing, limits)
    yield from _by_name(standing, limits)
    if value > 0.0:
        yield from _by_leverage(standing.gross_exposure / value, limits.leverage)
    yield from _by_loss(standing.var_99_fraction, limits.var_99_fraction)
    yield from _by_cash(standing)


def _by_number(standing: Standing, limits: Limits) -> Iterator[Breach]:
    number = standing.risk_number
    if number is not None and number >= limits.at_risk_number:
        message = f"The risk number is {number}; from {limits.at_risk_number} on a portfolio is at risk."
        yield Breach(LimitCode.AT_RISK, message, number, limits.at_risk_number)
    beside = None if standing.tolerance is None else alignment(number, standing.tolerance)
    if beside is not None and beside.gap > limits.tolerance_gap:
        message = (
            f"The risk number is {number}, {beside.gap} above the {beside.tolerance_number} of a client whose"
            f" tolerance is {standing.tolerance}; at most {limits.tolerance_gap} above is agreed."
        )
        yield Breach(LimitCode.ABOVE_TOLERANCE, message, beside.gap, limits.tolerance_gap)


def _by_name(standing: Standing, limits: Limits) -> Iterator[Breach]:
    for symbol, share in standing.shares:
        if _beyond(share, limits.single_name_fraction):
            message = (
                f"{symbol} is {_percent(share)} of gross exposure; one name may be at most"
                f" {_percent(limits.single_name_fraction)}."
            )
            yield Breach(LimitCode.SINGLE_NAME, message, share, limits.single_name_fraction, symbol)


def _by_leverage(leverage: float, bound: float) -> Iterator[Breach]:
    if _beyond(leverage, bound):
        message = f"Gross exposure is {leverage:.2f} times market value; at most {bound:.2f} times is allowed."
        yield Breach(LimitCode.LEVERAGE, message, leverage, bound)


def _by_loss(loss: float | None, bound: float) -> Iterator[Breach]:
    if loss is not None and _beyond(loss, bound):
        message = (
            f"One day's value at risk at 99 % is {_percent(loss)} of market value;"
            f" at most {_percent(bound)} is allowed."
        )
        yield Breach(LimitCode.VALUE_AT_RISK, message, loss, bound)


def _by_cash(standing: Standing) -> Iterator[Breach]:
    # A purchase with all of the cash leaves the rounding of its price, and not a debt.
    if standing.cash < -_ROUNDING * standing.gross_exposure:
        message = f"Cash is {standing.cash:,.2f}; it may not fall below 0."
        yield Breach(LimitCode.NEGATIVE_CASH, message, standing.cash, 0.0)


def _beyond(value: float, bound: float) -> bool:
    """Whether a figure exceeds its bound by more than rounding; NaN does not."""
    return value > bound * (1.0 + _ROUNDING)


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.2f} %"
