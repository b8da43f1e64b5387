"""What one advisor sees of everything, part by part; `test_confinement` asks the same from outside."""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api import backend as backend_module
from api import views
from api.backend import VIEWS_MAX, Backend
from api.batches import BEGIN, Batch, BatchReason
from api.errors import BadInput, Forbidden, NotFound
from api.follow import AtRiskMove, RiskEventReason
from api.identity import ANYONE, STRANGER, Caller, Role
from api.listing import Order, Row, Selection, encode_cursor
from api.snapshots import SnapshotStore
from api.updates import Simulation
from plimsoll.messages import AdvisorPnl, BacktestRecord, Moved, RiskBatch

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed

pytestmark = pytest.mark.anyio
ADA = Caller("ada", frozenset({Role.ADVISOR}), "ada")
MAX = Caller("max", frozenset({Role.RISK_MANAGER}))
OLE = Caller("ole", frozenset({Role.OPERATOR}))
READS = {"get", "mget", "hgetall", "hmget", "zmscore", "zscore", "zrange", "zcard", "zcount", "zrangebylex", "xrange"}
API = Path(inspect.getfile(backend_module)).parent


@pytest.fixture
async def whole(client: Client, seed: Seed, make: Make) -> Backend:
    """Ada has a-1 and a-2, Bob has b-1 to b-3; everything that is kept of one is kept of all."""
    for portfolio_id, advisor_id, number in (
        ("a-1", "ada", 80),
        ("a-2", "ada", 20),
        ("b-1", "bob", 90),
        ("b-2", "bob", 75),
        ("b-3", "bob", 10),
    ):
        await seed.write(
            make.snapshot(portfolio_id, advisor_id, risk_number=number, client_id=f"client-of-{advisor_id}")
        )
        await seed.history(portfolio_id, [60_000, 120_000])
        await seed.backtest(BacktestRecord(portfolio_id, "2020-01-02", "2020-01-03", 2, 0, 0, "00", "00"))
    await seed.marks(AAPL=185.5, MSFT=420.25)
    await seed.scenario_set()
    await seed.heartbeat(portfolios=5)
    return client.app.state.backend


@pytest.fixture
def own(whole: Backend) -> Backend:
    return whole.seen_by(ADA)


# --- the store --------------------------------------------------------------------------------------------------------


async def test_what_is_anothers_is_read_as_what_is_not_there(own: Backend) -> None:
    asked = ["b-1", "a-1", "nobody", "a-1", "b-2"]
    for found in (await own.store.risks(asked), await own.store.records(asked), await own.store.risk_figures(asked)):
        assert [each is not None for each in found] == [False, True, False, True, False]
    for portfolio_id, there in (("a-1", True), ("b-1", False), ("nobody", False)):
        assert (await own.store.risk(portfolio_id) is not None) is there
        assert (await own.store.record(portfolio_id) is not None) is there
        assert (await own.store.backtest(portfolio_id) is not None) is there
        assert len(await own.store.history(portfolio_id, None, None)) == (2 if there else 0)
    assert [await own.store.is_advisor(each) for each in ("ada", "bob", "nobody")] == [True, False, False]
    assert await own.store.closed(["b-1", "a-1"]) == [False, False]
    assert await own.store.heartbeats() == []
    assert await own.store.risks([]) == []


async def test_the_pnl_of_other_advisors_is_not_read(own: Backend, seed: Seed) -> None:
    pnl = AdvisorPnl("set-1", 1, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0, 0, b"", b"")
    for advisor_id in ("ada", "bob"):
        await seed.advisor_pnl(advisor_id, "0/1", pnl)
    assert [len(each) for each in await own.store.advisor_pnls(["bob", "ada", "nobody"])] == [0, 1, 0]


