"""What callers may change: a portfolio as a whole, a simulated change of it, a shock to the market. Published to Kafka.

The API never writes to Redis: it states a new portfolio on `portfolio-updates`, the engine applies it, and the answer
here is where the record stands. Until the engine has applied it, Redis still shows the positions before. So that two
changes in quick succession add up, the last update that this process had acknowledged is kept for each portfolio, and
is what the next change starts from while it is newer than Redis. One change of a portfolio runs at a time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from msgspec.structs import replace

from api.errors import BadInput, Contradiction, NotFound, require_identifier
from api.publisher import Acknowledged, Publisher
from api.snapshots import SnapshotStore
from plimsoll import topics
from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import (
    POSITIONS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    Mark,
    MarketTick,
    PortfolioRecord,
    PortfolioUpdate,
    Position,
    RiskTolerance,
    decode_portfolio_update,
    encode,
    validate_portfolio_update,
)

DEFAULT_ADVISOR = "advisor-1"
SAMPLE = (
    Position("AAPL", 100.0, price=185.50, sector="Technology"),
    Position("MSFT", 50.0, price=420.25, sector="Technology"),
    Position("JNJ", 75.0, price=155.75, sector="Healthcare"),
)
"""What an id not seen before becomes: 51,243.75 at these prices."""
REMEMBERED_MAX = 1_000
"""Acknowledged updates kept; the one changed longest ago gives way."""
REBALANCE_DEVIATION = 0.10
"""Of the logarithm of each quantity: most positions of a rebalance move by less than a tenth."""
WHOLE_UNITS_FROM = 20.0
"""Quantities from here on are rebalanced in whole units, smaller ones in hundredths."""
SHOCK_MIN, SHOCK_MAX = -0.95, 5.0
SEED_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Accepted:
    """An update that Kafka has, and where it stands."""

    update: PortfolioUpdate
    at: Acknowledged


@dataclass(frozen=True, slots=True)
class Simulation:
    """A change to simulate. `trades`: symbol -> signed change of quantity; None asks for a rebalance drawn from `seed`.

    `advisor_id` and `risk_tolerance` are stated where they are given, and stay as they are where they are None.
    """

    portfolio_id: str
    trades: Mapping[str, float] | None = None
    seed: int | None = None
    advisor_id: str | None = None
    risk_tolerance: RiskTolerance | None = None


class _Present(NamedTuple):
    """The newest statement of a portfolio, and the partition it came through.

    A change goes through the same one: clients differ in how they choose a partition for a key, and the offsets of two
    partitions say nothing of which update is the newer.
    """

    update: PortfolioUpdate
    partition: int


class Updates:
    """Publishes changes. `clock` gives UTC nanoseconds, `draw_seed` a seed where the caller gives none."""

    def __init__(
        self, store: SnapshotStore, publisher: Publisher, clock: Callable[[], int], draw_seed: Callable[[], int]
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._draw_seed = draw_seed
        self._remembered: OrderedDict[str, Accepted] = OrderedDict()
        # A lock lives as long as somebody holds or awaits it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def simulate(self, simulation: Simulation) -> Accepted:
        """Change a portfolio. Raises `BadInput`, `Unavailable`."""
        portfolio_id = require_identifier(simulation.portfolio_id, "portfolioId")
        if simulation.advisor_id is not None:
            require_identifier(simulation.advisor_id, "advisorId")
        async with self._one_at_a_time(portfolio_id):
            present = await self._present(portfolio_id)
            seed = self._draw_seed() if simulation.seed is None else simulation.seed
            changed = simulated(present and present.update, simulation, seed, self._clock())
            try:
                return await self._publish(changed, present and present.partition)
            except BadInput as error:
                # The trades were fine by themselves: it is with what is held that they cannot be.
                raise Contradiction(error.field, error.detail) from error

    async def update(self, update: PortfolioUpdate) -> Accepted:
        """State a whole portfolio. Raises `BadInput`, `Unavailable`."""
        async with self._one_at_a_time(require_identifier(update.id, "id")):
            present = await self._present(update.id)
            return await self._publish(update, present and present.partition)

    async def shock(self, fraction: float, symbols: Sequence[str] | None) -> list[str]:
        """Publish a tick at (1 + fraction) times the mark for these symbols, or for all; which ones.

        Raises `BadInput`, `NotFound` where a symbol has no mark, `Unavailable`.
        """
        if not (math.isfinite(fraction) and SHOCK_MIN < fraction <= SHOCK_MAX):
            raise BadInput("shockFraction", f"{fraction} is not above {SHOCK_MIN} and at most {SHOCK_MAX}")
        for symbol in symbols or ():
            require_identifier(symbol, "symbols")
        marks = await self._store.marks(symbols)
        missing = sorted(set(symbols or ()) - marks.keys())
        if missing or not marks:
            raise NotFound(f"no mark of {', '.join(missing) or 'any symbol'}; it is there after the first price")
        ticks = shocked(marks, fraction, self._clock())
        await self._publisher.publish_all(topics.MARKET_DATA, [(tick.symbol, encode(tick)) for tick in ticks])
        return [tick.symbol for tick in ticks]

    async def value(self, update: PortfolioUpdate) -> float:
        """Market value by our marks; by the update's own prices where there is no mark. Raises `Unavailable`."""
        return value_of(update, await self._store.marks([position.symbol for position in update.positions]))

    def _one_at_a_time(self, portfolio_id: str) -> asyncio.Lock:
        return self._locks.setdefault(portfolio_id, asyncio.Lock())

    async def _present(self, portfolio_id: str) -> _Present | None:
        """The newest statement of a portfolio: as the engine applied it, or one that it has yet to apply."""
        record = await self._store.record(portfolio_id)
        pending = self._remembered.get(portfolio_id)
        if pending is not None and (
            record is None
            or (pending.at.partition == record.source_partition and pending.at.offset > record.source_offset)
        ):
            return _Present(pending.update, pending.at.partition)
        return None if record is None else _Present(update_of(record), record.source_partition)

    async def _publish(self, update: PortfolioUpdate, partition: int | None) -> Accepted:
        raw = checked(update, self._clock())
        at = await self._publisher.publish(topics.PORTFOLIO_UPDATES, update.id, raw, partition)
        accepted = Accepted(update, at)
        self._remembered[update.id] = accepted
        self._remembered.move_to_end(update.id)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return accepted


