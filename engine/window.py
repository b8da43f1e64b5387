"""Conflation: records are applied as they come, portfolios are revalued once a window.

`Revaluation` is the flow's one stateful step. Ticks that arrive within a window replace one another; at its end each
portfolio that one of them touched is computed in full, once. Nothing is valued before the market that was in Kafka at
the start has been read: a number from half a scenario set would be wrong for a moment, and moments are what we sell.

Once a second the worker beats: it says how it is, sums its advisors' scenario P&L, and offers the next slice of the
book again, so that after `republish_seconds` every snapshot has been offered. That is what brings Redis back after a
flush, with no input at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray
from typing_extensions import override

from engine.backtest import judge
from engine.ledger import Ledger
from engine.market import scenario_set_record
from engine.revalue import Publication, advisor_pnl, publications, sequence_of
from engine.sources import Poll
from plimsoll.messages import AdvisorPnl, DeadLetter, Heartbeat, Mark, ScenarioSetRecord
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Choice
from plimsoll.risk.methods import Method, Model
from plimsoll.risk.valuation import Market, live_scale
from plimsoll.settings import Settings

log = logging.getLogger(__name__)

RecoveryState = dict[str, Any]
BEAT_NS = 1_000_000_000
PUBLISH_INTERVAL_NS = 50_000_000
"""At most 20 snapshots of a portfolio a second, however short the window: no reader can use more."""
PORTFOLIOS_PER_STEP_MAX = 4096
"""A step of one window. Bounds the memory of a revaluation (4,096 portfolios under 500 scenarios: 8 MB)."""


@dataclass(slots=True)
class Window:
    """What leaves the book at one time, for both sinks."""

    publications: list[Publication] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    """Portfolio id and the sequence at which it was closed."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    scenario_set: ScenarioSetRecord | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    advisors: dict[str, AdvisorPnl] = field(default_factory=dict)
    heartbeat: Heartbeat | None = None

    def __bool__(self) -> bool:
        return any((self.publications, self.closed, self.dead_letters, self.scenario_set, self.marks, self.heartbeat))


