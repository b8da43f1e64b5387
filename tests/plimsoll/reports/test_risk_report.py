"""The risk report: its names are a contract, its numbers those of the stream, and what is left out is said."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plimsoll.reports.files import BadFile
from plimsoll.reports.flags import Cash, RiskTerms, model_of
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series
from plimsoll.reports.risk_report import Report, risk_report
from plimsoll.risk import stress
from plimsoll.risk.measures import Choice
from plimsoll.risk.methods import Method
from plimsoll.risk.scenarios import Closes, build
from plimsoll.risk.tails import Quantile
from plimsoll.risk.valuation import market_of, revalue

pytestmark = pytest.mark.filterwarnings("error")

QUICK = Choice(model=model_of(draws=200))
TERMS = RiskTerms(choice=QUICK)

PROMISED = {
    *("portfolio_id", "as_of", "observations", "first_session", "last_session", "market_value", "exposures"),
    *("volatility", "expected_return", "sharpe_ratio", "sortino_ratio", "max_drawdown", "beta", "tracking_error"),
    *("effective_names", "risk_number", "risk_number_structural", "var", "es", "contributions"),
    *("method", "scenario_set_id", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "cash"),
    *("var_95", "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction", "session_pnl", "coverage"),
    *("incomplete_symbols", "proxied_symbols", "stale_symbols", "risk_band", "sector_exposures"),
    *("sector_contributions", "stresses", "alignment", "liquidity_days", "parameters", "horizon_days", "notes"),
    "problem",
}


def positions(sectors: dict[str, str] | None = None, **held: dict[str, float]) -> Positions:
    portfolios = [
        Portfolio(name, dict(quantities), {symbol: row for row, symbol in enumerate(quantities, 2)})
        for name, quantities in held.items()
    ]
    return Positions("positions.csv", portfolios, sectors or {}, [])


def report(prices: Series, book: Positions, terms: RiskTerms = TERMS, cash: Cash | None = None, **more: Any) -> Report:
    return risk_report(prices, book, cash or Cash(), terms, **more)


def without(prices: Series, symbol: str, rows: slice | list[int]) -> Series:
    """The same prices with some of a symbol missing."""
    value = prices.value.copy()
    value[rows, prices.symbols.index(symbol)] = np.nan
    return dataclasses.replace(prices, value=value)


def only(prices: Series, *symbols: str) -> Series:
    kept = [prices.symbols.index(symbol) for symbol in symbols]
    return dataclasses.replace(prices, symbols=symbols, value=prices.value[:, kept])


def test_a_row_has_every_promised_name_and_json_can_hold_it(market: Series) -> None:
    (row,) = report(market, positions(sectors={"AAA": "Tech"}, a={"AAA": 10.0, "BBB": -3.0})).rows
    assert row.keys() >= PROMISED
    assert row["var"].keys() == row["es"].keys() == {method.value for method in Method}
    for method in Method:
        for measure in ("var", "es"):
            assert row[measure][method].keys() == {"0.95", "0.99", "0.975"}
            assert row[measure][method]["0.99"].keys() == {"fraction", "amount", "scenario_date"}
    measures = ("var_95", "var_99", "es_975")
    parts = {f"{kind}_{name}" for kind in ("component", "marginal", "incremental") for name in measures}
    assert row["contributions"]["AAA"].keys() == {*parts, "sector"}
    json.loads(msgspec.json.encode([row]), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_the_numbers_are_those_of_the_stream(market: Series) -> None:
    held = {"AAA": 10.0, "CCC": 7.0, "DDD": -4.0}
    (row,) = report(market, positions(a=held), cash=Cash(named={"a": 500.0})).rows
    scenarios = build(Closes(market.sessions, market.symbols, market.value), "SP500", 500)
    symbols = sorted(held)
    mark, before = (np.array([market.value[at, market.symbols.index(symbol)] for symbol in symbols]) for at in (-1, -2))
    stream = market_of(scenarios, symbols, {}, mark, before, np.float64)
    quantity = np.array([[held[symbol] for symbol in symbols]])
    (expected,) = revalue(csr_array(quantity), np.array([500.0]), stream, QUICK).rows()
    expected["session_pnl"] = expected.pop("day_pnl")
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert row["scenario_set_id"].startswith(f"{market.sessions[-1]}-")


def test_a_portfolio_worked_by_hand() -> None:
    # Sixty-one closes of one name: it rises and falls by 1 % in turn, but once falls by 10 %, and once by 5 %.
    returns = np.array([0.01 if day % 2 else -0.01 for day in range(60)])
    returns[40], returns[20] = -0.10, -0.05
    value = 100.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))[:, None]
    sessions = tuple(f"2021-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(61))
    prices = Series(("prices.csv",), sessions, ("ONE",), value)
    (row,) = report(prices, positions(a={"ONE": 2.0}), RiskTerms(window=60, choice=QUICK)).rows

    worth = 2.0 * value[-1, 0]
    assert row["market_value"] == row["exposures"]["ONE"] == pytest.approx(worth)
    assert row["session_pnl"] == pytest.approx(2.0 * (value[-1, 0] - value[-2, 0]))
    # 1 % of sixty is not a whole scenario, so the worst one is value at risk; 5 % are three, so the fourth worst is.
    historical = row["var"]["historical"]
    assert historical["0.99"] == {
        "fraction": pytest.approx(0.10),
        "amount": pytest.approx(0.10 * worth),
        "scenario_date": sessions[41],
    }
    assert historical["0.95"]["fraction"] == pytest.approx(0.01)
    # The worst 2.5 % are one and a half: all of the 10 %, half of the 5 %. The second is on the boundary.
    shortfall = row["es"]["historical"]["0.975"]
    assert shortfall["fraction"] == pytest.approx((0.10 + 0.5 * 0.05) / 1.5)
    assert shortfall["scenario_date"] == sessions[21]
    assert row["volatility"] == pytest.approx(np.std(returns, ddof=1) * np.sqrt(252))
    assert row["contributions"]["ONE"]["component_var_99"] == pytest.approx(row["var_99"])
    assert row["contributions"]["ONE"]["incremental_var_99"] == pytest.approx(row["var_99"])
    assert row["beta"] is None
    assert any(note.startswith("no benchmark") for note in row["notes"])


@given(
    held=st.dictionaries(
        st.sampled_from(["AAA", "BBB", "CCC", "DDD"]),
        st.floats(-50.0, 50.0).filter(lambda units: abs(units) > 0.01),
        min_size=1,
    ),
    cash=st.floats(0.0, 1e4),
)
@settings(max_examples=20, deadline=None)
def test_parts_add_up_whatever_is_held(market: Series, held: dict[str, float], cash: float) -> None:
    sectors = {"AAA": "Tech", "BBB": "Tech", "CCC": "Energy"}
    (row,) = report(market, positions(sectors, a=held), cash=Cash(cash)).rows
    assert sum(row["exposures"].values()) + cash == pytest.approx(row["market_value"], abs=1e-9)
    for name in ("var_95", "var_99", "es_975"):
        scale = 1e-12 * max(row["gross_exposure"], 1.0)
        for parts in (row["contributions"].values(), row["sector_contributions"]):
            assert sum(part[f"component_{name}"] for part in parts) == pytest.approx(row[name], abs=scale)
    assert row["var_95"] == row["var"]["filtered_historical"]["0.95"]["amount"]


def test_a_portfolio_s_report_does_not_depend_on_its_neighbours(market: Series) -> None:
    gappy = without(market, "BBB", [300, 700])
    everybody = {"a": {"AAA": 1.0}, "b": {"BBB": 1.0}, "c": {"AAA": 2.0, "CCC": 5.0}}
    together = {row["portfolio_id"]: row for row in report(gappy, positions(**everybody)).rows}
    assert list(together) == ["a", "b", "c"]
    for name, held in everybody.items():
        (alone,) = report(gappy, positions(**{name: held})).rows
        assert together[name]["scenario_set_id"] == alone["scenario_set_id"]
        assert together[name]["var_99"] == pytest.approx(alone["var_99"], rel=1e-12)


def test_nothing_after_the_day_is_looked_at(market: Series) -> None:
    day = market.sessions[800]
    future = market.value.copy()
    future[801:] *= 3.0
    book = {"a": {"AAA": 1.0, "EEE": -0.5}}
    terms = dataclasses.replace(TERMS, as_of=day)
    known = report(market, positions(**book), terms).rows
    assert known == report(dataclasses.replace(market, value=future), positions(**book), terms).rows
    assert (known[0]["as_of"], known[0]["last_session"]) == (day, day)


def test_a_day_without_a_session_has_the_marks_before_it(market: Series) -> None:
    terms = dataclasses.replace(TERMS, as_of="2030-01-05")
    found = report(market, positions(a={"AAA": 1.0}), terms)
    assert found.rows[0]["as_of"] == "2030-01-05"
    assert found.rows[0]["last_session"] == market.sessions[-1]
    assert found.rows[0]["stale_symbols"] == {}
    assert found.warnings == [f"the newest prices are of {market.sessions[-1]}, before --as-of 2030-01-05"]


def test_an_interpolated_quantile_has_no_date(market: Series) -> None:
    terms = dataclasses.replace(TERMS, choice=Choice(model=model_of(draws=200, quantile=Quantile.LINEAR)))
    (row,) = report(market, positions(a={"AAA": 1.0}), terms).rows
    assert row["var"]["historical"]["0.99"]["scenario_date"] is None
    assert row["es"]["historical"]["0.99"]["scenario_date"] is not None
    assert row["parameters"]["quantile"] == "linear"


# --- what is flagged --------------------------------------------------------------------------------------------------


def test_what_has_no_price_is_in_no_number_and_named_with_its_row(market: Series) -> None:
    empty = without(market, "BBB", slice(None))
    found = report(empty, positions(a={"AAA": 1.0, "BBB": 5.0, "GHOST": 5.0}, b={"GHOST": 1.0, "AAA": 1.0}))
    first, second = found.rows
    (alone,) = report(empty, positions(a={"AAA": 1.0})).rows
    assert first["incomplete_symbols"] == ["BBB", "GHOST"]
    assert second["incomplete_reasons"] == {"GHOST": "no column in the prices"}
    assert (first["market_value"], first["var_99"]) == (alone["market_value"], alone["var_99"])
    assert first["exposures"].keys() == first["contributions"].keys() == {"AAA"}
    assert found.warnings == [
        f"positions.csv, row 3, column symbol: BBB is in no number: no price up to {market.sessions[-1]}",
        "positions.csv, row 4 and 1 more, column symbol: GHOST is in no number: no column in the prices",
    ]


def test_a_portfolio_of_nothing_known_is_a_problem_and_not_a_zero(market: Series) -> None:
    found = report(market, positions(a={"GHOST": 5.0}))
    (row,) = found.rows
    assert row["problem"] == "nothing that it holds can be valued"
    assert row.keys() >= PROMISED
    assert row["market_value"] is row["var_99"] is row["volatility"] is None
    assert not found.any_measured


def test_a_stale_price_is_dated(market: Series) -> None:
    stale = without(market, "BBB", slice(880, None))
    (row,) = report(stale, positions(a={"AAA": 1.0, "BBB": 2.0})).rows
    assert row["stale_symbols"] == {"BBB": market.sessions[879]}
    assert row["exposures"]["BBB"] == 2.0 * market.value[879, 1]
    assert row["last_session"] == market.sessions[879]
    assert any("its newest scenario is of" in note for note in row["notes"])


def test_sessions_in_which_a_name_is_missing_are_left_out_for_its_holders_only(market: Series) -> None:
    gappy = without(market, "BBB", [860])
    holder, other = report(gappy, positions(a={"BBB": 1.0}, b={"AAA": 1.0})).rows
    # A missing close costs two returns: into it and out of it.
    assert other["first_session"] == market.sessions[400]
    assert holder["first_session"] == market.sessions[398]
    assert holder["observations"] == other["observations"] == 500
    assert holder["coverage"] == 1.0


def test_a_late_listing_is_proxied_by_the_benchmark(market: Series) -> None:
    late = without(market, "BBB", slice(0, 860))
    (row,) = report(late, positions(a={"AAA": 1.0, "BBB": 1.0})).rows
    assert row["proxied_symbols"] == ["BBB"]
    assert 0.0 < row["coverage"] < 1.0
    assert row["observations"] == 500


def test_without_a_benchmark_a_late_listing_shortens_the_history(market: Series) -> None:
    late = only(without(market, "BBB", slice(0, 700)), "AAA", "BBB")
    (row,) = report(late, positions(a={"AAA": 1.0, "BBB": 1.0})).rows
    assert row["observations"] == 199
    assert row["first_session"] == market.sessions[701]
    assert (row["proxied_symbols"], row["incomplete_symbols"], row["coverage"]) == ([], [], 1.0)
    assert "199 scenarios of the 500 asked for" in row["notes"]


def test_without_a_benchmark_a_name_of_a_few_days_is_not_valued(market: Series) -> None:
    late = only(without(market, "BBB", slice(0, 850)), "AAA", "BBB")
    (row,) = report(late, positions(a={"AAA": 1.0, "BBB": 1.0})).rows
    assert row["incomplete_symbols"] == ["BBB"]
    assert row["incomplete_reasons"]["BBB"].startswith("49 returns of its own")
    assert row["observations"] == 500


def test_a_portfolio_whose_names_hardly_trade_together_is_refused_and_others_are_not(market: Series) -> None:
    never = without(without(market, "BBB", slice(0, None, 3)), "CCC", slice(1, None, 3))
    found = report(never, positions(a={"BBB": 1.0, "CCC": 1.0}, b={"AAA": 1.0}))
    refused, measured = found.rows
    assert "at least 60 are needed" in refused["problem"]
    assert refused["var"] == {}
    assert measured["problem"] is None
    assert found.any_measured


def test_a_market_value_that_is_not_positive_leaves_money_only(market: Series) -> None:
    (row,) = report(market, positions(a={"AAA": -1.0})).rows
    assert row["market_value"] < 0.0
    assert row["var_99"] is not None
    assert row["contributions"]["AAA"]["component_es_975"] is not None
    fractions = ("var_99_fraction", "volatility", "sharpe_ratio", "beta", "risk_number", "risk_band", "max_drawdown")
    assert {row[name] for name in fractions} == {None}
    assert row["var"]["normal"]["0.99"]["fraction"] is None
    assert all(each["fraction"] is None for each in row["stresses"])
    assert "its market value is not positive: fractions, ratios and risk numbers are not defined" in row["notes"]


def test_nothing_and_cash_alone_say_what_they_are(market: Series) -> None:
    nothing, cash = report(market, positions(none={}), cash=Cash(named={"alone": 1000.0})).rows
    assert (nothing["market_value"], nothing["var_99"], nothing["volatility"]) == (0.0, 0.0, None)
    assert nothing["notes"] == ["it holds nothing"]
    assert (cash["portfolio_id"], cash["market_value"], cash["cash"]) == ("alone", 1000.0, 1000.0)
    assert (cash["volatility"], cash["sharpe_ratio"], cash["risk_number"]) == (0.0, None, 1)
    assert cash["var"]["historical"]["0.99"]["scenario_date"] is None
    assert cash["notes"] == ["it holds cash alone"]


def test_nobody_can_be_measured_with_too_few_sessions_or_without_the_benchmark(market: Series) -> None:
    with pytest.raises(BadFile, match=r"^prices.csv: 59 returns, at least 60 are needed"):
        report(market, positions(a={"AAA": 1.0}), dataclasses.replace(TERMS, as_of=market.sessions[59]))
    with pytest.raises(BadFile, match="no column DAX, which is to be the benchmark"):
        report(market, positions(a={"AAA": 1.0}), dataclasses.replace(TERMS, benchmark="DAX"))
    with pytest.raises(BadFile, match="the first date is 2020-01-01, after 2019-12-31"):
        report(market, positions(a={"AAA": 1.0}), dataclasses.replace(TERMS, as_of="2019-12-31"))


# --- what is added where there is something to add --------------------------------------------------------------------


def test_a_tolerance_is_held_against_the_risk_number(market: Series) -> None:
    book = positions(a={"AAA": 1.0})
    book.portfolios[0].risk_tolerance = "Conservative"
    (row,) = report(market, book).rows
    assert row["alignment"]["tolerance_number"] == 35
    assert row["alignment"]["gap"] == row["risk_number"] - 35


def test_volumes_give_the_days_to_trade_out(market: Series) -> None:
    volumes = dataclasses.replace(market, value=np.full(market.value.shape, 100.0))
    (row,) = report(market, positions(a={"AAA": 50.0, "BBB": -10.0}), volumes=volumes).rows
    # A fifth of a hundred a day.
    assert row["liquidity_days"] == {"AAA": 2.5, "BBB": 0.5}


def test_a_stress_is_lived_through_by_whoever_traded_and_by_beta_otherwise(market: Series) -> None:
    (row,) = report(market, positions(a={"AAA": 10.0}), cash=Cash(100.0)).rows
    assert [each["id"] for each in row["stresses"]] == [each.id for each in stress.NAMED]
    by_id = {each["id"]: each for each in row["stresses"]}
    first, last = (market.sessions.index(day) for day in ("2020-02-19", "2020-03-23"))
    own = market.value[last, 0] / market.value[first, 0] - 1.0
    assert by_id["covid-2020"]["pnl"] == pytest.approx(row["exposures"]["AAA"] * own)
    assert by_id["covid-2020"]["own_share"] == 1.0
    stock_beta = row["beta"] * row["market_value"] / row["exposures"]["AAA"]
    assert by_id["lehman-2008"]["pnl"] == pytest.approx(row["exposures"]["AAA"] * stock_beta * -0.3989)
    assert by_id["lehman-2008"]["own_share"] == 0.0


def test_progress_ends_with_everybody(market: Series) -> None:
    heard: list[tuple[int, int]] = []
    book = positions(**{f"p{number}": {"AAA": 1.0} for number in range(200)})
    report(market, book, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(128, 200), (200, 200)]
