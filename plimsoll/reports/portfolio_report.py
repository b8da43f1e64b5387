"""One portfolio's report: the measures, what they stand on, and what was left out, under names that are a contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from plimsoll.reports.flags import RiskTerms
from plimsoll.reports.marks import Mark
from plimsoll.reports.methods_table import Figures
from plimsoll.reports.positions import Portfolio
from plimsoll.risk import contributions, measures, methods, stress
from plimsoll.risk.alignment import alignment
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.contributions import Contributions
from plimsoll.risk.liquidity import liquidity_days
from plimsoll.risk.methods import Sample, ScenarioPnl
from plimsoll.risk.scenarios import DEFAULT_BETA, ScenarioSet
from plimsoll.risk.score import risk_band
from plimsoll.risk.tails import TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99
from plimsoll.risk.valuation import Market

Row: TypeAlias = dict[str, Any]

HORIZON_DAYS = 1
_NO_SECTOR = ""
_MEASURES = (
    *("market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure"),
    *("var_95", "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction"),
    *("volatility", "expected_return", "sharpe_ratio", "sortino_ratio", "max_drawdown", "beta", "tracking_error"),
    *("effective_names", "risk_number", "risk_number_structural", "coverage"),
)
"""Measures by the names under which `plimsoll.risk.measures` publishes them."""


@dataclass(frozen=True, slots=True)
class Day:
    """What all portfolios share: the day that is measured, and how.

    as_of      the day asked for, YYYY-MM-DD
    priced_on  the newest session with prices at or before it
    benchmark  a column of the prices, or None
    marks      {symbol: mark} of all that have a price
    sectors    {symbol: sector}, where stated
    volumes    {symbol: units a day}; None where no volumes were given
    columns    symbols that the prices have a column for
    """

    as_of: str
    priced_on: str
    benchmark: str | None
    terms: RiskTerms
    marks: Mapping[str, Mark]
    sectors: Mapping[str, str]
    volumes: Mapping[str, float] | None
    columns: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What portfolios that live through the same scenarios share.

    symbols         (symbol,) of the market, ascending
    returns_of      how many returns a symbol has
    stress_returns  {stress id: {symbol: return}}
    """

    scenarios: ScenarioSet
    market: Market
    symbols: Sequence[str]
    returns_of: Callable[[str], int]
    stress_returns: Mapping[str, Mapping[str, float]]


def refused(portfolio: Portfolio, day: Day, problem: str, incomplete: Mapping[str, str] | None = None) -> Row:
    """The report of a portfolio that cannot be measured: the same names, nothing known, and the problem."""
    nothing = dict.fromkeys(_MEASURES)
    incomplete = _unpriced(portfolio, day) if incomplete is None else incomplete
    return (
        _head(portfolio, day, problem)
        | nothing
        | {
            "session_pnl": None,
            "cash": portfolio.cash,
            "risk_band": None,
            "alignment": None,
            "var": {},
            "es": {},
            "exposures": {},
            "contributions": {},
            "sector_exposures": [],
            "sector_contributions": [],
            "stresses": [],
            "liquidity_days": None,
        }
        | _standing_on(portfolio, day, incomplete, [])
        | {"notes": []}
    )


def measured(
    portfolio: Portfolio,
    day: Day,
    shared: Measured,
    measures_row: Mapping[str, float | int | None],
    beside: Mapping[str, Figures],
    exposure: FloatArray,
) -> Row:
    """The report of one portfolio.

    measures_row  one of `plimsoll.risk.measures.Measures.rows`
    beside        all methods, as `methods_side_by_side` gives them
    exposure      (symbol,) money, as `shared.symbols`
    """
    incomplete = _unpriced(portfolio, day) | _unvalued(portfolio, shared)
    if portfolio.quantities and len(incomplete) == len(portfolio.quantities):
        return refused(portfolio, day, "nothing that it holds can be valued", incomplete)
    held = [index for index, symbol in enumerate(shared.symbols) if symbol in portfolio.quantities.keys() - incomplete]
    symbols, exposure = [shared.symbols[index] for index in held], exposure[held]
    number = measures_row["risk_number"]
    value = _divisor(measures_row, beside)
    row = _head(portfolio, day, None) | {
        "observations": shared.scenarios.observations,
        "scenario_set_id": shared.scenarios.scenario_set_id,
        "first_session": shared.scenarios.scenario_sessions[0],
        "last_session": shared.scenarios.scenario_sessions[-1],
    }
    row |= {name: measures_row[name] for name in _MEASURES} | _headline(beside)
    row |= {
        # At a close, what came since the close before is what the session brought.
        "session_pnl": measures_row["day_pnl"],
        "cash": portfolio.cash,
        "risk_band": None if number is None else risk_band(int(number)).value,
        "alignment": _alignment(portfolio, number),
        "var": beside["var"],
        "es": beside["es"],
        "exposures": dict(zip(symbols, exposure.tolist(), strict=True)),
    }
    row |= _split(symbols, exposure, held, shared, day)
    row |= {
        "sector_exposures": _sector_exposures(symbols, exposure, day),
        "stresses": _stresses(symbols, exposure, held, shared, value),
        "liquidity_days": _liquidity(portfolio, symbols, day),
    }
    proxied = [symbol for index, symbol in zip(held, symbols, strict=True) if not shared.market.own_history[index]]
    row |= _standing_on(portfolio, day, incomplete, proxied)
    return row | {"notes": _notes(portfolio, day, shared, row, value)}


