"""What changed since a reader last heard, as one message: for pages that show thousands of portfolios.

A batch carries the newest snapshot of each portfolio that changed, once, and the ids of those that are gone. It is no
list of everything: a reader is told BEGIN, or RESYNC after an interruption, and from then on reads the list itself
while batches come. Redis is written before anybody is told, so such a list holds all that was told before: what is
older than a BEGIN or a RESYNC that was not read yet is dropped, and nothing is missed by it.

Pure state: no I/O, no clock. `follow` moves news in and batches out; `merged` says what two batches come to for whoever
has read neither, so that one batch is all that ever waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from api.fanout import Closed, Gap, News, Restate
from plimsoll.messages import Moved, RiskSnapshot

ROWS_MAX = 1_000
"""Portfolios of one batch: when a session's close moves every one of them, the loop has its turns in between, here and
in the browser that takes them in."""
_NEVER_TOLD = -1
"""Below every sequence."""


class BatchReason(StrEnum):
    """Why a batch came."""

    BEGIN = "BEGIN"
    UPDATE = "UPDATE"
    RESYNC = "RESYNC"


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of many portfolios. No id is both in `risks` and in `closed`."""

    reason: BatchReason
    risks: Mapping[str, RiskSnapshot] = field(default_factory=dict)
    """Portfolio id -> its newest snapshot."""
    closed: tuple[str, ...] = ()
    """Ids of those that are closed, or that left the advisor whose they were."""


BEGIN = Batch(BatchReason.BEGIN)


def merged(waiting: Batch, newer: Batch) -> Batch:
    """What a reader is told who has read neither of two batches."""
    if waiting.reason is BatchReason.BEGIN:
        return waiting
    if newer.reason is BatchReason.RESYNC:
        return newer
    # Either may be said: an interruption stays told, and without one both are updates.
    gone = set(newer.closed)
    risks = {each: risk for each, risk in waiting.risks.items() if each not in gone} | dict(newer.risks)
    closed = dict.fromkeys(waiting.closed + newer.closed)
    return Batch(waiting.reason, risks, tuple(each for each in closed if each not in risks))


def parts(batch: Batch) -> list[Batch]:
    """The same in batches of `ROWS_MAX` rows at most. The first says the reason, and what is closed."""
    rows = list(batch.risks.items())
    first = Batch(batch.reason, dict(rows[:ROWS_MAX]), batch.closed)
    starts = range(ROWS_MAX, len(rows), ROWS_MAX)
    return [first, *(Batch(BatchReason.UPDATE, dict(rows[start : start + ROWS_MAX])) for start in starts)]


class Gathering:
    """What has come since the last batch. Bounded by the portfolios in scope, at two entries for each.

    advisor_id  whose portfolios they are; None for everyone's
    present     ids of an advisor's portfolios: of others nobody is told that they are closed
    """

    def __init__(self, advisor_id: str | None, present: Iterable[str] = ()) -> None:
        self._advisor_id = advisor_id
        self._told = dict.fromkeys(present, _NEVER_TOLD)
        """Portfolio -> the sequence that this stream said last."""
        self._risks: dict[str, RiskSnapshot] = {}
        self._closed: dict[str, None] = {}
        self._restated = False
        self.interrupted = False
        """A gap came: `resume` has to be told what there is now."""

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._risks or self._closed or self.interrupted or self._restated)

    def put(self, news: News) -> None:
        """Add one piece of news."""
        match news:
            case RiskSnapshot():
                self._put_snapshot(news)
            case Closed(portfolio_id=portfolio_id) | Moved(portfolio_id=portfolio_id):
                self._close(portfolio_id)
            case Gap():
                self.interrupted = True
                for each in (self._risks, self._closed):
                    each.clear()
            case Restate():
                self._restated = True

    def resume(self, present: Iterable[str]) -> None:
        """After a gap: these portfolios there are. Whatever else was told of is forgotten."""
        known = dict.fromkeys(present, _NEVER_TOLD)
        known |= {each: told for each, told in self._told.items() if each in known or each in self._risks}
        self._told = known

    def take(self) -> Batch:
        """All of it, as one batch; nothing is left."""
        reason = BatchReason.RESYNC if self.interrupted else BatchReason.UPDATE
        batch = Batch(reason, self._risks, tuple(self._closed))
        self._risks, self._closed = {}, {}
        self.interrupted = self._restated = False
        return batch

    def _put_snapshot(self, snapshot: RiskSnapshot) -> None:
        portfolio_id, sequence = snapshot.portfolio_id, int(snapshot.sequence)
        if self._advisor_id is not None and snapshot.advisor_id != self._advisor_id:
            self._close(portfolio_id)
        elif sequence > self._told.get(portfolio_id, _NEVER_TOLD):
            self._told[portfolio_id] = sequence
            self._risks[portfolio_id] = snapshot
            self._closed.pop(portfolio_id, None)

    def _close(self, portfolio_id: str) -> None:
        is_known = self._told.pop(portfolio_id, None) is not None
        self._risks.pop(portfolio_id, None)
        if is_known or self._advisor_id is None:
            self._closed[portfolio_id] = None
