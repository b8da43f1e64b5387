"""Snapshots against the same numbers worked out with plain numpy from the closes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.ledger import Ledger, Record
from engine.revalue import Publication, advisor_pnl, publications, sequence_of
from plimsoll.messages import PortfolioRecord, RiskPoint, RiskSnapshot
from plimsoll.risk.measures import Choice
from plimsoll.risk.score import risk_score

Take = Callable[[Sequence[Record]], Ledger]
Sessions = list[tuple[str, dict[str, float]]]
NOW_NS = 1_700_000_000 * 10**9
HELD = {"AAPL": 100.0, "XOM": -50.0, "JNJ": 200.0}


@pytest.fixture
def valued(take: Take, feed: Any, sessions: Sessions) -> Ledger:
    """Every session closed, every symbol marked at its last close, and three portfolios."""
    ledger = take([feed.close(session, closes) for session, closes in sessions])
    take([feed.tick(symbol, price) for symbol, price in sessions[-1][1].items()])
    take(
        [
            feed.portfolio("long-short", HELD, cash=10_000.0, advisor_id="advisor-1"),
            feed.portfolio("cash-only", {}, cash=500.0, advisor_id="advisor-1"),
            feed.portfolio("new-name", {"AAPL": 1.0, "NEWCO": 5.0}, advisor_id="advisor-2"),
        ]
    )
    ledger.marks.roll()
    return ledger


def publish(ledger: Ledger, now_ns: int = NOW_NS) -> dict[str, Publication]:
    market, scenario_set = ledger.marks.valuation(dict), ledger.marks.scenario_set
    assert market is not None
    assert scenario_set is not None
    made = publications(
        ledger.book, ledger.marks, market, scenario_set, ledger.book.open_rows(),
        market_watermark=ledger.market_watermark, choice=Choice(), scale=None, now_ns=now_ns,
    )  # fmt: skip
    return {one.portfolio_id: one for one in made}


def snapshot(one: Publication) -> RiskSnapshot:
    return msgspec.json.decode(one.snapshot, type=RiskSnapshot)


def filtered_by_hand(returns: np.ndarray) -> np.ndarray:
    """Hull-White, one name and one session at a time."""
    filtered = np.empty_like(returns)
    for column, own in enumerate(returns.T):
        weight = 0.94 ** np.arange(75)
        variance = [(weight * own[:75] ** 2).sum() / weight.sum()]
        for each in own:
            variance.append(0.94 * variance[-1] + 0.06 * each**2)
        filtered[:, column] = own * np.sqrt(variance[-1] / np.array(variance[:-1]))
    return filtered


def test_one_portfolio_equals_the_numbers_worked_out_by_hand(valued: Ledger, sessions: Sessions) -> None:
    got = snapshot(publish(valued)["long-short"])

    prices = np.array([[closes[symbol] for symbol in HELD] for _, closes in sessions])
    index = np.array([closes["SP500"] for _, closes in sessions])
    exposure = np.array(list(HELD.values())) * prices[-1]
    value = exposure.sum() + 10_000.0
    name_returns = prices[1:] / prices[:-1] - 1
    pnl = name_returns @ exposure
    filtered = filtered_by_hand(name_returns) @ exposure
    returns, benchmark = pnl / value, index[1:] / index[:-1] - 1
    losses = np.sort(-filtered)[::-1]
    wealth = np.concatenate([[1.0], np.cumprod(1 + returns)])

    assert got.market_value == pytest.approx(value, rel=1e-12)
    assert got.gross_exposure == pytest.approx(np.abs(exposure).sum(), rel=1e-12)
    assert got.net_exposure == pytest.approx(exposure.sum(), rel=1e-12)
    assert got.var_95 == pytest.approx(np.quantile(-filtered, 0.95, method="inverted_cdf"), rel=1e-6)
    assert got.var_99 == pytest.approx(np.quantile(-filtered, 0.99, method="inverted_cdf"), rel=1e-6)
    assert got.es_975 == pytest.approx((losses[:12].sum() + 0.5 * losses[12]) / 12.5, rel=1e-6)
    assert got.var_95_fraction == pytest.approx(got.var_95 / value, rel=1e-12)
    assert got.volatility == pytest.approx(returns.std(ddof=1) * np.sqrt(252), rel=1e-6)
    assert got.expected_return == pytest.approx(returns.mean() * 252, rel=1e-5)
    assert got.sharpe_ratio == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252), rel=1e-5)
    assert got.beta == pytest.approx(np.cov(returns, benchmark)[0, 1] / benchmark.var(ddof=1), rel=1e-5)
    assert got.max_drawdown == pytest.approx((wealth / np.maximum.accumulate(wealth) - 1).min(), rel=1e-5)
    assert sessions[1:][int(np.argmin(np.abs(-filtered - got.var_95)))][0] == got.var_95_scenario_date
    assert got.method == "filtered_historical"
    score = risk_score(np.array([(filtered / value).std(ddof=1)]), np.array([returns.mean()]))
    assert got.risk_number == round(float(score[0]))
    structural = risk_score(np.array([returns.std(ddof=1)]), np.array([returns.mean()]))
    assert got.risk_number_structural == round(float(structural[0]))
    assert (got.observations, got.coverage, got.incomplete_symbols, got.day_pnl) == (500, 1.0, [], 0.0)


def test_a_name_without_a_price_is_left_out_and_named_until_its_first_price(
    valued: Ledger, take: Take, feed: Any
) -> None:
    without = snapshot(publish(valued)["new-name"])
    assert (without.incomplete_symbols, without.proxied_symbols) == (["NEWCO"], [])
    take([feed.tick("NEWCO", 10.0)])
    healed = snapshot(publish(valued)["new-name"])
    assert (healed.incomplete_symbols, healed.proxied_symbols) == ([], ["NEWCO"])
    assert healed.market_value == pytest.approx(without.market_value + 50.0)
    assert 0.0 < healed.coverage < 1.0


def test_a_price_that_values_nothing_makes_a_snapshot_neither_old_nor_new(feed: Any, sessions: Sessions) -> None:
    # Without a benchmark nothing stands in for the returns that NEWCO and OLDCO lack.
    ledger = Ledger.recovered(None, None, 500, 0.94)
    stated = {"timestamp": 3e8}
    for record in [
        *(feed.close(session, closes) for session, closes in sessions),
        feed.tick("AAPL", 100.0, timestamp=5e8),
        feed.tick("OLDCO", 10.0, timestamp=1e8),
        feed.tick("NEWCO", 10.0, timestamp=9e8),
        feed.portfolio("some", {"AAPL": 1.0, "OLDCO": 1.0, "NEWCO": 1.0}, **stated),
        feed.portfolio("nothing", {"OLDCO": 1.0, "NEWCO": 1.0}, **stated),
    ]:
        ledger.take(record, NOW_NS)
    ledger.marks.roll()
    made = {name: snapshot(one) for name, one in publish(ledger).items()}
    assert made["some"].incomplete_symbols == made["nothing"].incomplete_symbols == ["NEWCO", "OLDCO"]
    assert (made["some"].oldest_price_ns, made["some"].as_of_ns) == (5 * 10**17, 5 * 10**17)
    assert (made["nothing"].oldest_price_ns, made["nothing"].as_of_ns) == (None, 3 * 10**17)


def test_a_position_of_no_units_is_in_no_list_and_in_no_time(valued: Ledger, take: Take, feed: Any) -> None:
    take([feed.tick("NEWCO", 10.0, timestamp=1e8), feed.portfolio("flat", {"AAPL": 1.0, "UNHEARD": 0.0, "NEWCO": 0.0})])
    one = publish(valued)["flat"]
    got = snapshot(one)
    assert (got.incomplete_symbols, got.proxied_symbols, got.coverage) == ([], [], 1.0)
    assert got.oldest_price_ns == NOW_NS
    assert msgspec.json.decode(one.positions, type=PortfolioRecord).symbols == ["AAPL", "UNHEARD", "NEWCO"]


def test_cash_alone_has_no_risk(valued: Ledger) -> None:
    got = snapshot(publish(valued)["cash-only"])
    assert (got.var_95, got.es_975, got.volatility, got.risk_number) == (0.0, 0.0, 0.0, 1)
    assert got.sharpe_ratio is None
    assert got.oldest_price_ns is None


def test_cash_beside_what_cannot_be_valued_is_not_called_safe(valued: Ledger, take: Take, feed: Any) -> None:
    take([feed.portfolio("unknown", {"UNHEARD": 10.0}, cash=20_000.0)])
    got = snapshot(publish(valued)["unknown"])
    assert (got.market_value, got.coverage, got.incomplete_symbols) == (20_000.0, 0.0, ["UNHEARD"])
    assert (got.risk_number, got.var_95_fraction, got.volatility) == (None, None, None)


def test_a_portfolio_worth_nothing_has_money_measures_only(valued: Ledger, take: Take, feed: Any) -> None:
    take([feed.portfolio("under-water", {"AAPL": 1.0}, cash=-1e6)])
    one = publish(valued)["under-water"]
    got = snapshot(one)
    assert got.market_value < 0 < got.var_95
    assert (got.var_95_fraction, got.volatility, got.risk_number) == (None, None, None)
    assert one.risk_score == 0.0


def test_the_sequence_orders_by_statement_number_first_and_by_the_market_then() -> None:
    ordered = [sequence_of(0, 0), sequence_of(0, 1), sequence_of(0, 10**12), sequence_of(1, 0), sequence_of(10**9, 5)]
    assert sorted(ordered, key=int) == ordered
    assert len(set(ordered)) == len(ordered)


def test_a_sequence_grows_with_every_record_that_changes_the_portfolio(valued: Ledger, take: Take, feed: Any) -> None:
    first = snapshot(publish(valued)["long-short"])
    take([feed.tick("AAPL", 1.0)])
    second = snapshot(publish(valued)["long-short"])
    take([feed.portfolio("long-short", {"AAPL": 1.0})])
    third = snapshot(publish(valued)["long-short"])
    assert int(first.sequence) < int(second.sequence) < int(third.sequence)
    assert (third.source_partition, third.source_offset) == (0, 3)


def test_positions_go_out_with_the_first_snapshot_after_they_changed(valued: Ledger) -> None:
    first, second = (publish(valued)["long-short"] for _ in range(2))
    assert msgspec.json.decode(first.positions, type=PortfolioRecord).quantities == list(HELD.values())
    assert second.positions == b""


def test_one_snapshot_a_minute_is_a_point_of_history_and_not_all_in_the_same_second(valued: Ledger) -> None:
    written: dict[str, list[int]] = {}
    for second in range(240):
        now_ns = NOW_NS + second * 10**9
        for portfolio_id, one in publish(valued, now_ns).items():
            if one.minute_ms:
                assert one.minute_ms == now_ns // (60 * 10**9) * 60_000
                written.setdefault(portfolio_id, []).append(second)
    assert {len(seconds) for seconds in written.values()} == {4}
    assert all(set(np.diff(seconds)) == {60} for seconds in written.values())
    assert len({seconds[0] for seconds in written.values()}) == len(written)


def test_a_snapshot_begins_with_its_point_of_history(valued: Ledger) -> None:
    one = publish(valued)["long-short"]
    beginning = one.snapshot[: one.snapshot.index(b',"client_id"')] + b"}"
    whole = snapshot(one)
    point = msgspec.json.decode(beginning, type=RiskPoint)
    assert all(getattr(point, name) == getattr(whole, name) for name in RiskPoint.__struct_fields__)


def test_an_advisors_pnl_is_the_sum_of_the_portfolios(valued: Ledger, sessions: Sessions) -> None:
    market, scenario_set = valued.marks.valuation(dict), valued.marks.scenario_set
    assert market is not None
    assert scenario_set is not None
    summed = advisor_pnl(valued.book, valued.marks, market, scenario_set, None, np.array([0, 1]), NOW_NS)
    made = {name: snapshot(one) for name, one in publish(valued).items()}
    assert set(summed) == {"advisor-1", "advisor-2"}
    one = summed["advisor-1"]
    assert one.portfolios == 2
    for name in ("market_value", "gross_exposure", "net_exposure", "cash", "day_pnl"):
        parts = [getattr(made["long-short"], name), getattr(made["cash-only"], name)]
        assert getattr(one, name) == pytest.approx(sum(parts), rel=1e-9)
    assert len(np.frombuffer(one.long_run_pnl)) == len(scenario_set.sessions)
    pnl = np.frombuffer(one.pnl)
    assert np.sort(pnl)[25] == pytest.approx(-made["long-short"].var_95, rel=1e-6)


def test_an_advisors_sum_is_no_newer_than_what_is_in_it(valued: Ledger, take: Take, feed: Any) -> None:
    old = {"timestamp": 1e9}
    take([feed.tick("OLD", 100.0, **old), feed.portfolio("old", {"OLD": 1.0}, advisor_id="advisor-3", **old)])
    market, scenario_set = valued.marks.valuation(dict), valued.marks.scenario_set
    assert market is not None
    assert scenario_set is not None
    summed = advisor_pnl(valued.book, valued.marks, market, scenario_set, None, np.array([0, 1, 2]), NOW_NS)
    made = {name: snapshot(one) for name, one in publish(valued).items()}
    assert summed["advisor-3"].as_of_ns == 10**18
    for advisor, pnl in summed.items():
        assert pnl.as_of_ns == max(each.as_of_ns for each in made.values() if each.advisor_id == advisor)
