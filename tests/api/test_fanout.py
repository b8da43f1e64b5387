from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from api import fanout as fanout_module
from api.fanout import Closed, Due, Fanout, Gap, Mailbox, Restate, Traffic
from embedded.store import EmbeddedStore
from plimsoll import keys, transport
from plimsoll.errors import Unavailable
from plimsoll.messages import Moved, RiskBatch, encode

if TYPE_CHECKING:
    from tests.api.conftest import Make, Seed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def fanout(redis_url: str) -> AsyncIterator[Fanout]:
    fanout = Fanout(transport.Redis(redis_url), jitter=lambda: 0.0)
    task = asyncio.create_task(fanout.run())
    yield fanout
    task.cancel()
    await asyncio.wait({task})


async def taken(mailbox: Mailbox) -> Any:  # a test says what it expects
    return await asyncio.wait_for(mailbox.take(), 10)


async def test_a_slow_reader_sees_the_newest_snapshot_only(make: Make) -> None:
    traffic = Traffic()
    mailbox = Mailbox("channel", None, traffic)
    for sequence in range(1_000):
        mailbox.put("p-1", make.snapshot(sequence=str(sequence)))

    assert (await mailbox.take()).sequence == "999"
    assert len(mailbox) == 0
    assert traffic.conflated == 999


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), max_size=50))
def test_a_mailbox_holds_no_more_than_the_portfolios_watched(make: Make, arrivals: list[tuple[str, int]]) -> None:
    mailbox = Mailbox("channel", None, Traffic())
    newest = {}
    for portfolio_id, sequence in arrivals:
        mailbox.put(portfolio_id, make.snapshot(portfolio_id, sequence=str(sequence)))
        newest[portfolio_id] = str(sequence)
    assert len(mailbox) == len(newest)

    async def everything() -> dict[str, str]:
        return {(news := await mailbox.take()).portfolio_id: news.sequence for _ in newest}

    assert asyncio.run(everything()) == newest


async def test_what_is_left_while_reading_is_still_replaced_by_newer(make: Make) -> None:
    mailbox = Mailbox("channel", None, Traffic())
    mailbox.put("a", make.snapshot("a", sequence="1"))
    mailbox.put("b", make.snapshot("b", sequence="1"))
    assert (await mailbox.take()).portfolio_id == "a"
    mailbox.put("b", make.snapshot("b", sequence="2"))
    assert (await mailbox.take()).sequence == "2"


async def test_a_gap_goes_before_everything_and_drops_what_is_older(make: Make) -> None:
    mailbox = Mailbox("channel", None, Traffic())
    mailbox.put("a", make.snapshot("a"))
    mailbox.put_gap()
    mailbox.put("b", make.snapshot("b"))
    assert await mailbox.take() == Gap()
    assert (await mailbox.take()).portfolio_id == "b"
    assert len(mailbox) == 0


async def test_a_reader_hears_that_the_engine_fell_silent_once_and_not_what_it_was_told_before(make: Make) -> None:
    mailbox = Mailbox("channel", None, Traffic(), stale=False)
    mailbox.put_state(stale=False)
    mailbox.put("a", make.snapshot("a"))
    for _ in range(2):
        mailbox.put_state(stale=True)
    assert await mailbox.take() == Restate()
    assert (await mailbox.take()).portfolio_id == "a"
    mailbox.put_state(stale=False)
    assert await mailbox.take() == Restate()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_readers_are_woken_a_few_at_a_time_in_the_order_in_which_their_news_came(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout_module, "WOKEN_AT_ONCE", 2)
    due, heard, most = Due(), [], 0
    mailboxes = [Mailbox("channel", str(number), Traffic(), due) for number in range(6)]

    async def read(mailbox: Mailbox) -> None:
        heard.append((await mailbox.take()).portfolio_id)

    readers = [asyncio.create_task(read(mailbox)) for mailbox in mailboxes]
    await turns(1)
    for mailbox in reversed(mailboxes):
        mailbox.put(mailbox.portfolio_id or "", make.snapshot(mailbox.portfolio_id or ""))
    while len(heard) < len(mailboxes):
        before = len(heard)
        await turns(1)
        most = max(most, len(heard) - before)
    assert heard == ["5", "4", "3", "2", "1", "0"]
    assert most == 2
    await asyncio.wait(readers)


async def test_readers_wait_while_more_arrives_but_not_for_ever(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "BEHIND_TURNS_MAX", 20)
    behind = True
    mailbox = Mailbox("channel", "p-1", Traffic(), Due(lambda: behind))

    async def first_of(count: int) -> str:
        reading = asyncio.create_task(mailbox.take())
        await turns(1)
        for sequence in range(count):
            mailbox.put("p-1", make.snapshot(sequence=str(sequence)))
            await turns(1)
        return (await asyncio.wait_for(reading, 10)).sequence

    assert await first_of(10) == "9"
    assert 10 < int(await first_of(100)) < 30
    mailbox = Mailbox("channel", "p-1", Traffic(), Due(lambda: behind))
    behind = False
    assert int(await first_of(100)) < 5


