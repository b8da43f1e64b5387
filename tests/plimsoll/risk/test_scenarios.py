"""Scenario sets from closes, and proxies for what has no history."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.risk.scenarios import (
    MissingBenchmark,
    Opinion,
    ScenarioSet,
    TooFewObservations,
    build,
    proxy_returns,
    returns_by_symbol,
)

pytestmark = pytest.mark.filterwarnings("error")

SESSIONS = [f"2020-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(300)]


def _closes(
    sessions: int = 120, symbols: tuple[str, ...] = ("AAA", "BBB", "INDEX")
) -> list[tuple[str, dict[str, float]]]:
    rng = np.random.default_rng(7)
    price = 100.0 * np.cumprod(1.0 + 0.02 * rng.standard_normal((sessions, len(symbols))), axis=0)
    return [(SESSIONS[i], dict(zip(symbols, price[i].tolist(), strict=True))) for i in range(sessions)]


def test_returns_by_hand() -> None:
    closes = [(session, {"INDEX": 100.0 + i, "AAA": 50.0}) for i, (session, _) in enumerate(_closes(61))]
    closes[-1] = (closes[-1][0], {"INDEX": 79.5, "AAA": 55.0})

    scenarios = build(closes, "INDEX", 500)

    assert scenarios.symbols == ("AAA", "INDEX")
    assert scenarios.observations == 60
    assert scenarios.sessions == tuple(session for session, _ in closes[1:])
    assert scenarios.returns_of("AAA")[-1] == pytest.approx(0.1)
    assert scenarios.returns_of("INDEX")[0] == pytest.approx(0.01)
    # From 159 to 79.5.
    assert scenarios.benchmark_returns[-1] == pytest.approx(-0.5)


def test_the_window_is_the_newest_sessions() -> None:
    closes = _closes(120)
    scenarios = build(closes, "INDEX", 100)
    assert scenarios.observations == 100
    assert scenarios.sessions[-1] == closes[-1][0]
    assert np.array_equal(scenarios.returns, build(closes[-101:], "INDEX", 100).returns)


def test_a_shorter_history_than_the_window_is_used_whole() -> None:
    assert build(_closes(90), "INDEX", 500).observations == 89


def test_a_symbol_with_one_missing_close_in_the_window_stays_out() -> None:
    closes = _closes(120)
    del closes[60][1]["AAA"]
    assert build(closes, "INDEX", 100).symbols == ("BBB", "INDEX")
    assert build(closes, "INDEX", 100).returns_of("AAA") is None


def test_a_gap_before_the_window_does_no_harm() -> None:
    closes = _closes(120)
    del closes[18][1]["AAA"]
    assert build(closes, "INDEX", 100).symbols == ("AAA", "BBB", "INDEX")


@pytest.mark.parametrize("close", [0.0, -1.0, math.nan, math.inf])
def test_a_close_that_is_no_price_counts_as_missing(close: float) -> None:
    closes = _closes(100)
    closes[50][1]["BBB"] = close
    assert build(closes, "INDEX", 500).symbols == ("AAA", "INDEX")


@pytest.mark.parametrize(("sessions", "window"), [(60, 500), (1, 500), (0, 500), (300, 59), (300, 0)])
def test_fewer_than_sixty_returns_are_refused(sessions: int, window: int) -> None:
    observations = max(min(sessions - 1, window), 0)
    with pytest.raises(TooFewObservations, match=f"^{observations} returns, at least 60 are needed"):
        build(_closes(sessions), "INDEX", window)


def test_sixty_returns_are_enough() -> None:
    assert build(_closes(61), "INDEX", 500).observations == 60


def test_a_benchmark_with_a_gap_is_refused() -> None:
    closes = _closes(100)
    del closes[30][1]["INDEX"]
    with pytest.raises(MissingBenchmark, match=r"'INDEX'.*provide its closes"):
        build(closes, "INDEX", 500)


def test_sessions_out_of_order_or_twice_are_refused() -> None:
    closes = _closes(100)
    with pytest.raises(ValueError, match="ascending"):
        build([*closes[1:], closes[0]], "INDEX", 500)
    with pytest.raises(ValueError, match="ascending"):
        build([*closes, closes[-1]], "INDEX", 500)


def test_the_same_closes_in_any_order_of_symbols_have_the_same_id() -> None:
    closes = _closes(100)
    turned = [(session, dict(reversed(prices.items()))) for session, prices in closes]
    assert build(turned, "INDEX", 500).scenario_set_id == build(closes, "INDEX", 500).scenario_set_id


@pytest.mark.parametrize("change", ["close", "benchmark", "window", "symbol"])
def test_anything_that_changes_the_returns_or_their_reading_changes_the_id(change: str) -> None:
    before = build(_closes(100), "INDEX", 500).scenario_set_id
    closes = _closes(100)
    if change == "close":
        closes[3][1]["AAA"] *= 1.0 + 1e-12
    if change == "symbol":
        closes = [(session, {("CCC" if s == "AAA" else s): p for s, p in prices.items()}) for session, prices in closes]
    after = build(closes, "BBB" if change == "benchmark" else "INDEX", 98 if change == "window" else 500)
    assert after.scenario_set_id != before


def test_the_id_begins_with_the_last_session() -> None:
    scenarios = build(_closes(100), "INDEX", 500)
    session, dash, digest = scenarios.scenario_set_id.rpartition("-")
    assert (session, dash) == (scenarios.sessions[-1], "-")
    assert len(bytes.fromhex(digest)) == 6


def test_a_scenario_set_cannot_be_written_to() -> None:
    scenarios = build(_closes(100), "INDEX", 500)
    assert scenarios.returns.flags.c_contiguous
    assert scenarios.returns.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        scenarios.returns[0, 0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        scenarios.returns_of("AAA")[0] = 0.0


def test_a_scenario_set_comes_back_from_its_bytes() -> None:
    made = build(_closes(100), "INDEX", 500)
    returns = np.frombuffer(made.returns.tobytes(), np.float64).reshape(made.returns.shape)
    again = ScenarioSet(made.scenario_set_id, made.method, made.benchmark, made.symbols, made.sessions, returns)
    assert np.array_equal(again.benchmark_returns, made.benchmark_returns)
    assert proxy_returns(again, "NEW", None, None).tobytes() == proxy_returns(made, "NEW", None, None).tobytes()


def test_a_scenario_set_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="3 sessions, 1 symbols"):
        ScenarioSet("id", "historical", "INDEX", ("INDEX",), ("a", "b", "c"), np.zeros((2, 1)))
    with pytest.raises(MissingBenchmark, match="'INDEX'"):
        ScenarioSet("id", "historical", "INDEX", ("AAA",), ("a", "b", "c"), np.zeros((3, 1)))


@settings(max_examples=50, deadline=None)
@given(
    symbol=st.text("ABCDEFGHIJ.-", min_size=1, max_size=8),
    beta=st.floats(-3.0, 3.0),
    residual=st.floats(0.01, 2.0),
)
def test_a_proxy_has_exactly_the_beta_and_the_volatility_asked_for(symbol: str, beta: float, residual: float) -> None:
    scenarios = build(_closes(100), "INDEX", 500)
    benchmark = scenarios.benchmark_returns
    volatility = math.hypot(beta * np.std(benchmark, ddof=1) * math.sqrt(252), residual)

    proxy = proxy_returns(scenarios, symbol, beta, volatility)

    slope = np.cov(proxy, benchmark, ddof=1)[0, 1] / np.var(benchmark, ddof=1)
    assert slope == pytest.approx(beta, abs=1e-9)
    assert np.std(proxy, ddof=1) * math.sqrt(252) == pytest.approx(volatility, rel=1e-9)
    assert proxy.mean() == pytest.approx(beta * benchmark.mean(), abs=1e-12)


def test_a_proxy_of_which_nothing_is_known_has_beta_one_and_the_median_volatility() -> None:
    scenarios = build(_closes(100, ("AAA", "BBB", "CCC", "INDEX")), "INDEX", 500)
    others = [np.std(scenarios.returns_of(symbol), ddof=1) for symbol in ("AAA", "BBB", "CCC")]
    benchmark = scenarios.benchmark_returns
    wanted = max(sorted(others)[1], np.std(benchmark, ddof=1))

    proxy = proxy_returns(scenarios, "NEW", None, None)

    assert np.cov(proxy, benchmark)[0, 1] / np.var(benchmark, ddof=1) == pytest.approx(1.0)
    assert np.std(proxy, ddof=1) == pytest.approx(wanted)


def test_a_proxy_less_volatile_than_its_beta_says_is_beta_alone() -> None:
    scenarios = build(_closes(100), "INDEX", 500)
    assert np.array_equal(proxy_returns(scenarios, "NEW", 2.0, 0.0), 2.0 * scenarios.benchmark_returns)


def test_a_proxy_is_the_same_everywhere_and_another_for_each_symbol() -> None:
    scenarios = build(_closes(100), "INDEX", 500)
    one, again, other = (proxy_returns(scenarios, symbol, 0.0, 0.3) for symbol in ("NEW", "NEW", "NEWER"))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_the_benchmark_alone_lends_its_own_volatility() -> None:
    scenarios = build(_closes(100, ("INDEX",)), "INDEX", 500)
    proxy = proxy_returns(scenarios, "NEW", 0.5, None)
    assert np.std(proxy, ddof=1) == pytest.approx(np.std(scenarios.benchmark_returns, ddof=1))


def test_a_benchmark_that_never_moves_still_gives_a_proxy() -> None:
    closes = [(session, {"INDEX": 100.0}) for session in SESSIONS[:100]]
    proxy = proxy_returns(build(closes, "INDEX", 500), "NEW", 1.0, 0.3)
    assert np.std(proxy, ddof=1) * math.sqrt(252) == pytest.approx(0.3)


def test_each_symbol_has_its_own_returns_else_a_proxy_once_priced_else_nothing() -> None:
    scenarios = build(_closes(), "INDEX", 100)
    symbols = ["UNPRICED", "AAA", "PRICED"]
    returns, own = returns_by_symbol(scenarios, symbols, {"PRICED": Opinion(0.5, 1.0), "AAA": Opinion()}, np.float64)
    assert own.tolist() == [False, True, False]
    assert not returns[0].any()
    assert np.array_equal(returns[1], scenarios.returns_of("AAA"))
    assert np.array_equal(returns[2], proxy_returns(scenarios, "PRICED", 1.0, 0.5))