class Revaluation(StatefulBatchLogic[Poll, Window, RecoveryState]):
    """The book of one worker: applies records, and at the end of a window revalues what they touched."""

    def __init__(
        self,
        settings: Settings,
        worker_index: int,
        workers: int,
        resume_state: RecoveryState | None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._worker_index = worker_index
        self._workers = workers
        self._clock = clock
        self._ledger = Ledger.recovered(resume_state, settings.benchmark, settings.scenarios, settings.decay)
        self._choice = Choice(
            Method(settings.method), Model(decay=settings.decay, age_decay=settings.age_decay), settings.risk_free
        )
        self._caught_up = False
        self._started_ns = clock()
        self._beat_ns = 0
        self._last_state = ""
        self._window_ends: datetime | None = None
        self._beats = 0
        self._published = 0
        self._calculations, self._calculation_ms = 0, 0.0
        self._moved_marks: set[str] = set(self._ledger.marks.ticks)

    # --- what Bytewax calls --------------------------------------------------------------------------------------

    @override
    def on_batch(self, values: list[Poll]) -> tuple[Iterable[Window], bool]:
        now_ns = self._clock()
        for poll in values:
            self._caught_up |= poll.caught_up
            for record in poll.records:
                self._ledger.take(record, now_ns)
        if self._window_ends is None:
            self._window_ends = datetime.now(UTC) + timedelta(milliseconds=self._settings.window_ms)
        # At once, not with the window: the epoch that saves this record as read must not commit before they are out.
        told = Window(dead_letters=self._ledger.take_dead(), closed=self._closed())
        return [told] if told else [], StatefulBatchLogic.RETAIN

    @override
    def notify_at(self) -> datetime | None:
        beat = datetime.fromtimestamp((self._beat_ns + BEAT_NS) / 1e9, UTC)
        return beat if self._window_ends is None else min(beat, self._window_ends)

    @override
    def on_notify(self) -> tuple[Iterable[Window], bool]:
        return self._end_windows(), StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Window], bool]:
        return self._end_windows(state="draining"), StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> RecoveryState:
        return self._ledger.recovery_state()

    # --- the window ----------------------------------------------------------------------------------------------

    def _end_windows(self, state: str = "") -> list[Window]:
        """Everything that is due now, in steps of bounded size."""
        now_ns = self._clock()
        self._window_ends = None
        window = Window()
        windows = [window]
        state = state or ("running" if self._caught_up else "catching-up")
        beats = now_ns - self._beat_ns >= BEAT_NS or state != self._last_state
        if self._caught_up:
            self._follow_market(window, again=beats)
            if beats:
                self._offer_slice_again()
            windows += self._revalue(now_ns, everything=state == "draining")
        if beats:
            self._beat_ns = now_ns
            self._last_state = state
            windows[-1].heartbeat = self._heartbeat(now_ns, state)
            book, marks = self._ledger.book, self._ledger.marks
            if (market := marks.valuation(book.sectors)) and (scenario_set := marks.scenario_set):
                scale = self._scale(market)
                windows[-1].advisors = advisor_pnl(book, marks, market, scenario_set, scale, now_ns)
        return [each for each in windows if each]

    def _closed(self) -> list[tuple[str, str]]:
        """The portfolios closed since last asked, each with the sequence of its end."""
        watermark = self._ledger.market_watermark
        return [(one.portfolio_id, sequence_of(one.statement, watermark)) for one in self._ledger.take_closed()]

    def _follow_market(self, window: Window, *, again: bool) -> None:
        """Roll the scenario set, judge the session, note whom the moved marks touch, and say what changed."""
        book, marks = self._ledger.book, self._ledger.marks
        rolled = marks.roll()
        if rolled is not None:
            log.info("scenario set %s: %d scenarios", rolled.scenario_set_id, rolled.observations)
            self._judge()
        if rolled is not None or (again and marks.reconsider_proxies(book.sectors)):
            book.rows["touched"] |= book.rows["open"]
        moved = marks.take_moved()
        if moved.any():
            book.touch_holders(moved)
        if self._worker_index == 0:
            self._moved_marks.update(marks.symbols.known[number] for number in np.flatnonzero(moved))
            symbols = marks.ticks.keys() if again or rolled else self._moved_marks & marks.ticks.keys()
            window.marks = {symbol: marks.mark(symbol) for symbol in symbols}
            self._moved_marks = set()
        if (rolled or (again and self._beats % self._settings.republish_seconds == 0)) and marks.scenario_set:
            window.scenario_set = scenario_set_record(marks.scenario_set)

    def _judge(self) -> None:
        """Count the exceptions of each session that closed since the last one counted; of none at the very start."""
        ledger = self._ledger
        newest = ledger.marks.last_session or ""
        for closed in ledger.marks.sessions_after(ledger.judged_to or newest):
            judge(ledger.book, closed, self._choice)
        ledger.judged_to = max(ledger.judged_to, newest)

    def _scale(self, market: Market) -> FloatArray | None:
        return live_scale(market, self._settings.decay) if self._settings.live_volatility else None

    def _offer_slice_again(self) -> None:
        """Touch every n-th portfolio, another slice each second, positions included."""
        rows = self._ledger.book.rows
        every = self._settings.republish_seconds
        due = rows[self._beats % every :: every]
        due["touched"] |= due["open"]
        due["restated"] |= due["open"]
        self._beats += 1

    def _revalue(self, now_ns: int, *, everything: bool) -> list[Window]:
        book, marks = self._ledger.book, self._ledger.marks
        market, scenario_set = marks.valuation(book.sectors), marks.scenario_set
        if market is None or scenario_set is None:
            return []
        rows = np.flatnonzero(book.rows["touched"] & book.rows["open"]) if everything else self._due(now_ns)
        scale = self._scale(market)
        book.rows["touched"][rows] = False
        book.rows["published_ns"][rows] = now_ns
        steps = []
        for first in range(0, len(rows), PORTFOLIOS_PER_STEP_MAX):
            began = time.perf_counter()
            made = publications(
                book,
                marks,
                market,
                scenario_set,
                rows[first : first + PORTFOLIOS_PER_STEP_MAX],
                market_watermark=self._ledger.market_watermark,
                choice=self._choice,
                scale=scale,
                now_ns=now_ns,
            )
            self._calculations += len(made)
            self._calculation_ms += (time.perf_counter() - began) * 1e3
            self._published += len(made)
            steps.append(Window(publications=made))
        return steps

    def _due(self, now_ns: int) -> NDArray[np.int64]:
        """Touched portfolios whose last snapshot is old enough; the others wait for the next window."""
        rows = self._ledger.book.rows
        touched = rows["touched"] & rows["open"]
        due = touched & (now_ns - rows["published_ns"] >= PUBLISH_INTERVAL_NS)
        if np.count_nonzero(touched) > np.count_nonzero(due):
            self._window_ends = datetime.now(UTC) + timedelta(milliseconds=self._settings.window_ms)
        return np.flatnonzero(due)

    def _heartbeat(self, now_ns: int, state: str) -> Heartbeat:
        ledger, marks = self._ledger, self._ledger.marks
        sources = {tick.source for tick in marks.ticks.values()}
        return Heartbeat(
            worker_index=self._worker_index,
            workers=self._workers,
            started_at_ns=self._started_ns,
            beat_at_ns=now_ns,
            state=state,
            portfolios=len(ledger.book),
            applied=ledger.applied,
            stale=ledger.stale,
            dead_lettered=ledger.dead_lettered,
            calculations=self._calculations,
            average_calculation_time_ms=self._calculation_ms / max(1, self._calculations),
            published=self._published,
            scenario_set_id=marks.scenario_set.scenario_set_id if marks.scenario_set else None,
            last_session=marks.last_session,
            market_source=next(iter(sources)) if len(sources) == 1 else ("mixed" if sources else None),
        )
