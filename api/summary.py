"""The state of everything at a glance: how many portfolios, how risky, and whether what they say can be relied on.

Counts come from the indexes. Sums over all portfolios are read in batches, between which the loop is free, and at
most once a second for each process, however many ask.

When a session closes the engine values everything by another scenario set, advisor by advisor and within a second.
P&L of two sets cannot be added, so meanwhile the last whole sum stands, with the set and the time that it is of:
otherwise a firm would lose a third of its value for a moment, and an alarm would ring.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.aggregates import Aggregate, aggregate
from api.engine_state import EngineState
from api.listing import Listing, Selection
from api.on_demand import Terms
from api.publisher import Publisher
from api.scenario_sets import ScenarioSets
from api.snapshots import BATCH, SnapshotStore
from plimsoll.errors import Unavailable
from plimsoll.messages import AdvisorPnl, Heartbeat, Replay
from plimsoll.risk.score import RiskBand, risk_band

KEPT_NS = 1_000_000_000
"""How long totals serve before they are read again."""
ROLL_NS = 3_000_000_000
"""How long a whole sum stands while another scenario set comes into force. What takes longer is told as partial."""
WHOLE_MAX = 1_000
"""So many of these sums are kept at the most, those that were asked for last."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all portfolios. `total_value_at_risk` adds the portfolios' own: it is not the firm's."""

    portfolios: int
    average_risk_number: float | None
    total_value_at_risk: float
    by_band: dict[RiskBand, int]
    """Portfolios without a risk number are in none."""


@dataclass(frozen=True, slots=True)
class Status:
    """Whether answers can be relied on."""

    uptime_seconds: float
    redis_connected: bool
    kafka_connected: bool
    stale: bool
    portfolios: int
    crew: list[Heartbeat]
    replay: Replay | None
    """The session that is played, as the worker says that spoke last."""

    @property
    def healthy(self) -> bool:
        """Everything answers, and the engine speaks."""
        return self.redis_connected and self.kafka_connected and not self.stale

    @property
    def calculations(self) -> int:
        """Snapshots that the present crew computed since it started."""
        return sum(beat.calculations for beat in self.crew)

    @property
    def average_calculation_time_ms(self) -> float:
        """Over those calculations; 0 before the first."""
        spent = sum(beat.average_calculation_time_ms * beat.calculations for beat in self.crew)
        return spent / self.calculations if self.calculations else 0.0


def band_ends(band: RiskBand) -> tuple[int, int]:
    """The lowest and the highest risk number of a band."""
    numbers = [number for number in range(1, 100) if risk_band(number) is band]
    return numbers[0], numbers[-1]


