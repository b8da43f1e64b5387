"""Scenario sets from closes, which sessions are in them, and what stands for a name that lacks some."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.scenarios import (
    LATE_SESSIONS,
    LONG_RUN_SESSIONS,
    Closes,
    MissingBenchmark,
    Opinion,
    Rows,
    ScenarioSet,
    TooFewObservations,
    build,
    build_shared,
    history_sessions,
    rows_by_symbol,
)
from plimsoll.risk.volatility import ewma_volatility

pytestmark = pytest.mark.filterwarnings("error")

NAMES = ("AAA", "BBB", "CCC", "INDEX")


def _closes(sessions: int = 120, symbols: tuple[str, ...] = NAMES, seed: int = 7) -> Closes:
    """A walk of each symbol that does not depend on which others there are."""
    days = np.datetime64("2012-01-02") + np.arange(sessions)
    steps = [np.random.default_rng([seed, *symbol.encode()]).standard_normal(sessions) for symbol in symbols]
    return Closes(tuple(days.astype(str)), symbols, 100.0 * np.cumprod(1.0 + 0.01 * np.stack(steps, axis=1), axis=0))


def _without(closes: Closes, symbol: str, sessions: slice | list[int]) -> Closes:
    price = closes.price.copy()
    price[sessions, closes.symbols.index(symbol)] = np.nan
    return dataclasses.replace(closes, price=price)


def _of(scenarios: ScenarioSet, symbol: str) -> FloatArray:
    return scenarios.historical[:, scenarios.symbols.index(symbol)]


def _rows(scenarios: ScenarioSet, *symbols: str, opinions: Mapping[str, Opinion] | None = None) -> Rows:
    """As everybody who has prices of these symbols sees them."""
    known = {symbol: Opinion() for symbol in symbols} if opinions is None else opinions
    return rows_by_symbol(scenarios, symbols, known, np.float64)


def _annual(returns: FloatArray) -> float:
    return float(np.std(returns, ddof=1)) * math.sqrt(252)


def _beta(returns: FloatArray, benchmark: FloatArray) -> float:
    return float(np.cov(returns, benchmark, ddof=1)[0, 1] / np.var(benchmark, ddof=1))


# --- closes -----------------------------------------------------------------------------------------------------------


def test_closes_of_sessions_by_hand() -> None:
    closes = Closes.of([("2020-01-02", {"B": 2.0, "A": 1.0}), ("2020-01-03", {"A": 1.5})])
    assert closes.symbols == ("A", "B")
    assert closes.price == pytest.approx(np.array([[1.0, 2.0], [1.5, math.nan]]), nan_ok=True)
    assert closes.returns() == pytest.approx(np.array([[0.5, math.nan]]), nan_ok=True)
    assert closes.newest(1).sessions == ("2020-01-03",)
    assert closes.newest(9).sessions == closes.sessions
    assert Closes.of([]).price.shape == (0, 0)


@pytest.mark.parametrize("close", [0.0, -1.0, math.nan, math.inf])
def test_a_close_that_is_no_price_counts_as_missing(close: float) -> None:
    price = _closes().price.copy()
    price[50, 1] = close
    assert math.isnan(dataclasses.replace(_closes(), price=price).price[50, 1])


def test_sessions_and_symbols_out_of_order_or_twice_are_refused() -> None:
    for sessions in (("2020-01-03", "2020-01-02"), ("2020-01-02", "2020-01-02")):
        with pytest.raises(ValueError, match=r"2020-01-0\d follows .*ascending"):
            Closes(sessions, ("A",), np.ones((2, 1)))
    for symbols in (("B", "A"), ("A", "A")):
        with pytest.raises(ValueError, match=r"symbol A follows .*ascending"):
            Closes(("2020-01-02",), symbols, np.ones((1, 2)))
    with pytest.raises(ValueError, match="1 sessions and 2 symbols"):
        Closes(("2020-01-02",), ("A", "B"), np.ones((2, 2)))


# --- which sessions are scenarios -------------------------------------------------------------------------------------


def test_a_set_by_hand() -> None:
    sessions = _closes(81).sessions
    price = np.stack([np.full(81, 50.0), 79.0 + np.arange(81.0)], axis=1)
    price[-1] = 55.0, 79.0
    scenarios = build(Closes(sessions, ("AAA", "INDEX"), price), "INDEX", 500)
    assert scenarios.symbols == ("AAA", "INDEX")
    assert (scenarios.observations, scenarios.window) == (80, 500)
    assert scenarios.scenario_sessions == scenarios.sessions == sessions[1:]
    assert _of(scenarios, "AAA")[-1] == pytest.approx(0.1)
    # From 79 to 80, and from 158 to 79.
    assert scenarios.benchmark_returns[[0, -1]] == pytest.approx([1 / 79, -0.5])
    # Only the last of its returns moved AAA: the forecast for the next session is 6 % of that square.
    assert scenarios.volatility_now[0] == pytest.approx(math.sqrt(0.06 * 0.1**2))


@pytest.mark.parametrize(("window", "sessions"), [(250, 1_400), (500, 1_400), (2_000, 2_600)])
def test_the_window_is_the_newest_sessions_and_the_long_run_what_came_before(window: int, sessions: int) -> None:
    closes = _closes(sessions)
    scenarios = build(closes, "INDEX", window)
    assert scenarios.observations == window
    assert scenarios.sessions == closes.sessions[-max(LONG_RUN_SESSIONS, window) :]
    assert scenarios.closes.sessions == closes.sessions[-max(LONG_RUN_SESSIONS, window + 447) - 1 :]
    assert np.array_equal(scenarios.historical, closes.returns()[-window:])
    assert scenarios.filtered.shape == (window, 4)


def test_a_shorter_history_than_the_window_is_used_whole() -> None:
    assert build(_closes(90), "INDEX", 500).observations == 89


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), window=st.sampled_from([60, 100, 250]))
def test_scenarios_are_filtered_by_what_was_known_before_each_of_them(seed: int, window: int) -> None:
    closes = _closes(400, seed=seed)
    scenarios = build(closes, "INDEX", window, decay=0.97)
    forecast = ewma_volatility(closes.returns(), 0.97)
    expected = closes.returns()[-window:] * forecast[-1] / forecast[:-1][-window:]
    assert scenarios.filtered == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(scenarios.volatility_now, forecast[-1])


@pytest.mark.parametrize(("sessions", "window"), [(60, 500), (1, 500), (0, 500), (300, 59), (300, 0)])
def test_fewer_than_sixty_returns_are_refused(sessions: int, window: int) -> None:
    observations = max(min(sessions - 1, window), 0)
    with pytest.raises(TooFewObservations, match=f"^{observations} returns, at least 60 are needed"):
        build(_closes(sessions), "INDEX", window)


def test_sixty_returns_are_enough() -> None:
    assert build(_closes(61), "INDEX", 500).observations == 60


def test_sessions_in_which_the_benchmark_has_no_return_are_left_out() -> None:
    closes = _without(_closes(), "INDEX", [30])
    scenarios = build(closes, "INDEX", 500)
    # Neither into the gap nor out of it.
    kept = [session for session in closes.sessions[1:] if session not in (closes.sessions[30], closes.sessions[31])]
    assert scenarios.sessions == tuple(kept)
    assert np.isfinite(scenarios.returns).all()
    assert np.isfinite(_rows(scenarios, *NAMES).filtered).all()


def test_a_benchmark_with_too_few_returns_is_too_few_observations() -> None:
    with pytest.raises(TooFewObservations, match=r"^59 returns of the benchmark"):
        build(_without(_closes(), "INDEX", slice(0, 60)), "INDEX", 500)


@pytest.mark.parametrize("benchmark", ["NOWHERE", "INDEX"])
def test_a_benchmark_without_a_history_is_refused(benchmark: str) -> None:
    with pytest.raises(MissingBenchmark, match=rf"'{benchmark}'.*provide its closes"):
        build(_without(_closes(), "INDEX", slice(None)), benchmark, 500)


def test_without_a_benchmark_nothing_is_said_of_it() -> None:
    scenarios = build(_closes(), None, 500)
    assert np.isnan(scenarios.benchmark_returns).all()
    assert len(scenarios.long_benchmark_returns) == len(scenarios.sessions)


# --- the sessions of one portfolio ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_portfolio_with_gaps_has_the_sessions_in_which_all_it_holds_has_a_return(data: st.DataObject) -> None:
    """What `prices[held].pct_change(fill_method=None).dropna()` keeps, written out."""
    closes, held = _closes(400), ("AAA", "CCC")
    for symbol in held:
        closes = _without(closes, symbol, data.draw(st.lists(st.integers(0, 399), max_size=30)))
    columns = [closes.symbols.index(symbol) for symbol in held]
    price = closes.price[:, columns]
    change = price[1:] / price[:-1] - 1.0
    kept = ~np.isnan(change).any(axis=1)

    scenarios = build(closes, "INDEX", 200, held=held)

    assert scenarios.sessions == tuple(np.array(closes.sessions[1:])[kept])
    assert np.array_equal(scenarios.returns[:, columns], change[kept])
    assert scenarios.observations == min(200, kept.sum())
    assert _rows(scenarios, *held).own_history.all()


def test_where_nothing_is_missing_a_portfolio_has_the_shared_set() -> None:
    shared, own = build(_closes(400), "INDEX", 200), build(_closes(400), "INDEX", 200, held=("AAA", "BBB"))
    assert own.scenario_set_id == shared.scenario_set_id
    assert own.sessions == shared.sessions
    assert np.array_equal(own.filtered, shared.filtered)


def test_what_is_not_held_may_have_gaps() -> None:
    closes = _without(_closes(), "BBB", [60])
    assert build(closes, "INDEX", 500, held=("AAA",)).sessions == closes.sessions[1:]


@pytest.mark.parametrize("late", [LATE_SESSIONS - 1, LATE_SESSIONS])
def test_a_name_listed_after_the_windows_first_week_is_proxied_and_costs_no_scenarios(late: int) -> None:
    # The window of 200 begins with the return from session 199 to 200; so many of its returns the name does not have.
    closes = _without(_closes(400), "AAA", slice(0, 199 + late))
    scenarios = build(closes, "INDEX", 200, held=("AAA", "BBB"))
    rows = _rows(scenarios, "AAA", "BBB")
    if late < LATE_SESSIONS:
        assert scenarios.observations == 200 - late
        assert rows.own_history.tolist() == [True, True]
    else:
        assert scenarios.observations == 200
        assert rows.own_history.tolist() == [False, True]
        assert np.isfinite(rows.historical).all()
        assert np.array_equal(rows.historical[0, late:], closes.returns()[-200 + late :, 0])


def test_a_portfolio_that_needs_a_proxy_has_only_sessions_with_a_benchmark() -> None:
    closes = _without(_closes(400), "INDEX", [300])
    for held in (("AAA", "UNLISTED"), ("UNLISTED",), ()):
        scenarios = build(closes, "INDEX", 200, held=held)
        assert np.isfinite(scenarios.long_benchmark_returns).all()
        assert np.isfinite(_rows(scenarios, "AAA", "UNLISTED").long_run).all()
    # One that needs none may live through a session in which the index was not known.
    assert build(closes, "INDEX", 200, held=("AAA",)).sessions == closes.sessions[1:]


def test_a_portfolio_whose_names_hardly_ever_trade_together_is_refused() -> None:
    closes = _without(_without(_closes(200), "AAA", slice(0, 200, 4)), "BBB", slice(2, 200, 4))
    with pytest.raises(TooFewObservations, match="in sessions in which all that is held has one"):
        build(closes, "INDEX", 500, held=("AAA", "BBB"))


# --- the id -----------------------------------------------------------------------------------------------------------


def _changed(**changes: object) -> ScenarioSet:
    arguments: dict[str, object] = {"closes": _closes(100), "benchmark": "INDEX", "window": 500}
    return build(**(arguments | changes))  # type: ignore[arg-type]


def _times(closes: Closes, session: int, symbol: int, factor: float) -> Closes:
    price = closes.price.copy()
    price[session, symbol] *= factor
    return dataclasses.replace(closes, price=price)


def test_the_same_closes_in_any_order_of_symbols_have_the_same_id() -> None:
    closes = _closes(100)
    turned = Closes.of(
        [
            (session, dict(reversed(list(zip(closes.symbols, prices, strict=True)))))
            for session, prices in zip(closes.sessions, closes.price.tolist(), strict=True)
        ]
    )
    sectors = {"AAA": "Technology", "BBB": "Energy"}
    one = _changed(sectors=sectors, stress_returns={"b": {"AAA": -0.1, "BBB": -0.2}, "a": {}})
    other = _changed(
        closes=turned,
        sectors=dict(reversed(sectors.items())),
        stress_returns={"a": {}, "b": {"BBB": -0.2, "AAA": -0.1}},
    )
    assert one.scenario_set_id == other.scenario_set_id


@pytest.mark.parametrize(
    "changes",
    [
        {"closes": _times(_closes(100), 3, 0, 1.0 + 1e-12)},
        {"closes": _closes(100, ("AAA", "BBB", "CCD", "INDEX"))},
        {"closes": _closes(100, ("AAA", "BBB", "INDEX"))},
        {"benchmark": "BBB"},
        {"benchmark": None},
        {"window": 98},
        {"decay": 0.95},
        {"sectors": {"AAA": "Technology"}},
        {"stress_returns": {"covid-2020": {"AAA": -0.3}}},
        {"closes": _without(_closes(100), "AAA", [50])},
        {"closes": _without(_closes(100), "AAA", [50]), "held": ("AAA",)},
    ],
    ids="-".join,
)
def test_anything_that_changes_the_scenarios_or_their_reading_changes_the_id(changes: dict[str, object]) -> None:
    assert _changed(**changes).scenario_set_id != _changed().scenario_set_id


def test_a_close_in_a_session_that_is_left_out_changes_volatilities_and_so_the_id() -> None:
    closes = _without(_closes(100), "INDEX", [50])
    one, other = _changed(closes=closes), _changed(closes=_times(closes, 50, 0, 1.1))
    assert np.array_equal(one.returns, other.returns)
    assert not np.array_equal(one.filtered, other.filtered)
    assert one.scenario_set_id != other.scenario_set_id


def test_the_id_begins_with_the_last_session() -> None:
    scenarios = _changed()
    session, dash, digest = scenarios.scenario_set_id.rpartition("-")
    assert (session, dash) == (scenarios.sessions[-1], "-")
    assert len(bytes.fromhex(digest)) == 6


def _same(one: ScenarioSet, other: ScenarioSet) -> None:
    assert one.scenario_set_id == other.scenario_set_id
    for field in dataclasses.fields(ScenarioSet):
        this, that = getattr(one, field.name), getattr(other, field.name)
        if isinstance(this, np.ndarray):
            assert np.array_equal(this, that, equal_nan=True), field.name
        elif field.name != "closes":
            assert this == that, field.name


@pytest.mark.parametrize("window", [250, 2_000])
def test_nothing_older_than_a_set_is_made_of_matters(window: int) -> None:
    """Whoever has kept more closes, and symbols that have long since gone, arrives at the same set."""
    closes = _closes(history_sessions(window) + 40)
    kept = closes.newest(history_sessions(window) + 1)
    gone = _without(dataclasses.replace(closes, symbols=("AAA", "BBB", "GONE", "INDEX")), "GONE", slice(30, None))
    there = Closes(kept.sessions, ("AAA", "BBB", "INDEX"), kept.price[:, [0, 1, 3]])
    _same(build(gone, "INDEX", window), build(there, "INDEX", window))


@pytest.mark.parametrize("held", [None, ("AAA", "BBB")])
def test_a_set_is_built_again_from_its_closes(held: tuple[str, ...] | None) -> None:
    closes = _without(_without(_closes(1_400), "AAA", [1_300]), "INDEX", [1_200, 1_350])
    made = build(closes, "INDEX", 250, decay=0.9, sectors={"AAA": "Technology"}, held=held)
    price = np.frombuffer(made.closes.price.tobytes(), np.float64).reshape(made.closes.price.shape)
    received = Closes(made.closes.sessions, made.closes.symbols, price)
    _same(made, build(received, "INDEX", 250, decay=0.9, sectors=made.sectors, held=held))


def test_a_scenario_set_cannot_be_written_to() -> None:
    scenarios = _changed()
    for array in (
        scenarios.returns, scenarios.volatility, scenarios.volatility_now, scenarios.filtered, scenarios.closes.price,
    ):  # fmt: skip
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenarios.window = 250  # type: ignore[misc]


# --- what stands for a name -------------------------------------------------------------------------------------------


def _proxy(scenarios: ScenarioSet, symbol: str, volatility: float | None = None, beta: float | None = None) -> Rows:
    return _rows(scenarios, symbol, opinions={symbol: Opinion(volatility, beta)})


def test_each_symbol_has_its_own_returns_else_a_proxy_once_priced_else_nothing() -> None:
    scenarios = build(_closes(), "INDEX", 100)
    symbols = ("UNPRICED", "AAA", "PRICED")
    rows = _rows(scenarios, *symbols, opinions={"PRICED": Opinion(0.5, 1.0), "AAA": Opinion()})
    assert rows.valued.tolist() == [False, True, True]
    assert rows.own_history.tolist() == [False, True, False]
    assert not rows.historical[0].any()
    assert not rows.long_run[0].any()
    assert np.array_equal(rows.historical[1], _of(scenarios, "AAA"))
    assert np.array_equal(rows.filtered[1], scenarios.filtered[:, 0])
    assert np.array_equal(rows.historical[2], _proxy(scenarios, "PRICED", 0.5, 1.0).historical[0])
    for returns in (rows.historical, rows.filtered, rows.long_run):
        assert returns.flags.c_contiguous
    assert np.array_equal(rows.long_run[:, -100:], rows.historical)


@settings(max_examples=50, deadline=None)
@given(
    symbol=st.text("HIJKLMNO.-", min_size=1, max_size=8),
    beta=st.floats(-3.0, 3.0),
    residual=st.floats(0.01, 2.0),
)
def test_a_proxy_has_exactly_the_beta_and_the_volatility_asked_for(symbol: str, beta: float, residual: float) -> None:
    scenarios = build(_closes(300), "INDEX", 100)
    benchmark = scenarios.benchmark_returns
    volatility = math.hypot(beta * _annual(benchmark), residual)

    rows = _proxy(scenarios, symbol, volatility, beta)

    proxy = rows.historical[0]
    assert _beta(proxy, benchmark) == pytest.approx(beta, abs=1e-9)
    assert _annual(proxy) == pytest.approx(volatility, rel=1e-9)
    assert proxy.mean() == pytest.approx(beta * benchmark.mean(), abs=1e-12)
    # Its residual is the same filtered and as it was, and of one size before the window too.
    unfiltered, filtered = scenarios.historical[:, -1], scenarios.filtered[:, -1]
    assert rows.filtered[0] - beta * filtered == pytest.approx(proxy - beta * unfiltered, abs=1e-12)
    before = rows.long_run[0, :-100] - beta * scenarios.long_benchmark_returns[:-100]
    assert _annual(before) == pytest.approx(residual, rel=1e-6)


def test_a_proxy_of_which_nothing_is_known_has_beta_one_and_the_median_volatility() -> None:
    scenarios = build(_closes(300), "INDEX", 250)
    benchmark = scenarios.benchmark_returns
    median = sorted(_annual(_of(scenarios, symbol)) for symbol in ("AAA", "BBB", "CCC"))[1]

    proxy = _proxy(scenarios, "NEW").historical[0]

    assert _beta(proxy, benchmark) == pytest.approx(1.0)
    assert _annual(proxy) == pytest.approx(max(median, _annual(benchmark)))


SECTORS = {"AAA": "Energy", "BBB": "Energy", "CCC": "Energy", "DDD": "Finance", "INDEX": "Energy", "NEW": "Energy"}


def test_a_proxy_of_a_known_sector_has_the_medians_of_its_sector() -> None:
    names = ("AAA", "BBB", "CCC", "DDD", "INDEX")
    scenarios = build(_closes(300, names), "INDEX", 250, sectors=SECTORS)
    benchmark = scenarios.benchmark_returns
    energy = ("AAA", "BBB", "CCC")
    beta = sorted(_beta(_of(scenarios, symbol), benchmark) for symbol in energy)[1]
    volatility = sorted(_annual(_of(scenarios, symbol)) for symbol in energy)[1]
    finance = _beta(_of(scenarios, "DDD"), benchmark)

    rows = _rows(scenarios, "NEW", "NEWER", opinions={"NEW": Opinion(), "NEWER": Opinion(sector="Finance")})

    assert _beta(rows.historical[0], benchmark) == pytest.approx(beta)
    assert _annual(rows.historical[0]) == pytest.approx(volatility)
    # What a position says of its sector counts where the closes say nothing.
    assert _beta(rows.historical[1], benchmark) == pytest.approx(finance)
    # What a vendor says of it counts more than its sector.
    said = _rows(scenarios, "NEW", opinions={"NEW": Opinion(0.7, 1.5)}).historical[0]
    assert (_beta(said, benchmark), _annual(said)) == pytest.approx((1.5, 0.7))


def test_a_sector_of_nobody_has_the_medians_of_all() -> None:
    scenarios = build(_closes(300), "INDEX", 250, sectors={"AAA": "Energy"})
    of_nobody = _rows(scenarios, "NEW", opinions={"NEW": Opinion(sector="Shipping")})
    assert np.array_equal(of_nobody.historical, _proxy(scenarios, "NEW").historical)


def test_a_name_with_sixty_returns_of_its_own_has_its_own_beta_and_volatility() -> None:
    closes = _without(_closes(400), "AAA", slice(0, 320))
    scenarios = build(closes, "INDEX", 200)
    mine = closes.returns()[-79:, 0]
    beta, volatility = _beta(mine, scenarios.benchmark_returns[-79:]), _annual(mine)

    rows = _proxy(scenarios, "AAA", 3.0, 3.0)

    assert rows.own_history.tolist() == [False]
    assert np.array_equal(rows.historical[0, -79:], mine)
    assert np.array_equal(rows.filtered[0, -79:], scenarios.filtered[-79:, 0])
    like_it = _proxy(scenarios, "AAA", volatility, beta)
    assert rows.historical[0] == pytest.approx(like_it.historical[0], rel=1e-9)
    # With fewer it is what others say of it.
    short = build(_without(_closes(400), "AAA", slice(0, 341)), "INDEX", 200)
    assert not np.array_equal(_proxy(short, "AAA", 3.0, 3.0).historical, _proxy(short, "AAA").historical)


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.integers(150, 399), min_size=1, max_size=20))
def test_a_gap_is_filled_by_the_proxy_and_nothing_else_is(gaps: list[int]) -> None:
    """Where all share their rows: neither left out, nor filled with a return of zero that was never observed."""
    closes = _closes(400)
    scenarios = build(_without(closes, "AAA", gaps), "INDEX", 200)
    rows = _rows(scenarios, "AAA", "BBB")
    lacks = np.isnan(_of(scenarios, "AAA"))
    assert scenarios.observations == 200
    assert np.array_equal(rows.historical[0, ~lacks], closes.returns()[-200:, 0][~lacks])
    assert np.array_equal(rows.filtered[0, ~lacks], scenarios.filtered[~lacks, 0])
    for returns in (rows.historical, rows.filtered, rows.long_run):
        assert np.isfinite(returns).all()
        assert (returns != 0.0).all()
    assert rows.own_history.tolist() == [not lacks.any(), True]
    assert np.array_equal(rows.historical[1], closes.returns()[-200:, 1])


@pytest.mark.parametrize("gap", [390, 100])
def test_without_a_benchmark_there_is_no_proxy_and_a_name_with_a_gap_is_not_valued(gap: int) -> None:
    scenarios = build(_without(_closes(400), "AAA", [gap]), None, 200)
    rows = _rows(scenarios, "AAA", "BBB", "NEW", opinions={"NEW": Opinion(0.3, 1.0)})
    assert rows.valued.tolist() == [False, True, False]
    assert not rows.long_run[0].any()
    assert np.array_equal(rows.historical[1], _of(scenarios, "BBB"))
    # One that lives through the others' sessions can be: they are those in which it has a return.
    own = build(_without(_closes(400), "AAA", [gap]), None, 200, held=("AAA", "BBB"))
    assert _rows(own, "AAA", "BBB").valued.all()


def test_without_a_benchmark_a_stream_leaves_out_for_all_the_sessions_in_which_a_name_has_a_gap() -> None:
    shared = build_shared(_without(_closes(400), "AAA", [390, 100]), None, 200)
    assert shared.observations == 200
    left_out = {_closes(400).sessions[day] for day in (100, 101, 390, 391)}
    assert set(shared.sessions) == set(_closes(400).sessions[1:]) - left_out
    assert _rows(shared, "AAA", "BBB").valued.all()


def test_without_a_benchmark_a_name_that_is_mostly_missing_costs_nobody_a_scenario() -> None:
    delisted = _without(_closes(400), "AAA", slice(320, 400))
    shared = build_shared(delisted, None, 200)
    assert shared.sessions == build(_closes(400), None, 200).sessions
    assert _rows(shared, "AAA", "BBB").valued.tolist() == [False, True]


def test_with_a_benchmark_the_shared_set_is_the_one_of_all() -> None:
    closes = _without(_closes(400), "AAA", [390])
    assert build_shared(closes, "INDEX", 200).scenario_set_id == build(closes, "INDEX", 200).scenario_set_id


def test_a_proxy_less_volatile_than_its_beta_says_is_beta_alone() -> None:
    scenarios = build(_closes(), "INDEX", 500)
    rows = _proxy(scenarios, "NEW", 0.0, 2.0)
    assert np.array_equal(rows.historical[0], 2.0 * scenarios.benchmark_returns)
    assert np.array_equal(rows.filtered[0], 2.0 * scenarios.filtered[:, -1])


def test_a_proxy_is_the_same_everywhere_and_another_for_each_symbol() -> None:
    scenarios = build(_closes(300), "INDEX", 250)
    rows = _rows(scenarios, "NEW", "NEWER", "AAA", opinions=dict.fromkeys(("NEW", "NEWER"), Opinion(0.3, 0.0)))
    assert np.array_equal(rows.historical[0], _proxy(scenarios, "NEW", 0.3, 0.0).historical[0])
    assert abs(np.corrcoef(rows.historical[0], rows.historical[1])[0, 1]) < 0.3


def test_a_residual_stays_with_its_date_when_the_set_rolls() -> None:
    """Up to the mean and the bit of benchmark that are taken out of it anew."""
    closes = _closes(500)
    before = build(dataclasses.replace(closes, sessions=closes.sessions[:-1], price=closes.price[:-1]), "INDEX", 200)
    after = build(closes, "INDEX", 200)
    old, new = (_proxy(scenarios, "NEW", 0.3, 0.0).historical[0] for scenarios in (before, after))
    shared = after.benchmark_returns[:-1]
    explained = np.stack([np.ones(199), shared, old[1:]], axis=1)
    share, unexplained, _, _ = np.linalg.lstsq(explained, new[:-1], rcond=None)
    assert unexplained[0] < 1e-20
    assert share[2] == pytest.approx(1.0, abs=0.02)
    assert abs(np.corrcoef(old[:-1], new[:-1])[0, 1]) < 0.3


def test_the_benchmark_alone_lends_its_own_volatility() -> None:
    scenarios = build(_closes(100, ("INDEX",)), "INDEX", 500)
    proxy = _proxy(scenarios, "NEW", beta=0.5).historical[0]
    assert _annual(proxy) == pytest.approx(_annual(scenarios.benchmark_returns))


def test_a_benchmark_that_never_moves_still_gives_a_proxy() -> None:
    still = dataclasses.replace(_closes(100, ("INDEX",)), price=np.full((100, 1), 100.0))
    assert _annual(_proxy(build(still, "INDEX", 500), "NEW", 0.3, 1.0).historical[0]) == pytest.approx(0.3)


def test_narrow_rows_are_the_wide_ones_rounded() -> None:
    scenarios = build(_without(_closes(400), "AAA", [300]), "INDEX", 200)
    symbols, opinions = ("AAA", "BBB", "NEW"), {"AAA": Opinion(), "NEW": Opinion(0.4, 1.2)}
    wide, narrow = (rows_by_symbol(scenarios, symbols, opinions, dtype) for dtype in (np.float64, np.float32))
    for one, other in zip(wide, narrow, strict=True):
        assert other.dtype in (np.float32, np.bool_)
        assert np.array_equal(one.astype(other.dtype), other)