# --- what stands at the head and the foot -----------------------------------------------------------------------------


def _head(portfolio: Portfolio, day: Day, problem: str | None) -> Row:
    return {
        "portfolio_id": portfolio.portfolio_id,
        "advisor_id": portfolio.advisor_id,
        "problem": problem,
        "as_of": day.as_of,
        "method": day.terms.choice.method.value,
        "horizon_days": HORIZON_DAYS,
        "scenario_set_id": None,
        "observations": None,
        "first_session": None,
        "last_session": None,
    }


def _standing_on(portfolio: Portfolio, day: Day, incomplete: Mapping[str, str], proxied: Sequence[str]) -> Row:
    """What a reader must know to trust the numbers."""
    model = day.terms.choice.model
    return {
        "incomplete_symbols": sorted(incomplete),
        "incomplete_reasons": dict(sorted(incomplete.items())),
        "proxied_symbols": list(proxied),
        "stale_symbols": {
            symbol: day.marks[symbol].session
            for symbol in sorted(portfolio.quantities)
            if symbol in day.marks and day.marks[symbol].session < day.priced_on
        },
        "parameters": {
            "window": day.terms.window,
            "lambda": model.decay,
            "decay": model.age_decay,
            "quantile": model.quantile.value,
            "risk_free": day.terms.choice.risk_free,
            "benchmark": day.benchmark,
            "monte_carlo": {
                "draws": model.draws,
                "seed": model.seed,
                "degrees_of_freedom": _known(model.degrees_of_freedom),
            },
        },
    }


def _unpriced(portfolio: Portfolio, day: Day) -> dict[str, str]:
    """{symbol: reason} of what has no price."""
    return {
        symbol: f"no price up to {day.as_of}" if symbol in day.columns else "no column in the prices"
        for symbol in portfolio.quantities
        if symbol not in day.marks
    }


def _unvalued(portfolio: Portfolio, shared: Measured) -> dict[str, str]:
    """{symbol: reason} of what has a price, but no scenarios."""
    return {
        symbol: f"{shared.returns_of(symbol)} returns of its own, and no benchmark to stand in for the others"
        for index, symbol in enumerate(shared.symbols)
        if symbol in portfolio.quantities and not shared.market.valued[index]
    }


def _notes(portfolio: Portfolio, day: Day, shared: Measured, row: Row, value: float | None) -> list[str]:
    """Why numbers are missing, or mean less than they seem to."""
    said = []
    if not portfolio.quantities:
        said.append("it holds cash alone" if portfolio.cash else "it holds nothing")
    elif value is None:
        said.append("its market value is not positive: fractions, ratios and risk numbers are not defined")
    if day.benchmark is None:
        said.append(
            "no benchmark: beta and tracking error are not known, and a stress moves a name without its own"
            " return as much as the index"
        )
    if shared.scenarios.observations < day.terms.window:
        said.append(f"{shared.scenarios.observations} scenarios of the {day.terms.window} asked for")
    if shared.scenarios.scenario_sessions[-1] < day.priced_on:
        said.append(f"its newest scenario is of {shared.scenarios.scenario_sessions[-1]}: what it holds has gaps since")
    said += [
        f"{symbol} has no earlier close, so session P&L leaves it out"
        for symbol in row["exposures"]
        if math.isnan(day.marks[symbol].previous_close)
    ]
    return said


# --- measures ---------------------------------------------------------------------------------------------------------


def _divisor(measures_row: Mapping[str, float | int | None], beside: Mapping[str, Figures]) -> float | None:
    """Market value where fractions of it are defined."""
    defined = beside["var"][methods.DEFAULT.value]["0.95"]["fraction"] is not None
    return measures_row["market_value"] if defined else None


def _headline(beside: Mapping[str, Figures]) -> Row:
    """The headline is the method in force: the same numbers to the last digit, not the same computed twice."""
    var, es = (beside[measure][methods.DEFAULT.value] for measure in ("var", "es"))
    figures = {"var_95": var["0.95"], "var_99": var["0.99"], "es_975": es["0.975"]}
    return {name: figure["amount"] for name, figure in figures.items()} | {
        f"{name}_fraction": figure["fraction"] for name, figure in figures.items()
    }


