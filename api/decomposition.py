"""One portfolio's headline taken apart: what each holding and sector adds to it, and what other methods would say.

Pure functions over `on_demand.Parts`, so the total here is the headline that `on_demand.snapshots` computes from the
same positions, marks and scenario set. No I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.on_demand import Parts, Terms, defined, parts, sectors_of
from plimsoll.messages import Mark, PortfolioRecord
from plimsoll.risk import contributions as split
from plimsoll.risk import measures, methods
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.methods import Method, Sample, ScenarioPnl
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.tails import NO_SCENARIO, TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99

_NO_SECTOR = ""


# --- contributions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Added:
    """What one part adds to one measure. `component` adds up to the total; `marginal` is None for a part of nothing."""

    component: float
    marginal: float | None
    incremental: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a holding, or a sector, adds to its portfolio. `name` is the symbol or the sector, None for no sector."""

    name: str | None
    sector: str | None
    exposure: float
    weight_fraction: float | None
    var_95: Added
    var_99: Added
    es_975: Added


@dataclass(frozen=True, slots=True)
class Contributions:
    """A portfolio's headline and how it splits, by holding and by sector; the largest gross exposure first."""

    method: Method
    scenario_set_id: str
    observations: int
    var_95: float
    var_99: float
    es_975: float
    holdings: list[Contribution]
    sectors: list[Contribution]
    incomplete_symbols: list[str]


def contributions(
    record: PortfolioRecord, marks: dict[str, Mark], scenarios: ScenarioSet, terms: Terms
) -> Contributions:
    """How value at risk and expected shortfall split among what is held, under the method in force."""
    held = parts(record, marks, scenarios, terms)
    sample = methods.sample(terms.choice.method, held.pnl, terms.choice.model)
    if sample is None:
        raise ValueError(f"{terms.choice.method} re-lives no scenarios, so nothing splits it: choose one that does")
    sector_of = sectors_of(record, scenarios)
    sector = [sector_of[symbol] or _NO_SECTOR for symbol in held.symbols]
    sectors, sector_pnl, sector_exposure = split.by_group(sample.pnl, held.exposure, sector)
    totals, by_holding = _split(held.symbols, sector, held.exposure, sample, held, terms)
    _, by_sector = _split(sectors, sectors, sector_exposure, Sample(sector_pnl, sample.weight), held, terms)
    return Contributions(
        method=terms.choice.method,
        scenario_set_id=scenarios.scenario_set_id,
        observations=scenarios.observations,
        var_95=totals[0],
        var_99=totals[1],
        es_975=totals[2],
        holdings=by_holding,
        sectors=by_sector,
        incomplete_symbols=held.unpriced,
    )


def _split(
    names: Sequence[str], sectors: Sequence[str], exposure: FloatArray, sample: Sample, held: Parts, terms: Terms
) -> tuple[list[float], list[Contribution]]:
    """The three totals, and what each part adds to them."""
    quantile = terms.choice.model.quantile
    each = [
        split.value_at_risk_contributions(exposure, sample, TAIL_VAR_95, quantile),
        split.value_at_risk_contributions(exposure, sample, TAIL_VAR_99, quantile),
        split.expected_shortfall_contributions(exposure, sample, TAIL_ES_975),
    ]
    found = [
        Contribution(
            name or None,
            sectors[part] or None,
            float(exposure[part]),
            None if held.value is None else float(exposure[part]) / held.value,
            *(_added(measure, part) for measure in each),
        )
        for part, name in enumerate(names)
    ]
    return [measure.total for measure in each], sorted(found, key=lambda part: (-abs(part.exposure), part.name or ""))


def _added(measure: split.Contributions, part: int) -> Added:
    return Added(
        float(measure.component[part]), defined(float(measure.marginal[part])), float(measure.incremental[part])
    )


# --- alternatives -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alternative:
    """What one method says of a portfolio. None where the method is not defined; a law has no scenario, so no date."""

    method: Method
    label: str
    in_force: bool
    var_95: float | None
    var_99: float | None
    es_975: float | None
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    var_95_scenario_date: str | None


def alternatives(
    record: PortfolioRecord, marks: dict[str, Mark], scenarios: ScenarioSet, terms: Terms
) -> list[Alternative]:
    """Every method side by side over the same scenarios, in the order of `Method`."""
    held = parts(record, marks, scenarios, terms)
    pnl = ScenarioPnl(*(each.sum(axis=0, keepdims=True) for each in held.pnl))
    return [_alternative(method, pnl, held.value, scenarios, terms) for method in Method]


def _alternative(
    method: Method, pnl: ScenarioPnl, value: float | None, scenarios: ScenarioSet, terms: Terms
) -> Alternative:
    model = terms.choice.model
    var_95, var_99, es_975 = methods.tail_risk(method, pnl, (TAIL_VAR_95, TAIL_VAR_99, TAIL_ES_975), model)
    scenario = int(measures.dated(method, pnl, model, var_95.value_at_risk)[0])
    money = {
        "var_95": defined(float(var_95.value_at_risk[0])),
        "var_99": defined(float(var_99.value_at_risk[0])),
        "es_975": defined(float(es_975.expected_shortfall[0])),
    }
    fractions = {
        f"{name}_fraction": None if amount is None or value is None else amount / value
        for name, amount in money.items()
    }
    return Alternative(
        method=method,
        label=method.label,
        in_force=method is terms.choice.method,
        var_95_scenario_date=None if scenario == NO_SCENARIO else scenarios.scenario_sessions[scenario],
        **money,
        **fractions,
    )