def checked(update: PortfolioUpdate, now_ns: int) -> bytes:
    """The record of an update that whoever reads the topic will take. Raises `BadInput`."""
    raw = encode(update)
    try:
        validate_portfolio_update(update, now_ns)
        # What the types of its fields demand (identifiers, lengths) is checked where they are read.
        decode_portfolio_update(update.id.encode(), raw, now_ns)
    except BadMessage as error:
        kind = Contradiction if error.reason in (Reason.DUPLICATE_SYMBOL, Reason.FUTURE) else BadInput
        raise kind(error.field or "portfolio", error.detail) from error
    return raw


def simulated(present: PortfolioUpdate | None, simulation: Simulation, seed: int, now_ns: int) -> PortfolioUpdate:
    """The portfolio after a simulation. Raises `BadInput` for trades that cannot be."""
    base = present or PortfolioUpdate(simulation.portfolio_id, DEFAULT_ADVISOR, list(SAMPLE))
    if simulation.trades is not None:
        positions = after_trades(base.positions, require_trades(simulation.trades))
    elif present is not None:
        positions = rebalanced(base.positions, seed)
    else:
        positions = base.positions
    return replace(
        base,
        positions=positions,
        advisor_id=simulation.advisor_id or base.advisor_id,
        risk_tolerance=simulation.risk_tolerance or base.risk_tolerance,
        # A sender that counts versions must find its next one free to be larger still.
        version=None if base.version is None else base.version + 1,
        timestamp=now_ns / 1e9,
    )


def require_trades(trades: Mapping[str, float]) -> Mapping[str, float]:
    """Trades that can be made. Raises `BadInput`."""
    if len(trades) > POSITIONS_MAX:
        raise BadInput("trades", f"{len(trades):,} symbols, at most {POSITIONS_MAX:,} are taken")
    for symbol, quantity in trades.items():
        require_identifier(symbol, "trades.symbol")
        if not abs(quantity) <= QUANTITY_MAX:  # NaN compares false
            raise BadInput("trades.quantity", f"{quantity} of {symbol} is not between -{QUANTITY_MAX:g} and it")
    return trades


def after_trades(positions: Sequence[Position], trades: Mapping[str, float]) -> list[Position]:
    """Positions after signed changes of quantity; what comes to zero is held no more."""
    held = {position.symbol: position for position in positions}
    for symbol, change in trades.items():
        position = held.get(symbol) or Position(symbol, 0.0)
        held[symbol] = replace(position, quantity=position.quantity + change)
    return [position for position in held.values() if position.quantity != 0.0]


def rebalanced(positions: Sequence[Position], seed: int) -> list[Position]:
    """Every quantity moved a little, at random: the same for the same positions and seed, whatever their order.

    At least one position changes, and none changes sign or vanishes.
    """
    rng = random.Random(seed)  # noqa: S311  # a simulation, not a secret
    factor = {
        symbol: math.exp(REBALANCE_DEVIATION * rng.gauss(0.0, 1.0)) for symbol in sorted(p.symbol for p in positions)
    }
    moved = [replace(p, quantity=_rounded(p.quantity * factor[p.symbol], p.quantity)) for p in positions]
    if moved == list(positions) and moved:
        moved[0] = replace(moved[0], quantity=1.1 * moved[0].quantity)
    return moved


def shocked(marks: Mapping[str, Mark], fraction: float, now_ns: int) -> list[MarketTick]:
    """A tick for each mark, its price moved by a fraction. Raises `BadInput` where no price could be that high."""
    for symbol, mark in marks.items():
        if mark.price * (1.0 + fraction) > PRICE_MAX:
            raise BadInput("shockFraction", f"it would lift {symbol} above {PRICE_MAX:g}")
    return [
        MarketTick(
            symbol=symbol,
            price=mark.price * (1.0 + fraction),
            volatility=mark.volatility,
            beta=mark.beta,
            timestamp=now_ns / 1e9,
            source="shock",
            session=mark.session,
            session_seconds=mark.session_seconds,
        )
        for symbol, mark in marks.items()
    ]


def update_of(record: PortfolioRecord) -> PortfolioUpdate:
    """A record as the update that would state it."""
    held = zip(record.symbols, record.quantities, record.sectors, strict=True)
    return PortfolioUpdate(
        id=record.portfolio_id,
        advisor_id=record.advisor_id,
        positions=[Position(symbol, quantity, sector=sector) for symbol, quantity, sector in held],
        client_id=record.client_id,
        risk_tolerance=record.risk_tolerance,
        account_type=record.account_type,
        cash=record.cash,
        version=record.version,
    )


def value_of(update: PortfolioUpdate, marks: Mapping[str, Mark]) -> float:
    """Market value by marks, by the update's own prices where there is no mark, by nothing where there is neither."""
    value = update.cash
    for position in update.positions:
        mark = marks.get(position.symbol)
        value += position.quantity * (mark.price if mark else position.price or 0.0)
    return value


def _rounded(quantity: float, before: float) -> float:
    if abs(before) >= WHOLE_UNITS_FROM:
        return float(round(quantity)) or before
    return round(quantity, 2) or before
