"""Reads what the answers on demand need, and asks for them: the thin side of everything computed when it is asked for.

Portfolios are read through its store and nowhere else, so it answers about those that the store shows.

What takes more than some milliseconds runs in a thread, so that the loop is free for everybody else. What takes less
does not: two threads of Python take turns of five milliseconds, so two in the loop delay everybody less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from api import backtests, decomposition, on_demand, stresses
from api.backtest_queue import BacktestQueue
from api.backtests import Backtest, NoBacktest
from api.decomposition import Alternative, Contributions
from api.errors import BadInput, NotFound
from api.on_demand import Holding, SectorExposure, Terms, WhatIf
from api.scenario_sets import ScenarioSets
from api.snapshots import SnapshotStore
from api.stresses import ShockResult, StressResult
from api.telemetry import Telemetry
from api.updates import require_trades
from plimsoll.messages import PortfolioRecord
from plimsoll.risk import stress
from plimsoll.risk.stress import Shock

IN_LOOP_POSITIONS_MAX = 100
"""Positions of a portfolio up to which what-if, contributions and stresses are computed in the loop: 2 to 3 ms."""

_Computed = TypeVar("_Computed")


class Analysis:
    """What is computed when it is asked for. `clock` gives UTC nanoseconds."""

    def __init__(
        self,
        store: SnapshotStore,
        sets: ScenarioSets,
        terms: Terms,
        clock: Callable[[], int],
        queue: BacktestQueue | None = None,
        *,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._store = store
        self._sets = sets
        self._terms = terms
        self._clock = clock
        self._backtests = queue or BacktestQueue(terms)
        self._telemetry = telemetry or Telemetry()

    def over(self, store: SnapshotStore) -> Analysis:
        """The same of what another store shows. All of them wait in one queue."""
        return Analysis(store, self._sets, self._terms, self._clock, self._backtests, telemetry=self._telemetry)

    def close(self) -> None:
        """Begin no more backtests; one that runs is left to end."""
        self._backtests.close()

    async def what_if(self, portfolio_id: str, trades: Mapping[str, float]) -> WhatIf:
        """The risk before and after signed changes of quantity, both with the marks of this moment.

        Nothing is changed. Raises `NotFound`, `BadInput`, `Unavailable`.
        """
        require_trades(trades)
        # In one round trip, as reads of one moment are.
        record, present = await asyncio.gather(self._record(portfolio_id), self._store.risk(portfolio_id))
        marks, scenarios = await asyncio.gather(self._store.marks([*record.symbols, *trades]), self._sets.current())
        compute = partial(
            on_demand.what_if, sequence="0" if present is None else present.sequence, now_ns=self._clock()
        )
        return await self._computed("what_if", record, compute, record, trades, marks, scenarios, self._terms)

    async def contributions(self, portfolio_id: str) -> Contributions:
        """What each holding and sector adds to a portfolio's risk. Raises `NotFound`, `Unavailable`."""
        record = await self._record(portfolio_id)
        marks, scenarios = await asyncio.gather(self._store.marks(record.symbols), self._sets.current())
        return await self._computed(
            "contributions", record, decomposition.contributions, record, marks, scenarios, self._terms
        )

    async def alternatives(self, portfolio_id: str) -> list[Alternative]:
        """Every method's answer for a portfolio. Raises `NotFound`, `Unavailable`."""
        record = await self._record(portfolio_id)
        marks = await self._store.marks(record.symbols)
        # The first Monte Carlo makes its draws, which takes a tenth of a second; they are kept.
        scenarios = await self._sets.current()
        return await self._in_thread("alternatives", decomposition.alternatives, record, marks, scenarios, self._terms)

    async def stress(self, portfolio_id: str, stress_ids: Sequence[str] | None) -> list[StressResult]:
        """What these named stresses would do to a portfolio, or all there are.

        Raises `NotFound`, `BadInput`, `Unavailable`.
        """
        try:
            chosen = stress.NAMED if stress_ids is None else [stress.by_id(each[:80]) for each in stress_ids]
        except stress.UnknownStress as error:
            raise BadInput("scenarios", str(error)) from None
        record = await self._record(portfolio_id)
        marks = await self._store.marks(record.symbols)
        named, scenarios = list(dict.fromkeys(chosen)), await self._sets.current()
        return await self._computed("stress", record, stresses.stressed, record, marks, scenarios, self._terms, named)

    async def shock(self, portfolio_id: str, shock: Shock) -> ShockResult:
        """What a shock would do to a portfolio. Raises `NotFound`, `Unavailable`."""
        record = await self._record(portfolio_id)
        marks, scenarios = await self._store.marks(record.symbols), await self._sets.if_any()
        return await self._computed("shock", record, stresses.shocked, record, marks, scenarios, shock)

    async def backtest(self, portfolio_id: str) -> Backtest:
        """How value at risk has done, live and over the closes of the set. Raises `NotFound`, `Unavailable`."""
        record = await self._record(portfolio_id)
        live = await self._store.backtest(portfolio_id)
        scenarios = await self._sets.if_any()
        if scenarios is None:
            return Backtest(
                None if live is None else backtests.live(live),
                NoBacktest("There is no scenario set to take closes from."),
            )
        rolling = await self._backtests.rolling(record, scenarios)
        return Backtest(None if live is None else backtests.live(live), rolling)

    async def holdings(self, record: PortfolioRecord) -> list[Holding]:
        """A portfolio's positions with their marks. Raises `Unavailable`."""
        marks = await self._store.marks(record.symbols)
        return on_demand.holdings(record, marks, await self._sets.if_any())

    async def sector_exposures(self, record: PortfolioRecord) -> list[SectorExposure]:
        """What a portfolio holds of each sector. Raises `Unavailable`."""
        marks = await self._store.marks(record.symbols)
        return on_demand.sector_exposures(record, marks, await self._sets.if_any())

    async def _record(self, portfolio_id: str) -> PortfolioRecord:
        record = await self._store.record(portfolio_id)
        if record is None:
            raise NotFound(f"there is no portfolio {portfolio_id!r}; check the id")
        return record

    async def _computed(
        self,
        name: str,
        record: PortfolioRecord,
        compute: Callable[..., _Computed],
        *arguments: Any,  # noqa: ANN401
    ) -> _Computed:
        """What `compute` makes of its arguments, in a thread where the portfolio is large."""
        if len(record.symbols) > IN_LOOP_POSITIONS_MAX:
            return await self._in_thread(name, compute, *arguments)
        with self._telemetry.computation(name) as told:
            told.begins()
            return compute(*arguments)

    async def _in_thread(self, name: str, compute: Callable[..., _Computed], *arguments: Any) -> _Computed:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        with self._telemetry.computation(name) as told:

            def begin() -> _Computed:
                loop.call_soon_threadsafe(told.begins)
                return compute(*arguments)

            return await asyncio.to_thread(begin)
