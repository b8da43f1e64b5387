"""Named stresses against the real index, and what they do to a portfolio."""

import csv
import gzip
from pathlib import Path

import pytest

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
    returns = stress.stressed_returns(
        COVID,
        closes_first={"OLD": 200.0, "GONE": 10.0},
        closes_last={"OLD": 150.0, "LATE": 10.0},
        betas={"OLD": 1.5, "GONE": 1.0, "LATE": 0.5},
    )
    assert returns["OLD"] == (-0.25, "own")
    assert returns["GONE"] == (pytest.approx(-0.3392), "beta")
    assert returns["LATE"] == (pytest.approx(-0.1696), "beta")


def test_stress_pnl_by_hand() -> None:
    outcome = stress.stress_pnl({"OLD": 1_000.0, "NEW": -500.0}, {"OLD": (-0.25, "own"), "NEW": (-0.1, "beta")})
    assert outcome.pnl == pytest.approx(-250.0 + 50.0)
    assert outcome.own_share == pytest.approx(1_000.0 / 1_500.0)
    assert outcome.by_symbol == {"OLD": -250.0, "NEW": 50.0}


def test_a_parallel_shock_moves_every_symbol_alike() -> None:
    outcome = stress.stress_pnl({"A": 100.0, "B": -40.0}, stress.parallel(-0.2))
    assert outcome.pnl == pytest.approx(-12.0)
    assert outcome.own_share == 0.0


def test_holding_nothing_loses_nothing() -> None:
    assert stress.stress_pnl({}, stress.parallel(-0.2)) == (0.0, 1.0, {})


def test_a_symbol_without_return_is_an_error_rather_than_a_loss_of_nothing() -> None:
    with pytest.raises(KeyError, match="NEW"):
        stress.stress_pnl({"NEW": 100.0}, {})
