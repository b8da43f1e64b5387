"""Portfolios, advisors, and pages of them. What belongs to one is read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeAlias, cast

import strawberry

from api import listing
from api.schema.analysis_types import (
    Alternative,
    Contributions,
    Holding,
    SectorExposure,
    ShockResult,
    StressResult,
)
from api.schema.backtest_types import Backtest
from api.schema.described import field
from api.schema.enums import RiskTolerance
from api.schema.inputs import PortfolioOrder, SectorShockInput, SymbolShockInput, shock_of
from api.schema.operation import Info
from api.schema.risk_types import AggregateRisk, Alignment, RiskPoint, RiskSnapshot
from api.schema.scalars import global_id, nanoseconds
from api.schema.views import View
from plimsoll import messages

From: TypeAlias = Annotated[datetime | None, strawberry.argument(name="from")]
"""`from` is a word of Python's own."""


@strawberry.interface(description="Anything with an id of its own among all nodes.")
class Node:
    """Portfolios and advisors are nodes."""

    id: strawberry.ID = strawberry.field(description="Global: what `node(id:)` takes.")


@strawberry.type
class PageInfo:
    """Relay's page information, forwards only."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None

    @classmethod
    def of(cls, page: listing.Page, after: str | None) -> PageInfo:
        """What a page says of itself."""
        return cls(
            has_next_page=page.has_next,
            has_previous_page=after is not None,
            start_cursor=page.cursor(page.rows[0]) if page.rows else None,
            end_cursor=page.cursor(page.rows[-1]) if page.rows else None,
        )


@strawberry.type(description="What is owned together: the key of everything here.")
class Portfolio(View, Node):
    """Read off its risk or, before the first of that, off its positions."""

    portfolio_id: strawberry.ID
    client_id: strawberry.ID | None
    risk_tolerance: RiskTolerance = strawberry.field(description="Shown beside the risk number, never bending it.")

    known: strawberry.Private[RiskSnapshot | None]

    derived: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "id": lambda view: global_id("Portfolio", view.message.portfolio_id)
    }

    @classmethod
    def of(cls, source: messages.PortfolioRecord | messages.RiskSnapshot, known: RiskSnapshot | None = None) -> Self:
        """The portfolio that a message is about; `known` is its risk, where that was read already."""
        view = cls.over(source)
        view.known = known
        return view

    @field
    def advisor(self) -> Advisor:
        """Whose portfolio it is."""
        return Advisor.of(self.message.advisor_id)

    @field
    def risk(self, info: Info) -> RiskSnapshot | None:
        """The newest snapshot; null before the first. As `portfolioRisk`."""
        if self.known is not None:
            return self.known
        # GraphQL waits for what can be awaited. A page of portfolios has nothing to wait for, and is read at once.
        return cast("RiskSnapshot | None", read_risk(info, self.portfolio_id))

    @field
    async def holdings(self, info: Info) -> list[Holding]:
        """The positions as the engine applied them, the largest first.

        Empty for a portfolio that was closed meanwhile.
        """
        record = await info.context.records.load(self.portfolio_id)
        if record is None:
            return []
        backend = info.context.backend
        now_ns = backend.clock()
        return [Holding.of(holding, now_ns) for holding in await backend.analysis.holdings(record)]

    @field
    async def exposures(self, info: Info) -> list[SectorExposure]:
        """What it holds of each sector, the largest first. Empty for a portfolio that was closed meanwhile."""
        record = await info.context.records.load(self.portfolio_id)
        if record is None:
            return []
        found = await info.context.backend.analysis.sector_exposures(record)
        return [SectorExposure.of(exposure) for exposure in found]

    @field
    async def alignment(self, info: Info) -> Alignment | None:
        """How its risk number compares with its client's tolerance; null while it has none. As `risk.alignment`."""
        if self.known is not None:
            return self.known.alignment
        snapshot = await info.context.risks.load(self.portfolio_id)
        return None if snapshot is None else Alignment.of(snapshot)

    @field
    async def cash(self, info: Info) -> float | None:
        """In the reporting currency; null for a portfolio that was closed meanwhile. As its owner stated it."""
        record = await info.context.records.load(self.portfolio_id)
        return None if record is None else record.cash

    @field
    async def account_type(self, info: Info) -> str | None:
        """As its owner stated it."""
        record = await info.context.records.load(self.portfolio_id)
        return None if record is None else record.account_type

    @field
    async def history(self, info: Info, from_: From = None, to: datetime | None = None) -> list[RiskPoint]:
        """Minutes from the oldest to the newest, both ends included. As `riskHistory`."""
        return await read_history(info, self.portfolio_id, from_, to)

    @field
    async def stress(self, info: Info, scenarios: list[strawberry.ID] | None = None) -> list[StressResult]:
        """What falls of the market in the past would do to it; all of them where none is named. As `stress`."""
        return await read_stress(info, self.portfolio_id, scenarios)

    @field
    async def shock(
        self,
        info: Info,
        parallel_fraction: float | None = None,
        sectors: list[SectorShockInput] | None = None,
        symbols: list[SymbolShockInput] | None = None,
    ) -> ShockResult:
        """What an assumed shock would do to it; a symbol's own before its sector's before the parallel. As `shock`."""
        return await read_shock(info, self.portfolio_id, parallel_fraction, sectors, symbols)

    @field
    async def contributions(self, info: Info) -> Contributions:
        """What each holding and sector adds to its risk. As `contributions`."""
        return await read_contributions(info, self.portfolio_id)

    @field
    async def alternatives(self, info: Info) -> list[Alternative]:
        """Every method of value at risk side by side. As `alternatives`."""
        return await read_alternatives(info, self.portfolio_id)

    @field
    async def backtest(self, info: Info) -> Backtest:
        """How its value at risk has done. As `backtest`."""
        return await read_backtest(info, self.portfolio_id)