async def test_each_reader_hears_what_it_watches(fanout: Fanout, seed: Seed, make: Make) -> None:
    channel = keys.risk_channel("advisor-1")
    async with (
        fanout.watch(channel) as all_of_one,
        fanout.watch(channel, "p-2") as one,
        fanout.watch(keys.ALL_RISK_CHANNELS) as everything,
    ):
        assert fanout.readers == 3
        batch = RiskBatch([make.snapshot("p-1"), make.snapshot("p-2")], [Moved("p-3", "advisor-9")], ["p-4"])
        await seed.tell("advisor-1", batch)
        await seed.tell("advisor-2", RiskBatch([make.snapshot("p-5", "advisor-2")]))

        assert [(await taken(all_of_one)).portfolio_id for _ in range(4)] == ["p-1", "p-2", "p-3", "p-4"]
        assert (await taken(one)).portfolio_id == "p-2"
        heard = [await taken(everything) for _ in range(4)]
        assert [news.portfolio_id for news in heard] == ["p-1", "p-2", "p-4", "p-5"]
        assert isinstance(heard[2], Closed)
    assert fanout.readers == 0


async def test_a_portfolio_that_moves_has_left_its_advisor_and_is_still_among_everyones(
    fanout: Fanout, seed: Seed, make: Make
) -> None:
    moved = make.snapshot("p-1", "advisor-2", sequence="2")
    async with (
        fanout.watch(keys.risk_channel("advisor-1")) as theirs,
        fanout.watch(keys.ALL_RISK_CHANNELS) as all_of_them,
    ):
        # As the engine says it: first to whoever has it now, then to whoever had it.
        await seed.tell("advisor-2", RiskBatch([moved]))
        await seed.tell("advisor-1", RiskBatch(moved=[Moved("p-1", "advisor-2")]))
        assert await taken(theirs) == Moved("p-1", "advisor-2")
        assert await taken(all_of_them) == moved
        assert len(all_of_them) == 0


async def test_a_channel_is_subscribed_to_once_and_given_up_with_its_last_reader(
    fanout: Fanout, seed: Seed, make: Make
) -> None:
    channel = keys.risk_channel("advisor-1")

    async def subscribers() -> int:
        ((_, count),) = await seed.redis.pubsub_numsub(channel)
        return count

    async with fanout.watch(channel):
        async with fanout.watch(channel):
            assert await subscribers() == 1
        assert await subscribers() == 1

    async def given_up() -> bool:
        return await subscribers() == 0

    await make.eventually(given_up)
    async with fanout.watch(channel) as again:
        await seed.tell("advisor-1", RiskBatch([make.snapshot()]))
        assert (await taken(again)).portfolio_id == "p-1"


async def test_a_message_that_is_none_is_counted_and_passed_over(fanout: Fanout, seed: Seed, make: Make) -> None:
    channel = keys.risk_channel("advisor-1")
    async with fanout.watch(channel) as mailbox:
        await seed.redis.publish(channel, b"\xff not json")
        await seed.tell("advisor-1", RiskBatch([make.snapshot()]))
        assert (await taken(mailbox)).portfolio_id == "p-1"
    assert fanout.traffic.refused == 1


async def test_a_connection_that_came_back_tells_its_readers_of_a_gap(fanout: Fanout, seed: Seed, make: Make) -> None:
    async with fanout.watch(keys.risk_channel("advisor-1")) as mailbox:
        await seed.redis.client_kill_filter(_type="pubsub")
        assert await taken(mailbox) == Gap()
        await seed.tell("advisor-1", RiskBatch([make.snapshot()]))
        assert (await taken(mailbox)).portfolio_id == "p-1"
    assert fanout.traffic.gaps == 1


async def test_without_redis_a_watch_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.fanout.SUBSCRIBED_WITHIN_SECONDS", 0.2)
    with EmbeddedStore.start() as store:
        url = store.url
    fanout = Fanout(transport.Redis(url))
    task = asyncio.create_task(fanout.run())
    began = time.monotonic()
    with pytest.raises(Unavailable, match="Redis"):
        async with fanout.watch(keys.ALL_RISK_CHANNELS):
            pass
    assert time.monotonic() - began < 5
    assert fanout.readers == 0
    task.cancel()
    await asyncio.wait({task})


async def test_many_messages_arrive_in_order(fanout: Fanout, redis_url: str, make: Make) -> None:
    redis = Redis.from_url(redis_url)
    async with fanout.watch(keys.ALL_RISK_CHANNELS) as mailbox:
        for sequence in range(300):
            snapshot = make.snapshot(sequence=str(sequence))
            await redis.publish(keys.risk_channel("advisor-1"), encode(RiskBatch([snapshot])))
        last = -1
        while last < 299:
            news = await taken(mailbox)
            assert int(news.sequence) > last
            last = int(news.sequence)
    await redis.aclose()


async def test_who_reads_when_the_process_stops_is_told_and_so_is_who_comes_later(fanout: Fanout) -> None:
    channel = keys.risk_channel("advisor-1")
    async with fanout.watch(channel) as before:
        fanout.end()
        with pytest.raises(Unavailable, match="stops"):
            await taken(before)
    async with fanout.watch(channel) as after:
        with pytest.raises(Unavailable, match="stops"):
            await taken(after)
