"""Named stresses: what happened once, from peak to trough, done to what is held today.

A symbol that traded through the stress repeats its own return; another one follows the index by its beta, and the
answer says which. Index returns are price returns of the S&P 500, without dividends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Basis: TypeAlias = Literal["own", "beta", "shock"]
"""Where a stressed return comes from: the symbol's own history, beta times the index, or somebody's assumption."""


class UnknownStress(LookupError):
    """No stress has this id. Choose one of those that the text lists."""

    def __init__(self, stress_id: str) -> None:
        super().__init__(f"no stress {stress_id!r}; the known ones are {', '.join(stress.id for stress in NAMED)}")


@dataclass(frozen=True, slots=True)
class NamedStress:
    """A fall of the market from the close of `first_session` to that of `last_session`; `index_return` a fraction."""

    id: str
    name: str
    first_session: str
    last_session: str
    index_return: float


NAMED = (
    NamedStress("crash-1987", "Crash of 1987, peak to trough", "1987-08-25", "1987-12-04", -0.3351),
    NamedStress("black-monday-1987", "Black Monday", "1987-10-16", "1987-10-19", -0.2047),
    NamedStress("gulf-war-1990", "Gulf War and recession", "1990-07-16", "1990-10-11", -0.1992),
    NamedStress("ltcm-1998", "Russian default and LTCM", "1998-07-17", "1998-08-31", -0.1934),
    NamedStress("dot-com-2000", "Dot-com collapse", "2000-03-24", "2002-10-09", -0.4915),
    NamedStress("september-11-2001", "September 11", "2001-09-10", "2001-09-21", -0.1160),
    NamedStress("financial-crisis-2007", "Global financial crisis", "2007-10-09", "2009-03-09", -0.5678),
    NamedStress("lehman-2008", "Lehman Brothers", "2008-09-12", "2008-11-20", -0.3989),
    NamedStress("flash-crash-2010", "Flash crash and euro crisis", "2010-04-23", "2010-07-02", -0.1599),
    NamedStress("downgrade-2011", "US downgrade", "2011-07-22", "2011-08-08", -0.1677),
    NamedStress("china-2015", "China devaluation", "2015-08-10", "2015-08-25", -0.1124),
    NamedStress("brexit-2016", "Brexit vote", "2016-06-23", "2016-06-27", -0.0534),
    NamedStress("volmageddon-2018", "Volmageddon", "2018-01-26", "2018-02-08", -0.1016),
    NamedStress("fourth-quarter-2018", "Fourth quarter of 2018", "2018-09-20", "2018-12-24", -0.1978),
    NamedStress("covid-2020", "COVID-19", "2020-02-19", "2020-03-23", -0.3392),
    NamedStress("inflation-2022", "Inflation and rising rates", "2022-01-03", "2022-10-12", -0.2543),
)
"""Every stress there is, in order of time. The ids are a contract."""

_BY_ID = {stress.id: stress for stress in NAMED}


class StressedReturn(NamedTuple):
    """One symbol's return over a stress, a fraction, and where it comes from."""

    fraction: float
    basis: Basis


class StressOutcome(NamedTuple):
    """What a stress would do to a portfolio.

    pnl        money, a loss is negative
    own_share  share of gross exposure that repeats its own return; 1 where nothing is held
    by_symbol  P&L of each symbol held; they add up to `pnl`
    """

    pnl: float
    own_share: float
    by_symbol: Mapping[str, float]


def by_id(stress_id: str) -> NamedStress:
    """The stress with this id. Raises `UnknownStress`."""
    try:
        return _BY_ID[stress_id]
    except KeyError:
        raise UnknownStress(stress_id) from None


def stressed_returns(
    stress: NamedStress,
    closes_first: Mapping[str, float],
    closes_last: Mapping[str, float],
    betas: Mapping[str, float],
) -> Mapping[str, StressedReturn]:
    """Each symbol's return over the stress: its own where both closes are known, else beta times the index.

    closes_first, closes_last  {symbol: close} of the stress's two sessions; a symbol may be missing in either
    betas                      {symbol: beta} of every symbol that is held
    """
    own = {
        symbol: StressedReturn(closes_last[symbol] / first - 1.0, "own")
        for symbol, first in closes_first.items()
        if symbol in closes_last
    }
    return {symbol: StressedReturn(beta * stress.index_return, "beta") for symbol, beta in betas.items()} | own


def parallel(shock: float) -> Mapping[str, StressedReturn]:
    """The same return for every symbol there is: -0.2 lets all of them fall by twenty per cent."""
    return defaultdict(lambda: StressedReturn(shock, "shock"))


def stress_pnl(exposure: Mapping[str, float], returns: Mapping[str, tuple[float, str]]) -> StressOutcome:
    """What a portfolio would make of these returns.

    exposure  {symbol: money}, short positions negative
    returns   {symbol: (return, basis)}, as `stressed_returns` and `parallel` give them

    Raises KeyError where a symbol that is held has no return: give it a beta.
    """
    by_symbol = {symbol: value * returns[symbol][0] for symbol, value in exposure.items()}
    gross = sum(abs(value) for value in exposure.values())
    own = sum(abs(value) for symbol, value in exposure.items() if returns[symbol][1] == "own")
    return StressOutcome(sum(by_symbol.values()), own / gross if gross > 0.0 else 1.0, by_symbol)
