from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import BadInput
from api.listing import Listing, Order, Row, Selection, decode_cursor, encode_cursor
from plimsoll import keys

if TYPE_CHECKING:
    from tests.api.conftest import Seed

pytestmark = pytest.mark.anyio

BY_RISK = (Order.RISK_NUMBER_DESC, Order.RISK_NUMBER_ASC)
ALL_ORDERS = (*BY_RISK, Order.PORTFOLIO_ID)


async def fill(seed: Seed, scores: dict[str, float], advisor: str = "advisor-1") -> None:
    for index, zero in ((keys.by_risk, False), (keys.by_id, True)):
        entries = {each: 0.0 if zero else score for each, score in scores.items()}
        await seed.redis.zadd(index(), entries)
        await seed.redis.zadd(index(advisor), entries)


async def walk(
    listing: Listing,
    selection: Selection,
    order: Order,
    first: int,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    met, after = [], None
    while True:
        page = await listing.portfolios(selection, order, first, after)
        met += [row.id for row in page.rows]
        if not page.has_next:
            return met
        after = page.cursor(page.rows[-1])
        if between is not None:
            await between()


@pytest.mark.parametrize("order", ALL_ORDERS)
@pytest.mark.parametrize("first", [1, 3, 7, 200])
async def test_turning_the_pages_meets_every_portfolio_once(seed: Seed, order: Order, first: int) -> None:
    rng = random.Random(1)
    # Many of them share a score, the way unpriced portfolios do.
    scores = {f"p-{n}": rng.choice([0.0, 0.0, 42.25, 42.25, rng.uniform(1, 99)]) for n in range(60)}
    await fill(seed, scores)

    met = await walk(Listing(seed.redis), Selection(), order, first)

    assert len(met) == len(set(met))
    assert set(met) == set(scores)


@pytest.mark.parametrize("order", BY_RISK)
async def test_pages_are_in_order_of_risk_and_then_of_id(seed: Seed, order: Order) -> None:
    scores = {f"p-{n}": float(n % 5) for n in range(30)}
    await fill(seed, scores)

    met = await walk(Listing(seed.redis), Selection(), order, 4)

    expected = sorted(scores, key=lambda each: (scores[each], each), reverse=order is Order.RISK_NUMBER_DESC)
    assert met == expected


@pytest.mark.parametrize("order", ALL_ORDERS)
async def test_what_does_not_move_is_met_once_while_others_come_leave_and_move(seed: Seed, order: Order) -> None:
    rng = random.Random(2)
    still = {f"still-{n:02}": rng.uniform(1, 99) for n in range(40)}
    moving = [f"moving-{n:02}" for n in range(40)]
    await fill(seed, still | {each: rng.uniform(1, 99) for each in moving})

    async def change() -> None:
        await fill(seed, {each: rng.uniform(1, 99) for each in rng.sample(moving, 10)})
        for each in rng.sample(moving, 5):
            await seed.redis.zrem(keys.by_risk(), each)
            await seed.redis.zrem(keys.by_id(), each)

    met = await walk(Listing(seed.redis), Selection(), order, 6, between=change)

    assert sorted(each for each in met if each in still) == sorted(still)


async def test_a_page_after_more_ties_than_fit_goes_on_where_it_was(seed: Seed) -> None:
    await fill(seed, {f"p-{n:04}": 0.0 for n in range(300)})
    listing = Listing(seed.redis)

    page = await listing.portfolios(Selection(), Order.RISK_NUMBER_ASC, 200, None)
    rest = await listing.portfolios(Selection(), Order.RISK_NUMBER_ASC, 200, page.cursor(page.rows[-1]))

    assert [row.id for row in rest.rows] == [f"p-{n:04}" for n in range(200, 300)]
    assert not rest.has_next


@pytest.mark.parametrize("order", ALL_ORDERS)
async def test_a_selection_cuts_at_the_rounded_number(seed: Seed, order: Order) -> None:
    await fill(seed, {"low": 69.4999, "edge": 69.5, "high": 70.49, "over": 70.5, "unnumbered": 0.0})

    met = await walk(Listing(seed.redis), Selection(min_risk_number=70, max_risk_number=70), order, 1)

    assert sorted(met) == ["edge", "high"]


async def test_a_limit_on_risk_leaves_out_portfolios_without_a_number(seed: Seed) -> None:
    await fill(seed, {"unnumbered": 0.0, "one": 1.0})
    listing = Listing(seed.redis)

    assert await walk(listing, Selection(max_risk_number=99), Order.RISK_NUMBER_ASC, 9) == ["one"]
    assert await listing.count(Selection(max_risk_number=99)) == 1
    assert await listing.count(Selection()) == 2


async def test_a_list_by_id_with_a_rare_risk_is_found_beyond_the_first_scan(seed: Seed) -> None:
    await fill(seed, {f"p-{n:04}": 90.0 if n in (3, 1_100) else 10.0 for n in range(1_200)})

    met = await walk(Listing(seed.redis), Selection(min_risk_number=70), Order.PORTFOLIO_ID, 1)

    assert met == ["p-0003", "p-1100"]


async def test_a_cursor_from_outside_the_selection_ends_or_begins_the_list(seed: Seed) -> None:
    await fill(seed, {"low": 10.0, "middle": 50.0, "high": 90.0})
    listing, order = Listing(seed.redis), Order.RISK_NUMBER_DESC
    middle = Selection(min_risk_number=40, max_risk_number=60)

    after_high = await listing.portfolios(middle, order, 5, encode_cursor(order, Row("high", 90.0)))
    after_low = await listing.portfolios(middle, order, 5, encode_cursor(order, Row("low", 10.0)))

    assert [row.id for row in after_high.rows] == ["middle"]
    assert after_low.rows == []


async def test_one_advisor_sees_their_own_only(seed: Seed) -> None:
    await fill(seed, {"mine": 10.0}, advisor="me")
    await fill(seed, {"theirs": 20.0}, advisor="them")

    for order in ALL_ORDERS:
        assert await walk(Listing(seed.redis), Selection("me"), order, 5) == ["mine"]


@pytest.mark.parametrize("first", [-1, 201, 2**31 - 1])
async def test_a_page_of_an_impossible_size_is_refused(seed: Seed, first: int) -> None:
    with pytest.raises(BadInput, match="first"):
        await Listing(seed.redis).portfolios(Selection(), Order.PORTFOLIO_ID, first, None)


@given(st.text(max_size=300))
def test_text_that_is_no_cursor_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(BadInput, match="after"):
        decode_cursor(text, Order.PORTFOLIO_ID)


@given(
    order=st.sampled_from(ALL_ORDERS),
    row_id=st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True),
    score=st.floats(0, 99),
)
def test_a_cursor_means_the_row_it_was_made_of(order: Order, row_id: str, score: float) -> None:
    assert decode_cursor(encode_cursor(order, Row(row_id, score)), order) == Row(row_id, score)


def test_a_cursor_of_another_order_is_refused() -> None:
    cursor = encode_cursor(Order.PORTFOLIO_ID, Row("p-1"))
    with pytest.raises(BadInput, match="order"):
        decode_cursor(cursor, Order.RISK_NUMBER_DESC)
