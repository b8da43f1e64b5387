"""Named stresses against the real index, shocks that somebody assumes, and what they do to a portfolio."""

import csv
import gzip
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.risk import stress

pytestmark = pytest.mark.filterwarnings("error")

INDEX = Path(__file__).parents[3] / "producer" / "data" / "sp500_index.csv.gz"
COVID = stress.by_id("covid-2020")


@pytest.fixture(scope="module")
def index() -> dict[str, float]:
    with gzip.open(INDEX, "rt") as lines:
        return {row["Date"]: float(row["SP500"]) for row in csv.DictReader(lines)}


def test_there_are_sixteen_of_distinct_ids() -> None:
    assert len({each.id for each in stress.NAMED}) == len({each.name for each in stress.NAMED}) == 16
    assert all(stress.by_id(each.id) is each for each in stress.NAMED)


@pytest.mark.parametrize("each", [each for each in stress.NAMED if each.first_session >= "1990"], ids=lambda e: e.id)
def test_the_index_really_fell_that_far(each: stress.NamedStress, index: dict[str, float]) -> None:
    fell = index[each.last_session] / index[each.first_session] - 1.0
    assert each.index_return == pytest.approx(fell, abs=5.1e-5)


def test_an_unknown_stress_is_named_with_the_known_ones() -> None:
    with pytest.raises(stress.UnknownStress, match=r"'tulips-1637'.*covid-2020"):
        stress.by_id("tulips-1637")


def test_a_symbol_that_traded_repeats_its_own_return_and_others_follow_by_beta() -> None:
    returns = stress.stressed_returns(COVID, own={"OLD": -0.25, "FREE": 0.1}, betas={"OLD": 1.5, "LATE": 0.5})
    assert returns["OLD"] == (-0.25, "own")
    assert returns["FREE"] == (0.1, "own")
    assert returns["LATE"] == (pytest.approx(-0.1696), "beta")


def test_own_returns_by_hand() -> None:
    closes = {
        COVID.first_session: {"FELL": 200.0, "ROSE": 10.0},
        "2020-03-02": {"FELL": 1.0, "ROSE": 1.0},
        COVID.last_session: {"FELL": 150.0, "ROSE": 11.0},
    }
    assert stress.own_returns(closes) == {"covid-2020": {"FELL": -0.25, "ROSE": pytest.approx(0.1)}}


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_price_makes_no_return_of_its_own(price: float) -> None:
    first = {"GONE": 10.0, "BAD": price, "WORSE": 10.0, "WHOLE": 10.0}
    last = {"LATE": 10.0, "BAD": 10.0, "WORSE": price, "WHOLE": 5.0}
    found = stress.own_returns({COVID.first_session: first, COVID.last_session: last})
    assert found == {"covid-2020": {"WHOLE": -0.5}}


def test_a_stress_of_which_a_session_or_every_symbol_is_missing_is_left_out() -> None:
    assert stress.own_returns({}) == {}
    assert stress.own_returns({COVID.first_session: {"A": 10.0}}) == {}
    assert stress.own_returns({COVID.first_session: {"A": 10.0}, COVID.last_session: {"B": 10.0}}) == {}


def test_the_anchor_sessions_are_all_the_closes_one_must_keep(index: dict[str, float]) -> None:
    closes = {session: {"SP500": close} for session, close in index.items()}
    kept = {session: close for session, close in closes.items() if session in stress.ANCHOR_SESSIONS}
    found = stress.own_returns(kept)
    assert found == stress.own_returns(closes)
    assert set(found) == {each.id for each in stress.NAMED if each.first_session >= "1990"}


@pytest.mark.parametrize("each", [each for each in stress.NAMED if each.first_session >= "1990"], ids=lambda e: e.id)
def test_the_index_does_the_same_by_its_own_return_as_by_a_beta_of_one(
    each: stress.NamedStress, index: dict[str, float]
) -> None:
    own = stress.own_returns({session: {"SP500": close} for session, close in index.items()})[each.id]
    by_beta = stress.stressed_returns(each, {}, {"SP500": 1.0})["SP500"]
    assert stress.stressed_returns(each, own, {"SP500": 1.0})["SP500"].fraction == pytest.approx(
        by_beta.fraction, abs=5.1e-5
    )


def test_stress_pnl_by_hand() -> None:
    outcome = stress.stress_pnl({"OLD": 1_000.0, "NEW": -500.0}, {"OLD": (-0.25, "own"), "NEW": (-0.1, "beta")})
    assert outcome.pnl == pytest.approx(-250.0 + 50.0)
    assert outcome.own_share == pytest.approx(1_000.0 / 1_500.0)
    assert outcome.by_symbol == {"OLD": -250.0, "NEW": 50.0}


def everywhere(fraction: float, symbols: Iterable[str]) -> Mapping[str, stress.StressedReturn]:
    """The returns of a shock that is the same for all."""
    return stress.shocked_returns(stress.Shock(parallel=fraction), list(symbols), {}).returns


def test_a_parallel_shock_moves_every_symbol_alike() -> None:
    outcome = stress.stress_pnl({"A": 100.0, "B": -40.0}, everywhere(-0.2, "AB"))
    assert outcome.pnl == pytest.approx(-12.0)
    assert outcome.own_share == 0.0