async def test_a_portfolio_that_moves_between_two_reads_is_not_told(
    own: Backend, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_all = SnapshotStore.risks

    async def moving(store: SnapshotStore, portfolio_ids: Any) -> Any:
        # Whose it is has been asked by now.
        await seed.move(make.snapshot("a-1", "bob", sequence="2"), "ada")
        return await of_all(store, portfolio_ids)

    monkeypatch.setattr(SnapshotStore, "risks", moving)
    assert await own.store.risk("a-1") is None


async def test_what_is_anothers_costs_the_same_work_as_what_is_not_there(
    own: Backend, seed: Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.engine_state.READ_EVERY_NS", 10**12)
    store, listing, asked = own.store, own.listing, Selection

    async def work(portfolio_id: str, advisor_id: str) -> dict[str, int]:
        """How often Redis was asked what."""
        await seed.redis.config_resetstat()
        await store.risks([portfolio_id])
        await store.records([portfolio_id])
        await store.backtest(portfolio_id)
        await store.history(portfolio_id, None, None)
        await store.is_advisor(advisor_id)
        await store.advisor_pnls([advisor_id])
        await listing.portfolios(asked(advisor_id), Order.RISK_NUMBER_DESC, 50, None)
        await listing.count(asked(advisor_id))
        await own.summary.advisor(advisor_id)
        stats = await seed.redis.info("commandstats")
        return {name: each["calls"] for name, each in stats.items() if name.removeprefix("cmdstat_") in READS}

    await work("a-1", "ada")  # What is kept from one question to the next is kept now.
    of_others = await work("b-1", "bob")
    assert of_others == await work("nobody", "no-advisor")
    assert of_others["cmdstat_zmscore"] == 4


async def test_whose_a_portfolio_is_the_engine_says_at_this_moment(own: Backend, seed: Seed, make: Make) -> None:
    await seed.move(make.snapshot("a-1", "bob", sequence="2"), "ada")
    assert await own.store.risk("a-1") is None
    assert await own.store.history("a-1", None, None) == []
    await seed.move(make.snapshot("b-1", "ada", sequence="2"), "bob")
    assert await own.store.risk("b-1") is not None


# --- the lists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [Order.PORTFOLIO_ID, Order.RISK_NUMBER_DESC, Order.RISK_NUMBER_ASC])
async def test_lists_and_counts_hold_what_is_their_own(own: Backend, order: Order) -> None:
    for selection in (Selection(), Selection("ada")):
        page = await own.listing.portfolios(selection, order, 50, None)
        assert sorted(row.id for row in page.rows) == ["a-1", "a-2"]
        assert await own.listing.count(selection) == 2
        assert await own.listing.all_portfolios(selection) == ["a-1", "a-2"]
    risky = Selection(min_risk_number=70)
    assert [row.id for row in (await own.listing.portfolios(risky, order, 50, None)).rows] == ["a-1"]
    assert await own.listing.count(risky) == 1


async def test_the_list_of_another_is_as_empty_as_that_of_nobody(own: Backend) -> None:
    for advisor_id in ("bob", "nobody"):
        for selection in (Selection(advisor_id), Selection(advisor_id, 1, 99)):
            page = await own.listing.portfolios(selection, Order.PORTFOLIO_ID, 50, None)
            assert (page.rows, page.has_next) == ([], False)
            assert await own.listing.count(selection) == 0
            assert await own.listing.all_portfolios(selection) == []


async def test_a_cursor_that_somebody_else_made_is_a_place_and_nothing_more(own: Backend) -> None:
    for there in ("b-1", "b-0-that-never-was"):
        after = encode_cursor(Order.RISK_NUMBER_DESC, Row(there, 90.0))
        page = await own.listing.portfolios(Selection(), Order.RISK_NUMBER_DESC, 50, after)
        assert [row.id for row in page.rows] == ["a-1", "a-2"]
    with pytest.raises(BadInput):
        await own.listing.portfolios(Selection("bob"), Order.PORTFOLIO_ID, 50, "no cursor")
    with pytest.raises(BadInput):
        await own.listing.advisors(-1, None)


async def test_of_advisors_there_is_one(own: Backend) -> None:
    page = await own.listing.advisors(50, None)
    assert [row.id for row in page.rows] == ["ada"]
    assert not page.has_next
    assert await own.listing.count_advisors() == 1
    assert await own.listing.all_advisors() == ["ada"]
    after = [encode_cursor(Order.ADVISOR_ID, Row(each)) for each in ("aaa", "ada", "bob")]
    assert [len((await own.listing.advisors(50, each)).rows) for each in after] == [1, 0, 0]
    empty = await own.listing.advisors(0, None)
    assert (empty.rows, empty.has_next) == ([], True)


# --- sums -------------------------------------------------------------------------------------------------------------


async def test_totals_and_aggregates_are_over_what_is_their_own(whole: Backend, own: Backend, seed: Seed) -> None:
    totals = await own.summary.totals()
    assert (totals.portfolios, totals.total_value_at_risk, totals.average_risk_number) == (2, 2_000.0, 50.0)
    assert sum(totals.by_band.values()) == 2
    assert (await whole.summary.totals()).portfolios == 5
    vector = b"\x00" * 8 * 100
    for advisor_id, portfolios in (("ada", 2), ("bob", 3)):
        pnl = AdvisorPnl("set-1", portfolios, 10.0 * portfolios, 1.0, 1.0, 1.0, 0.0, 0.0, 0, 0, vector, vector)
        await seed.advisor_pnl(advisor_id, "0/1", pnl)
    firm = await own.summary.firm()
    assert firm.portfolios == (await own.summary.advisor("ada")).portfolios == 2
    assert await own.summary.advisor("bob") == await own.summary.advisor("nobody")
    assert (await whole.summary.firm()).portfolios == 5


async def test_the_status_tells_an_advisor_that_it_works_and_not_how_much_there_is(
    whole: Backend, own: Backend
) -> None:
    status = await own.summary.status()
    assert (status.portfolios, status.crew, status.calculations) == (2, [], 0)
    assert status.redis_connected
    assert not status.stale
    assert status.replay is not None  # which day is played is no secret of anybody's
    assert await own.engine.crew() == []
    assert not await own.engine.is_stale()
    assert await own.engine.is_complete()
    for caller in (OLE, MAX):
        seen = await whole.seen_by(caller).summary.status()
        assert (seen.portfolios, len(seen.crew)) == (5, 1)


# --- answers on demand ------------------------------------------------------------------------------------------------


async def test_nothing_is_computed_of_what_is_anothers(own: Backend) -> None:
    async def every(portfolio_id: str) -> list[str]:
        said = []
        for asked in (
            own.analysis.what_if(portfolio_id, {"AAPL": 1.0}),
            own.analysis.contributions(portfolio_id),
            own.analysis.alternatives(portfolio_id),
            own.analysis.stress(portfolio_id, None),
            own.analysis.backtest(portfolio_id),
        ):
            with pytest.raises(NotFound) as refused:
                await asked
            said.append(str(refused.value).replace(portfolio_id, "ID"))
        return said

    assert await every("b-1") == await every("nobody")
    assert (await own.analysis.what_if("a-1", {"AAPL": 1.0})).before.portfolio_id == "a-1"


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_whoever_is_no_operator_has_nothing_to_change_things_with(
    whole: Backend, own: Backend, make: Make
) -> None:
    for updates in (own.updates, whole.seen_by(MAX).updates, whole.seen_by(STRANGER).updates):
        for changing in (
            updates.simulate(Simulation("a-1")),
            updates.update(views.PortfolioUpdate("a-1", "ada", [])),
            updates.shock(-0.1, None),
            updates.value(views.PortfolioUpdate("a-1", "ada", [])),
        ):
            with pytest.raises(Forbidden):
                await changing
    assert whole.seen_by(OLE).updates is whole.updates


# --- streams ----------------------------------------------------------------------------------------------------------


async def nothing_more(events: AsyncGenerator[Any, None]) -> None:
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(events), 10)


async def next_of(events: AsyncGenerator[Any, None]) -> Any:
    return await asyncio.wait_for(anext(events), 10)


@pytest.mark.parametrize("portfolio_id", ["b-1", "nobody"])
async def test_a_stream_of_what_is_anothers_does_not_begin(own: Backend, portfolio_id: str) -> None:
    with pytest.raises(NotFound, match=f"no risk is known of portfolio '{portfolio_id}'"):
        await anext(own.follow.portfolio(portfolio_id))
    with pytest.raises(NotFound, match="has no portfolios"):
        await anext(own.follow.advisor({"b-1": "bob"}.get(portfolio_id, portfolio_id)))


async def test_a_stream_ends_when_its_portfolio_moves_and_does_not_say_where(
    own: Backend, whole: Backend, seed: Seed, make: Make
) -> None:
    mine, everyones = own.follow.portfolio("a-1"), whole.follow.portfolio("a-1")
    assert (await next_of(mine)).reason is (await next_of(everyones)).reason is RiskEventReason.SNAPSHOT
    await seed.move(make.snapshot("a-1", "bob", sequence="2"), "ada")
    closed = await next_of(mine)
    assert (closed.reason, closed.risk.advisor_id, closed.risk.sequence) == (RiskEventReason.CLOSED, "ada", "1")
    await nothing_more(mine)
    followed = await next_of(everyones)
    assert (followed.reason, followed.risk.advisor_id) == (RiskEventReason.UPDATE, "bob")
    await everyones.aclose()


async def test_a_stream_ends_when_its_portfolio_moved_while_nobody_could_hear(
    own: Backend, whole: Backend, seed: Seed, make: Make
) -> None:
    mine = own.follow.portfolio("a-1")
    await next_of(mine)
    (channel,) = whole.fanout._channels.values()
    # It moves, and the connection that would have said so is down: all that comes is a gap.
    await seed.write(make.snapshot("a-1", "bob", sequence="2"))
    for mailbox in channel.readers():
        mailbox.put_gap()
    closed = await next_of(mine)
    assert (closed.reason, closed.risk.advisor_id) == (RiskEventReason.CLOSED, "ada")
    await nothing_more(mine)


@pytest.mark.parametrize("stream", ["everyone", "advisor"])
async def test_streams_of_everyone_are_of_their_own(own: Backend, seed: Seed, make: Make, stream: str) -> None:
    events = own.follow.everyone() if stream == "everyone" else own.follow.advisor("ada")
    assert [(await next_of(events)).risk.portfolio_id for _ in range(2)] == ["a-1", "a-2"]
    await seed.publish(make.snapshot("b-1", "bob", sequence="2"))
    # Somebody who should not have published here: what is not theirs is not told, whichever way it came.
    await seed.tell("ada", RiskBatch([make.snapshot("b-2", "bob", sequence="2")]))
    await seed.move(make.snapshot("a-1", "bob", sequence="2"), "ada")
    closed = await next_of(events)
    assert (closed.reason, closed.risk.portfolio_id, closed.risk.advisor_id) == (RiskEventReason.CLOSED, "a-1", "ada")
    await seed.move(make.snapshot("b-3", "ada", sequence="2"), "bob")
    come = await next_of(events)
    assert (come.reason, come.risk.portfolio_id) == (RiskEventReason.UPDATE, "b-3")
    await events.aclose()


@pytest.mark.parametrize("named", [None, "ada"])
async def test_batches_are_of_their_own(
    own: Backend, whole: Backend, seed: Seed, make: Make, named: str | None
) -> None:
    batches = own.follow.batches(named, 0.01)
    assert await next_of(batches) == BEGIN
    assert list(whole.fanout._channels) == ["risk-updates:ada"]
    await seed.publish(make.snapshot("b-1", "bob", sequence="2"))
    # Somebody who should not have published here.
    await seed.tell("ada", RiskBatch([make.snapshot("b-2", "bob", sequence="2")], [Moved("b-3", "cleo")], ["b-1"]))
    await seed.publish(make.snapshot("a-2", "ada", sequence="2"))
    assert await next_of(batches) == Batch(BatchReason.UPDATE, {"a-2": make.snapshot("a-2", "ada", sequence="2")})
    await seed.move(make.snapshot("a-1", "bob", sequence="2"), "ada")
    assert await next_of(batches) == Batch(BatchReason.UPDATE, closed=("a-1",))
    await seed.move(make.snapshot("b-3", "ada", sequence="2"), "bob")
    assert set((await next_of(batches)).risks) == {"b-3"}
    await seed.close("b-3", "ada")
    assert (await next_of(batches)).closed == ("b-3",)
    await batches.aclose()


@pytest.mark.parametrize("advisor_id", ["bob", "nobody"])
async def test_batches_of_another_do_not_begin(own: Backend, advisor_id: str) -> None:
    with pytest.raises(NotFound, match=f"advisor '{advisor_id}' has no portfolios"):
        await anext(own.follow.batches(advisor_id, 0.01))


async def test_who_is_at_risk_is_told_of_their_own(own: Backend, whole: Backend, seed: Seed, make: Make) -> None:
    changes = own.follow.at_risk(70)
    entered = await next_of(changes)
    assert (entered.change, entered.risk.portfolio_id) == (AtRiskMove.ENTERED, "a-1")
    assert list(whole.fanout._channels) == ["risk-updates:ada"]
    await seed.publish(make.snapshot("b-1", "bob", sequence="2", risk_number=95))
    await seed.move(make.snapshot("a-1", "bob", sequence="2", risk_number=99), "ada")
    left = await next_of(changes)
    assert (left.change, left.risk.portfolio_id, left.risk.sequence) == (AtRiskMove.LEFT, "a-1", "1")
    await seed.publish(make.snapshot("a-2", "ada", sequence="2", risk_number=70))
    assert (await next_of(changes)).risk.portfolio_id == "a-2"
    await changes.aclose()


async def test_who_left_while_nobody_could_hear_is_told_to_have_left(
    own: Backend, whole: Backend, seed: Seed, make: Make
) -> None:
    changes = own.follow.at_risk(70)
    await next_of(changes)
    await seed._leave("a-1", "ada")
    await seed.write(make.snapshot("a-1", "bob", sequence="2", risk_number=99))
    for channel in whole.fanout._channels.values():
        for mailbox in channel.readers():
            mailbox.put_gap()
    left = await next_of(changes)
    assert (left.change, left.risk.advisor_id) == (AtRiskMove.LEFT, "ada")
    await changes.aclose()


# --- the shape of it --------------------------------------------------------------------------------------------------


async def test_a_view_is_kept_and_whoever_sees_all_gets_the_parts_themselves(whole: Backend) -> None:
    assert whole.seen_by(ANYONE) is whole
    assert whole.seen_by(ADA) is whole.seen_by(Caller("another", ADA.roles, "ada"))
    assert whole.seen_by(MAX).store is whole.store
    for number in range(VIEWS_MAX + 10):
        whole.seen_by(Caller("x", ADA.roles, f"advisor-{number}"))
    assert len(whole._views) == VIEWS_MAX


async def test_a_view_of_a_view_is_no_wider(own: Backend) -> None:
    assert await own.seen_by(MAX).store.risk("b-1") is None
    assert await own.seen_by(Caller("bob", ADA.roles, "bob")).store.risk("b-1") is None
    assert await own.seen_by(ANYONE).store.risk("b-1") is None


async def test_who_reads_nothing_is_shown_nothing(whole: Backend) -> None:
    for caller in (OLE, STRANGER):
        seen = whole.seen_by(caller)
        assert await seen.store.risks(["a-1", "b-1"]) == [None, None]
        assert await seen.listing.count(Selection()) == 0
        assert await seen.listing.all_advisors() == []
        assert (await seen.summary.totals()).portfolios == 0
        assert (await seen.summary.firm()).portfolios == 0
        assert not await seen.store.is_advisor("")


async def test_seeing_everything_costs_next_to_nothing(whole: Backend) -> None:
    def seconds(caller: Caller) -> float:
        began = time.perf_counter()
        for _ in range(1_000):
            whole.seen_by(caller)
        return (time.perf_counter() - began) / 1_000

    for caller in (ANYONE, MAX, ADA):
        whole.seen_by(caller)
        # Ten times what it takes, because other programs run here as well.
        assert min(seconds(caller) for _ in range(20)) < 20e-6


TWINS = [
    (views.OwnStore, SnapshotStore),
    (views.OwnListing, views.Listing),
    (views.OwnEngineState, views.EngineState),
    (views.OwnSummary, views.Summary),
    (views.OwnFollow, views.Follow),
    (views.NoUpdates, views.Updates),
]


@pytest.mark.parametrize(("twin", "of"), TWINS)
def test_a_part_that_grows_a_method_is_refused_until_its_twin_has_a_word_on_it(
    twin: type, of: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def everything(self: object) -> None:
        """What a later hand may add."""

    monkeypatch.setattr(of, "everything", everything, raising=False)
    with pytest.raises(TypeError, match="everything"):
        views.twin_of(of)(twin)


@pytest.mark.parametrize(("twin", "of"), TWINS)
def test_every_twin_is_held_to_that(twin: type, of: type) -> None:
    tree = ast.parse(inspect.getsource(views))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == twin.__name__)
    decorators = [each.func.id for each in found.decorator_list if isinstance(each, ast.Call)]  # type: ignore[attr-defined]
    assert decorators == ["twin_of"]
    assert issubclass(twin, of)


def test_no_resolver_and_no_handler_reaches_past_the_view() -> None:
    """What has no twin is not for those who answer callers: it speaks to Redis and to Kafka themselves."""
    raw = {"redis", "fanout", "publisher", "sets", "_views"}
    for path in [*sorted((API / "schema").glob("*.py")), API / "rest.py"]:
        reached = [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in raw
        ]
        assert not reached
