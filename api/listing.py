"""Pages of portfolio and advisor ids, by keyset on the sorted sets of the engine.

A cursor says where the last row stood, (order, score, id), not how many rows came before it. Rows that arrive, leave
or move while somebody turns the pages therefore shift nothing: a row that did not move is met exactly once. One that
moved may be met twice or not at all, as in any live list.

The risk index holds the score down to the next sixteenth (0 where a portfolio has no number), and the number is
floor(score + 0.5) of either. So "number >= 70" is "score >= 69.5".
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from api.errors import BadInput
from api.snapshots import reaching_redis, text
from plimsoll import keys
from plimsoll.refusals import is_identifier

PAGE_MAX = 200
NUMBER_MIN, NUMBER_MAX = 1, 99
CURSOR_SIZE_MAX = 256
_SCAN = 500
"""Ids read at once where the risk of each decides whether it belongs to the page."""
_TIES = 8
"""Rows of the cursor's own score that are read on top of the page; where there are more, eight times as many are."""


class Order(StrEnum):
    """How a list is sorted. Ties in risk are broken by id, in the same direction."""

    RISK_NUMBER_DESC = "RISK_NUMBER_DESC"
    RISK_NUMBER_ASC = "RISK_NUMBER_ASC"
    PORTFOLIO_ID = "PORTFOLIO_ID"
    ADVISOR_ID = "ADVISOR_ID"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which portfolios: one advisor's or everyone's; with a risk number between two ends, both included."""

    advisor_id: str | None = None
    min_risk_number: int | None = None
    max_risk_number: int | None = None

    @property
    def by_number(self) -> bool:
        """Whether the risk number matters. Where it does, portfolios that have none are left out."""
        return self.min_risk_number is not None or self.max_risk_number is not None

    @property
    def low(self) -> float:
        """The lowest score that belongs."""
        return (self.min_risk_number or NUMBER_MIN) - 0.5 if self.by_number else -math.inf

    @property
    def high(self) -> float:
        """The end of the scores that belong, itself excluded."""
        return (self.max_risk_number or NUMBER_MAX) + 0.5 if self.by_number else math.inf

    def holds(self, score: float | None) -> bool:
        """Whether a portfolio of this score belongs; None is one that is in no index any more."""
        return score is not None and self.low <= score < self.high


class Row(NamedTuple):
    """One id and the score it stood at when it was read (0 in lists by id)."""

    id: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in order, and whether more follow."""

    rows: list[Row]
    has_next: bool
    order: Order

    def cursor(self, row: Row) -> str:
        """Where this row stands: what `after` takes."""
        return encode_cursor(self.order, row)


def encode_cursor(order: Order, row: Row) -> str:
    """An opaque text for a place in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode((order.value, row.score, row.id))).decode()


def decode_cursor(after: str, order: Order) -> Row:
    """The place that a cursor of this order means. Raises `BadInput`."""
    try:
        if len(after) > CURSOR_SIZE_MAX:
            raise ValueError
        raw = base64.b64decode(after.encode("ascii"), altchars=b"-_", validate=True)
        stated, score, row_id = msgspec.json.decode(raw, type=tuple[Order, float, str])
        if not math.isfinite(score) or not is_identifier(row_id):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadInput("after", "this is no cursor; pass an endCursor or cursor of an earlier page as it was") from None
    if stated is not order:
        raise BadInput("after", f"this cursor belongs to the order {stated}; begin the list anew without it")
    return Row(row_id, score)


def require_first(first: int) -> int:
    """The page size where it can be had; Relay's is any number that is not negative. Raises `BadInput`."""
    if not 0 <= first <= PAGE_MAX:
        raise BadInput("first", f"{first} is not between 0 and {PAGE_MAX}; turn pages with after")
    return first


def require_number(number: int, field: str) -> int:
    """A risk number. Raises `BadInput`."""
    if not NUMBER_MIN <= number <= NUMBER_MAX:
        raise BadInput(field, f"{number} is not between {NUMBER_MIN} and {NUMBER_MAX}")
    return number