def _alignment(portfolio: Portfolio, number: float | None) -> Row | None:
    if portfolio.risk_tolerance is None:
        return None
    found = alignment(None if number is None else int(number), portfolio.risk_tolerance)
    return None if found is None else {"risk_tolerance": portfolio.risk_tolerance, **found._asdict()}


def _liquidity(portfolio: Portfolio, symbols: Sequence[str], day: Day) -> dict[str, float | None] | None:
    if day.volumes is None:
        return None
    volume = np.array([day.volumes.get(symbol, math.nan) for symbol in symbols], np.float64)
    days = liquidity_days(np.array([portfolio.quantities[symbol] for symbol in symbols], np.float64), volume)
    return {symbol: _known(each) for symbol, each in zip(symbols, days.tolist(), strict=True)}


def _stresses(
    symbols: Sequence[str], exposure: FloatArray, held: Sequence[int], shared: Measured, value: float | None
) -> list[Row]:
    """Every named stress: own returns where a name traded through it, beta times the index elsewhere."""
    beta = measures.beta(shared.market.historical[held], shared.market.benchmark_returns)
    betas = dict(zip(symbols, np.where(np.isnan(beta), DEFAULT_BETA, beta).tolist(), strict=True))
    money = dict(zip(symbols, exposure.tolist(), strict=True))
    found = []
    for each in stress.NAMED:
        own = shared.stress_returns.get(each.id, {})
        returns = stress.stressed_returns(each, {symbol: own[symbol] for symbol in symbols if symbol in own}, betas)
        outcome = stress.stress_pnl(money, returns)
        fraction = None if value is None else outcome.pnl / value
        found.append(
            {"id": each.id, "name": each.name, "pnl": outcome.pnl, "fraction": fraction, "own_share": outcome.own_share}
        )
    return found


# --- what each holding adds -------------------------------------------------------------------------------------------


def _split(symbols: Sequence[str], exposure: FloatArray, held: Sequence[int], shared: Measured, day: Day) -> Row:
    """`contributions` by symbol, and `sector_contributions`, of the method in force."""
    each = exposure[:, None]
    pnl = ScenarioPnl(each * shared.market.historical[held], each * shared.market.filtered[held])
    sample = methods.sample(day.terms.choice.method, pnl, day.terms.choice.model)
    if sample is None or not symbols:
        return {"contributions": {}, "sector_contributions": []}
    by_symbol = _parts(exposure, sample, day)
    for symbol, added in zip(symbols, by_symbol, strict=True):
        added["sector"] = day.sectors.get(symbol)
    by_sector: list[Row] = []
    if day.sectors:
        groups, sector_pnl, sector_exposure = contributions.by_group(sample.pnl, exposure, _sectors(symbols, day))
        parts = _parts(sector_exposure, Sample(sector_pnl, sample.weight), day)
        by_sector = [{"sector": name or None, **part} for name, part in zip(groups, parts, strict=True)]
    return {"contributions": dict(zip(symbols, by_symbol, strict=True)), "sector_contributions": by_sector}


def _parts(exposure: FloatArray, sample: Sample, day: Day) -> list[Row]:
    """{component, marginal, incremental of each measure} of each part."""
    quantile = day.terms.choice.model.quantile
    split: dict[str, Contributions] = {
        "var_95": contributions.value_at_risk_contributions(exposure, sample, TAIL_VAR_95, quantile),
        "var_99": contributions.value_at_risk_contributions(exposure, sample, TAIL_VAR_99, quantile),
        "es_975": contributions.expected_shortfall_contributions(exposure, sample, TAIL_ES_975),
    }
    return [
        {
            f"{kind}_{name}": _known(float(getattr(measure, kind)[part]))
            for kind in ("component", "marginal", "incremental")
            for name, measure in split.items()
        }
        for part in range(len(exposure))
    ]


def _sector_exposures(symbols: Sequence[str], exposure: FloatArray, day: Day) -> list[Row]:
    """The largest gross exposure first; nothing where no sector is stated at all."""
    if not day.sectors:
        return []
    sectors = np.array(_sectors(symbols, day), np.str_)
    found = []
    for name in sorted(set(sectors.tolist())):
        mine = exposure[sectors == name]
        long, short = float(mine[mine > 0.0].sum()), float(mine[mine < 0.0].sum())
        found.append(
            {
                "sector": name or None,
                "gross_exposure": long - short,
                "net_exposure": long + short,
                "long_exposure": long,
                "short_exposure": short,
            }
        )
    return sorted(found, key=lambda each: -each["gross_exposure"])


def _sectors(symbols: Sequence[str], day: Day) -> list[str]:
    return [day.sectors.get(symbol, _NO_SECTOR) for symbol in symbols]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
