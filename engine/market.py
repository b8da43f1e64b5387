"""What positions are valued with: marks from ticks, the scenario set from closes. Pure state: no I/O, no clock.

A tick only replaces its symbol's mark and notes that it moved; a close only joins the sessions. Both are cheap, so
thousands may arrive between two revaluations. What follows from them (the scenario set, the arrays of `Market`) is
derived when it is asked for, and a restart derives it again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.book import Names
from plimsoll.messages import Mark, MarketClose, MarketTick, ScenarioSetRecord
from plimsoll.risk import scenarios
from plimsoll.risk.scenarios import Opinion, ScenarioSet, returns_by_symbol
from plimsoll.risk.valuation import Market

UNMARKED_NS = 0
"""The mark time of a symbol that was never priced."""


class Marks:
    """The newest tick of every symbol, by the book's symbol numbers, and each session's closes."""

    def __init__(self, symbols: Names, benchmark: str, window: int) -> None:
        self.symbols = symbols
        self.benchmark = benchmark
        self.window = window
        self.price: NDArray[np.float64] = np.full(64, np.nan)
        self.time_ns: NDArray[np.int64] = np.full(64, UNMARKED_NS, np.int64)
        self.previous_close: NDArray[np.float64] = np.full(64, np.nan)
        self.moved: NDArray[np.bool_] = np.zeros(64, np.bool_)
        self.ticks: dict[str, MarketTick] = {}
        self.closes: dict[str, dict[str, float]] = {}
        self.scenario_set: ScenarioSet | None = None
        self.why_no_scenarios: str = "no session has closed yet"
        self._closes_changed = False
        self._market: Market | None = None

    # --- applying ------------------------------------------------------------------------------------------------

    def tick(self, tick: MarketTick, event_time_ns: int) -> None:
        """Value a symbol with this price from now on."""
        symbol = self.symbols.number(tick.symbol)
        self._grow()
        if self.price[symbol] != tick.price:
            self.moved[symbol] = True
        if self.time_ns[symbol] == UNMARKED_NS:
            self._market = None  # its row of scenario returns is due
        self.price[symbol] = tick.price
        self.time_ns[symbol] = event_time_ns
        self.ticks[tick.symbol] = tick

    def close(self, close: MarketClose) -> None:
        """Add a session, or correct one; only the sessions of the window are kept."""
        self.closes[close.session] = close.closes
        self._closes_changed = True
        if len(self.closes) > 2 * (self.window + 1):
            self._forget_old_sessions()

    # --- deriving ------------------------------------------------------------------------------------------------

    @property
    def last_session(self) -> str | None:
        """The newest session that has closed."""
        return max(self.closes, default=None)

    def roll(self) -> ScenarioSet | None:
        """Build the scenario set anew if a session has closed since; the new set if it is another one."""
        if not self._closes_changed:
            return None
        self._closes_changed = False
        self._forget_old_sessions()
        sessions = sorted(self.closes.items())
        for symbol, price in sessions[-1][1].items():
            number = self.symbols.number(symbol)
            self._grow()
            self.previous_close[number] = price
        self._market = None
        try:
            new = scenarios.build(sessions, self.benchmark, self.window)
        except (scenarios.TooFewObservations, scenarios.MissingBenchmark) as error:
            self.why_no_scenarios = str(error)
            return None
        if self.scenario_set is not None and new.scenario_set_id == self.scenario_set.scenario_set_id:
            return None
        self.scenario_set = new
        return new

    def valuation(self) -> Market | None:
        """The arrays to value with, over all symbols known now; None while there is no scenario set."""
        if self.scenario_set is None:
            return None
        self._grow()
        count = len(self.symbols)
        if self._market is None or len(self._market.mark) != count:
            self._market = self._derive(self.scenario_set, count)
        else:
            self._market.mark[:] = self.price[:count]
        return self._market

    def take_moved(self) -> NDArray[np.bool_]:
        """Which symbols have another price than when last asked, (symbol,)."""
        self._grow()
        moved = self.moved[: len(self.symbols)].copy()
        self.moved[:] = False
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

    def _derive(self, scenario_set: ScenarioSet, count: int) -> Market:
        """The arrays in the book's symbol order. float32: half the work, and 3e-7 of value at risk at most."""
        opinions = {symbol: Opinion(tick.volatility, tick.beta) for symbol, tick in self.ticks.items()}
        returns, own_history = returns_by_symbol(scenario_set, self.symbols.known[:count], opinions, np.float32)
        return Market(
            mark=self.price[:count].copy(),
            previous_close=self.previous_close[:count].copy(),
            returns=returns,
            own_history=own_history,
            benchmark_returns=scenario_set.benchmark_returns,
        )

    def _forget_old_sessions(self) -> None:
        for session in sorted(self.closes)[: -(self.window + 1)]:
            del self.closes[session]

    def _grow(self) -> None:
        """Keep the arrays at least as long as the list of symbols."""
        room = len(self.price)
        if len(self.symbols) <= room:
            return
        more = max(len(self.symbols), 2 * room) - room
        self.price = np.concatenate([self.price, np.full(more, np.nan)])
        self.time_ns = np.concatenate([self.time_ns, np.full(more, UNMARKED_NS, np.int64)])
        self.previous_close = np.concatenate([self.previous_close, np.full(more, np.nan)])
        self.moved = np.concatenate([self.moved, np.zeros(more, np.bool_)])


def scenario_set_record(scenario_set: ScenarioSet) -> ScenarioSetRecord:
    """A scenario set as it is served to other programs."""
    return ScenarioSetRecord(
        scenario_set_id=scenario_set.scenario_set_id,
        method=scenario_set.method,
        benchmark=scenario_set.benchmark,
        symbols=list(scenario_set.symbols),
        sessions=list(scenario_set.sessions),
        returns=scenario_set.returns.tobytes(),
    )
