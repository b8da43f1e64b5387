"""What positions are valued with: marks from ticks, the scenario set from closes. Pure state: no I/O, no clock.

A tick only replaces its symbol's mark and notes that it moved; a close only joins the sessions. Both are cheap, so
thousands may arrive between two revaluations. What follows from them (the scenario set, the arrays of `Market`) is
derived when it is asked for, and a restart derives it again.

Only as many sessions are kept as a scenario set is made of, and beside them those at which a named stress began or
ended: a symbol that traded through the crisis of 2008 repeats its own fall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.names import Names
from plimsoll.messages import Mark, MarketClose, MarketTick, Replay, ScenarioSetRecord, is_session
from plimsoll.risk import scenarios, stress
from plimsoll.risk.scenarios import Closes, Opinion, ScenarioSet, history_sessions
from plimsoll.risk.valuation import Market, market_of

UNMARKED_NS = 0
"""The mark time of a symbol that was never priced."""

REPLAY = "replay"
"""The `source` of prices that are history, whether they are being played or stand still."""

Sectors = Mapping[int, str]
"""Sector by symbol number, as positions state it; the closes' own word goes before it."""


class ClosedSession(NamedTuple):
    """A session that can be judged: what was known before it, and what it brought.

    market     as before the session: its marks are the previous closes, its scenarios those known then
    move       (symbol,) change of price over the session; NaN where a close is missing
    closed_ms  when its close was written to Kafka: whoever was stated later was not held through it
    """

    session: str
    market: Market
    move: NDArray[np.float64]
    closed_ms: int = 0


