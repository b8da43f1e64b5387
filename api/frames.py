"""An event on its way to many readers: written once for each way of saying it, and the same bytes for all of them.

Most readers are told an event as it happened. Two are not. One who joins is told the present state as if it were the
beginning (SNAPSHOT, ENTERED). And one who is slow is told less than happened, so that what it is told has to be true of
what *it* knows: a portfolio that it never saw enter does not begin with UPDATED. `merged` says what two events come to.
Of batches, which are of many portfolios, one who joins is told BEGIN and no present state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from api import batches
from api.batches import Batch, BatchReason
from api.follow import AtRiskChange, AtRiskMove, RiskEvent, RiskEventReason

Event: TypeAlias = RiskEvent | AtRiskChange | Batch
Label: TypeAlias = RiskEventReason | AtRiskMove | BatchReason
BATCH_KEY = ""
"""Of every batch of a stream: one waits, and newer ones are merged into it. No portfolio has this id."""

FRESH_NS = 1_000_000_000
"""A frame written longer ago is written anew for one who joins: it says how old its prices are."""


class Writer:
    """How the events of one stream are written. `clock` gives UTC nanoseconds."""

    def __init__(self, write: Callable[[Event], bytes], clock: Callable[[], int]) -> None:
        self.write = write
        self.clock = clock


class Frame:
    """One event, said in one way. Written when the first reader needs it."""

    __slots__ = ("_after", "_made_ns", "_said", "_tail", "_writer", "event", "key")

    def __init__(self, event: Event, writer: Writer) -> None:
        self.event = event
        self.key = BATCH_KEY if isinstance(event, Batch) else event.risk.portfolio_id
        """What a newer event replaces this one by."""
        self._writer = writer
        self._tail = b""
        self._said: dict[Label, Frame] | None = None
        self._after: dict[Frame, Frame] | None = None
        self._made_ns = 0

    @property
    def tail(self) -> bytes:
        """The payload, and the brace that ends a message around it."""
        if not self._tail:
            self._tail = self._writer.write(self.event) + b"}"
        return self._tail

    @property
    def payload(self) -> bytes:
        """The JSON of the answer."""
        return self.tail[:-1]

    @property
    def label(self) -> Label:
        """What kind of event it is."""
        return label_of(self.event)

    def keep(self, payload: bytes) -> None:
        """Have it written already, for good."""
        self._tail = payload + b"}"

    def saying(self, label: Label) -> Frame:
        """The same snapshot under another label; one frame for all who ask at about the same time."""
        if self._said is None:
            self._said = {}
        said = self._said.get(label)
        if said is None or (said._made_ns and self._writer.clock() - said._made_ns > FRESH_NS):  # noqa: SLF001
            said = self._said[label] = Frame(relabelled(self.event, label), self._writer)
            said._made_ns = self._writer.clock()
        return said

    def has_said(self, label: Label, payload: bytes) -> None:
        """Have it written under another label already, for good."""
        said = self.saying(label)
        said.keep(payload)
        said._made_ns = 0  # noqa: SLF001

    def as_first(self) -> Frame:
        """As one is told of it who knows nothing of its portfolio yet."""
        return self.saying(FIRST[type(self.event)])

    def after(self, waiting: Frame, both: Callable[[], Event]) -> Frame:
        """This event and an unread one as one frame, written anew; the same for all who wait with the same."""
        if self._after is None:
            self._after = {}
        found = self._after.get(waiting)
        if found is None:
            found = self._after[waiting] = Frame(both(), self._writer)
        return found


FIRST: Mapping[type, Label] = {
    RiskEvent: RiskEventReason.SNAPSHOT,
    AtRiskChange: AtRiskMove.ENTERED,
    Batch: BatchReason.BEGIN,
}
LAST = frozenset((RiskEventReason.CLOSED, AtRiskMove.LEFT))
"""After these a portfolio is not part of what a stream follows."""
_OTHER_LABELS: Mapping[type, tuple[Label, ...]] = {
    RiskEvent: (RiskEventReason.SNAPSHOT, RiskEventReason.RESYNC),
    AtRiskChange: (AtRiskMove.ENTERED, AtRiskMove.UPDATED),
}


def as_of_ns(event: Event) -> int:
    """The event time of the newest price or update that an event knows of; 0 for a batch without portfolios."""
    if isinstance(event, Batch):
        return max((risk.as_of_ns for risk in event.risks.values()), default=0)
    return event.risk.as_of_ns


def label_of(event: Event) -> Label:
    """What kind of event it is."""
    return event.change if isinstance(event, AtRiskChange) else event.reason


def relabelled(event: Event, label: Label) -> Event:
    """An event under another label. A first one has nothing before it; a batch has no other label than BEGIN."""
    if isinstance(event, Batch):
        return batches.BEGIN
    if isinstance(event, AtRiskChange):
        return replace(event, change=AtRiskMove(label))
    previous = None if label is RiskEventReason.SNAPSHOT else event.previous_sequence
    return replace(event, reason=RiskEventReason(label), previous_sequence=previous)


def other_ways(event: Event) -> list[Event]:
    """The event in every way in which a reader may be told of it who is not told as it happened."""
    return [relabelled(event, label) for label in _OTHER_LABELS[type(event)]]


def merged(waiting: Frame, newer: Frame) -> Frame | None:
    """What a reader is told who has read neither of two frames of one key; None where nothing is left to say."""
    if isinstance(waiting.event, Batch) and isinstance(newer.event, Batch):
        old, new = waiting.event, newer.event
        return newer.after(waiting, lambda: batches.merged(old, new))
    return _merged_of_one(waiting, newer)


def _merged_of_one(waiting: Frame, newer: Frame) -> Frame | None:
    match waiting.label, newer.label:
        case (RiskEventReason.SNAPSHOT, RiskEventReason.UPDATE | RiskEventReason.RESYNC):
            return newer.as_first()
        case (RiskEventReason.RESYNC, RiskEventReason.UPDATE):
            # The interruption stays told; the snapshot is the newer one.
            return newer.saying(RiskEventReason.RESYNC)
        case (AtRiskMove.ENTERED, AtRiskMove.UPDATED):
            return newer.as_first()
        case (AtRiskMove.ENTERED, AtRiskMove.LEFT):
            return None
        case (AtRiskMove.LEFT, AtRiskMove.ENTERED):
            return newer.saying(AtRiskMove.UPDATED)
    return newer
