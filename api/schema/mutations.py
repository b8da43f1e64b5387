"""Everything one can change: published to Kafka, answered after the brokers' acknowledgement."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry

from api.schema.described import field
from api.schema.inputs import MarketShockInput, PortfolioInput, SimulatePortfolioUpdateInput, trades_by_symbol
from api.schema.operation import Info
from api.schema.problems import EXPECTED, InvalidInputProblem, NotFoundProblem, UnavailableProblem, problem_of
from api.updates import Accepted, Simulation
from plimsoll import topics


@strawberry.type(description="All replicas have it. The engine applies it next.")
class PortfolioUpdateAccepted:
    """Where the record stands."""

    portfolio_id: strawberry.ID
    topic: str
    partition: int
    offset: str

    @classmethod
    def of(cls, accepted: Accepted) -> PortfolioUpdateAccepted:
        """An acceptance in words of the schema."""
        return cls(
            portfolio_id=strawberry.ID(accepted.update.id),
            topic=accepted.at.topic,
            partition=accepted.at.partition,
            offset=str(accepted.at.offset),
        )


@strawberry.type(description="All replicas have the ticks. The engine values with them next.")
class MarketShockAccepted:
    """What was published."""

    topic: str
    ticks: int
    symbols: list[str]


SimulatePortfolioUpdateResult: TypeAlias = Annotated[
    PortfolioUpdateAccepted | InvalidInputProblem | NotFoundProblem | UnavailableProblem,
    strawberry.union("SimulatePortfolioUpdateResult"),
]
UpdatePortfolioResult: TypeAlias = Annotated[
    PortfolioUpdateAccepted | InvalidInputProblem | UnavailableProblem,
    strawberry.union("UpdatePortfolioResult"),
]
SimulateMarketShockResult: TypeAlias = Annotated[
    MarketShockAccepted | InvalidInputProblem | NotFoundProblem | UnavailableProblem,
    strawberry.union("SimulateMarketShockResult"),
]


@strawberry.type
class Mutation:
    """The writing side of the contract."""

    @field
    async def simulate_portfolio_update(
        self,
        info: Info,
        input: SimulatePortfolioUpdateInput,  # noqa: A002
    ) -> SimulatePortfolioUpdateResult:
        """Trade in a portfolio, or rebalance it. An unknown id becomes a small sample portfolio.

        Two in quick succession add up.
        """
        simulation = Simulation(
            portfolio_id=input.portfolio_id,
            trades=None if input.trades is None else trades_by_symbol(input.trades),
            seed=input.seed,
            advisor_id=input.advisor_id,
            risk_tolerance=input.risk_tolerance,
        )
        try:
            return PortfolioUpdateAccepted.of(await info.context.backend.updates.simulate(simulation))
        except EXPECTED as error:
            return problem_of(error)

    @field
    async def update_portfolio(self, info: Info, input: PortfolioInput) -> UpdatePortfolioResult:  # noqa: A002
        """State a whole portfolio, as a producer would on `portfolio-updates`."""
        try:
            return PortfolioUpdateAccepted.of(await info.context.backend.updates.update(input.update()))
        except EXPECTED as error:
            return problem_of(error)  # type: ignore[return-value]  # nothing is looked up, so nothing is not found

    @field
    async def simulate_market_shock(self, info: Info, input: MarketShockInput) -> SimulateMarketShockResult:  # noqa: A002
        """Move prices by a fraction of their marks. For demonstrations and operators.

        Publishes a tick for each symbol, of the source `shock`.
        """
        try:
            symbols = await info.context.backend.updates.shock(input.shock_fraction, input.symbols)
        except EXPECTED as error:
            return problem_of(error)
        return MarketShockAccepted(topic=topics.MARKET_DATA.name, ticks=len(symbols), symbols=symbols)
