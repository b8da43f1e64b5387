"""What one advisor may see of everything: the one place where that is decided, beneath every way of asking.

Each part that tells of portfolios has a twin here, confined to one advisor. Resolvers and handlers are handed twins and
cannot tell: a list is shorter, a count smaller, and what is somebody else's is not there at all. Nor does it cost other
work than what does not exist, so that neither an answer nor its time says which of the two an id is. Whose a portfolio
is, the engine's indexes say at this moment, and no list in a token.

A part that grows a method has to say here what becomes of it: `twin_of` refuses a twin that leaves one out, when this
module is imported.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import NoReturn, TypeVar

from redis.asyncio import Redis

from api.aggregates import Aggregate
from api.batches import Batch
from api.engine_state import EngineState
from api.errors import Forbidden
from api.fanout import Fanout
from api.follow import (
    AtRiskChange,
    AtRiskMove,
    Follow,
    RiskEvent,
    RiskEventReason,
    unknown_advisor,
    unknown_portfolio,
)
from api.identity import NOBODY
from api.listing import Listing, Order, Page, Row, Selection, decode_cursor, require_first
from api.on_demand import Terms
from api.publisher import Publisher
from api.scenario_sets import ScenarioSets
from api.snapshots import BATCH, RiskFigures, SnapshotStore, reaching_redis
from api.summary import Status, Summary, Totals
from api.updates import Accepted, Simulation, Updates
from plimsoll import keys
from plimsoll.errors import Unavailable
from plimsoll.messages import (
    AdvisorPnl,
    BacktestRecord,
    Heartbeat,
    PortfolioRecord,
    PortfolioUpdate,
    RiskPoint,
    RiskSnapshot,
)

_Twin = TypeVar("_Twin", bound=type)
_Event = TypeVar("_Event", RiskEvent, AtRiskChange)
_Found = TypeVar("_Found", RiskSnapshot, PortfolioRecord)


def twin_of(whole: type, *, as_they_are: Iterable[str] = ()) -> Callable[[_Twin], _Twin]:
    """Checks that a twin has a word on everything public of the part that it stands for. Raises `TypeError`.

    as_they_are  what says nothing of portfolios, and is passed on
    """

    def checked(twin: _Twin) -> _Twin:
        public = {name for name in dir(whole) if not name.startswith("_")}
        forgotten = sorted(public - vars(twin).keys() - set(as_they_are))
        unknown = sorted(set(as_they_are) - public)
        if forgotten or unknown:
            raise TypeError(f"{twin.__name__} has to say what becomes of {', '.join(forgotten + unknown)}")
        return twin

    return checked


@twin_of(
    SnapshotStore,
    # The market's, the same for everyone.
    as_they_are=("ping", "marks", "scenario_set", "scenario_set_id"),
)
class OwnStore(SnapshotStore):
    """The snapshots, positions and history of one advisor's portfolios."""

    def __init__(self, redis: Redis, whole: SnapshotStore, advisor_id: str) -> None:
        super().__init__(redis)
        self._whole = whole
        self._advisor_id = advisor_id

    async def risk(self, portfolio_id: str) -> RiskSnapshot | None:
        """As of everyone's; None for what is somebody else's."""
        return (await self.risks([portfolio_id]))[0]

    async def risks(self, portfolio_ids: Sequence[str]) -> list[RiskSnapshot | None]:
        """As of everyone's, with None for what is somebody else's."""
        own = await self._own(portfolio_ids)
        return self._in_order(portfolio_ids, own, await self._whole.risks(own))

    async def risk_figures(self, portfolio_ids: Sequence[str]) -> list[RiskFigures | None]:
        """As of everyone's, with None for what is somebody else's."""
        # They do not say whose they are, so the whole snapshot is read.
        return [
            None if risk is None else RiskFigures(risk.var_95, risk.risk_number)
            for risk in await self.risks(portfolio_ids)
        ]

    async def record(self, portfolio_id: str) -> PortfolioRecord | None:
        """As of everyone's; None for what is somebody else's."""
        return (await self.records([portfolio_id]))[0]

    async def records(self, portfolio_ids: Sequence[str]) -> list[PortfolioRecord | None]:
        """As of everyone's, with None for what is somebody else's."""
        own = await self._own(portfolio_ids)
        return self._in_order(portfolio_ids, own, await self._whole.records(own))

    async def backtest(self, portfolio_id: str) -> BacktestRecord | None:
        """As of everyone's; None for what is somebody else's."""
        return await self._whole.backtest(portfolio_id) if await self._own([portfolio_id]) else None

    async def history(self, portfolio_id: str, from_ns: int | None, to_ns: int | None) -> list[RiskPoint]:
        """As of everyone's; empty for what is somebody else's. It stays with the portfolio when that moves."""
        return await self._whole.history(portfolio_id, from_ns, to_ns) if await self._own([portfolio_id]) else []

    async def heartbeats(self) -> list[Heartbeat]:
        """None: they count everyone's portfolios."""
        return []

    async def advisor_pnls(self, advisor_ids: Sequence[str]) -> list[dict[str, AdvisorPnl]]:
        """As of everyone's, with nothing of any other advisor."""
        own = next(iter(await self._whole.advisor_pnls([self._advisor_id])), {})
        return [own if each == self._advisor_id else {} for each in advisor_ids]

    async def closed(self, portfolio_ids: Sequence[str]) -> list[bool]:
        """None that anybody would know of: whose a closed one was is not written down."""
        return [False] * len(portfolio_ids)

    async def is_advisor(self, advisor_id: str) -> bool:
        """Whether it is this one, with a portfolio."""
        return await self._whole.is_advisor(self._advisor_id) and advisor_id == self._advisor_id

    async def _own(self, portfolio_ids: Sequence[str]) -> list[str]:
        """Those that are this advisor's. What is another's and what is nobody's both end here."""
        own: list[str] = []
        for start in range(0, len(portfolio_ids), BATCH):
            batch = list(portfolio_ids[start : start + BATCH])
            async with reaching_redis():
                scores = await self._redis.zmscore(keys.by_id(self._advisor_id), batch)
            own += [each for each, score in zip(batch, scores, strict=True) if score is not None]
        return own

    def _in_order(
        self, asked: Sequence[str], own: Sequence[str], found: Sequence[_Found | None]
    ) -> list[_Found | None]:
        # It may have moved between the two reads, so each says once more whose it is.
        known = {
            name: each
            for name, each in zip(own, found, strict=True)
            if each is not None and each.advisor_id == self._advisor_id
        }
        return [known.get(name) for name in asked]