class Marks:
    """The newest tick of every symbol, by the book's symbol numbers, and each session's closes."""

    def __init__(self, symbols: Names, benchmark: str | None, window: int, decay: float) -> None:
        self.symbols = symbols
        self.benchmark = benchmark
        self.window = window
        self.decay = decay
        self.price: NDArray[np.float64] = np.full(64, np.nan)
        self.time_ns: NDArray[np.int64] = np.full(64, UNMARKED_NS, np.int64)
        self.previous_close: NDArray[np.float64] = np.full(64, np.nan)
        self.moved: NDArray[np.float64] = np.zeros(64)
        """By how much each price moved since last asked, ups and downs added."""
        self.ticks: dict[str, MarketTick] = {}
        self.closes: dict[str, NDArray[np.float64]] = {}
        """Session to (closed symbol,) closes, by the numbers there were then; NaN where there is none."""
        self.closed_ms: dict[str, int] = {}
        """Session to when its close was first written to Kafka, as far as this log still says so."""
        self.closed = Names()
        """The symbols that ever closed, numbered apart: a made-up symbol of some position costs no column of closes."""
        self.at_stress: dict[str, dict[str, float]] = {}
        """The closes of the sessions at which a named stress began or ended."""
        self.sectors: dict[str, tuple[str, str]] = {}
        """Symbol to (session that said so, sector)."""
        self.scenario_set: ScenarioSet | None = None
        self.why_no_scenarios: str = "no session has closed yet"
        self._closes_changed = False
        self._market: Market | None = None
        self._proxied: dict[str, Opinion] = {}
        """What was said of the symbols whose scenarios are not all their own, when the market was derived."""

    # --- applying ------------------------------------------------------------------------------------------------

    def tick(self, tick: MarketTick, event_time_ns: int) -> None:
        """Value a symbol with this price from now on."""
        symbol = self.symbols.number(tick.symbol)
        self._grow()
        if self.time_ns[symbol] == UNMARKED_NS:
            self._market = None  # its row of scenario returns is due
            self.moved[symbol] = tick.price
        else:
            self.moved[symbol] += abs(tick.price - self.price.item(symbol))
        self.price[symbol] = tick.price
        self.time_ns[symbol] = event_time_ns
        self.ticks[tick.symbol] = tick

    def close(self, close: MarketClose, time_ms: int = 0) -> None:
        """Add a session, or correct one; only those that a scenario set is made of are kept.

        time_ms  when the record was written to Kafka
        """
        self.closed_ms[close.session] = min(time_ms, self.closed_ms.get(close.session, time_ms))
        numbers = [self.closed.number(symbol) for symbol in close.closes]
        row = np.full(len(self.closed), np.nan)
        row[numbers] = list(close.closes.values())
        self.closes[close.session] = row
        if close.session in stress.ANCHOR_SESSIONS:
            self.at_stress[close.session] = close.closes
        for symbol, sector in (close.sectors or {}).items():
            if close.session >= self.sectors.get(symbol, ("", ""))[0]:
                self.sectors[symbol] = (close.session, sector)
        self._closes_changed = True
        if len(self.closes) > 2 * self._sessions_kept:
            self._forget_old_sessions()

    # --- deriving ------------------------------------------------------------------------------------------------

    @property
    def last_session(self) -> str | None:
        """The newest session that has closed."""
        return max(self.closes, default=None)

    @property
    def replay(self) -> Replay | None:
        """The session in play and its speed, as the newest price states them; None where it is of no replay."""
        if not self.ticks:
            return None
        # A price of 1970 is as old as none at all, so that what stands there may have no tick.
        newest = self.ticks.get(self.symbols.known[int(self.time_ns.argmax())])
        if newest is None or newest.session is None:
            return None
        if newest.session_seconds is None and newest.source != REPLAY:
            return None
        return Replay(newest.session, newest.session_seconds or 0.0) if is_session(newest.session) else None

    def roll(self) -> ScenarioSet | None:
        """Build the scenario set anew if a session has closed since; the new set if it is another one."""
        if not self._closes_changed:
            return None
        self._closes_changed = False
        self._forget_old_sessions()
        last = self._last_closes()
        self._grow()
        self.previous_close[: len(last)] = last
        self._market = None
        new = self._set_after(max(self.closes))
        if new is None or (self.scenario_set is not None and new.scenario_set_id == self.scenario_set.scenario_set_id):
            return None
        self.scenario_set = new
        return new

    def valuation(self, sectors: Callable[[], Sectors]) -> Market | None:
        """The arrays to value with, over all symbols known now; None while there is no scenario set.

        sectors  asked only where a symbol needs a proxy
        """
        if self.scenario_set is None:
            return None
        self._grow()
        count = len(self.symbols)
        if self._market is None or len(self._market.mark) != count:
            opinions = self._opinions(sectors())
            self._market = self._derive(self.scenario_set, opinions, self.price[:count], self.previous_close[:count])
            proxied = self._market.valued & ~self._market.own_history
            names = [self.symbols.known[number] for number in np.flatnonzero(proxied)]
            self._proxied = {name: opinions[name] for name in names if name in opinions}
        else:
            self._market.remark(self.price[:count])
        return self._market

    def reconsider_proxies(self, sectors: Callable[[], Sectors]) -> bool:
        """Whether something else is said now of a symbol that needs a proxy; the market is then derived anew."""
        if not self._proxied:
            return False
        opinions = self._opinions(sectors())
        if all(opinions[symbol] == said for symbol, said in self._proxied.items()):
            return False
        self._market = None
        return True

    def sessions_after(self, session: str) -> list[str]:
        """The sessions that closed after this one, oldest first, but for one before which none is held."""
        return [each for each in sorted(self.closes)[1:] if each > session]

    def closed_session(self, session: str) -> ClosedSession | None:
        """What a session is judged by; None where no scenario set was in force before it.

        It takes ten milliseconds and more: the set of the evening before is built again.
        """
        before = max(each for each in self.closes if each < session)
        known = self._set_after(before)
        if known is None:
            return None
        earlier, later = self._closes_of(before), self._closes_of(session)
        market = self._derive(known, {}, np.where(np.isnan(later), np.nan, earlier), earlier)
        return ClosedSession(session, market, later - earlier, self.closed_ms[session])

    def take_moved(self) -> NDArray[np.float64]:
        """(symbol,) by how much each price moved since last asked, ups and downs added; a first price by itself."""
        self._grow()
        moved = self.moved[: len(self.symbols)].copy()
        self.moved[:] = 0.0
        return moved

    def mark(self, symbol: str) -> Mark:
        """One symbol's mark as other programs read it."""
        tick = self.ticks[symbol]
        number = self.symbols.number(symbol)
        previous = float(self.previous_close[number])
        return Mark(
            price=tick.price,
            event_time_ns=int(self.time_ns[number]),
            previous_close=None if np.isnan(previous) else previous,
            volatility=tick.volatility,
            beta=tick.beta,
            source=tick.source,
            session=tick.session,
            average_daily_volume=tick.average_daily_volume,
            session_seconds=tick.session_seconds,
        )

    # --- recovery state ------------------------------------------------------------------------------------------

    def recovery_state(self) -> dict[str, Any]:
        """The ticks and their times. Closes are read from their topic at every start: one record a session."""
        return {symbol: (tick, int(self.time_ns[self.symbols.number(symbol)])) for symbol, tick in self.ticks.items()}

    def recover(self, state: dict[str, Any]) -> None:
        """Take back what `recovery_state` described."""
        for tick, time_ns in state.values():
            self.tick(tick, time_ns)

    # --- within --------------------------------------------------------------------------------------------------

    @property
    def _sessions_kept(self) -> int:
        """One more than a set is made of, so that the set before the last session can be made again."""
        return history_sessions(self.window, self.decay) + 2

    def _set_after(self, session: str) -> ScenarioSet | None:
        """The scenario set in force after a session's close; None, with the reason noted, where there is none."""
        sessions = [each for each in sorted(self.closes) if each <= session][1 - self._sessions_kept :]
        price = np.full((len(sessions), len(self.closed)), np.nan)
        for row, each in enumerate(sessions):
            price[row, : len(self.closes[each])] = self.closes[each]
        ever = np.flatnonzero(np.isfinite(price).any(axis=0)).tolist()
        numbers = sorted(ever, key=self.closed.known.__getitem__)
        told = {each: closes for each, closes in self.at_stress.items() if each <= session}
        try:
            return scenarios.build_shared(
                Closes(tuple(sessions), tuple(self.closed.known[number] for number in numbers), price[:, numbers]),
                self.benchmark,
                self.window,
                decay=self.decay,
                sectors={symbol: sector for symbol, (_, sector) in self.sectors.items()},
                stress_returns=stress.own_returns(told),
            )
        except (scenarios.TooFewObservations, scenarios.MissingBenchmark) as error:
            self.why_no_scenarios = str(error)
            return None

    def _derive(
        self,
        scenario_set: ScenarioSet,
        opinions: Mapping[str, Opinion],
        mark: NDArray[np.float64],
        previous_close: NDArray[np.float64],
    ) -> Market:
        """The arrays in the book's symbol order. float32: half the work, and 3e-7 of value at risk at most."""
        known = self.symbols.known[: len(mark)]
        return market_of(scenario_set, known, opinions, mark.copy(), previous_close.copy(), np.float32)

    def _opinions(self, sectors: Sectors) -> dict[str, Opinion]:
        """What others say of every symbol that has a price."""
        return {
            symbol: Opinion(tick.volatility, tick.beta, sectors.get(self.symbols.number(symbol)))
            for symbol, tick in self.ticks.items()
        }

    def _closes_of(self, session: str) -> NDArray[np.float64]:
        """(symbol,) one session's closes by the book's numbers."""
        row = self.closes[session]
        numbers = [self.symbols.number(symbol) for symbol in self.closed.known[: len(row)]]
        closes = np.full(len(self.symbols), np.nan)
        closes[numbers] = row
        return closes

    def _last_closes(self) -> NDArray[np.float64]:
        """(symbol,) the newest close of each by the book's numbers, be it of a session before the last one."""
        newest = np.full(len(self.closed), np.nan)
        for session in sorted(self.closes):
            row = self.closes[session]
            np.copyto(newest[: len(row)], row, where=np.isfinite(row))
        numbers = [self.symbols.number(symbol) for symbol in self.closed.known]
        last = np.full(len(self.symbols), np.nan)
        last[numbers] = newest
        return last

    def _forget_old_sessions(self) -> None:
        for session in sorted(self.closes)[: -self._sessions_kept]:
            del self.closes[session], self.closed_ms[session]

    def _grow(self) -> None:
        """Keep the arrays at least as long as the list of symbols."""
        room = len(self.price)
        if len(self.symbols) <= room:
            return
        more = max(len(self.symbols), 2 * room) - room
        self.price = np.concatenate([self.price, np.full(more, np.nan)])
        self.time_ns = np.concatenate([self.time_ns, np.full(more, UNMARKED_NS, np.int64)])
        self.previous_close = np.concatenate([self.previous_close, np.full(more, np.nan)])
        self.moved = np.concatenate([self.moved, np.zeros(more)])


def scenario_set_record(scenario_set: ScenarioSet) -> ScenarioSetRecord:
    """A scenario set as it is served to other programs."""
    return ScenarioSetRecord(
        scenario_set_id=scenario_set.scenario_set_id,
        benchmark=scenario_set.benchmark or "",
        window=scenario_set.window,
        decay=scenario_set.decay,
        symbols=list(scenario_set.closes.symbols),
        sessions=list(scenario_set.closes.sessions),
        closes=scenario_set.closes.price.tobytes(),
        sectors=dict(scenario_set.sectors),
        stress_returns={stress_id: dict(returns) for stress_id, returns in scenario_set.stress_returns.items()},
    )