@strawberry.type
class PortfolioEdge:
    """A portfolio and its place in the list."""

    node: Portfolio
    row: strawberry.Private[listing.Row]
    page: strawberry.Private[listing.Page]

    # No description: the type has said it.
    @strawberry.field
    def cursor(self) -> str:
        """Made where it is asked for: most readers turn pages by `endCursor`."""
        return self.page.cursor(self.row)


@strawberry.type(description="One page of portfolios.")
class PortfolioConnection:
    """A page by keyset: what did not move is met exactly once."""

    edges: list[PortfolioEdge]
    page_info: PageInfo
    selection: strawberry.Private[listing.Selection]

    @field
    def nodes(self) -> list[Portfolio]:
        """The portfolios of the page, without their cursors. For those who do not need cursors."""
        return [edge.node for edge in self.edges]

    @field
    async def total_count(self, info: Info) -> int:
        """Of the whole list, at this moment. Counted only where it is asked for."""
        return await info.context.backend.listing.count(self.selection)


@strawberry.type(description="Who looks after portfolios.")
class Advisor(Node):
    """Known by having portfolios."""

    advisor_id: strawberry.ID

    @classmethod
    def of(cls, advisor_id: str) -> Advisor:
        """The advisor with this id."""
        return cls(id=global_id("Advisor", advisor_id), advisor_id=strawberry.ID(advisor_id))

    @field
    async def portfolios(
        self,
        info: Info,
        first: int = 50,
        after: str | None = None,
        order_by: PortfolioOrder = PortfolioOrder.RISK_NUMBER_DESC,
    ) -> PortfolioConnection:
        """A page of this advisor's portfolios; 0 to 200 of them. As `portfolios` with a filter."""
        return await read_page(info, listing.Selection(self.advisor_id), order_by, first, after)

    @field
    async def risk(self, info: Info) -> AggregateRisk:
        """All of this advisor's portfolios as one. Not a sum of value at risk: that does not add."""
        return AggregateRisk.of(self.advisor_id, await info.context.backend.summary.advisor(self.advisor_id))

    @field
    async def total_count(self, info: Info) -> int:
        """How many portfolios this advisor has. At this moment."""
        return await info.context.backend.listing.count(listing.Selection(self.advisor_id))


