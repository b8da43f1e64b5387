"""Rolling backtests wait their turn, are not made twice, and are refused rather than queued without end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from api import backtest_queue, backtests
from api.backtest_queue import BacktestQueue
from api.backtests import NoBacktest
from api.on_demand import Terms
from plimsoll.errors import Unavailable
from plimsoll.messages import PortfolioRecord, RiskTolerance
from plimsoll.settings import Settings

pytestmark = pytest.mark.anyio


class Set:
    """All that the queue looks at in a scenario set."""

    scenario_set_id = "2020-02-19-0123456789ab"


class Held:
    """Backtests that end when the test lets them."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []

    def rolling(self, record: PortfolioRecord, scenarios: object, terms: object) -> NoBacktest:
        self.begun.append(record.portfolio_id)
        assert self.go_on.wait(20)
        if record.portfolio_id == "broken":
            raise RuntimeError("as the test wants it")
        return NoBacktest(record.portfolio_id)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    made = Held()
    monkeypatch.setattr(backtests, "rolling", made.rolling)
    return made


@pytest.fixture
def queue(held: Held) -> Iterator[BacktestQueue]:
    made = BacktestQueue(Terms.of(Settings()))
    yield made
    held.go_on.set()
    made.close()


def of(portfolio_id: str, offset: int = 0) -> PortfolioRecord:
    return PortfolioRecord(
        portfolio_id, "advisor-1", None, RiskTolerance.MODERATE, None, 0.0, ["AAPL"], [1.0], [None], 0, None, 0, offset
    )


async def test_two_who_ask_for_the_same_wait_for_the_same(queue: BacktestQueue, held: Held) -> None:
    asked = [asyncio.create_task(queue.rolling(of("p"), Set())) for _ in range(2)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    held.go_on.set()
    assert await asyncio.gather(*asked) == [NoBacktest("p"), NoBacktest("p")]
    assert await queue.rolling(of("p"), Set()) == NoBacktest("p")  # type: ignore[arg-type]
    assert held.begun == ["p"]


async def test_other_positions_are_another_backtest(queue: BacktestQueue, held: Held) -> None:
    held.go_on.set()
    await queue.rolling(of("p", offset=1), Set())  # type: ignore[arg-type]
    await queue.rolling(of("p", offset=2), Set())  # type: ignore[arg-type]
    assert held.begun == ["p", "p"]


async def test_who_comes_when_too_many_wait_is_told_to_come_again(
    queue: BacktestQueue, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_queue, "WAITING_MAX", 2)
    waiting = [asyncio.create_task(queue.rolling(of(f"p-{n}"), Set())) for n in range(2)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="ask again"):
        await queue.rolling(of("p-2"), Set())  # type: ignore[arg-type]
    held.go_on.set()
    await asyncio.gather(*waiting)
    assert await queue.rolling(of("p-2"), Set()) == NoBacktest("p-2")  # type: ignore[arg-type]


async def test_who_gives_up_waiting_does_not_end_it_for_the_others(queue: BacktestQueue, held: Held) -> None:
    first, second = (asyncio.create_task(queue.rolling(of("p"), Set())) for _ in range(2))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    first.cancel()
    held.go_on.set()
    assert await second == NoBacktest("p")


async def test_what_failed_is_tried_again(queue: BacktestQueue, held: Held) -> None:
    held.go_on.set()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await queue.rolling(of("broken"), Set())  # type: ignore[arg-type]
    assert held.begun == ["broken", "broken"]


async def test_only_the_newest_are_kept(queue: BacktestQueue, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_queue, "KEPT_MAX", 2)
    held.go_on.set()
    for portfolio_id in ("a", "b", "a", "c", "a", "b"):
        await asked(queue, portfolio_id)
    assert held.begun == ["a", "b", "c", "b"]


async def asked(queue: BacktestQueue, portfolio_id: str) -> Any:
    return await queue.rolling(of(portfolio_id), Set())  # type: ignore[arg-type]
