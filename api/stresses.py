"""What falls of the market in the past, and assumed shocks, would do to a portfolio as it is now.

Pure functions; no I/O and no clock. Every answer is hypothetical and says of each holding where its return comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from api.on_demand import Parts, Terms, exposures, parts, sectors_of, units_held, value_of
from plimsoll.messages import Mark, PortfolioRecord
from plimsoll.risk import measures, stress
from plimsoll.risk.scenarios import DEFAULT_BETA, ScenarioSet
from plimsoll.risk.stress import NamedStress, Shock, StressedReturn


@dataclass(frozen=True, slots=True)
class StressedHolding:
    """What a stress does to one holding. `basis`: `own` history, `beta` times the index, `shock`, or `unshocked`."""

    symbol: str
    return_fraction: float
    pnl: float
    basis: str


@dataclass(frozen=True, slots=True)
class SectorPnl:
    """What a sector adds to a portfolio's P&L; `sector` is None where nobody states one."""

    sector: str | None
    pnl: float


@dataclass(frozen=True, slots=True)
class StressResult:
    """What a named stress would do to a portfolio; a loss is negative."""

    stress: NamedStress
    pnl: float
    pnl_fraction: float | None
    own_share_fraction: float
    """Share of gross exposure that repeats its own return; the rest follows the index by its beta."""
    holdings: list[StressedHolding]
    sectors: list[SectorPnl]
    incomplete_symbols: list[str]


@dataclass(frozen=True, slots=True)
class ShockResult:
    """What an assumed shock would do to a portfolio; a loss is negative. `unused`: shocked, but not held."""

    pnl: float
    pnl_fraction: float | None
    holdings: list[StressedHolding]
    sectors: list[SectorPnl]
    unused_sectors: list[str]
    unused_symbols: list[str]
    incomplete_symbols: list[str]


def stressed(
    record: PortfolioRecord,
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    terms: Terms,
    stresses: Sequence[NamedStress],
) -> list[StressResult]:
    """What each stress would do to the portfolio as it is now.

    A symbol repeats its own return where it traded through the stress, and follows the index elsewhere, by the beta of
    what stands for it in the scenario set: its own history there, or its proxy's.
    """
    held = parts(record, marks, scenarios, terms)
    exposure = dict(zip(held.symbols, held.exposure.tolist(), strict=True))
    betas = _betas(held)
    sectors = sectors_of(record, scenarios)
    results = []
    for each in stresses:
        own = scenarios.stress_returns.get(each.id, {})
        returns = stress.stressed_returns(each, {s: own[s] for s in exposure if s in own}, betas)
        outcome = stress.stress_pnl(exposure, returns)
        results.append(
            StressResult(
                stress=each,
                pnl=outcome.pnl,
                pnl_fraction=None if held.value is None else outcome.pnl / held.value,
                own_share_fraction=outcome.own_share,
                holdings=_holdings(outcome.by_symbol, returns),
                sectors=_sectors(outcome.by_symbol, sectors),
                incomplete_symbols=held.unpriced,
            )
        )
    return results


def shocked(
    record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet | None, shock: Shock
) -> ShockResult:
    """What a shock would do to the portfolio as it is now.

    The scenario set adds the sectors that its owner omits, and says what can be valued at all.
    """
    exposure = exposures(record, marks, scenarios)
    value = value_of(list(exposure.values()), record.cash)
    sectors = sectors_of(record, scenarios)
    found = stress.shocked_returns(shock, record.symbols, sectors)
    outcome = stress.stress_pnl(exposure, found.returns)
    return ShockResult(
        pnl=outcome.pnl,
        pnl_fraction=None if value is None else outcome.pnl / value,
        holdings=_holdings(outcome.by_symbol, found.returns),
        sectors=_sectors(outcome.by_symbol, sectors),
        unused_sectors=list(found.unused_sectors),
        unused_symbols=list(found.unused_symbols),
        incomplete_symbols=sorted(units_held(record).keys() - exposure.keys()),
    )


def _betas(held: Parts) -> dict[str, float]:
    beta = measures.beta(held.returns, held.benchmark_returns)
    known = np.where(np.isnan(beta), DEFAULT_BETA, beta)
    return dict(zip(held.symbols, known.tolist(), strict=True))


def _holdings(by_symbol: Mapping[str, float], returns: Mapping[str, StressedReturn]) -> list[StressedHolding]:
    """The worst first."""
    return [
        StressedHolding(symbol, returns[symbol].fraction, pnl, returns[symbol].basis)
        for symbol, pnl in sorted(by_symbol.items(), key=lambda item: (item[1], item[0]))
    ]


def _sectors(by_symbol: Mapping[str, float], sectors: Mapping[str, str | None]) -> list[SectorPnl]:
    """The worst first."""
    by_sector = stress.pnl_by_sector(by_symbol, sectors)
    return [
        SectorPnl(sector, pnl) for sector, pnl in sorted(by_sector.items(), key=lambda item: (item[1], item[0] or ""))
    ]
