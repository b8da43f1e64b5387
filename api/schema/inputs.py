"""What callers send in, and how it becomes the shared language."""

from __future__ import annotations

import re
from enum import Enum

import strawberry

from api.errors import BadInput
from api.listing import Order, Selection, require_number
from api.schema.enums import RiskBand, RiskTolerance
from api.schema.scalars import Sequence
from api.summary import band_ends
from plimsoll.messages import PortfolioUpdate, Position
from plimsoll.risk.stress import Shock

_VERSION_MAX = 2**63


def camel_case(path: str) -> str:
    """A path of the shared language as GraphQL spells it: `positions[0].market_value` is `positions[0].marketValue`."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), path)


@strawberry.enum(description="How a list of portfolios is sorted; ties in risk by id, in the same direction.")
class PortfolioOrder(Enum):
    """The orders of `listing` that portfolios have."""

    RISK_NUMBER_DESC = Order.RISK_NUMBER_DESC
    RISK_NUMBER_ASC = Order.RISK_NUMBER_ASC
    PORTFOLIO_ID = Order.PORTFOLIO_ID


@strawberry.input(description="Which portfolios. Any limit on risk leaves out portfolios that have no risk number.")
class PortfolioFilter:
    """All conditions hold at once."""

    advisor_id: strawberry.ID | None = strawberry.field(default=None, description="Of this advisor: the bare id.")
    risk_band: RiskBand | None = None
    min_risk_number: int | None = strawberry.field(default=None, description="1 to 99, itself included.")
    max_risk_number: int | None = strawberry.field(default=None, description="1 to 99, itself included.")

    def selection(self) -> Selection:
        """The same as `listing` says it. Raises `BadInput`."""
        least = [] if self.min_risk_number is None else [require_number(self.min_risk_number, "filter.minRiskNumber")]
        most = [] if self.max_risk_number is None else [require_number(self.max_risk_number, "filter.maxRiskNumber")]
        if self.risk_band is not None:
            lowest, highest = band_ends(self.risk_band)
            least.append(lowest)
            most.append(highest)
        return Selection(self.advisor_id, max(least, default=None), min(most, default=None))


@strawberry.input(description="A signed change of quantity. Several of one symbol add up.")
class TradeInput:
    """One trade."""

    symbol: str
    quantity: float


def trades_by_symbol(trades: list[TradeInput]) -> dict[str, float]:
    """Symbol -> the sum of its changes."""
    summed: dict[str, float] = {}
    for trade in trades:
        summed[trade.symbol] = summed.get(trade.symbol, 0.0) + trade.quantity
    return summed


@strawberry.input(description="An assumed return of every holding of a sector.")
class SectorShockInput:
    """One sector's."""

    sector: str
    fraction: float = strawberry.field(description="-0.2 is a fall of twenty per cent; -1 to 10.")


@strawberry.input(description="An assumed return of one symbol.")
class SymbolShockInput:
    """One symbol's."""

    symbol: str
    fraction: float = strawberry.field(description="-0.2 is a fall of twenty per cent; -1 to 10.")


def shock_of(
    parallel_fraction: float | None, sectors: list[SectorShockInput] | None, symbols: list[SymbolShockInput] | None
) -> Shock:
    """What a caller assumes, in words of the mathematics. Raises `BadInput`."""
    if parallel_fraction is None and not sectors and not symbols:
        raise BadInput("parallelFraction", "nothing is shocked; give a fraction, a sector or a symbol")
    if parallel_fraction is not None:
        _require_shock("parallelFraction", parallel_fraction)
    return Shock(
        parallel_fraction,
        _shocks("sectors", "sector", [(each.sector, each.fraction) for each in sectors or ()]),
        _shocks("symbols", "symbol", [(each.symbol, each.fraction) for each in symbols or ()]),
    )


def _shocks(argument: str, kind: str, each: list[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for index, (name, fraction) in enumerate(each):
        _require_shock(f"{argument}[{index}].fraction", fraction)
        if name in found:
            raise BadInput(f"{argument}[{index}].{kind}", f"{name[:80]!r} is shocked twice; say once by how much")
        found[name] = fraction
    return found


def _require_shock(field: str, fraction: float) -> None:
    try:
        Shock(fraction)
    except ValueError as error:
        raise BadInput(field, str(error).removeprefix("parallel is ")) from None


@strawberry.input
class SimulatePortfolioUpdateInput:
    """A change to make to a portfolio, as its owner's system would."""

    portfolio_id: strawberry.ID
    trades: list[TradeInput] | None = strawberry.field(
        default=None, description="Absent: a realistic rebalance. Cash stays as it is."
    )
    seed: int | None = strawberry.field(
        default=None, description="The same seed and positions give the same rebalance. Absent: drawn anew."
    )
    advisor_id: strawberry.ID | None = strawberry.field(
        default=None, description="Given: the portfolio belongs to this advisor from now on. New ones: advisor-1."
    )
    risk_tolerance: RiskTolerance | None = strawberry.field(
        default=None, description="Given: the client's tolerance from now on. New ones: MODERATE."
    )


@strawberry.input(description="Signed quantity of one symbol; negative is a short position.")
class PositionInput:
    """One position."""

    symbol: str
    quantity: float
    sector: str | None = None


@strawberry.input(description="A portfolio as a whole: positions that are not in it are held no more.")
class PortfolioInput:
    """What `updatePortfolio` publishes."""

    id: strawberry.ID = strawberry.field(description="The portfolio's bare id.")
    advisor_id: strawberry.ID
    positions: list[PositionInput]
    client_id: strawberry.ID | None = None
    risk_tolerance: RiskTolerance = RiskTolerance.MODERATE
    account_type: str | None = None
    cash: float = strawberry.field(default=0.0, description="In the reporting currency.")
    currency: str | None = strawberry.field(default=None, description="USD, where it is stated at all.")
    version: Sequence | None = strawberry.field(
        default=None, description="The sender's own count of versions, where it keeps one."
    )

    def update(self) -> PortfolioUpdate:
        """The same in the shared language, not yet checked. Raises `BadInput`."""
        return PortfolioUpdate(
            id=self.id,
            advisor_id=self.advisor_id,
            positions=[Position(each.symbol, each.quantity, sector=each.sector) for each in self.positions],
            client_id=self.client_id,
            risk_tolerance=self.risk_tolerance,
            account_type=self.account_type,
            cash=self.cash,
            currency=self.currency,
            version=None if self.version is None else _version(self.version),
        )


@strawberry.input
class MarketShockInput:
    """A shock to prices."""

    shock_fraction: float = strawberry.field(description="-0.1 is a fall of ten per cent; above -0.95, at most 5.")
    symbols: list[str] | None = strawberry.field(default=None, description="Absent: every symbol that has a mark.")


def _version(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", digits) or int(digits) >= _VERSION_MAX:
        raise BadInput("version", f"{digits[:40]!r} is no whole number from 0 to 2^63 - 1")
    return int(digits)
