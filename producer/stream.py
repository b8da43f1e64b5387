"""What is published, and when: the opening, the market session by session, the advisors' changes, or a batch.

The deciding half of the producer without its network: records go to a `Sink`, time comes from a `Clock`. All is due
at moments on an absolute scale of monotonic seconds, so nothing drifts. Whoever falls behind sends the whole backlog
at once and says so: a price is never left out, it is late.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from plimsoll import topics
from plimsoll.messages import MarketClose, MarketTick, PortfolioUpdate, encode
from producer import market
from producer.portfolios import Firm, Stated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.closes import Closes
    from producer.publish import Record, Sink

_log = logging.getLogger(__name__)

BEAT_SECONDS = 0.01
"""Ticks due within a beat go out together: a hundred batches a second carry any rate, and delay none by more."""
CHUNK = 2_000
"""Ticks made at a time, so that a long backlog is not all in memory."""
PORTFOLIOS_CHUNK = 200
"""Portfolios made at a time: 20 ms of work, so that acknowledgements are not kept waiting."""
OLDER_SECONDS = 0.001
"""By how much a price of an older day is stamped earlier than those of the newest, which are said together with it."""
BEHIND_SECONDS = 0.25
"""A delay below this is the machine's own hiccup and not worth a word."""
BEHIND_LOG_SECONDS = 10.0


class Clock(Protocol):
    """Time as an argument."""

    def monotonic(self) -> float:
        """Seconds that never go back; what moments are planned in."""

    def wall(self) -> float:
        """Seconds since 1970; what messages are stamped with."""

    async def sleep_until(self, moment: float) -> None:
        """Return when `monotonic` has reached the moment."""


class RealClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        """Return when `monotonic` has reached the moment; lets other work run even when it has passed."""
        await asyncio.sleep(max(0.0, moment - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly history is played: seconds for a session, ticks a second over all symbols."""

    session_seconds: float
    ticks_per_second: float

    def ticks_before_close(self) -> int:
        """Ticks of one session that are due before its end; tick number `i` is due at (i + 1) / rate."""
        return max(0, math.ceil(self.session_seconds * self.ticks_per_second) - 1)

    def ticks_due(self, seconds: float) -> int:
        """Ticks of a session that are due when it is `seconds` old."""
        return min(self.ticks_before_close(), max(0, math.floor(seconds * self.ticks_per_second)))


@dataclass(slots=True)
class Stream:
    """A firm and its market on the way to a sink.

    first  number of the session that is played first; as many as there are where none is played
    firm   invented, or somebody's own portfolios
    """

    replay: market.Replay
    first: int
    firm: Firm | Stated
    sink: Sink
    clock: Clock
    marks: dict[str, float] = field(init=False)
    """The newest price published of each symbol, dollars."""
    _held: list[PortfolioUpdate] = field(init=False, default_factory=list)
    _behind_said_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        """Marks begin at the last closes before the replay."""
        self.marks = self.replay.closes.marks(self.first - 1)

    async def open_market(self, history: int) -> None:
        """Publish the closes of the `history` sessions before the first, then each symbol's newest as a tick."""
        closes = self.replay.closes
        records = [close_record(closes, index) for index in range(self.first - history, self.first)]
        await self.sink.publish(topics.MARKET_CLOSES, records)
        await self._publish_marks(self.first - 1)

    async def open_portfolios(self) -> None:
        """Publish every portfolio as its owner first states it."""
        for start in range(0, self.firm.count, PORTFOLIOS_CHUNK):
            past = min(start + PORTFOLIOS_CHUNK, self.firm.count)
            self._held += [self.firm.portfolio(index, self.clock.wall()) for index in range(start, past)]
            await self._publish_portfolios(self._held[start:past])

    async def batch(self, updates_per_portfolio: int) -> None:
        """Publish every portfolio `updates_per_portfolio` times: its creation, then rebalances, round by round."""
        await self.open_portfolios()
        if isinstance(self.firm, Stated):
            return
        rng = self.firm.changes()
        for _ in range(updates_per_portfolio - 1):
            order = rng.permutation(self.firm.count).tolist()
            for start in range(0, self.firm.count, PORTFOLIOS_CHUNK):
                await self._rebalance(self.firm, order[start : start + PORTFOLIOS_CHUNK], rng)

    async def follow_advisors(self, interval_seconds: float) -> None:
        """Rebalance one portfolio, drawn from the firm's seed, every `interval_seconds`, without end.

        Nobody's own portfolios are traded: what their owner stated stands, and nothing is sent again.
        """
        if isinstance(self.firm, Stated):
            return
        rng = self.firm.changes()
        start, made = self.clock.monotonic(), 0
        while True:
            await self.clock.sleep_until(start + (made + 1) * interval_seconds)
            due = math.floor((self.clock.monotonic() - start) / interval_seconds) - made
            count = min(max(1, due), PORTFOLIOS_CHUNK)
            await self._rebalance(self.firm, rng.integers(self.firm.count, size=count).tolist(), rng)
            made += count

    async def run(self, pace: Pace, portfolio_interval: float) -> None:
        """Play the market and follow the advisors, without end. Raises what the sink raises."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.play(pace))
                tasks.create_task(self.follow_advisors(portfolio_interval))
                # Prices that stand still and portfolios that nobody trades are no reason to end.
                tasks.create_task(asyncio.Event().wait())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def play(self, pace: Pace) -> None:
        """Play every session from the first to the last there is; returns after the last close.

        Then each price is said once more, without a pace: it is a close of its day, and nothing is played any longer.
        """
        start = self.clock.monotonic()
        sessions = range(self.first, len(self.replay.closes.sessions))
        for played, index in enumerate(sessions):
            opens_at = start + played * pace.session_seconds
            session = self.replay.session(index)
            _log.info("session %s opens", session.session, extra={"source": market.SOURCE})
            await self._play_ticks(session, opens_at, pace)
            closes_at = opens_at + pace.session_seconds
            await self.clock.sleep_until(closes_at)
            await self._publish_closing_ticks(session, self._wall_at(closes_at), pace)
            await self.sink.publish(topics.MARKET_CLOSES, [close_record(self.replay.closes, index)])
        last = self.replay.closes.sessions[-1]
        if sessions:
            await self._publish_marks(len(self.replay.closes.sessions) - 1)
        _log.warning("replay has reached its last session, %s: prices stand still from here", last)

    async def _play_ticks(self, session: market.Session, opens_at: float, pace: Pace) -> None:
        """Publish the ticks of a session before its close, each batch as soon as it is due."""
        sent, total = 0, pace.ticks_before_close()
        while sent < total:
            now = self.clock.monotonic()
            past = min(pace.ticks_due(now - opens_at), sent + CHUNK)
            if past > sent:
                self._say_if_behind(now - opens_at - (sent + 1) / pace.ticks_per_second)
                await self._publish_ticks(session, sent, past, opens_at, pace)
                sent = past
            if pace.ticks_due(now - opens_at) > sent:
                await self.clock.sleep_until(now)
            else:
                # A hair's breadth later: rounded, the moment itself may still lie before the tick.
                next_due = opens_at + (sent + 1) / pace.ticks_per_second + 1e-6
                await self.clock.sleep_until(max(next_due, now + BEAT_SECONDS))

    async def _publish_ticks(self, session: market.Session, first: int, past: int, opens_at: float, pace: Pace) -> None:
        """Publish the ticks from number `first` up to but excluding `past`, stamped when each was due."""
        order = session.order(first, past)
        age = np.arange(first + 1, past + 1) / pace.ticks_per_second
        prices = session.prices(order, age / pace.session_seconds)
        stamps = (self._wall_at(opens_at) + age).tolist()
        await self._send_ticks(session, order.tolist(), prices.tolist(), stamps, pace)

    async def _publish_closing_ticks(self, session: market.Session, stamp: float, pace: Pace) -> None:
        """Publish one tick of every symbol that closed, exactly at the session's close."""
        order = session.order(0, len(session.symbols)).tolist()
        prices = session.price_by_step[order, -1].tolist()
        await self._send_ticks(session, order, prices, [stamp] * len(order), pace)

    async def _publish_marks(self, index: int) -> None:
        """Publish the newest close of every symbol, as after session number `index`, each with the day it is of."""
        opinions, closes, stamp = self.replay.opinions(index), self.replay.closes, self.clock.wall()
        await self._send(
            [
                # An older day is stamped earlier: the newest price is what says which day it is.
                _tick(symbol, price, opinions[symbol], stamp - (row < index) * OLDER_SECONDS, closes.sessions[row])
                for symbol, (row, price) in closes.newest(index).items()
            ]
        )

    async def _send_ticks(
        self,
        session: market.Session,
        order: Sequence[int],
        prices: Sequence[float],
        stamps: Sequence[float],
        pace: Pace,
    ) -> None:
        await self._send(
            [
                _tick(
                    session.symbols[number],
                    price,
                    session.opinions[number],
                    stamp,
                    session.session,
                    pace.session_seconds,
                )
                for number, price, stamp in zip(order, prices, stamps, strict=True)
            ]
        )

    async def _send(self, ticks: Sequence[MarketTick]) -> None:
        self.marks |= {tick.symbol: tick.price for tick in ticks}
        await self.sink.publish(topics.MARKET_DATA, [(tick.symbol.encode(), encode(tick)) for tick in ticks])

    async def _rebalance(self, firm: Firm, indices: Sequence[int], rng: np.random.Generator) -> None:
        """Rebalance the portfolios at the newest marks and publish what became of them."""
        for index in indices:
            self._held[index] = firm.rebalanced(self._held[index], rng, self.marks, self.clock.wall())
        await self._publish_portfolios([self._held[index] for index in dict.fromkeys(indices)])

    async def _publish_portfolios(self, updates: Sequence[PortfolioUpdate]) -> None:
        records = [(update.id.encode(), encode(update)) for update in updates]
        await self.sink.publish(topics.PORTFOLIO_UPDATES, records)

    def _wall_at(self, moment: float) -> float:
        """What the wall clock says at a monotonic moment, seconds since 1970."""
        return self.clock.wall() - (self.clock.monotonic() - moment)

    def _say_if_behind(self, seconds: float) -> None:
        now = self.clock.monotonic()
        if seconds > BEHIND_SECONDS and now - self._behind_said_at >= BEHIND_LOG_SECONDS:
            self._behind_said_at = now
            _log.warning(
                "ticks are %.1f s late: the broker or this machine does not keep up",
                seconds,
                extra={"seconds": seconds},
            )


def close_record(closes: Closes, index: int) -> Record:
    """The record of one session's closes, as it lies in `market-closes`, with whose sector is whose."""
    session = closes.sessions[index]
    return session.encode(), encode(MarketClose(session, closes.of(index), market.SOURCE, dict(closes.sectors)))


def _tick(
    symbol: str,
    price: float,
    opinion: market.Opinion,
    stamp: float,
    session: str,
    session_seconds: float | None = None,
) -> MarketTick:
    """A price of a session, due at `stamp`; without seconds where it stands at the session's close."""
    return MarketTick(
        symbol=symbol,
        price=price,
        volatility=opinion.volatility,
        expected_return=opinion.expected_return,
        beta=opinion.beta,
        timestamp=stamp,
        source=market.SOURCE,
        session=session,
        session_seconds=session_seconds,
    )
