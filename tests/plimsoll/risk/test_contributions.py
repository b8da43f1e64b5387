"""How risk splits among holdings and sectors: by hand, and the laws of Euler."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.contributions import (
    Contributions,
    by_group,
    expected_shortfall_contributions,
    value_at_risk_contributions,
)
from plimsoll.risk.methods import RELIVE, Method, Model, Sample, ScenarioPnl, sample, tail_risk
from plimsoll.risk.tails import Quantile

pytestmark = pytest.mark.filterwarnings("error")

TAILS = st.sampled_from([0.05, 0.01, 0.025, 0.2])
SEEDS = st.integers(0, 9_999)
METHODS = st.sampled_from(RELIVE)
QUANTILES = st.sampled_from(Quantile)
SECTORS = ["Energy", "Finance", "Energy", "Retail", "Finance", "Energy"]


def _book(seed: int, holdings: int = 6) -> tuple[FloatArray, ScenarioPnl]:
    """Exposures, long and short, and what each holding makes of each of 250 scenarios by itself."""
    rng = np.random.default_rng(seed)
    exposure = rng.normal(0.0, 1e4, holdings)
    returns = 0.01 * rng.standard_t(4.0, (holdings, 250)) + 0.01 * rng.standard_normal(250)
    historical = exposure[:, None] * returns
    return exposure, ScenarioPnl(historical, historical * rng.uniform(0.8, 1.5, 250))


def _parts(method: Method, pnl: ScenarioPnl) -> Sample:
    made = sample(method, pnl, Model())
    assert made is not None
    return made


def _splits(
    exposure: FloatArray, part: Sample, tail: float, quantile: Quantile = Quantile.LOWER
) -> tuple[Contributions, Contributions]:
    return (
        value_at_risk_contributions(exposure, part, tail, quantile),
        expected_shortfall_contributions(exposure, part, tail),
    )


# --- by hand ----------------------------------------------------------------------------------------------------------

TWO = Sample(np.array([[-8.0, -3.0, 1.0, 2.0, 4.0], [-2.0, -3.0, -3.0, -1.0, -1.0]]))
"""Together they make -10, -6, -2, 1 and 3."""
LONG_AND_SHORT = np.array([100.0, -50.0])


def test_value_at_risk_by_hand() -> None:
    split = value_at_risk_contributions(LONG_AND_SHORT, TWO, 0.2)
    # The second worst scenario, in which both lost 3.
    assert split.total == 6.0
    assert split.component.tolist() == [3.0, 3.0]
    assert split.marginal == pytest.approx([0.03, -0.06])
    # Without the first there is the second worst of the other: -3, -3, -2, ... And the other way round: -8, -3, ...
    assert split.incremental.tolist() == [6.0 - 3.0, 6.0 - 3.0]


def test_an_interpolated_value_at_risk_by_hand() -> None:
    split = value_at_risk_contributions(LONG_AND_SHORT, TWO, 0.3, Quantile.LINEAR)
    # Four fifths of the second worst scenario, a fifth of the third.
    assert split.total == pytest.approx(0.8 * 6 + 0.2 * 2)
    assert split.component == pytest.approx([0.8 * 3 - 0.2 * 1, 0.8 * 3 + 0.2 * 3])


def test_expected_shortfall_by_hand() -> None:
    split = expected_shortfall_contributions(LONG_AND_SHORT, TWO, 0.3)
    # All of the worst scenario, half of the next.
    assert split.total == pytest.approx((10 + 6 / 2) / 1.5)
    assert split.component == pytest.approx([(8 + 3 / 2) / 1.5, (2 + 3 / 2) / 1.5])
    assert split.marginal == pytest.approx([9.5 / 1.5 / 100, 3.5 / 1.5 / -50])
    # Each alone: 3 and 3, or 8 and half of 3. These do not add up.
    assert split.incremental == pytest.approx([13 / 1.5 - 3.0, (13 - 9.5) / 1.5])
    assert split.incremental.sum() != pytest.approx(split.total)


def test_sectors_by_hand() -> None:
    pnl = np.array([[-1.0, 2.0], [3.0, -4.0], [-5.0, 6.0]])
    names, summed, exposure = by_group(pnl, np.array([10.0, 20.0, -30.0]), ["B", "A", "B"])
    assert names == ["A", "B"]
    assert summed.tolist() == [[3.0, -4.0], [-6.0, 8.0]]
    assert exposure.tolist() == [20.0, -20.0]


def test_weighted_scenarios_by_hand() -> None:
    weighted = Sample(TWO.pnl, np.array([0.1, 0.1, 0.2, 0.3, 0.3]))
    split = expected_shortfall_contributions(LONG_AND_SHORT, weighted, 0.15)
    # A tenth of the worst, a twentieth of the next.
    assert split.component == pytest.approx([(0.1 * 8 + 0.05 * 3) / 0.15, (0.1 * 2 + 0.05 * 3) / 0.15])
    assert value_at_risk_contributions(LONG_AND_SHORT, weighted, 0.15).component.tolist() == [3.0, 3.0]


# --- laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(method=METHODS, tail=TAILS, quantile=QUANTILES, seed=SEEDS)
def test_components_add_up_to_the_measure_itself(method: Method, tail: float, quantile: Quantile, seed: int) -> None:
    exposure, pnl = _book(seed)
    whole = ScenarioPnl(*(each.sum(axis=0, keepdims=True) for each in pnl))
    measured = tail_risk(method, whole, [tail], Model(quantile=quantile))[0]
    for split, total in zip(_splits(exposure, _parts(method, pnl), tail, quantile), measured, strict=True):
        assert split.total == pytest.approx(total[0], rel=1e-12)
        assert abs(split.component.sum() - split.total) <= 1e-12 * np.abs(split.component).sum()


@settings(max_examples=50, deadline=None)
@given(method=METHODS, tail=TAILS, quantile=QUANTILES, seed=SEEDS)
def test_sectors_add_up_as_the_holdings_in_them_do(method: Method, tail: float, quantile: Quantile, seed: int) -> None:
    exposure, pnl = _book(seed)
    part = _parts(method, pnl)
    names, summed, net = by_group(part.pnl, exposure, SECTORS)
    by_sector = _splits(net, Sample(summed, part.weight), tail, quantile)
    for holdings, sectors in zip(_splits(exposure, part, tail, quantile), by_sector, strict=True):
        scale = np.abs(holdings.component).sum()
        assert sectors.total == pytest.approx(holdings.total, rel=1e-12)
        for name, component in zip(names, sectors.component, strict=True):
            belongs = np.array([sector == name for sector in SECTORS])
            assert component == pytest.approx(holdings.component[belongs].sum(), abs=1e-12 * scale)


@settings(max_examples=50, deadline=None)
@given(method=METHODS, tail=TAILS, seed=SEEDS)
def test_incremental_risk_is_what_would_be_gone_without_the_holding(method: Method, tail: float, seed: int) -> None:
    exposure, pnl = _book(seed)
    for number, split in enumerate(_splits(exposure, _parts(method, pnl), tail)):
        for left_out in range(len(exposure)):
            others = ScenarioPnl(
                *(np.delete(each, left_out, axis=0).sum(axis=0, keepdims=True) for each in pnl)
            )  # fmt: skip
            without = tail_risk(method, others, [tail], Model())[0][number][0]
            assert split.incremental[left_out] == pytest.approx(split.total - without, rel=1e-9, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(method=METHODS, tail=TAILS, quantile=QUANTILES, seed=SEEDS, holding=st.integers(0, 5))
def test_marginal_risk_is_the_change_for_a_little_more_of_the_holding(
    method: Method, tail: float, quantile: Quantile, seed: int, holding: int
) -> None:
    exposure, pnl = _book(seed)
    assume(abs(exposure[holding]) > 100.0)
    part, more = _parts(method, pnl), 1e-3
    larger = exposure.copy()
    larger[holding] += more
    bumped = Sample(part.pnl * (larger / exposure)[:, None], part.weight)
    before, after = _splits(exposure, part, tail, quantile), _splits(larger, bumped, tail, quantile)
    for one, other in zip(before, after, strict=True):
        # As long as the same scenarios make the tail.
        assume(np.array_equal(np.argsort(part.pnl.sum(axis=0)), np.argsort(bumped.pnl.sum(axis=0))))
        assert (other.total - one.total) / more == pytest.approx(one.marginal[holding], rel=1e-4, abs=1e-6)
        assert one.marginal * exposure == pytest.approx(one.component, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(method=METHODS, tail=TAILS, seed=SEEDS)
def test_no_component_of_expected_shortfall_exceeds_the_holding_alone(method: Method, tail: float, seed: int) -> None:
    """Coherence, holding by holding: nobody can lose more in the portfolio's worst days than in his own."""
    exposure, pnl = _book(seed)
    split = expected_shortfall_contributions(exposure, _parts(method, pnl), tail)
    alone = tail_risk(method, pnl, [tail], Model())[0].expected_shortfall
    assert (split.component <= alone * (1.0 + 1e-9) + 1e-9).all()
    # Nor does leaving it out save more.
    assert (split.incremental <= alone * (1.0 + 1e-9) + 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(method=METHODS, tail=TAILS, quantile=QUANTILES, seed=SEEDS, factor=st.floats(0.001, 1_000.0))
def test_a_portfolio_twice_the_size_has_twice_the_components_and_the_same_margins(
    method: Method, tail: float, quantile: Quantile, seed: int, factor: float
) -> None:
    exposure, pnl = _book(seed)
    part = _parts(method, pnl)
    scaled = Sample(factor * part.pnl, part.weight)
    pairs = zip(
        _splits(exposure, part, tail, quantile), _splits(factor * exposure, scaled, tail, quantile), strict=True
    )
    for one, other in pairs:
        scale = factor * np.abs(one.component).sum()
        assert other.component == pytest.approx(factor * one.component, abs=1e-9 * scale)
        assert other.incremental == pytest.approx(factor * one.incremental, abs=1e-9 * scale)
        assert other.marginal == pytest.approx(one.marginal, rel=1e-6, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(method=METHODS, tail=TAILS, seed=SEEDS)
def test_the_order_of_holdings_does_not_matter(method: Method, tail: float, seed: int) -> None:
    exposure, pnl = _book(seed)
    part, order = _parts(method, pnl), np.random.default_rng(seed).permutation(6)
    turned = Sample(part.pnl[order], part.weight)
    for one, other in zip(_splits(exposure, part, tail), _splits(exposure[order], turned, tail), strict=True):
        for name in ("component", "marginal", "incremental"):
            assert getattr(other, name) == pytest.approx(getattr(one, name)[order], rel=1e-9, abs=1e-8), name


def test_a_portfolio_of_one_holding_is_all_of_its_risk() -> None:
    part = Sample(TWO.pnl[:1])
    for split in _splits(np.array([100.0]), part, 0.2):
        assert split.component.tolist() == split.incremental.tolist() == [split.total]


def test_a_hedge_takes_risk_away() -> None:
    fall = np.array([-8.0, -3.0, 1.0, 2.0, 4.0])
    for split in _splits(np.array([100.0, -50.0]), Sample(np.stack([fall, -fall / 2])), 0.2):
        assert split.component[1] < 0.0 < split.component[0]
        assert split.incremental[1] < 0.0


def test_what_is_worth_nothing_adds_nothing_and_has_no_margin() -> None:
    part = Sample(np.vstack([TWO.pnl, np.zeros(5)]))
    for split in _splits(np.array([100.0, -50.0, 0.0]), part, 0.2):
        assert split.component[2] == split.incremental[2] == 0.0
        assert np.isnan(split.marginal).tolist() == [False, False, True]


def test_a_portfolio_of_cash_has_no_parts() -> None:
    for split in _splits(np.zeros(0), Sample(np.zeros((0, 100))), 0.05):
        assert split.total == 0.0
        assert len(split.component) == len(split.marginal) == len(split.incremental) == 0


def test_float32_is_summed_in_float64() -> None:
    exposure, pnl = _book(3)
    narrow = Sample(pnl.filtered.astype(np.float32))
    wide = Sample(narrow.pnl.astype(np.float64))
    for one, other in zip(_splits(exposure, narrow, 0.05), _splits(exposure, wide, 0.05), strict=True):
        assert one.total == pytest.approx(other.total, rel=1e-12)
        assert one.component.sum() == pytest.approx(one.total, rel=1e-12)
