"""What the schema says of everything whose name alone had to do: units, signs, and where to look further.

A description stands beside its field where it explains what is special about it. Here are the others, in one table,
because the same words are used by many types: `EVERYWHERE` holds for every field or argument of a name, `HERE` for one,
or for all fields of a type (`Type.*`). What is written beside a field comes first. A test holds the table complete and
without leftovers.

Money is in the reporting currency. A fraction is of market value: 0.02 is two per cent. Losses are positive where a
measure is a loss (value at risk, expected shortfall), and negative where it is a P&L.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graphql import GraphQLEnumType, GraphQLScalarType, GraphQLSchema, is_introspection_type, is_specified_scalar_type

DATE_TIME_SPECIFICATION = "https://scalars.graphql.org/andimarek/date-time"

EVERYWHERE: Mapping[str, str] = MappingProxyType(
    {
        # --- who and what
        "portfolioId": "The portfolio's bare id.",
        "advisorId": "The bare id of the advisor whose portfolio it is.",
        "clientId": "The client's id, as the portfolio's owner states it; null where none is stated.",
        "riskTolerance": "How much risk the client asked for.",
        "symbol": "What is held, as it is named on the market.",
        "sector": "The sector it belongs to; null where nobody states one.",
        # --- measures
        "marketValue": "Positions at their marks, and cash. Money.",
        "grossExposure": "Long and short positions without their signs, added up. Money, 0 or more.",
        "netExposure": "Long less short positions. Money; negative where more is short.",
        "longExposure": "Positions held long. Money, 0 or more.",
        "shortExposure": "Positions held short. Money, 0 or less.",
        "cash": "Money that is not invested; negative where it is borrowed.",
        "exposure": "Market value of what is held; negative where it is short. Money.",
        "weightFraction": "Its part of the portfolio's market value; null where that is not positive.",
        "var95": "Value at risk of one day at 95 %. Money; a loss is positive.",
        "var99": "Value at risk of one day at 99 %. Money; a loss is positive.",
        "es975": "Expected shortfall of one day at 97.5 %: the mean of the losses beyond. Money; a loss is positive.",
        "var95Fraction": "`var95` as a fraction of market value; null where that is not positive.",
        "var99Fraction": "`var99` as a fraction of market value; null where that is not positive.",
        "es975Fraction": "`es975` as a fraction of market value; null where that is not positive.",
        "volatility": "Standard deviation of returns, annual, a fraction.",
        "expectedReturn": "Mean return, annual, a fraction.",
        "sharpeRatio": "Expected return above the risk-free rate, by volatility.",
        "sortinoRatio": "Expected return above the risk-free rate, by the deviation of losses alone.",
        "maxDrawdown": "The deepest fall from a peak in the scenarios, a fraction; 0 or less.",
        "riskNumber": "From 1 (calm) to 99 (wild); null where there is no value to measure.",
        "riskNumberStructural": "As `riskNumber`, with the market swinging as it did in the long run.",
        "riskBand": "The band that the risk number lies in; null without one.",
        "dayPnl": "Gain since the last close; a loss is negative. Money.",
        "pnl": "Gain; a loss is negative. Money.",
        "pnlFraction": "Gain as a fraction of market value; a loss is negative. Null where that is not positive.",
        "coverage": "The part of gross exposure that has a price history of its own, from 0 to 1.",
        "incompleteSymbols": "Held, but in no number here: without a price, or without the returns to value it with.",
        # --- contributions
        "componentVar95": "Its part of the portfolio's `var95`; parts add up to it. Money.",
        "componentVar99": "Its part of the portfolio's `var99`; parts add up to it. Money.",
        "componentEs975": "Its part of the portfolio's `es975`; parts add up to it. Money.",
        "marginalVar95": "What one more unit of money in it would add to `var95`; null where it has no exposure.",
        "marginalVar99": "What one more unit of money in it would add to `var99`; null where it has no exposure.",
        "marginalEs975": "What one more unit of money in it would add to `es975`; null where it has no exposure.",
        "incrementalVar95": "`var95` less what it would be without it; negative where it hedges. Money.",
        "incrementalVar99": "`var99` less what it would be without it; negative where it hedges. Money.",
        "incrementalEs975": "`es975` less what it would be without it; negative where it hedges. Money.",
        # --- how and when
        "method": "The method of value at risk that the numbers come from.",
        "observations": "How many scenarios the numbers were taken over.",
        "scenarioSetId": "The scenario set that the numbers were computed under.",
        "sequence": "Grows with each snapshot of a portfolio: the larger is the newer.",
        "asOf": "Event time of the newest that went into it.",
        "calculatedAt": "When it was computed.",
        "session": "The trading day, as YYYY-MM-DD.",
        "firstSession": "The first trading day it covers, as YYYY-MM-DD.",
        "lastSession": "The last trading day it covers, as YYYY-MM-DD.",
        "portfolios": "How many portfolios there are in it.",
        "averageCalculationTimeMs": "Mean time to value a portfolio, milliseconds; 0 before the first.",
        # --- pages and records
        "edges": "What the page holds, each with its cursor.",
        "pageInfo": "Whether there is more, and from where to go on.",
        "node": "What this place of the list holds.",
        "cursor": "Names this place of the list, for `after`. Opaque.",
        "topic": "The Kafka topic it was published to.",
        "code": "For programs; it stays the same when the sentence does not.",
        "message": "For people: what is wrong, and what to do about it.",
        # --- arguments
        "(portfolioId)": "The portfolio's bare id.",
        "(advisorId)": "The advisor's bare id.",
        "(first)": "How many at most, 0 to 200.",
        "(after)": "Begins after this cursor; absent: at the beginning.",
        "(orderBy)": "How the list is sorted.",
        "(riskThreshold)": "The lowest risk number that counts, 1 to 99.",
        "(intervalMs)": "The least time between two batches, milliseconds; 100 to 5000.",
        "(scenarios)": "Ids of the stresses; absent: all of them.",
        "(parallelFraction)": "The shock of whatever is not named: -0.2 is a fall of twenty per cent.",
        "(sectors)": "Shocks of whole sectors, before the parallel one.",
        "(symbols)": "Shocks of single symbols, before all others.",
        "(from)": "Not before this moment; absent: from the oldest.",
        "(to)": "Not after this moment; absent: to the newest.",
        "(input)": "What is to be done.",
    }
)

HERE: Mapping[str, str] = MappingProxyType(
    {
        "DateTime": "A moment to the microsecond, as RFC 3339 writes it; in UTC where no zone is written.",
        "Query": "Everything one can ask. Nothing here changes anything.",
        "Mutation": "Everything one can change: published to Kafka, and answered once all replicas have it.",
        "Query.portfolio(id)": "The global id, or the bare one.",
        "Query.advisor(id)": "The global id, or the bare one.",
        "Query.node(id)": "The global id.",
        "Query.portfolios(filter)": "Which portfolios; absent: all.",
        "Query.whatIf(trades)": "Signed changes of quantity; those of one symbol add up.",
        "SectorShockInput.sector": "The sector, as the portfolio's holdings have it.",
        "RiskDifference.*": "After less before, in the unit of the snapshot's field of this name.",
        # --- portfolios
        "Advisor.advisorId": "The advisor's bare id.",
        "PortfolioEdge": "A portfolio and its place in the list.",
        "AdvisorEdge": "An advisor and their place in the list.",
        "PageInfo": "Where a page lies in its list.",
        "PageInfo.hasNextPage": "Whether anything follows the page.",
        "PageInfo.hasPreviousPage": "Whether the page was asked for `after` something.",
        "PageInfo.startCursor": "The cursor of the first on the page; null on an empty one.",
        "PageInfo.endCursor": "The cursor of the last on the page, for `after`; null on an empty one.",
        "PortfolioFilter.riskBand": "In this band.",
        "PortfolioOrder.RISK_NUMBER_DESC": "The riskiest first; those without a risk number last.",
        "PortfolioOrder.RISK_NUMBER_ASC": "The calmest first; those without a risk number before them.",
        "PortfolioOrder.PORTFOLIO_ID": "By id.",
        "RiskTolerance.CONSERVATIVE": "A risk number of about 35.",
        "RiskTolerance.MODERATE": "A risk number of about 50.",
        "RiskTolerance.AGGRESSIVE": "A risk number of about 70.",
        "RiskBand.LOW": "Below 30.",
        "RiskBand.MODERATE": "From 30 to 69.",
        "RiskBand.HIGH": "From 70: at risk.",
        "RiskSnapshot.horizonDays": "The horizon of every measure of loss, trading days.",
        "RiskSnapshot.calculationTimeMs": "How long the valuation took, milliseconds.",
        "Alignment.verdict": "What the gap amounts to.",
        "AlignmentVerdict.ALIGNED": "Up to 10 points from the tolerance.",
        "AlignmentVerdict.TOO_RISKY": "More than 10 points above it.",
        "AlignmentVerdict.TOO_CAUTIOUS": "More than 10 points below it.",
        "Holding.markedAt": "When the mark was taken.",
        "Holding.markAgeMs": "How old the mark is, milliseconds.",
        "Holding.marketValue": "Quantity at its mark; negative where it is short. Money.",
        # --- analysis
        "StressResult.id": "The stress's stable id, for `scenarios`.",
        "StressResult.name": "The stress in words.",
        "Contributions.var95": "The portfolio's own; the components of the holdings add up to it. Money.",
        "Contributions.var99": "The portfolio's own; the components of the holdings add up to it. Money.",
        "Contributions.es975": "The portfolio's own; the components of the holdings add up to it. Money.",
        "WhatIf.before": "As it stands, with the marks of this moment.",
        "WhatIf.after": "As it would stand, with the same marks.",
        "WhatIf.difference": "After less before.",
        "LimitBreach.code": "Which limit.",
        "LimitBreach.bound": "What the limit allows, in its unit.",
        "LimitCode.NO_VALUE": "Market value is not positive.",
        "LimitCode.AT_RISK": "The risk number is 70 or more. Points.",
        "LimitCode.ABOVE_TOLERANCE": "The risk number is further above the client's tolerance than it may be. Points.",
        "LimitCode.SINGLE_NAME": "One name is a larger part of gross exposure than it may be. A fraction.",
        "LimitCode.LEVERAGE": "Gross exposure is a larger multiple of market value than it may be. A ratio.",
        "LimitCode.VALUE_AT_RISK": "Value at risk at 99 % is a larger part of market value than it may be. A fraction.",
        "LimitCode.NEGATIVE_CASH": "More is spent than there is. Money.",
        # --- backtests
        "LiveBacktest.exceptions99": "Sessions that lost more than the value at risk at 99 %.",
        "LiveBacktest.recentExceptions95": "Of the recent sessions, those that lost more than at 95 %.",
        "LiveBacktest.recentExceptions99": "Of the recent sessions, those that lost more than at 99 %.",
        "LiveBacktest.kupiec99": "As `kupiec95`, at 99 %.",
        "LikelihoodRatio.rejected": "Whether the model is rejected at 5 %.",
        "BacktestZone.GREEN": "As many exceptions as a right model may have.",
        "BacktestZone.YELLOW": "More than that: look into it.",
        "BacktestZone.RED": "So many that the model is taken to be wrong.",
        "RollingBacktest.days": "How many sessions were judged.",
        "RollingBacktest.var95": "Value at risk at 95 %, judged.",
        "RollingBacktest.var99": "Value at risk at 99 %, judged.",
        "BacktestLevel.days": "How many sessions were judged.",
        "BacktestLevel.exceptions": "Sessions that lost more than value at risk had said.",
        "BacktestException.valueAtRisk": "What had been said the evening before, as a positive number like the loss.",
        # --- the system
        "MetricsSummary": "Totals over all portfolios.",
        "MetricsSummary.totalPortfolios": "How many portfolios there are.",
        "MetricsSummary.averageRiskNumber": "Mean over those that have one; null where none has.",
        "MetricsSummary.highRiskCount": "Portfolios with a risk number of 70 or more.",
        "MetricsSummary.riskDistribution": "Portfolios by band.",
        "RiskDistribution.low": "Portfolios with a risk number below 30.",
        "RiskDistribution.moderate": "Portfolios with a risk number from 30 to 69.",
        "RiskDistribution.high": "Portfolios with a risk number of 70 or more.",
        "SystemStatus": "Whether answers can be relied on at this moment.",
        "SystemStatus.uptimeSeconds": "Since this process of the API started.",
        "SystemStatus.redisConnected": "Whether Redis answers: without it nothing can be read.",
        "SystemStatus.kafkaConnected": "Whether Kafka answers: without it nothing can be changed.",
        "SystemStatus.activePortfolios": "How many portfolios there are.",
        "SystemStatus.totalCalculations": "Snapshots computed since the present workers started.",
        "SystemStatus.workers": "The engine's workers as they last spoke of themselves.",
        "EngineWorker.workerIndex": "Which of the workers, from 0.",
        "EngineWorker.workers": "How many there are of them.",
        "EngineWorker.state": "What it is doing, in a word.",
        "EngineWorker.startedAt": "When it started.",
        "EngineWorker.beatAt": "When it last said that it lives.",
        "EngineWorker.portfolios": "Open portfolios that are its to value.",
        "EngineWorker.applied": "Records that it applied.",
        "EngineWorker.deadLettered": "Records that it could not apply and set aside.",
        "EngineWorker.calculations": "Portfolios valued.",
        "EngineWorker.published": "Snapshots published.",
        "EngineWorker.lastSession": "The newest trading day with closes, as YYYY-MM-DD; null before there is one.",
        # --- changes
        "SimulatePortfolioUpdateResult": "Where the record stands, or why there is none.",
        "UpdatePortfolioResult": "Where the record stands, or why there is none.",
        "SimulateMarketShockResult": "What was published, or why nothing was.",
        "PortfolioUpdateAccepted.partition": "The partition of the topic.",
        "PortfolioUpdateAccepted.offset": "The offset in the partition, as decimal digits.",
        "MarketShockAccepted.ticks": "How many ticks were published.",
        "MarketShockAccepted.symbols": "The symbols whose prices moved.",
        "ProblemCode.BAD_INPUT": "An argument cannot be used: correct it.",
        "ProblemCode.NOT_FOUND": "There is no such thing: check the id.",
        "ProblemCode.UNAVAILABLE": "Kafka or Redis is away: try again.",
        "UnavailableProblem.dependency": "What is away.",
        "TradeInput.quantity": "A signed change of quantity: negative sells.",
        "SimulatePortfolioUpdateInput": "A change to simulate: trades, or a rebalance where there are none.",
        "MarketShockInput": "A sudden move of prices.",
        "PortfolioInput.positions": "Everything that is held, one position a symbol.",
        "PortfolioInput.accountType": "The kind of account, in its owner's words.",
        "PositionInput.quantity": "How much is held; negative is a short position.",
        # --- events
        "Subscription": "Everything one can follow. A slow reader sees fewer events, never stale ones.",
        "RiskEvent.reason": "Why it came.",
        "RiskEvent.risk": "The whole snapshot.",
        "RiskEventReason.SNAPSHOT": "The present state, first of all.",
        "RiskEventReason.UPDATE": "A newer state.",
        "RiskEventReason.RESYNC": "The state after an interruption: something before it may be missing.",
        "RiskEventReason.CLOSED": "The portfolio is no more, or no longer this advisor's.",
        "RiskBatch.reason": "Why it came.",
        "RiskBatchReason.BEGIN": "The first. It is empty: read the list now.",
        "RiskBatchReason.UPDATE": "What changed since the batch before; nothing where only `stale` did.",
        "RiskBatchReason.RESYNC": "Something may be missing before it: read the list again.",
        "AtRiskChange": "A portfolio that came over the threshold, moved there, or left.",
        "AtRiskChange.change": "What happened to it.",
        "AtRiskChange.risk": "Its whole snapshot.",
        "AtRiskMove.ENTERED": "At or above the threshold, and was not before.",
        "AtRiskMove.UPDATED": "Still at risk.",
        "AtRiskMove.LEFT": "More than 3 points below the threshold, or closed.",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Something of a schema that has a description."""

    name: str
    """`Type`, `Type.field`, `Type.field(argument)` or `Enumeration.VALUE`: its own key in the table."""
    family: str
    """`Type.*`, of a field."""
    short: str
    """`field` or `(argument)`: its key in `EVERYWHERE`."""
    element: Any

    @property
    def key(self) -> str | None:
        """The key that describes it best; None where none does."""
        if self.name in HERE or self.family in HERE:
            return self.name if self.name in HERE else self.family
        return self.short if self.short in EVERYWHERE else None


def places(schema: GraphQLSchema) -> Iterator[Place]:
    """Every type, field, argument, enumeration value and input field that is ours."""
    for name, kind in schema.type_map.items():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        yield Place(name, "", "", kind)
        if isinstance(kind, GraphQLEnumType):
            yield from (Place(f"{name}.{value}", "", "", element) for value, element in kind.values.items())
        for field_name, field in getattr(kind, "fields", {}).items():
            yield Place(f"{name}.{field_name}", f"{name}.*", field_name, field)
            for argument_name, argument in getattr(field, "args", {}).items():
                short = f"({argument_name})"
                yield Place(f"{name}.{field_name}{short}", "", short, argument)


def describe(schema: GraphQLSchema) -> set[str]:
    """Give everything that has no description its own from the table; the keys of the table that were used."""
    # Strawberry's own type says neither what it is nor where that is written.
    moment = schema.type_map["DateTime"]
    assert isinstance(moment, GraphQLScalarType)  # noqa: S101
    moment.description, moment.specified_by_url = None, DATE_TIME_SPECIFICATION
    used = set()
    for place in places(schema):
        if not place.element.description and place.key is not None:
            place.element.description = HERE.get(place.key) or EVERYWHERE[place.key]
            used.add(place.key)
    return used