class Wholes:
    """The last whole sums, by the advisors that they are of, and when each was."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[Aggregate, int]] = OrderedDict()

    def keep(self, advisor_ids: Sequence[str], whole: Aggregate, now_ns: int) -> None:
        """It stands for some seconds from now."""
        key = tuple(advisor_ids)
        self._kept[key] = whole, now_ns
        self._kept.move_to_end(key)
        # What stands no more goes: the names of a firm's advisors are thousands, and others with each that comes.
        while self._kept and (len(self._kept) > WHOLE_MAX or not _stands(next(iter(self._kept.values()))[1], now_ns)):
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, advisor_ids: Sequence[str], now_ns: int) -> Aggregate | None:
        """The sum over exactly these advisors, while it stands."""
        whole, kept_at_ns = self._kept.get(tuple(advisor_ids), (None, 0))
        return whole if _stands(kept_at_ns, now_ns) else None


def _stands(kept_at_ns: int, now_ns: int) -> bool:
    return 0 <= now_ns - kept_at_ns <= ROLL_NS  # Below 0 the clock was set back, and nobody knows.


class Summary:
    """Totals, status and aggregate risk. `clock` gives UTC nanoseconds."""

    def __init__(
        self,
        store: SnapshotStore,
        listing: Listing,
        engine: EngineState,
        publisher: Publisher,
        *,
        sets: ScenarioSets,
        terms: Terms,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._listing = listing
        self._engine = engine
        self._publisher = publisher
        self._sets = sets
        self._terms = terms
        self._clock = clock
        self._started_at_ns = clock()
        self._totals: Totals | None = None
        self._totals_at_ns = 0
        self._totals_lock = asyncio.Lock()
        self.wholes = Wholes()

    async def totals(self) -> Totals:
        """Sums over all portfolios, at most a second old. Raises `Unavailable`."""
        async with self._totals_lock:
            now_ns = self._clock()
            if self._totals is None or now_ns - self._totals_at_ns >= KEPT_NS:
                self._totals = await self._read_totals()
                self._totals_at_ns = now_ns
            return self._totals

    async def status(self) -> Status:
        """What answers and what does not. Raises nothing: that Redis is away is an answer here."""
        portfolios, redis_connected = 0, True
        try:
            portfolios = await self._listing.count(Selection())
        except Unavailable:
            redis_connected = False
        crew = await self._engine.crew()
        newest = max(crew, key=lambda beat: beat.beat_at_ns, default=None)
        return Status(
            uptime_seconds=(self._clock() - self._started_at_ns) / 1e9,
            redis_connected=redis_connected,
            kafka_connected=self._publisher.connected,
            stale=await self._engine.is_stale(),
            portfolios=portfolios,
            crew=crew,
            replay=None if newest is None else newest.replay,
        )

    async def firm(self) -> Aggregate:
        """Every portfolio as one. Raises `Unavailable`."""
        return await self._aggregate(await self._listing.all_advisors(), Selection())

    async def advisor(self, advisor_id: str) -> Aggregate:
        """One advisor's portfolios as one. Raises `Unavailable`."""
        return await self._aggregate([advisor_id], Selection(advisor_id))

    async def _aggregate(self, advisor_ids: list[str], selection: Selection) -> Aggregate:
        crew = await self._engine.crew()
        fields = {f"{beat.worker_index}/{beat.workers}" for beat in crew}
        pnls: list[AdvisorPnl] = []
        for by_worker in await self._store.advisor_pnls(advisor_ids):
            pnls += [pnl for field, pnl in by_worker.items() if field in fields]
        scenarios, current_id = await self._sets.if_any(), await self._store.scenario_set_id()
        rolls = any(pnl.scenario_set_id != current_id for pnl in pnls)
        if rolls and (whole := self.wholes.find(advisor_ids, self._clock())) is not None:
            return whole
        summed = aggregate(pnls, current_id, scenarios, self._terms)
        missing = summed.portfolios < await self._listing.count(selection) or not await self._engine.is_complete()
        answer = replace(summed, partial=summed.partial or (missing and summed.portfolios > 0))
        if pnls and not rolls and not answer.partial:
            self.wholes.keep(advisor_ids, answer, self._clock())
        return answer

    async def _read_totals(self) -> Totals:
        portfolio_ids = await self._listing.all_portfolios(Selection())
        value_at_risk, numbers, numbered = 0.0, 0, 0
        for start in range(0, len(portfolio_ids), BATCH):
            for figures in await self._store.risk_figures(portfolio_ids[start : start + BATCH]):
                if figures is not None:
                    value_at_risk += figures.var_95
                if figures is not None and figures.risk_number is not None:
                    numbers, numbered = numbers + figures.risk_number, numbered + 1
        by_band = {}
        for band in RiskBand:
            lowest, highest = band_ends(band)
            by_band[band] = await self._listing.count(Selection(min_risk_number=lowest, max_risk_number=highest))
        return Totals(
            portfolios=len(portfolio_ids),
            average_risk_number=numbers / numbered if numbered else None,
            total_value_at_risk=value_at_risk,
            by_band=by_band,
        )