class Listing:
    """The lists of portfolios and advisors, page by page."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def portfolios(self, selection: Selection, order: Order, first: int, after: str | None) -> Page:
        """One page of portfolio ids. Raises `BadInput` for a page size or a cursor that cannot be, `Unavailable`."""
        require_first(first)
        start = None if after is None else decode_cursor(after, order)
        async with reaching_redis():
            match order:
                case Order.PORTFOLIO_ID if selection.by_number:
                    rows = await self._by_id_of_some(selection, first + 1, start)
                case Order.PORTFOLIO_ID:
                    rows = await self._by_id(keys.by_id(selection.advisor_id), first + 1, start)
                case _:
                    rows = await self._by_risk(selection, order, first + 1, start)
        return Page(rows[:first], len(rows) > first, order)

    async def advisors(self, first: int, after: str | None) -> Page:
        """One page of advisor ids in lexical order. Raises `BadInput`, `Unavailable`."""
        require_first(first)
        start = None if after is None else decode_cursor(after, Order.ADVISOR_ID)
        async with reaching_redis():
            rows = await self._by_id(keys.ADVISORS, first + 1, start)
        return Page(rows[:first], len(rows) > first, Order.ADVISOR_ID)

    async def count(self, selection: Selection) -> int:
        """How many portfolios a selection holds now."""
        async with reaching_redis():
            if not selection.by_number:
                return int(await self._redis.zcard(keys.by_id(selection.advisor_id)))
            key = keys.by_risk(selection.advisor_id)
            return int(await self._redis.zcount(key, selection.low, f"({selection.high}"))

    async def count_advisors(self) -> int:
        """How many advisors have a portfolio now."""
        async with reaching_redis():
            return int(await self._redis.zcard(keys.ADVISORS))

    async def all_advisors(self) -> list[str]:
        """Every advisor's id."""
        async with reaching_redis():
            found: Any = await self._redis.zrange(keys.ADVISORS, 0, -1)
        return [text(raw) for raw in found]

    async def all_portfolios(self, selection: Selection) -> list[str]:
        """Every id of a selection, the riskiest first."""
        async with reaching_redis():
            found: Any = await self._redis.zrange(
                keys.by_risk(selection.advisor_id), f"({selection.high}", selection.low, desc=True, byscore=True
            )
        return [text(raw) for raw in found]

    async def _by_id(self, key: str, count: int, start: Row | None) -> list[Row]:
        low = "-" if start is None else f"({start.id}"
        return [Row(text(raw)) for raw in await self._redis.zrangebylex(key, low, "+", 0, count)]

    async def _by_id_of_some(self, selection: Selection, count: int, start: Row | None) -> list[Row]:
        rows: list[Row] = []
        while len(rows) < count:
            scanned = await self._by_id(keys.by_id(selection.advisor_id), _SCAN, start)
            if scanned:
                scores = await self._redis.zmscore(keys.by_risk(selection.advisor_id), [row.id for row in scanned])
                rows += [row for row, score in zip(scanned, scores, strict=True) if selection.holds(score)]
            if len(scanned) < _SCAN:
                break
            start = scanned[-1]
        return rows[:count]

    async def _by_risk(self, selection: Selection, order: Order, count: int, start: Row | None) -> list[Row]:
        descending = order is Order.RISK_NUMBER_DESC
        low, high = str(selection.low), f"({selection.high}"
        # The cursor's own score is read again: rows of equal score follow it by id.
        if start is not None and descending and start.score < selection.high:
            high = repr(start.score)
        if start is not None and not descending and start.score > selection.low:
            low = repr(start.score)
        ties = 0 if start is None else _TIES
        while True:
            # One command, so no change can slip in between two halves of a page.
            found: Any = await self._redis.zrange(
                keys.by_risk(selection.advisor_id),
                *((high, low) if descending else (low, high)),
                desc=descending,
                byscore=True,
                offset=0,
                num=count + ties,
                withscores=True,
            )
            rows = [Row(text(raw), score) for raw, score in found]
            if start is not None:
                rows = [row for row in rows if _follows(row, start, descending)]
            if len(rows) >= count or len(found) < count + ties:
                return rows[:count]
            ties *= 8


def _follows(row: Row, start: Row, descending: bool) -> bool:
    here, there = (row.score, row.id.encode()), (start.score, start.id.encode())
    return here < there if descending else here > there
