"""Stresses: returns that happened once, or that somebody assumes, done to what is held today.

A named stress runs from peak to trough. A symbol that traded through it repeats its own return; another one follows
the index by its beta. A shock is an assumption: of the market as a whole, of a sector, of a symbol. Every return says
which of these it is. Index returns are price returns of the S&P 500, without dividends.

Returns are fractions, -0.2 is a fall of twenty per cent; P&L is linear in them, and a loss is negative. Nothing here
knows how a beta was estimated or where a close was kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

SHOCK_MIN = -1.0
"""A price cannot fall below nothing."""
SHOCK_MAX = 10.0
"""A rise to eleven times the price. More than that is a percentage where a fraction was asked for."""

Basis: TypeAlias = Literal["own", "beta", "shock", "unshocked"]
"""Where a stressed return comes from: the symbol's own history, beta times the index, or somebody's assumption; a
symbol that no assumption covers is `unshocked`, and its return of 0 is nobody's claim.
"""


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

ANCHOR_SESSIONS = frozenset(session for stress in NAMED for session in (stress.first_session, stress.last_session))
"""The first and last sessions of all stresses: of all closes there were, `own_returns` needs no others."""

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


def own_returns(closes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{stress id: {symbol: return}}: what each symbol did itself in each named stress, a fraction.

    closes  {session date: {symbol: close}}, in any order; those of `ANCHOR_SESSIONS` suffice

    A symbol is in a stress where both its closes are positive numbers, and a stress is left out where no symbol is.
    """
    found = {
        stress.id: _between(closes[stress.first_session], closes[stress.last_session])
        for stress in NAMED
        if stress.first_session in closes and stress.last_session in closes
    }
    return {stress_id: returns for stress_id, returns in found.items() if returns}


def _between(first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    """{symbol: return} from one session's closes to another's, of the symbols that have a price in both."""
    return {
        symbol: last[symbol] / close - 1.0
        for symbol, close in first.items()
        if symbol in last and _is_price(close) and _is_price(last[symbol])
    }


def _is_price(close: float) -> bool:
    return math.isfinite(close) and close > 0.0


def stressed_returns(
    stress: NamedStress, own: Mapping[str, float], betas: Mapping[str, float]
) -> dict[str, StressedReturn]:
    """Each symbol's return over the stress: its own where there is one, else beta times the index.

    own    {symbol: return} over this stress, as `own_returns` gives it; empty where nobody's is known
    betas  {symbol: beta} of the symbols held; one that has its own return needs none
    """
    by_beta = {symbol: StressedReturn(beta * stress.index_return, "beta") for symbol, beta in betas.items()}
    return by_beta | {symbol: StressedReturn(fraction, "own") for symbol, fraction in own.items()}


@dataclass(frozen=True, slots=True)
class Shock:
    """What somebody assumes of tomorrow; where several assumptions cover a symbol, the most specific one holds.

    parallel   the return of every symbol, a fraction: -0.2 is a fall of twenty per cent; None where nothing is assumed
    by_sector  {sector: return}, before `parallel`
    by_symbol  {symbol: return}, before both

    Raises ValueError, naming the field, where a shock is not finite or outside `SHOCK_MIN` to `SHOCK_MAX`.
    """

    parallel: float | None = None
    by_sector: Mapping[str, float] = field(default_factory=dict)
    by_symbol: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parallel is not None:
            _require("parallel", self.parallel)
        for sector, shock in self.by_sector.items():
            _require(f"by_sector[{sector!r}]", shock)
        for symbol, shock in self.by_symbol.items():
            _require(f"by_symbol[{symbol!r}]", shock)


def _require(name: str, shock: float) -> None:
    if not math.isfinite(shock):
        raise ValueError(f"{name} is {shock}: a shock is a finite number")
    if shock < SHOCK_MIN:
        raise ValueError(f"{name} is {shock:g}: a price cannot fall below nothing, so {SHOCK_MIN:g} is the least")
    if shock > SHOCK_MAX:
        raise ValueError(f"{name} is {shock:g}: a shock is a fraction (-0.2 is a fall of 20 %), at most {SHOCK_MAX:g}")


class ShockedReturns(NamedTuple):
    """What a shock does to the symbols held, and what in it concerns none of them.

    returns         {symbol: return} of every symbol held, by `shock` or `unshocked`
    unused_sectors  shocked, but nothing held is of them: a typing error, perhaps
    unused_symbols  shocked, but not held
    """

    returns: dict[str, StressedReturn]
    unused_sectors: tuple[str, ...]
    unused_symbols: tuple[str, ...]


def shocked_returns(shock: Shock, symbols: Collection[str], sectors: Mapping[str, str | None]) -> ShockedReturns:
    """Each symbol's return under a shock: its own, else its sector's, else the parallel one, else 0 and `unshocked`.

    symbols  those held
    sectors  {symbol: sector}; None, or no entry, where the sector is not known
    """
    held_sectors = {sectors.get(symbol) for symbol in symbols}
    return ShockedReturns(
        returns={symbol: _shocked(shock, symbol, sectors.get(symbol)) for symbol in symbols},
        unused_sectors=_unused(shock.by_sector, held_sectors),
        unused_symbols=_unused(shock.by_symbol, set(symbols)),
    )


def _shocked(shock: Shock, symbol: str, sector: str | None) -> StressedReturn:
    if symbol in shock.by_symbol:
        return StressedReturn(shock.by_symbol[symbol], "shock")
    if sector is not None and sector in shock.by_sector:
        return StressedReturn(shock.by_sector[sector], "shock")
    if shock.parallel is not None:
        return StressedReturn(shock.parallel, "shock")
    return StressedReturn(0.0, "unshocked")


def _unused(shocked: Iterable[str], held: Collection[str | None]) -> tuple[str, ...]:
    return tuple(sorted(name for name in shocked if name not in held))


def stress_pnl(exposure: Mapping[str, float], returns: Mapping[str, tuple[float, str]]) -> StressOutcome:
    """What a portfolio would make of these returns.

    exposure  {symbol: money}, short positions negative
    returns   {symbol: (return, basis)}, as `stressed_returns` and `shocked_returns` give them

    Raises KeyError where a symbol that is held has no return: give it a beta.
    """
    by_symbol = {symbol: value * returns[symbol][0] for symbol, value in exposure.items()}
    gross = sum(abs(value) for value in exposure.values())
    own = sum(abs(value) for symbol, value in exposure.items() if returns[symbol][1] == "own")
    return StressOutcome(sum(by_symbol.values()), own / gross if gross > 0.0 else 1.0, by_symbol)


def pnl_by_sector(by_symbol: Mapping[str, float], sectors: Mapping[str, str | None]) -> dict[str | None, float]:
    """{sector: P&L}, money: what each sector adds to a portfolio's P&L; None for symbols of no known sector.

    by_symbol  {symbol: P&L} of `StressOutcome`
    sectors    {symbol: sector}, as for `shocked_returns`
    """
    found: defaultdict[str | None, float] = defaultdict(float)
    for symbol, pnl in by_symbol.items():
        found[sectors.get(symbol)] += pnl
    return dict(found)
