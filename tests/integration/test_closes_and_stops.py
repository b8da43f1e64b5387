"""What changes the market or the engine for everyone: each test has a system of its own, on either broker."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll import keys, topics
from plimsoll.messages import MarketClose, PortfolioUpdate, Position, encode

if TYPE_CHECKING:
    from tests.integration.conftest import System

pytestmark = pytest.mark.timeout(180)
HELD = {"AAPL": 120.0, "JPM": 75.0, "XOM": -40.0, "KO": 300.0}


@pytest.fixture
def system(own_system: System) -> System:
    return own_system


def test_every_close_is_judged_and_can_be_asked_about(system: System) -> None:
    update = PortfolioUpdate("judged", "advisor-1", [Position(s, q) for s, q in HELD.items()])
    system.send(topics.PORTFOLIO_UPDATES, "judged", encode(update))
    system.until(lambda: system.snapshot("judged"), "snapshot of the new portfolio")
    closes = system.last_closes()
    crash = {symbol: 0.7 * price for symbol, price in closes.items()}
    query = """query($id: ID!) { backtest(portfolioId: $id) {
                 live { sessions exceptions95 exceptions99 lastSession } rolling { days } } }"""
    for number, (session, prices) in enumerate({"2024-01-02": closes, "2024-01-03": crash}.items(), start=1):
        system.send(topics.MARKET_CLOSES, session, encode(MarketClose(session, prices)))

        def live(session: str = session) -> Any:
            told = system.graphql(query, id="judged")["backtest"]["live"]
            return told if told and told["lastSession"] == session else None

        told = system.until(live, f"the judgement of {session}")
        assert told["sessions"] == number
        # Nothing moved in the first; in the second everything fell by thirty per cent.
        assert (told["exceptions95"], told["exceptions99"]) == (number - 1, number - 1)


def test_a_stop_and_a_start_lose_nothing_and_never_go_back(system: System) -> None:
    before = {p: system.snapshot(p) for p in system.store.zrange(keys.by_id(), 0, -1)}
    os.kill(system.engine.pid, signal.SIGTERM)
    system.until(lambda: system.engine.exit_code() is not None, "end of the engine", 15.0)
    assert system.engine.exit_code() == 0
    gone, moved = sorted(before)[:2]
    system.send(topics.PORTFOLIO_UPDATES, gone, None)
    system.send(topics.PORTFOLIO_UPDATES, moved, encode(PortfolioUpdate(moved, "advisor-new", [Position("KO", 9.0)])))
    system.tick("KO", 51.0)
    system.store.flushdb()
    system.processes.python("-m", "engine", *system.engine_arguments, environ=system.environ)
    system.until_all_are_known(system.portfolios - 1)
    system.until(lambda: system.snapshot(moved).get("advisor_id") == "advisor-new", "the update from meanwhile")
    assert system.snapshot(moved)["market_value"] == pytest.approx(9 * 51.0)
    system.until(lambda: not system.snapshot(gone), "the closing from meanwhile")
    for portfolio_id in before.keys() - {gone}:
        assert int(system.snapshot(portfolio_id)["sequence"]) >= int(before[portfolio_id]["sequence"])
    assert system.store.zrange(keys.by_risk("advisor-new"), 0, -1) == [moved]
