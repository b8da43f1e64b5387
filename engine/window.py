"""Conflation: records are applied as they come, portfolios are revalued once a window.

`Revaluation` is the flow's one stateful step. Ticks that arrive within a window replace one another; at its end each
portfolio that one of them touched is computed in full, once. Nothing is valued before the market that was in Kafka at
the start has been read: a number from half a scenario set would be wrong for a moment, and moments are what we sell.

When every name ticks, every portfolio is touched in every window, and ten thousand of them twenty times a second are
more than anyone can read or one core can write. So what the market alone moves goes out at most `publish_rate` times a
second: half of it to those that moved most for their size since they were last published, half to those that waited
longest. What waits stays touched, and is computed from the newest marks when its turn comes. What changed for another
reason (an update, a new scenario set, a repetition) is never held back.

Once a second at least, whatever comes in, the worker beats: it says how it is and sums its advisors' scenario P&L. And
with each window it offers the next few portfolios again, so that after `republish_seconds` (longer for a large book)
every snapshot has been offered: what Redis lost by whatever accident is healed with no input at all. Where the sink
finds that Redis was emptied, all of it is offered at once.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray
from typing_extensions import override

from engine.backtest import held_through, judge
from engine.census import census
from engine.dealing import worker_name
from engine.ledger import Ledger, Record
from engine.market import scenario_set_record
from engine.revalue import Publication, advisor_pnl, publications, sequence_of
from engine.sources import Poll
from engine.tally import Flood
from engine.vitals import Vitals
from plimsoll import __version__, topics
from plimsoll.messages import AdvisorPnl, DeadLetter, Heartbeat, Mark, ScenarioSetRecord
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Choice
from plimsoll.risk.methods import Method, Model
from plimsoll.risk.valuation import Market, live_scale
from plimsoll.settings import Settings

log = logging.getLogger(__name__)

RecoveryState = dict[str, Any]
BEAT_NS = 1_000_000_000
CLOCK_STEP_NS = 1_000_000_000
"""A clock that is slewed goes back by less."""
PUBLISH_INTERVAL_NS = 50_000_000
"""At most 20 snapshots of a portfolio a second, however short the window: no reader can use more."""
PORTFOLIOS_PER_STEP_MAX = 1000
"""A step of one window: what the sinks get to write while the next is computed, in two calls."""
PORTFOLIOS_PER_WINDOW_MAX = 5000
"""All that a window makes is in memory at once, some 3 KB a portfolio; a book that is read anew takes several."""
TOUCH_SHARE = 20
"""A pass over all positions costs a twentieth of the time at most."""
SUM_NS = BEAT_NS // 4
"""Sums of advisors go out in parts, so that no window waits for all of them."""
JUDGING_SECONDS = 0.05
"""For the live backtest in one window: about what one session of ten thousand portfolios takes, its set included."""
CENSUS_BEATS = 5
"""A census passes over the book once: at every fifth beat it costs what one window of a hundred does at the most."""
ADVISORS_PER_SECOND_MAX = 100
"""Each costs some 20 KB to write; with more of them, a round takes longer than a second."""


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
    """Of those whose turn it is."""
    advisors_gone: list[str] = field(default_factory=list)
    """Those that had portfolios here, and have none now."""
    heartbeat: Heartbeat | None = None
    oldest_tick_ms: int = 0
    """When the oldest tick that these publications are the first to know of was written to Kafka; 0 where there is
    none."""

    def __bool__(self) -> bool:
        return any(
            (
                self.publications,
                self.closed,
                self.dead_letters,
                self.scenario_set,
                self.marks,
                self.advisors,
                self.advisors_gone,
                self.heartbeat,
            )
        )


class Revaluation(StatefulBatchLogic[Poll, Window, RecoveryState]):
    """The book of one worker: applies records, and at the end of a window revalues what they touched."""

    def __init__(
        self,
        settings: Settings,
        worker_index: int,
        workers: int,
        resume_state: RecoveryState | None,
        clock: Callable[[], int] = time.time_ns,
        *,
        vitals: Vitals | None = None,
        emptied: threading.Event | None = None,
        saves: bool = True,
    ) -> None:
        self._settings = settings
        self._saves = saves
        self._emptied = emptied or threading.Event()
        self._vitals = vitals or Vitals(worker_name(worker_index, workers))
        self._host = socket.gethostname()
        self._worker_index = worker_index
        self._workers = workers
        self._clock = clock
        self._ledger = Ledger.recovered(resume_state, settings.benchmark, settings.scenarios, settings.decay)
        self._ledger.flood = Flood(settings.dead_letter_share, settings.dead_letter_newest)
        self._choice = Choice(
            Method(settings.method), Model(decay=settings.decay, age_decay=settings.age_decay), settings.risk_free
        )
        self._caught_up = False
        self._started_ns = clock()
        self._beat_ns = 0
        self._last_state = ""
        self._why_said = self._ledger.marks.why_no_scenarios
        self._window_ends_ns: int | None = None
        self._ended_ns, self._since_ns, self._took_ns, self._latest_ns = 0, 0, 0, 0
        self._beats = 0
        self._summed_ns = 0
        self._to_judge: list[str] = []
        self._waiting = False
        self._touched_ns, self._touch_took_ns = 0, 0
        self._offered_ns, self._offer_from, self._offer_due = 0, 0, 0.0
        self._published = 0
        self._calculations, self._calculation_ms = 0, 0.0
        self._moved_marks: set[str] = set(self._ledger.marks.ticks)
        self._oldest_tick_ms = 0
        self._advisors: NDArray[np.int64] | None = None
        self._advisors_from = 0
        self._vitals.waits_for("market", "the market from before the start is still being read")

    # --- what Bytewax calls --------------------------------------------------------------------------------------

    @override
    def on_batch(self, values: list[Poll]) -> tuple[Iterable[Window], bool]:
        now_ns = self._now_ns()
        for poll in values:
            self._caught_up |= poll.caught_up
            self._take(poll.records, now_ns)
        if self._caught_up:
            self._vitals.has("market")
        if self._window_ends_ns is None:
            self._window_ends_ns = self._next_end(now_ns)
        # At once, not with the window: the epoch that saves this record as read must not commit before they are out.
        told = Window(dead_letters=self._ledger.take_dead(), closed=self._closed())
        return [told] if told else [], StatefulBatchLogic.RETAIN

    @override
    def notify_at(self) -> datetime | None:
        beat_ns = self._beat_ns + BEAT_NS
        next_ns = beat_ns if self._window_ends_ns is None else min(beat_ns, self._window_ends_ns)
        return datetime.fromtimestamp(next_ns / 1e9, UTC)

    @override
    def on_notify(self) -> tuple[Iterable[Window], bool]:
        return self._end_windows(), StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Window], bool]:
        return self._end_windows(state="draining"), StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> RecoveryState:
        # Bytewax asks at every epoch, also where nothing is saved; a copy of the book is worth a few milliseconds.
        return self._ledger.recovery_state() if self._saves else {}

    # --- the window ----------------------------------------------------------------------------------------------

    def _end_windows(self, state: str = "") -> list[Window]:
        """Everything that is due now, in steps of bounded size."""
        now_ns = self._now_ns()
        began = time.perf_counter()
        self._since_ns = min(now_ns - self._ended_ns, 2 * self._settings.window_ms * 1_000_000)
        self._ended_ns, self._window_ends_ns = now_ns, None
        window = Window()
        windows = [window]
        self._waiting = self._waiting and state != "draining"
        state = state or ("running" if self._caught_up else "catching-up")
        beats = now_ns - self._beat_ns >= BEAT_NS or state != self._last_state
        if self._caught_up:
            # Looked at once, because the sink's thread may say so at any moment.
            if emptied := self._emptied.is_set():
                self._emptied.clear()
            self._follow_market(window, again=beats, emptied=emptied)
            self._offer_again(now_ns, everything=emptied)
            made = self._revalue(now_ns, everything=state == "draining")
            if made:
                made[0].oldest_tick_ms, self._oldest_tick_ms = self._oldest_tick_ms, 0
            windows += made
        if beats:
            self._beat_ns = now_ns
            self._last_state = state
            windows[-1].heartbeat = self._heartbeat(now_ns, state)
            if self._caught_up and self._beats % CENSUS_BEATS == 0:
                self._vitals.census = census(self._ledger.book, self._ledger.marks.price)
            self._beats += 1
            self._report()
        if now_ns - self._summed_ns >= SUM_NS or beats:
            self._sum_advisors(windows[-1], now_ns)
        took = time.perf_counter() - began
        self._took_ns = int(took * 1e9)
        self._vitals.window_took(took)
        return [each for each in windows if each]

    def _now_ns(self) -> int:
        """The time. Where the clock was put back, everything that waits for a time to come is due at once."""
        now_ns = self._clock()
        if now_ns < self._latest_ns - CLOCK_STEP_NS:
            log.warning("the clock went back by %.1f s: nothing waits for it", (self._latest_ns - now_ns) / 1e9)
            self._ended_ns = self._beat_ns = self._summed_ns = self._offered_ns = self._touched_ns = 0
            self._ledger.book.rows["published_ns"] = 0
            self._latest_ns = now_ns
        self._latest_ns = max(self._latest_ns, now_ns)
        return now_ns

    def _next_end(self, now_ns: int) -> int:
        """When a window that begins now ends: early enough that its length covers the work at its end as well.

        So a tick waits for the window, and not for the window and then for the work: to compute, and as long again to
        write.
        """
        window_ns = self._settings.window_ms * 1_000_000
        return now_ns + window_ns - min(2 * self._took_ns, window_ns * 2 // 5)

    def _sum_advisors(self, window: Window, now_ns: int) -> None:
        """Add the sums of the next advisors: of all in a second, unless there are very many."""
        book, marks = self._ledger.book, self._ledger.marks
        advisors = np.flatnonzero(np.bincount(book.rows["advisor"][book.open_rows()]))
        # At first everyone ever named counts: who lost the last portfolio while we were down is still in Redis.
        gone = np.setdiff1d(np.arange(len(book.advisors)) if self._advisors is None else self._advisors, advisors)
        self._advisors = advisors
        window.advisors_gone = [book.advisors.known[number] for number in gone.tolist()]
        share = min(now_ns - self._summed_ns, BEAT_NS) / BEAT_NS
        self._summed_ns = now_ns
        count = math.ceil(min(len(advisors), ADVISORS_PER_SECOND_MAX) * share)
        turn = np.arange(self._advisors_from, self._advisors_from + count) % max(1, len(advisors))
        self._advisors_from = int(turn[-1]) + 1 if count else 0
        advisors = advisors[np.sort(turn)]
        if (market := marks.valuation(book.sectors)) and (scenario_set := marks.scenario_set):
            scale = self._scale(market)
            window.advisors = advisor_pnl(book, marks, market, scenario_set, scale, advisors, now_ns)

    def _take(self, records: list[Record], now_ns: int) -> None:
        if not records:
            return
        self._ledger.take_all(records, now_ns, self._vitals.reading)
        self._vitals.progressed()
        ticked_ms = [record.time_ms for record in records if record.topic == topics.MARKET_DATA.name]
        if ticked_ms and not self._oldest_tick_ms:
            self._oldest_tick_ms = min(ticked_ms)

    def _closed(self) -> list[tuple[str, str]]:
        """The portfolios closed since last asked, each with the sequence of its end."""
        watermark = self._ledger.market_watermark
        return [(one.portfolio_id, sequence_of(one.statement, watermark)) for one in self._ledger.take_closed()]

    def _follow_market(self, window: Window, *, again: bool, emptied: bool) -> None:
        """Roll the scenario set, judge the session, note whom the moved marks touch, and say what changed."""
        book, marks = self._ledger.book, self._ledger.marks
        rolled = marks.roll()
        if rolled is not None:
            log.info("scenario set %s: %d scenarios", rolled.scenario_set_id, rolled.observations)
        elif marks.scenario_set is None and marks.why_no_scenarios != self._why_said:
            self._why_said = marks.why_no_scenarios
            log.warning("nothing can be valued yet: %s", self._why_said)
        if rolled is not None or self._to_judge:
            self._judge()
        corrected = again and marks.reconsider_proxies(book.sectors)
        self._ledger.corrections += corrected
        if rolled is not None or corrected:
            book.rows["touched"] |= book.rows["open"]
            book.rows["movement"][book.rows["open"]] = np.inf
        moved = np.flatnonzero(marks.moved)
        if len(moved) and self._may_touch(self._ended_ns):
            began = time.perf_counter_ns()
            book.touch_holders(marks.take_moved())
            self._touched_ns, self._touch_took_ns = self._ended_ns, time.perf_counter_ns() - began
        if self._worker_index == 0:
            self._moved_marks.update(marks.symbols.known[number] for number in moved)
            symbols = marks.ticks.keys() if again or rolled or emptied else self._moved_marks & marks.ticks.keys()
            window.marks = {symbol: marks.mark(symbol) for symbol in symbols}
            self._moved_marks = set()
        served_again = again and self._beats % self._settings.republish_seconds == 0
        if (rolled or served_again or emptied) and marks.scenario_set:
            window.scenario_set = scenario_set_record(marks.scenario_set)

    def _may_touch(self, now_ns: int) -> bool:
        """Whether to look now for the holders of what moved, which takes a pass over all positions.

        While others wait for their turn, not before twenty times as long as a pass takes: moves add up meanwhile.
        """
        return not self._waiting or now_ns - self._touched_ns >= TOUCH_SHARE * self._touch_took_ns

    def _judge(self) -> None:
        """Count the exceptions of the sessions that closed since the last one counted; of none at the very start.

        As many as there is time for: who comes back after a year has one to count in each window, and lives meanwhile.
        """
        ledger, began = self._ledger, time.perf_counter()
        marks = ledger.marks
        ledger.judged_to = ledger.judged_to or marks.last_session or ""
        self._to_judge = marks.sessions_after(ledger.judged_to)
        while self._to_judge:
            session = self._to_judge.pop(0)
            # Without a portfolio to judge, the set of the evening before is not worth its making.
            if len(held_through(ledger.book, marks.closed_ms[session])):
                closed = marks.closed_session(session)
                if closed is not None:
                    judge(ledger.book, closed, self._choice)
            ledger.judged_to = session
            if time.perf_counter() - began > JUDGING_SECONDS:
                return

    def _scale(self, market: Market) -> FloatArray | None:
        return live_scale(market, self._settings.decay) if self._settings.live_volatility else None

    def _offer_again(self, now_ns: int, *, everything: bool) -> None:
        """Touch the next few portfolios, positions included, as many as are due; or all of them."""
        rows, count = self._ledger.book.rows, len(self._ledger.book.ids)
        rate = max(1, self._settings.publish_rate // 10)
        every = max(self._settings.republish_seconds, -(-count // rate))
        passed = min(now_ns - self._offered_ns, BEAT_NS) / BEAT_NS
        self._offered_ns = now_ns
        self._offer_due += passed * count / every
        due = min(int(self._offer_due), count)
        self._offer_due -= due
        again = (self._offer_from + np.arange(due)) % max(1, count)
        self._offer_from = (self._offer_from + due) % max(1, count)
        if everything:
            again = np.arange(count)
        again = again[rows["open"][again]]
        rows["touched"][again] = rows["restated"][again] = rows["rejudged"][again] = True
        rows["movement"][again] = np.inf

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
        """Touched portfolios whose turn it is; the others wait for the next window."""
        rows = self._ledger.book.rows
        touched = np.flatnonzero(rows["touched"] & rows["open"])
        rested = touched[now_ns - rows["published_ns"][touched] >= PUBLISH_INTERVAL_NS]
        at_once = np.isinf(rows["movement"][rested])
        due = self._longest(rested[at_once], PORTFOLIOS_PER_WINDOW_MAX)
        due = np.sort(np.concatenate([due, self._within_rate(rested[~at_once])]))
        self._waiting = len(due) < len(touched)
        if self._waiting:
            self._window_ends_ns = self._next_end(now_ns)
        return due

    def _within_rate(self, moved: NDArray[np.int64]) -> NDArray[np.int64]:
        """As many of these as the rate allows since the last window: what moved most, and what waited longest."""
        rows = self._ledger.book.rows
        budget = max(2, int(self._settings.publish_rate * self._since_ns / 1e9))
        if len(moved) <= budget:
            return moved
        share = rows["movement"][moved] / np.maximum(rows["size"][moved], 1.0)
        by_share = np.argpartition(-share, budget // 2)
        rest = self._longest(moved[by_share[budget // 2 :]], budget - budget // 2)
        return np.concatenate([moved[by_share[: budget // 2]], rest])

    def _longest(self, some: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """At most so many of these: those that were published the longest ago."""
        if len(some) <= count:
            return some
        return some[np.argpartition(self._ledger.book.rows["published_ns"][some], count)[:count]]

    def _report(self) -> None:
        ledger, tally = self._ledger, self._ledger.tally
        self._vitals.counted(
            applied=tally.applied,
            stale=tally.stale,
            dead=tally.dead,
            reasons=tally.reasons,
            calculations=self._calculations,
            published=self._published,
            portfolios=len(ledger.book),
            positions=len(ledger.book.arena),
            symbols=len(ledger.book.symbols),
        )

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
            corrections=ledger.corrections,
            replay=marks.replay,
            version=__version__,
            host=self._host,
            health=self._vitals.health_address,
            lag=self._vitals.behind,
        )
