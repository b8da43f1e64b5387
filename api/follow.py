"""What one can subscribe to, as streams of events: a portfolio, an advisor's portfolios, who is at risk; and batches.

The order is a rule in the data. We subscribe before we read; a snapshot published in between is met twice and dropped
by its sequence, where the other order would miss it. Events of one portfolio therefore carry strictly growing
sequences, except that a RESYNC may repeat the last one: it says that the stream was interrupted and is whole again, or
that the engine fell silent or came back, so that what was told last looks otherwise now (`stale`).
Batches carry no present state: whoever reads them is told when to read it (`batches`).
Nothing here knows GraphQL or HTTP: the streams serve both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from api.batches import BEGIN, Batch, Gathering, parts
from api.errors import NotFound
from api.fanout import Closed, Fanout, Gap, Mailbox, Restate
from api.listing import NUMBER_MIN, Listing, Selection
from api.snapshots import SnapshotStore
from plimsoll import keys
from plimsoll.errors import Unavailable
from plimsoll.messages import Moved, RiskSnapshot
from plimsoll.risk.score import HYSTERESIS, is_at_risk

_REREAD_SECONDS_MAX = 2.0
_Read = TypeVar("_Read")


class RiskEventReason(StrEnum):
    """Why an event came."""

    SNAPSHOT = "SNAPSHOT"
    UPDATE = "UPDATE"
    RESYNC = "RESYNC"
    CLOSED = "CLOSED"


class AtRiskMove(StrEnum):
    """What a portfolio did about a threshold."""

    ENTERED = "ENTERED"
    UPDATED = "UPDATED"
    LEFT = "LEFT"


@dataclass(frozen=True, slots=True)
class RiskEvent:
    """A snapshot and why it came. `previous_sequence` is what this stream said last of the portfolio, if anything."""

    reason: RiskEventReason
    previous_sequence: str | None
    risk: RiskSnapshot


@dataclass(frozen=True, slots=True)
class AtRiskChange:
    """A snapshot and what it means for the list of those at risk."""

    change: AtRiskMove
    risk: RiskSnapshot


def is_newer(snapshot: RiskSnapshot, than: RiskSnapshot | None) -> bool:
    """Whether a snapshot says something later. Sequences outgrow 64 bits; Python's integers do not mind."""
    return than is None or int(snapshot.sequence) > int(than.sequence)


def unknown_portfolio(portfolio_id: str) -> NotFound:
    """What is said of a portfolio that has no snapshot, or none for whoever asks."""
    return NotFound(f"no risk is known of portfolio {portfolio_id!r}; check the id, or wait for its first update")


def unknown_advisor(advisor_id: str) -> NotFound:
    """What is said of an advisor without portfolios, or of one who is not for whoever asks."""
    return NotFound(f"advisor {advisor_id!r} has no portfolios; check the id")


