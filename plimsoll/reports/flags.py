"""What the flags of both commands ask for, checked before any file is read.

A flag that cannot be meant is a `BadSetting`, as an unknown setting is: nothing in a file could mend it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll.errors import BadSetting
from plimsoll.messages import CASH_MAX
from plimsoll.reports.files import is_date
from plimsoll.risk.backtest import Hold
from plimsoll.risk.measures import Choice
from plimsoll.risk.methods import AGE_DECAY, DECAY, DEGREES_OF_FREEDOM, DRAWS, STANDARD, Method, Model
from plimsoll.risk.scenarios import OBSERVATIONS_MIN
from plimsoll.risk.tails import Quantile

BENCHMARK = "SP500"
"""The column that beta is measured against where nobody names one and there is such a column."""
WINDOW = 500
WINDOW_MAX = 5000
BACKTESTED = (Method.FILTERED_HISTORICAL, Method.HISTORICAL)
"""The method in force and the plainest one beside it."""


@dataclass(frozen=True, slots=True)
class RiskTerms:
    """How `plimsoll risk` measures.

    as_of      the day, YYYY-MM-DD, after which nothing is known; None for that of the newest price
    window     how many scenarios
    benchmark  a column of prices; None for `BENCHMARK` where there is one
    choice     method, model and risk-free rate
    """

    as_of: str | None = None
    window: int = WINDOW
    benchmark: str | None = None
    choice: Choice = field(default_factory=Choice)

    def __post_init__(self) -> None:
        _require_window(self.window)
        _require_date("--as-of", self.as_of)
        if not math.isfinite(self.choice.risk_free):
            raise BadSetting("--risk-free", f"{self.choice.risk_free} is not a finite rate")


@dataclass(frozen=True, slots=True)
class BacktestTerms:
    """How `plimsoll backtest` judges.

    window              returns before each judged session
    methods             which are judged
    first, last         judged sessions, YYYY-MM-DD, both inclusive; None for all there are
    hold                what is taken to have been held in the past
    model               what the methods leave to choose
    """

    window: int = WINDOW
    methods: Sequence[Method] = BACKTESTED
    first: str | None = None
    last: str | None = None
    hold: Hold = Hold.WEIGHTS
    model: Model = STANDARD

    def __post_init__(self) -> None:
        _require_window(self.window)
        _require_date("--from", self.first)
        _require_date("--to", self.last)
        if self.first is not None and self.last is not None and self.first > self.last:
            raise BadSetting("--from", f"{self.first} is after --to {self.last}")


def model_of(
    *,
    decay: float = DECAY,
    age_decay: float = AGE_DECAY,
    quantile: Quantile = Quantile.LOWER,
    draws: int = DRAWS,
    seed: int = STANDARD.seed,
    degrees_of_freedom: float = DEGREES_OF_FREEDOM,
) -> Model:
    """The model that the flags describe. Raises `BadSetting` naming the flag."""
    for flag, value in (("--lambda", decay), ("--decay", age_decay)):
        if not 0.0 < value < 1.0:
            raise BadSetting(flag, f"{value} is not between 0 and 1")
    if draws < 2 or draws % 2:
        raise BadSetting("--draws", f"{draws} draws: take an even number of them, two or more")
    if not degrees_of_freedom > 2.0:
        raise BadSetting("--degrees-of-freedom", f"{degrees_of_freedom} have no variance: take more than 2, or inf")
    return Model(decay, age_decay, quantile, draws, seed, degrees_of_freedom)


def method_of(name: str) -> Method:
    """The method with this name. Raises `BadSetting`, listing all there are."""
    try:
        return Method(name)
    except ValueError:
        raise BadSetting("--method", f"{name!r} is none of {', '.join(Method)}") from None


@dataclass(frozen=True, slots=True)
class Cash:
    """Cash of portfolios, money: what was said of one, else what was said of all, else nothing."""

    everyone: float = 0.0
    named: dict[str, float] = field(default_factory=dict)

    def of(self, portfolio_id: str) -> float:
        """The cash of a portfolio."""
        return self.named.get(portfolio_id, self.everyone)


def cash_of(stated: Sequence[str]) -> Cash:
    """From `AMOUNT`, for every portfolio, and `PORTFOLIO=AMOUNT`. Raises `BadSetting`."""
    everyone: float | None = None
    named: dict[str, float] = {}
    for text in stated:
        portfolio_id, equals, amount = text.rpartition("=")
        value = _amount(text, amount)
        if not equals:
            if everyone is not None:
                raise BadSetting("--cash", f"{text!r} is a second amount for every portfolio: give one")
            everyone = value
        elif not portfolio_id:
            raise BadSetting("--cash", f"{text!r} names no portfolio: give PORTFOLIO=AMOUNT, or AMOUNT for every one")
        elif portfolio_id in named:
            raise BadSetting("--cash", f"{portfolio_id} is given cash twice: give one amount")
        else:
            named[portfolio_id] = value
    return Cash(0.0 if everyone is None else everyone, named)


def _amount(text: str, amount: str) -> float:
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadSetting("--cash", f"{text!r} is not an amount of money, as 25000, or a portfolio's, as growth=25000")
    if abs(value) > CASH_MAX:
        raise BadSetting("--cash", f"{text!r} is beyond {CASH_MAX:g}, the most that is taken")
    return value


def _require_window(window: int) -> None:
    if not OBSERVATIONS_MIN <= window <= WINDOW_MAX:
        raise BadSetting("--window", f"{window} sessions: take {OBSERVATIONS_MIN} to {WINDOW_MAX}")


def _require_date(flag: str, text: str | None) -> None:
    if text is not None and not is_date(text):
        raise BadSetting(flag, f"{text!r} is not a date as 2020-02-19")