@strawberry.type
class AdvisorEdge:
    """An advisor and their place in the list."""

    node: Advisor
    cursor: str


@strawberry.type(description="One page of advisors, by id.")
class AdvisorConnection:
    """A page by keyset."""

    edges: list[AdvisorEdge]
    page_info: PageInfo

    @field
    def nodes(self) -> list[Advisor]:
        """The advisors of the page, without their cursors. For those who do not need cursors."""
        return [edge.node for edge in self.edges]

    @field
    async def total_count(self, info: Info) -> int:
        """Of the whole list, at this moment. Counted only where it is asked for."""
        return await info.context.backend.listing.count_advisors()


async def read_risk(info: Info, portfolio_id: str) -> RiskSnapshot | None:
    """A portfolio's newest snapshot, as it stands now."""
    snapshot = await info.context.risks.load(portfolio_id)
    return None if snapshot is None else await present(info, snapshot)


async def present(info: Info, snapshot: messages.RiskSnapshot) -> RiskSnapshot:
    """A snapshot with what depends on the moment of asking."""
    backend = info.context.backend
    return RiskSnapshot.of(snapshot, backend.clock(), stale=await backend.engine.is_stale())


async def read_history(info: Info, portfolio_id: str, start: datetime | None, end: datetime | None) -> list[RiskPoint]:
    """A portfolio's minutes between two times."""
    points = await info.context.backend.store.history(
        portfolio_id, None if start is None else nanoseconds(start), None if end is None else nanoseconds(end)
    )
    return [RiskPoint.of(point) for point in points]


async def read_stress(info: Info, portfolio_id: str, scenarios: list[strawberry.ID] | None) -> list[StressResult]:
    """What falls of the market in the past would do to a portfolio."""
    results = await info.context.backend.analysis.stress(portfolio_id, scenarios)
    return [StressResult.of(result) for result in results]


async def read_shock(
    info: Info,
    portfolio_id: str,
    parallel_fraction: float | None,
    sectors: list[SectorShockInput] | None,
    symbols: list[SymbolShockInput] | None,
) -> ShockResult:
    """What an assumed shock would do to a portfolio."""
    shock = shock_of(parallel_fraction, sectors, symbols)
    return ShockResult.of(await info.context.backend.analysis.shock(portfolio_id, shock))


async def read_contributions(info: Info, portfolio_id: str) -> Contributions:
    """What each holding and sector adds to a portfolio's risk."""
    return Contributions.of(await info.context.backend.analysis.contributions(portfolio_id))


async def read_alternatives(info: Info, portfolio_id: str) -> list[Alternative]:
    """Every method's answer for a portfolio."""
    return [Alternative.of(each) for each in await info.context.backend.analysis.alternatives(portfolio_id)]


async def read_backtest(info: Info, portfolio_id: str) -> Backtest:
    """How a portfolio's value at risk has done."""
    return Backtest.of(await info.context.backend.analysis.backtest(portfolio_id))


async def read_page(
    info: Info, selection: listing.Selection, order: PortfolioOrder, first: int, after: str | None
) -> PortfolioConnection:
    """A page of portfolios. One that is closed between the index and its snapshot is left out."""
    backend = info.context.backend
    page = await backend.listing.portfolios(selection, order.value, first, after)
    snapshots = await backend.store.risks([row.id for row in page.rows])
    now_ns, stale = backend.clock(), await backend.engine.is_stale()
    return PortfolioConnection(
        edges=[
            PortfolioEdge(
                node=Portfolio.of(snapshot, RiskSnapshot.of(snapshot, now_ns, stale=stale)), row=row, page=page
            )
            for row, snapshot in zip(page.rows, snapshots, strict=True)
            if snapshot is not None
        ],
        page_info=PageInfo.of(page, after),
        selection=selection,
    )