@twin_of(Listing)
class OwnListing(Listing):
    """The lists and counts of one advisor's portfolios. A cursor is a place, and may come from anywhere."""

    def __init__(self, redis: Redis, advisor_id: str) -> None:
        super().__init__(redis)
        self._advisor_id = advisor_id

    async def portfolios(self, selection: Selection, order: Order, first: int, after: str | None) -> Page:
        """As of everyone's."""
        return await super().portfolios(self._confined(selection), order, first, after)

    async def advisors(self, first: int, after: str | None) -> Page:
        """This one, or nobody."""
        require_first(first)
        start = None if after is None else decode_cursor(after, Order.ADVISOR_ID)
        own = await self.all_advisors()
        rows = [Row(each) for each in own if start is None or each.encode() > start.id.encode()]
        return Page(rows[:first], has_next=len(rows) > first, order=Order.ADVISOR_ID)

    async def count(self, selection: Selection) -> int:
        """As of everyone's."""
        return await super().count(self._confined(selection))

    async def count_advisors(self) -> int:
        """One or none."""
        return len(await self.all_advisors())

    async def all_advisors(self) -> list[str]:
        """This one, where there is a portfolio of theirs."""
        return [self._advisor_id] if await super().count(Selection(self._advisor_id)) else []

    async def all_portfolios(self, selection: Selection) -> list[str]:
        """As of everyone's."""
        return await super().all_portfolios(self._confined(selection))

    def _confined(self, selection: Selection) -> Selection:
        """What of a selection is this advisor's. Of another's that is nothing: the list of nobody is empty."""
        own = selection.advisor_id in (None, self._advisor_id)
        return replace(selection, advisor_id=self._advisor_id if own else NOBODY)


@twin_of(EngineState)
class OwnEngineState(EngineState):
    """Whether the engine speaks, and nothing of how much it has to do."""

    def __init__(self, whole: EngineState) -> None:
        self._whole = whole

    async def crew(self) -> list[Heartbeat]:
        """None: they count everyone's portfolios."""
        return []

    async def is_stale(self) -> bool:
        """As for everyone."""
        return await self._whole.is_stale()

    def stale_now(self) -> bool:
        """As for everyone."""
        return self._whole.stale_now()

    async def age_ns(self) -> int | None:
        """As for everyone."""
        return await self._whole.age_ns()

    async def is_complete(self) -> bool:
        """As for everyone."""
        return await self._whole.is_complete()


@twin_of(Summary)
class OwnSummary(Summary):
    """Totals and aggregates of what a store and a listing show. `store` and `listing` are twins, `whole` is not.

    is_operator  sees the status of the whole system, as far as that is no risk and no position
    """

    def __init__(
        self,
        store: OwnStore,
        listing: OwnListing,
        engine: EngineState,
        publisher: Publisher,
        *,
        sets: ScenarioSets,
        terms: Terms,
        clock: Callable[[], int],
        whole: Summary,
        is_operator: bool,
    ) -> None:
        # The engine's crew says which P&L vectors count; it is not told to anybody.
        super().__init__(store, listing, engine, publisher, sets=sets, terms=terms, clock=clock)
        self._whole = whole
        self._is_operator = is_operator
        # A twin is made for each request. Sums are found by the advisors that they are of, and this asks of its own.
        self.wholes = whole.wholes

    async def totals(self) -> Totals:
        """Over this advisor's portfolios, at most a second old."""
        return await super().totals()

    async def status(self) -> Status:
        """As for everyone, without how much there is of others' and what the engine has done for them."""
        status = await self._whole.status()
        if self._is_operator:
            return status
        portfolios = 0
        with suppress(Unavailable):
            portfolios = await self._listing.count(Selection())
        return replace(status, portfolios=portfolios, crew=[])

    async def firm(self) -> Aggregate:
        """All that this advisor sees, as one."""
        return await super().firm()

    async def advisor(self, advisor_id: str) -> Aggregate:
        """This advisor's portfolios as one; of another's, what is known of nobody."""
        return await super().advisor(advisor_id)