def test_holding_nothing_loses_nothing() -> None:
    assert stress.stress_pnl({}, everywhere(-0.2, "")) == (0.0, 1.0, {})


def test_a_symbol_without_return_is_an_error_rather_than_a_loss_of_nothing() -> None:
    with pytest.raises(KeyError, match="NEW"):
        stress.stress_pnl({"NEW": 100.0}, {})


# --- shocks -----------------------------------------------------------------------------------------------------------

SECTORS = {"XOM": "Energy", "CVX": "Energy", "JPM": "Finance", "NEW": None}
FRACTIONS = st.floats(stress.SHOCK_MIN, stress.SHOCK_MAX)


def test_the_most_specific_shock_holds() -> None:
    shock = stress.Shock(parallel=-0.1, by_sector={"Energy": -0.3}, by_symbol={"XOM": 0.05})
    shocked = stress.shocked_returns(shock, ["XOM", "CVX", "JPM", "NEW", "ELSE"], SECTORS)
    assert shocked.returns == {
        "XOM": (0.05, "shock"),
        "CVX": (-0.3, "shock"),
        "JPM": (-0.1, "shock"),
        "NEW": (-0.1, "shock"),
        "ELSE": (-0.1, "shock"),
    }
    assert shocked.unused_sectors == shocked.unused_symbols == ()


def test_a_symbol_that_no_shock_covers_stays_where_it_is_and_says_so() -> None:
    shocked = stress.shocked_returns(stress.Shock(by_sector={"Energy": -0.3}), ["XOM", "JPM", "NEW"], SECTORS)
    assert shocked.returns["JPM"] == shocked.returns["NEW"] == (0.0, "unshocked")
    assert shocked.returns["XOM"] == (-0.3, "shock")


def test_a_shock_of_nothing_is_told_from_no_shock() -> None:
    assert stress.shocked_returns(stress.Shock(parallel=0.0), ["XOM"], SECTORS).returns["XOM"] == (0.0, "shock")


def test_a_shock_of_what_is_not_held_is_reported() -> None:
    shock = stress.Shock(by_sector={"Enrgy": -0.3, "Finance": -0.1}, by_symbol={"XMO": -0.5, "CVX": -0.5, "AAA": 0.1})
    shocked = stress.shocked_returns(shock, ["XOM", "JPM"], SECTORS)
    assert shocked.unused_sectors == ("Enrgy",)
    assert shocked.unused_symbols == ("AAA", "CVX", "XMO")


def test_a_sector_whose_symbols_all_have_shocks_of_their_own_is_no_typing_error() -> None:
    shock = stress.Shock(by_sector={"Energy": -0.3}, by_symbol={"XOM": -0.5})
    assert stress.shocked_returns(shock, ["XOM"], SECTORS).unused_sectors == ()


@given(FRACTIONS, st.dictionaries(st.sampled_from("ABCD"), st.floats(-1e6, 1e6)))
def test_a_parallel_shock_costs_its_fraction_of_net_exposure(fraction: float, exposure: dict[str, float]) -> None:
    shocked = stress.shocked_returns(stress.Shock(parallel=fraction), exposure.keys(), {})
    outcome = stress.stress_pnl(exposure, shocked.returns)
    assert outcome.pnl == pytest.approx(fraction * sum(exposure.values()), abs=1e-6)


@pytest.mark.parametrize(
    ("fraction", "reason"),
    [
        (-1.01, "cannot fall below nothing"),
        (-20.0, "cannot fall below nothing"),
        (10.5, "is a fraction"),
        (math.nan, "is a finite number"),
        (-math.inf, "is a finite number"),
    ],
)
def test_an_impossible_shock_is_refused_by_name(fraction: float, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^parallel is .*{reason}"):
        stress.Shock(parallel=fraction)
    with pytest.raises(ValueError, match=rf"^by_sector\['Energy'\] is .*{reason}"):
        stress.Shock(by_sector={"Finance": 0.1, "Energy": fraction})
    with pytest.raises(ValueError, match=rf"^by_symbol\['XOM'\] is .*{reason}"):
        stress.Shock(by_symbol={"XOM": fraction})


@pytest.mark.parametrize("fraction", [stress.SHOCK_MIN, 0.0, stress.SHOCK_MAX])
def test_the_bounds_of_a_shock_are_allowed(fraction: float) -> None:
    assert stress.Shock(parallel=fraction).parallel == fraction


# --- by sector --------------------------------------------------------------------------------------------------------


def test_pnl_by_sector_by_hand() -> None:
    by_symbol = {"XOM": -30.0, "CVX": 10.0, "JPM": -5.0, "NEW": 1.0, "ELSE": 2.0}
    assert stress.pnl_by_sector(by_symbol, SECTORS) == {"Energy": -20.0, "Finance": -5.0, None: 3.0}


@given(st.dictionaries(st.sampled_from([*SECTORS, "ELSE"]), st.floats(-1e6, 1e6)))
def test_the_sectors_add_up_to_the_portfolio(exposure: dict[str, float]) -> None:
    outcome = stress.stress_pnl(exposure, everywhere(-0.2, exposure))
    assert sum(stress.pnl_by_sector(outcome.by_symbol, SECTORS).values()) == pytest.approx(outcome.pnl, abs=1e-6)
