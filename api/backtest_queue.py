"""Rolling backtests, one at a time in a thread of their own: each takes a quarter of a second, and nobody else waits.

At most `WAITING_MAX` wait for their turn; whoever comes then is told to ask again, rather than everybody being kept
longer. What was found is kept for the newest `KEPT_MAX` portfolios asked about: it depends on positions and closes
alone, so it holds until one of them changes. Two who ask for the same one wait for the same one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from api import backtests
from api.backtests import NoBacktest, RollingBacktest
from api.on_demand import Terms
from plimsoll.errors import Unavailable
from plimsoll.messages import PortfolioRecord
from plimsoll.risk.scenarios import ScenarioSet

WAITING_MAX = 64
"""A page of portfolios that each ask for one; the last of them waits some 15 seconds."""
KEPT_MAX = 1_000
"""A backtest of 760 sessions with its exceptions is some kilobytes."""

Found: TypeAlias = RollingBacktest | NoBacktest


class BacktestQueue:
    """Who waits for a rolling backtest, and what was found."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._thread = ThreadPoolExecutor(1, "backtest")
        self._found: OrderedDict[tuple[object, ...], asyncio.Future[Found]] = OrderedDict()
        self._waiting = 0

    def close(self) -> None:
        """Begin no more; one that runs is left to end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def rolling(self, record: PortfolioRecord, scenarios: ScenarioSet) -> Found:
        """The rolling backtest of a portfolio under a scenario set. Raises `Unavailable` where too many wait."""
        key = (record.portfolio_id, record.source_partition, record.source_offset, scenarios.scenario_set_id)
        known = self._found.get(key)
        if known is None:
            known = self._begin(key, record, scenarios)
        self._found.move_to_end(key)
        # Whoever gives up waiting does not end it for the others.
        return await asyncio.shield(known)

    def _begin(self, key: tuple[object, ...], record: PortfolioRecord, scenarios: ScenarioSet) -> asyncio.Future[Found]:
        if self._waiting >= WAITING_MAX:
            raise Unavailable("the backtest", f"{WAITING_MAX} others are waiting for theirs; ask again in a moment")
        self._waiting += 1
        begun: asyncio.Future[Found] = asyncio.get_running_loop().run_in_executor(
            self._thread, backtests.rolling, record, scenarios, self._terms
        )
        begun.add_done_callback(lambda done: self._ended(key, done))
        self._found[key] = begun
        while len(self._found) > KEPT_MAX:
            self._found.popitem(last=False)
        return begun

    def _ended(self, key: tuple[object, ...], done: asyncio.Future[Found]) -> None:
        self._waiting -= 1
        if done.cancelled() or done.exception() is not None:
            self._found.pop(key, None)