@twin_of(Follow)
class OwnFollow(Follow):
    """Streams of one advisor's portfolios. `shown` is the twin of `store`, which has to know what became of others'."""

    def __init__(
        self, fanout: Fanout, store: SnapshotStore, listing: Listing, *, shown: OwnStore, advisor_id: str
    ) -> None:
        super().__init__(fanout, store, listing)
        self._shown = shown
        self._advisor_id = advisor_id

    async def portfolio(self, portfolio_id: str) -> AsyncGenerator[RiskEvent, None]:
        """As of everyone's, but one that moves to another advisor is CLOSED, and nothing is said of where it went."""
        # Asked of the twin first: what is somebody else's must not take longer to refuse than what is not there.
        if await self._shown.risk(portfolio_id) is None:
            raise unknown_portfolio(portfolio_id)
        last: RiskSnapshot | None = None
        async with aclosing(super().portfolio(portfolio_id)) as events:
            async for event in events:
                if event.risk.advisor_id != self._advisor_id:
                    if last is None:
                        raise unknown_portfolio(portfolio_id)
                    yield _closed(last)
                    return
                yield event
                last = event.risk

    async def advisor(self, advisor_id: str) -> AsyncGenerator[RiskEvent, None]:
        """As of everyone's. Raises `NotFound` for any other advisor."""
        if not await self._shown.is_advisor(advisor_id):
            raise unknown_advisor(advisor_id)
        async with aclosing(self.everyone()) as events:
            async for event in events:
                yield event

    async def everyone(self) -> AsyncGenerator[RiskEvent, None]:
        """This advisor's, whether there are any yet or not."""
        async with aclosing(self._own(self._all(self._advisor_id), _closed)) as events:
            async for event in events:
                yield event

    async def batches(self, advisor_id: str | None, interval_seconds: float) -> AsyncGenerator[Batch, None]:
        """This advisor's, whether there are any yet or not. Raises `NotFound` where any other advisor is named."""
        if advisor_id is not None and not await self._shown.is_advisor(advisor_id):
            raise unknown_advisor(advisor_id)
        async with aclosing(self._batches(self._advisor_id, interval_seconds)) as batches:
            async for batch in batches:
                yield batch

    async def at_risk(self, threshold: int) -> AsyncGenerator[AtRiskChange, None]:
        """As of everyone's. One that moves to another advisor has LEFT."""
        async with aclosing(self._own(self._at_risk(threshold, self._advisor_id), _left)) as changes:
            async for change in changes:
                yield change

    async def _own(
        self, events: AsyncGenerator[_Event, None], ended: Callable[[RiskSnapshot], _Event]
    ) -> AsyncGenerator[_Event, None]:
        """Every event that is of this advisor's; one of another's is the end of what was told before, or nothing."""
        told: dict[str, RiskSnapshot] = {}
        async with aclosing(events):
            async for event in events:
                if event.risk.advisor_id == self._advisor_id:
                    told[event.risk.portfolio_id] = event.risk
                    yield event
                elif gone := told.pop(event.risk.portfolio_id, None):
                    yield ended(gone)


@twin_of(Updates)
class NoUpdates(Updates):
    """For callers who may change nothing."""

    def __init__(self) -> None:
        """Without any of what changes are made by."""

    async def simulate(self, simulation: Simulation) -> Accepted:
        """Raises `Forbidden`."""
        _refuse()

    async def update(self, update: PortfolioUpdate) -> Accepted:
        """Raises `Forbidden`."""
        _refuse()

    async def shock(self, fraction: float, symbols: Sequence[str] | None) -> list[str]:
        """Raises `Forbidden`."""
        _refuse()

    async def value(self, update: PortfolioUpdate) -> float:
        """Raises `Forbidden`."""
        _refuse()


def _closed(last: RiskSnapshot) -> RiskEvent:
    return RiskEvent(RiskEventReason.CLOSED, last.sequence, last)


def _left(last: RiskSnapshot) -> AtRiskChange:
    return AtRiskChange(AtRiskMove.LEFT, last)


def _refuse() -> NoReturn:
    raise Forbidden("changes are for operator; ask with another role")
