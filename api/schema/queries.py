"""Everything one can ask. Lookups are null for what does not exist; what cannot be asked is an error with a code."""

from __future__ import annotations

from datetime import datetime

import strawberry

from api import listing
from api.errors import require_identifier
from api.schema.analysis_types import Alternative, Contributions, LimitBreach, ShockResult, StressResult, WhatIf
from api.schema.backtest_types import Backtest
from api.schema.described import field
from api.schema.inputs import (
    PortfolioFilter,
    PortfolioOrder,
    SectorShockInput,
    SymbolShockInput,
    TradeInput,
    trades_by_symbol,
)
from api.schema.operation import Info
from api.schema.portfolio_types import (
    Advisor,
    AdvisorConnection,
    AdvisorEdge,
    From,
    Node,
    PageInfo,
    Portfolio,
    PortfolioConnection,
    present,
    read_alternatives,
    read_backtest,
    read_contributions,
    read_history,
    read_page,
    read_risk,
    read_shock,
    read_stress,
)
from api.schema.risk_types import AggregateRisk, RiskDifference, RiskPoint, RiskSnapshot
from api.schema.scalars import own_id, parse_global_id
from api.schema.status_types import MetricsSummary, SystemStatus
from plimsoll.refusals import is_identifier


@strawberry.type
class Query:
    """The reading side of the contract."""

    @field
    async def portfolio(self, info: Info, id: strawberry.ID) -> Portfolio | None:  # noqa: A002
        """By global or by bare id. Null for an unknown id."""
        return await _portfolio(info, own_id("Portfolio", id))

    @field
    async def portfolio_risk(self, info: Info, portfolio_id: strawberry.ID) -> RiskSnapshot | None:
        """The newest snapshot of a portfolio, by its bare id. Null for an unknown id."""
        return await read_risk(info, portfolio_id) if is_identifier(portfolio_id) else None

    @field
    async def portfolios(
        self,
        info: Info,
        first: int = 50,
        after: str | None = None,
        filter: PortfolioFilter | None = None,  # noqa: A002
        order_by: PortfolioOrder | None = PortfolioOrder.RISK_NUMBER_DESC,
    ) -> PortfolioConnection:
        """A page of portfolios; 0 to 200 of them. The riskiest first where no order is named."""
        selection = listing.Selection() if filter is None else filter.selection()
        if selection.advisor_id is not None:
            require_identifier(selection.advisor_id, "filter.advisorId")
        return await read_page(info, selection, order_by or PortfolioOrder.RISK_NUMBER_DESC, first, after)

    @field
    async def at_risk_portfolios(
        self, info: Info, risk_threshold: int = 70, first: int = 50, after: str | None = None
    ) -> PortfolioConnection:
        """Portfolios with a risk number of the threshold (1 to 99) or more, the riskiest first.

        A page; 0 to 200 of them. This is one moment; `atRisk`, the subscription, keeps who entered down to 3 below.
        """
        selection = listing.Selection(min_risk_number=listing.require_number(risk_threshold, "riskThreshold"))
        return await read_page(info, selection, PortfolioOrder.RISK_NUMBER_DESC, first, after)

    @field
    async def advisor(self, info: Info, id: strawberry.ID) -> Advisor | None:  # noqa: A002
        """By global or by bare id. Null for an id without portfolios."""
        return await _advisor(info, own_id("Advisor", id))

    @field
    async def advisors(self, info: Info, first: int = 50, after: str | None = None) -> AdvisorConnection:
        """A page of advisors by id, those who have a portfolio; 0 to 200 of them."""
        page = await info.context.backend.listing.advisors(first, after)
        return AdvisorConnection(
            edges=[AdvisorEdge(node=Advisor.of(row.id), cursor=page.cursor(row)) for row in page.rows],
            page_info=PageInfo.of(page, after),
        )

    @field
    async def firm_risk(self, info: Info) -> AggregateRisk:
        """Every portfolio as one; zeros where nothing is known yet. Not a sum of value at risk: that does not add."""
        return AggregateRisk.of("firm", await info.context.backend.summary.firm())

    @field
    async def what_if(self, info: Info, portfolio_id: strawberry.ID, trades: list[TradeInput]) -> WhatIf:
        """What trades would change, with the marks of this moment. Nothing is changed.

        Cash stays as it is, so market value moves by what is traded.
        NOT_FOUND for an unknown portfolio. A symbol without a price is among `after.incompleteSymbols`.
        """
        found = await info.context.backend.analysis.what_if(
            require_identifier(portfolio_id, "portfolioId"), trades_by_symbol(trades)
        )
        return WhatIf(
            before=await present(info, found.before),
            after=await present(info, found.after),
            difference=RiskDifference.between(found.before, found.after),
            breaches=[LimitBreach.of(breach) for breach in found.breaches],
        )

    @field
    async def stress(
        self, info: Info, portfolio_id: strawberry.ID, scenarios: list[strawberry.ID] | None = None
    ) -> list[StressResult]:
        """What falls of the market in the past would do; all of them where none is named.

        NOT_FOUND for an unknown portfolio.
        """
        return await read_stress(info, require_identifier(portfolio_id, "portfolioId"), scenarios)

    @field
    async def shock(
        self,
        info: Info,
        portfolio_id: strawberry.ID,
        parallel_fraction: float | None = None,
        sectors: list[SectorShockInput] | None = None,
        symbols: list[SymbolShockInput] | None = None,
    ) -> ShockResult:
        """What an assumed shock would do: a symbol's own before its sector's before the parallel one, else none.

        Fractions are from -1 to 10: -0.2 is a fall of twenty per cent. NOT_FOUND for an unknown portfolio.
        """
        known_id = require_identifier(portfolio_id, "portfolioId")
        return await read_shock(info, known_id, parallel_fraction, sectors, symbols)

    @field
    async def contributions(self, info: Info, portfolio_id: strawberry.ID) -> Contributions:
        """What each holding and sector adds to a portfolio's risk. NOT_FOUND for an unknown portfolio."""
        return await read_contributions(info, require_identifier(portfolio_id, "portfolioId"))

    @field
    async def alternatives(self, info: Info, portfolio_id: strawberry.ID) -> list[Alternative]:
        """Every method of value at risk side by side. NOT_FOUND for an unknown portfolio."""
        return await read_alternatives(info, require_identifier(portfolio_id, "portfolioId"))

    @field
    async def backtest(self, info: Info, portfolio_id: strawberry.ID) -> Backtest:
        """How a portfolio's value at risk has done: live, and rolled through past closes.

        NOT_FOUND for an unknown portfolio.
        """
        return await read_backtest(info, require_identifier(portfolio_id, "portfolioId"))

    @field
    async def risk_history(
        self, info: Info, portfolio_id: strawberry.ID, from_: From = None, to: datetime | None = None
    ) -> list[RiskPoint]:
        """A portfolio's minutes from the oldest to the newest, both ends included. Empty for an unknown id."""
        return await read_history(info, require_identifier(portfolio_id, "portfolioId"), from_, to)

    @field
    async def metrics_summary(self, info: Info) -> MetricsSummary:
        """Totals over all portfolios, at most a second old. As `GET /metrics/summary`."""
        return MetricsSummary.of(await info.context.backend.summary.totals())

    @field
    async def system_status(self, info: Info) -> SystemStatus:
        """Whether answers can be relied on. As `GET /health`."""
        return SystemStatus.of(await info.context.backend.summary.status())

    @field
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:  # noqa: A002
        """A portfolio or an advisor by its global id. Null for an unknown id."""
        match parse_global_id(id):
            case ("Portfolio", portfolio_id):
                return await _portfolio(info, portfolio_id)
            case ("Advisor", advisor_id):
                return await _advisor(info, advisor_id)
        return None


async def _portfolio(info: Info, portfolio_id: str | None) -> Portfolio | None:
    if portfolio_id is None:
        return None
    found = await info.context.risks.load(portfolio_id) or await info.context.records.load(portfolio_id)
    return None if found is None else Portfolio.of(found)


async def _advisor(info: Info, advisor_id: str | None) -> Advisor | None:
    if advisor_id is None or not await info.context.backend.store.is_advisor(advisor_id):
        return None
    return Advisor.of(advisor_id)