class Follow:
    """Streams over the fan-out and the store. Ids must be identifiers."""

    def __init__(self, fanout: Fanout, store: SnapshotStore, listing: Listing) -> None:
        self._fanout = fanout
        self._store = store
        self._listing = listing

    async def portfolio(self, portfolio_id: str) -> AsyncGenerator[RiskEvent, None]:
        """The current snapshot, then every newer one; ends with CLOSED. Follows the portfolio to another advisor.

        Raises `NotFound` before the first event for a portfolio that has no snapshot, and `Unavailable`.
        """
        last: RiskSnapshot | None = None
        found = await self._store.risk(portfolio_id)
        advisor_id = None if found is None else found.advisor_id
        while advisor_id is not None:
            async with self._fanout.watch(keys.risk_channel(advisor_id), portfolio_id) as mailbox:
                current = await _patiently(lambda: self._store.risk(portfolio_id), at_once=last is None)
                if current is None and last is None:
                    break
                if current is not None and is_newer(current, last):
                    reason = RiskEventReason.UPDATE if last else RiskEventReason.SNAPSHOT
                    yield RiskEvent(reason, last.sequence if last else None, current)
                    last = current
                    if current.advisor_id != advisor_id:
                        advisor_id = current.advisor_id
                        continue
                assert last is not None  # noqa: S101  # either just read, or known since before a move
                if current is None:
                    # It may have been closed between its move and our following it.
                    mailbox.put_gap()
                advisor_id = None
                async with aclosing(self._at_one_advisor(mailbox, last)) as told:
                    async for event in told:
                        if isinstance(event, Moved):
                            advisor_id = event.advisor_id
                        else:
                            yield event
                            last = event.risk
        if last is None:
            raise unknown_portfolio(portfolio_id)

    async def _at_one_advisor(self, mailbox: Mailbox, last: RiskSnapshot) -> AsyncGenerator[RiskEvent | Moved, None]:
        """What one advisor's channel says of one portfolio, until it is closed or moves (a `Moved`, at the end)."""
        while True:
            match await mailbox.take():
                case RiskSnapshot() as snapshot if is_newer(snapshot, last):
                    yield RiskEvent(RiskEventReason.UPDATE, last.sequence, snapshot)
                    last = snapshot
                case Closed():
                    yield RiskEvent(RiskEventReason.CLOSED, last.sequence, last)
                    return
                case Moved() as moved:
                    yield moved
                    return
                case Restate():
                    yield RiskEvent(RiskEventReason.RESYNC, last.sequence, last)
                case Gap():
                    event = await self._after_gap(last)
                    if event is not None:
                        yield event
                        if event.reason is RiskEventReason.CLOSED:
                            return
                        if event.risk.advisor_id != last.advisor_id:
                            yield Moved(last.portfolio_id, event.risk.advisor_id)
                            return
                        last = event.risk

    async def _after_gap(self, last: RiskSnapshot) -> RiskEvent | None:
        """RESYNC with what the store says now, or CLOSED; None while a store that lost everything fills again."""
        current = await _patiently(lambda: self._store.risk(last.portfolio_id))
        if current is not None:
            # A store restored from an old copy may be behind what was told already; newer follows by itself.
            return None if is_newer(last, current) else RiskEvent(RiskEventReason.RESYNC, last.sequence, current)
        closed = await _patiently(lambda: self._store.closed([last.portfolio_id]))
        return RiskEvent(RiskEventReason.CLOSED, last.sequence, last) if closed[0] else None

    async def advisor(self, advisor_id: str) -> AsyncGenerator[RiskEvent, None]:
        """Each present portfolio as SNAPSHOT, then all that changes. A portfolio that leaves the advisor is CLOSED.

        Raises `NotFound` before the first event for an advisor without portfolios, and `Unavailable`.
        """
        if not await self._store.is_advisor(advisor_id):
            raise unknown_advisor(advisor_id)
        async with aclosing(self._all(advisor_id)) as events:
            async for event in events:
                yield event

    async def everyone(self) -> AsyncGenerator[RiskEvent, None]:
        """Every present portfolio as SNAPSHOT, then all that changes. Raises `Unavailable`."""
        async with aclosing(self._all(None)) as events:
            async for event in events:
                yield event

    async def _all(self, advisor_id: str | None) -> AsyncGenerator[RiskEvent, None]:
        """All portfolios of an advisor, or of everyone."""
        last: dict[str, RiskSnapshot] = {}
        async with self._fanout.watch(_channel(advisor_id)) as mailbox:
            for current in await self._present(Selection(advisor_id)):
                last[current.portfolio_id] = current
                yield RiskEvent(RiskEventReason.SNAPSHOT, None, current)
            while True:
                match await mailbox.take():
                    case RiskSnapshot() as snapshot if is_newer(snapshot, known := last.get(snapshot.portfolio_id)):
                        last[snapshot.portfolio_id] = snapshot
                        yield RiskEvent(RiskEventReason.UPDATE, known.sequence if known else None, snapshot)
                    case Closed(portfolio_id=portfolio_id) | Moved(portfolio_id=portfolio_id):
                        if gone := last.pop(portfolio_id, None):
                            yield RiskEvent(RiskEventReason.CLOSED, gone.sequence, gone)
                    case (Gap() | Restate()) as interruption:
                        for event in await self._all_again(interruption, advisor_id, last):
                            yield event

    async def _all_again(
        self, interruption: Gap | Restate, advisor_id: str | None, last: dict[str, RiskSnapshot]
    ) -> list[RiskEvent]:
        if isinstance(interruption, Gap):
            return await self._all_after_gap(advisor_id, last)
        return [RiskEvent(RiskEventReason.RESYNC, known.sequence, known) for known in last.values()]

    async def _all_after_gap(self, advisor_id: str | None, last: dict[str, RiskSnapshot]) -> list[RiskEvent]:
        present = await _patiently(lambda: self._present(Selection(advisor_id)))
        missing = sorted(last.keys() - {current.portfolio_id for current in present})
        left = await _patiently(lambda: self._gone(missing, stays=lambda risk: _is_of(risk, advisor_id)))
        events = []
        for current in present:
            known = last.get(current.portfolio_id)
            if known is None or not is_newer(known, current):
                events.append(RiskEvent(RiskEventReason.RESYNC, known.sequence if known else None, current))
                last[current.portfolio_id] = current
        gone = [last.pop(portfolio_id) for portfolio_id in left]
        return events + [RiskEvent(RiskEventReason.CLOSED, each.sequence, each) for each in gone]

    async def batches(self, advisor_id: str | None, interval_seconds: float) -> AsyncGenerator[Batch, None]:
        """BEGIN, then all that changes among an advisor's portfolios or everyone's, a batch each interval at the most.

        A change after a quiet interval is told at once. Raises `NotFound` before the first batch for an advisor without
        portfolios, and `Unavailable`.
        """
        if advisor_id is not None and not await self._store.is_advisor(advisor_id):
            raise unknown_advisor(advisor_id)
        async with aclosing(self._batches(advisor_id, interval_seconds)) as batches:
            async for batch in batches:
                yield batch

    async def _batches(self, advisor_id: str | None, interval_seconds: float) -> AsyncGenerator[Batch, None]:
        async with self._fanout.watch(_channel(advisor_id)) as mailbox:
            # Among everyone's, whatever is closed may be told of, so nobody has to know who there is.
            present = [] if advisor_id is None else await self._ids(advisor_id)
            gathering = Gathering(advisor_id, present)
            yield BEGIN
            while True:
                while not gathering:
                    gathering.put(await mailbox.take())
                    while len(mailbox):  # what came with it
                        gathering.put(await mailbox.take())
                if gathering.interrupted:
                    gathering.resume(await _patiently(lambda: self._ids(advisor_id)))
                for part in parts(gathering.take()):
                    yield part
                    await asyncio.sleep(0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(interval_seconds):
                        while True:
                            gathering.put(await mailbox.take())

    async def _ids(self, advisor_id: str | None) -> list[str]:
        return await self._listing.all_portfolios(Selection(advisor_id))

    async def at_risk(self, threshold: int) -> AsyncGenerator[AtRiskChange, None]:
        """Everyone with a risk number of `threshold` or more as ENTERED, the riskiest first, then who changes.

        Who is at risk stays so until the number falls below the band under the threshold (`score.is_at_risk`), so a
        price cannot make a portfolio enter and leave. Raises `Unavailable`.
        """
        async with aclosing(self._at_risk(threshold, None)) as changes:
            async for change in changes:
                yield change

    async def _at_risk(self, threshold: int, advisor_id: str | None) -> AsyncGenerator[AtRiskChange, None]:
        """The same among an advisor's portfolios or among everyone's. Who leaves the advisor has LEFT."""
        inside: dict[str, RiskSnapshot] = {}
        async with self._fanout.watch(_channel(advisor_id)) as mailbox:
            for change in await self._at_risk_now(threshold, advisor_id, inside):
                yield change
            while True:
                match await mailbox.take():
                    case RiskSnapshot() as snapshot if is_newer(snapshot, inside.get(snapshot.portfolio_id)):
                        crossing = _crossing(snapshot, threshold, inside)
                        if crossing is not None:
                            yield crossing
                    case Closed(portfolio_id=portfolio_id) | Moved(portfolio_id=portfolio_id):
                        if gone := inside.pop(portfolio_id, None):
                            yield AtRiskChange(AtRiskMove.LEFT, gone)
                    case (Gap() | Restate()) as interruption:
                        for change in await self._at_risk_again(interruption, threshold, advisor_id, inside):
                            yield change

    async def _at_risk_again(
        self, interruption: Gap | Restate, threshold: int, advisor_id: str | None, inside: dict[str, RiskSnapshot]
    ) -> list[AtRiskChange]:
        if isinstance(interruption, Gap):
            return await _patiently(lambda: self._at_risk_now(threshold, advisor_id, inside))
        return [AtRiskChange(AtRiskMove.UPDATED, risk) for risk in inside.values()]

    async def _at_risk_now(
        self, threshold: int, advisor_id: str | None, inside: dict[str, RiskSnapshot]
    ) -> list[AtRiskChange]:
        """Bring `inside` up to the store, and say what that changes."""
        # Down to the end of the band: who is in it stays inside, and who was not stays out.
        present = await self._present(Selection(advisor_id, min_risk_number=max(threshold - HYSTERESIS, NUMBER_MIN)))
        missing = inside.keys() - {current.portfolio_id for current in present}
        left = await self._gone(
            sorted(missing),
            stays=lambda risk: _is_of(risk, advisor_id) and is_at_risk(risk.risk_number, threshold, was_at_risk=True),
        )
        crossings = [
            _crossing(current, threshold, inside)
            for current in present
            if is_newer(current, inside.get(current.portfolio_id))
        ]
        changes = [change for change in crossings if change is not None]
        return changes + [AtRiskChange(AtRiskMove.LEFT, inside.pop(portfolio_id)) for portfolio_id in left]

    async def _present(self, selection: Selection) -> list[RiskSnapshot]:
        """The snapshots of a selection, the riskiest first; not those that moved while we read."""
        ids = await self._listing.all_portfolios(selection)
        found = await self._store.risks(ids)
        return [risk for risk in found if risk is not None and _is_of(risk, selection.advisor_id)]

    async def _gone(self, portfolio_ids: Sequence[str], stays: Callable[[RiskSnapshot], bool]) -> list[str]:
        """Which of these ids, missing from a list, do not belong to it any more; not those a lost store forgot."""
        risks = await self._store.risks(portfolio_ids)
        closed = await self._store.closed(portfolio_ids)
        return [
            portfolio_id
            for portfolio_id, risk, shut in zip(portfolio_ids, risks, closed, strict=True)
            if (shut if risk is None else not stays(risk))
        ]


def _channel(advisor_id: str | None) -> str:
    return keys.ALL_RISK_CHANNELS if advisor_id is None else keys.risk_channel(advisor_id)


def _is_of(risk: RiskSnapshot, advisor_id: str | None) -> bool:
    return advisor_id is None or risk.advisor_id == advisor_id


def _crossing(snapshot: RiskSnapshot, threshold: int, inside: dict[str, RiskSnapshot]) -> AtRiskChange | None:
    """What a newer snapshot means for the list; `inside` is brought up to it."""
    was_inside = snapshot.portfolio_id in inside
    if is_at_risk(snapshot.risk_number, threshold, was_inside):
        inside[snapshot.portfolio_id] = snapshot
        return AtRiskChange(AtRiskMove.UPDATED if was_inside else AtRiskMove.ENTERED, snapshot)
    inside.pop(snapshot.portfolio_id, None)
    return AtRiskChange(AtRiskMove.LEFT, snapshot) if was_inside else None


async def _patiently(read: Callable[[], Awaitable[_Read]], *, at_once: bool = False) -> _Read:
    """Read, again and again while the store is away: the stream stays open. `at_once` lets the first failure out."""
    delay = 0.05
    while True:
        try:
            return await read()
        except Unavailable:
            if at_once:
                raise
        await asyncio.sleep(delay)
        delay = min(_REREAD_SECONDS_MAX, 2 * delay)
