"""Reads what `on_demand` needs, and asks it: the thin side of what-if, stresses and holdings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from api import on_demand
from api.errors import BadInput, NotFound
from api.on_demand import Holding, StressResult
from api.snapshots import SnapshotStore
from api.updates import require_trades
from plimsoll.errors import Unavailable
from plimsoll.messages import PortfolioRecord, RiskSnapshot
from plimsoll.risk import stress
from plimsoll.risk.scenarios import ScenarioSet


class Analysis:
    """What is computed when it is asked for. `clock` gives UTC nanoseconds, `risk_free` is annual, a fraction."""

    def __init__(self, store: SnapshotStore, risk_free: float, clock: Callable[[], int]) -> None:
        self._store = store
        self._risk_free = risk_free
        self._clock = clock
        self._scenarios: ScenarioSet | None = None

    async def what_if(self, portfolio_id: str, trades: Mapping[str, float]) -> tuple[RiskSnapshot, RiskSnapshot]:
        """The risk before and after signed changes of quantity, both with the marks of this moment.

        Nothing is changed. Raises `NotFound`, `BadInput`, `Unavailable`.
        """
        require_trades(trades)
        record = await self._record(portfolio_id)
        after = on_demand.traded(record, trades)
        marks = await self._store.marks([*record.symbols, *after.symbols])
        present = await self._store.risk(portfolio_id)
        first, second = on_demand.snapshots(
            [record, after],
            marks,
            await self.scenarios(),
            sequence="0" if present is None else present.sequence,
            risk_free=self._risk_free,
            now_ns=self._clock(),
        )
        return first, second

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
        return on_demand.stressed(record, marks, await self.scenarios(), list(dict.fromkeys(chosen)))

    async def holdings(self, record: PortfolioRecord) -> list[Holding]:
        """A portfolio's positions with their marks. Raises `Unavailable`."""
        return on_demand.holdings(record, await self._store.marks(record.symbols))

    async def scenarios(self) -> ScenarioSet:
        """The current scenario set. Raises `Unavailable` while there is none."""
        record = await self._store.scenario_set()
        if record is None:
            raise Unavailable(
                "the engine", "it has stated no scenario set yet; it does once enough sessions have closed"
            )
        if self._scenarios is None or self._scenarios.scenario_set_id != record.scenario_set_id:
            self._scenarios = on_demand.scenario_set_of(record)
        return self._scenarios

    async def _record(self, portfolio_id: str) -> PortfolioRecord:
        record = await self._store.record(portfolio_id)
        if record is None:
            raise NotFound(f"there is no portfolio {portfolio_id!r}; check the id")
        return record
