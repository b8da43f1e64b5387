from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from embedded.broker import EmbeddedBroker
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed

Read = Callable[[str, int, str], Awaitable[ConsumerRecord]]
pytestmark = pytest.mark.anyio

ARMS = """__typename
  ... on PortfolioUpdateAccepted { portfolioId topic partition offset }
  ... on Problem { code message }
  ... on InvalidInputProblem { field }
  ... on UnavailableProblem { dependency }"""
SIMULATE = f"""mutation($input: SimulatePortfolioUpdateInput!) {{
  simulatePortfolioUpdate(input: $input) {{ {ARMS} }} }}"""
UPDATE = f"mutation($input: PortfolioInput!) {{ updatePortfolio(input: $input) {{ {ARMS} }} }}"
SHOCK = """mutation($input: MarketShockInput!) { simulateMarketShock(input: $input) { __typename
  ... on MarketShockAccepted { topic ticks symbols }
  ... on Problem { code message } ... on InvalidInputProblem { field } } }"""


@pytest.fixture
def settings(redis_url: str, broker_address: str) -> Settings:
    return Settings(redis_url=redis_url, kafka_brokers=broker_address)


@pytest.fixture
async def records(broker_address: str) -> AsyncIterator[Read]:
    """Reads what stands at an offset, or all of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker_address, auto_offset_reset="earliest")
    await consumer.start()

    async def read(topic: str, partition: int, offset: str) -> ConsumerRecord:
        place = TopicPartition(topic, int(partition))
        consumer.assign([place])
        consumer.seek(place, int(offset))
        return await consumer.getone(place)

    yield read
    await consumer.stop()


async def simulate(client: Client, **stated: object) -> dict[str, Any]:
    answer = (await client.ask(SIMULATE, input={"portfolioId": "p-1"} | stated))["simulatePortfolioUpdate"]
    assert answer["__typename"] == "PortfolioUpdateAccepted", answer
    return answer


async def published(records: Read, accepted: dict[str, Any]) -> dict[str, Any]:
    record = await records(accepted["topic"], accepted["partition"], accepted["offset"])
    assert record.key.decode() == accepted["portfolioId"]
    return json.loads(record.value)


def held(update: dict[str, Any]) -> dict[str, float]:
    return {position["symbol"]: position["quantity"] for position in update["positions"]}


async def test_an_unknown_portfolio_becomes_a_sample_where_the_answer_says(client: Client, records: Read) -> None:
    accepted = await simulate(client)
    update = await published(records, accepted)
    assert accepted["topic"] == "portfolio-updates"
    assert update["id"] == "p-1"
    assert held(update) == {"AAPL": 100.0, "MSFT": 50.0, "JNJ": 75.0}
    assert (update["advisor_id"], update["risk_tolerance"]) == ("advisor-1", "Moderate")


async def test_trades_apply_to_what_the_engine_applied(client: Client, seed: Seed, make: Make, records: Read) -> None:
    await seed.write(make.snapshot())
    trades = [{"symbol": "AAPL", "quantity": -30}, {"symbol": "KO", "quantity": 7.5}]
    update = await published(
        records, await simulate(client, trades=trades, advisorId="advisor-2", riskTolerance="AGGRESSIVE")
    )
    assert held(update) == {"AAPL": 70.0, "MSFT": 50.0, "KO": 7.5}
    assert (update["advisor_id"], update["risk_tolerance"]) == ("advisor-2", "Aggressive")
    assert (update["cash"], update["client_id"]) == (1_000.0, "client-1")


@pytest.mark.parametrize("partition", [2, 9])
async def test_a_change_goes_through_the_partition_that_the_portfolio_came_through(
    client: Client, seed: Seed, make: Make, partition: int
) -> None:
    await seed.write(make.snapshot(), make.record(source_partition=partition))
    assert (await simulate(client, trades=[{"symbol": "KO", "quantity": 1}]))["partition"] == partition
    whole = {"id": "p-1", "advisorId": "advisor-1", "positions": [{"symbol": "KO", "quantity": 1}]}
    assert (await client.ask(UPDATE, input=whole))["updatePortfolio"]["partition"] == partition


async def test_two_changes_in_quick_succession_add_up(client: Client, records: Read) -> None:
    first = await simulate(client, trades=[{"symbol": "KO", "quantity": 1}])
    second = await simulate(client, trades=[{"symbol": "KO", "quantity": 2}])
    assert int(second["offset"]) == int(first["offset"]) + 1
    assert held(await published(records, second))["KO"] == 3.0


async def test_changes_at_the_same_time_add_up(client: Client, records: Read) -> None:
    fields = " ".join(
        f'm{n}: simulatePortfolioUpdate(input: {{portfolioId: "p-1", trades: [{{symbol: "KO", quantity: 1}}]}})'
        f" {{ {ARMS} }}"
        for n in range(5)
    )
    answers = (await client.ask(f"mutation {{ {fields} }}")).values()
    last = max(answers, key=lambda answer: int(answer["offset"]))
    assert held(await published(records, last))["KO"] == 5.0


async def test_what_the_engine_applied_since_counts_for_more_than_what_is_remembered(
    client: Client, seed: Seed, make: Make, records: Read
) -> None:
    accepted = await simulate(client, trades=[{"symbol": "KO", "quantity": 1}])
    partition, offset = accepted["partition"], int(accepted["offset"])
    later = make.record(
        symbols=["PEP"], quantities=[9.0], sectors=[None], source_partition=partition, source_offset=offset + 1
    )
    await seed.write(make.snapshot(), later)
    update = await published(records, await simulate(client, trades=[{"symbol": "KO", "quantity": 1}]))
    assert held(update) == {"PEP": 9.0, "KO": 1.0}


async def test_a_seed_makes_the_same_rebalance(client: Client, seed: Seed, make: Make, records: Read) -> None:
    for portfolio_id in ("p-1", "p-2"):
        await seed.write(make.snapshot(portfolio_id))
    one = await published(records, await simulate(client, seed=7))
    two = await published(records, await simulate(client, portfolioId="p-2", seed=7))
    assert held(one) == held(two)
    assert held(one) != {"AAPL": 100.0, "MSFT": 50.0}


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"portfolioId": "a b"}, "portfolioId"),
        ({"advisorId": ""}, "advisorId"),
        ({"trades": [{"symbol": "*", "quantity": 1}]}, "trades.symbol"),
        ({"trades": [{"symbol": "A", "quantity": 1e13}]}, "trades.quantity"),
    ],
)
async def test_a_simulation_that_cannot_be_made_names_the_field(
    client: Client, stated: dict[str, Any], field: str
) -> None:
    answer = (await client.ask(SIMULATE, input={"portfolioId": "p-1"} | stated))["simulatePortfolioUpdate"]
    assert (answer["__typename"], answer["code"], answer["field"]) == ("InvalidInputProblem", "BAD_INPUT", field)


WHOLE = {
    "id": "p-9",
    "advisorId": "advisor-3",
    "positions": [{"symbol": "AAPL", "quantity": -2.5, "sector": "Technology"}],
    "cash": 10.0,
    "accountType": "IRA",
    "version": "9007199254740993",
    "riskTolerance": "CONSERVATIVE",
}


async def test_a_whole_portfolio_is_stated_as_it_was_sent(client: Client, records: Read) -> None:
    accepted = (await client.ask(UPDATE, input=WHOLE))["updatePortfolio"]
    update = await published(records, accepted)
    assert held(update) == {"AAPL": -2.5}
    assert update["version"] == 9007199254740993
    assert (update["advisor_id"], update["risk_tolerance"], update["cash"]) == ("advisor-3", "Conservative", 10.0)


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"advisorId": "a b"}, "advisorId"),
        ({"clientId": "a b"}, "clientId"),
        ({"positions": [{"symbol": "A", "quantity": 1}, {"symbol": "A", "quantity": 1}]}, "positions[1].symbol"),
        ({"positions": [{"symbol": "A", "quantity": 1e13}]}, "positions[0].quantity"),
        ({"currency": "EUR"}, "currency"),
        ({"version": "-1"}, "version"),
        ({"version": str(2**63)}, "version"),
    ],
)
async def test_a_portfolio_that_no_reader_would_take_names_the_field(
    client: Client, stated: dict[str, Any], field: str
) -> None:
    answer = (await client.ask(UPDATE, input=WHOLE | stated))["updatePortfolio"]
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)


async def test_a_shock_publishes_a_tick_for_each_mark(client: Client, seed: Seed, records: Read) -> None:
    await seed.marks(AAPL=100.0, MSFT=200.0)
    answer = (await client.ask(SHOCK, input={"shockFraction": -0.1}))["simulateMarketShock"]
    assert (answer["topic"], answer["ticks"], sorted(answer["symbols"])) == ("market-data", 2, ["AAPL", "MSFT"])
    answer = (await client.ask(SHOCK, input={"shockFraction": 0.5, "symbols": ["MSFT"]}))["simulateMarketShock"]
    assert answer["symbols"] == ["MSFT"]


@pytest.mark.parametrize("fraction", [-0.95, -1.0, 5.01])
async def test_a_shock_beyond_bounds_is_refused(client: Client, seed: Seed, fraction: float) -> None:
    await seed.marks(AAPL=100.0)
    answer = (await client.ask(SHOCK, input={"shockFraction": fraction}))["simulateMarketShock"]
    assert (answer["code"], answer["field"]) == ("BAD_INPUT", "shockFraction")


async def test_a_shock_to_what_has_no_mark_is_not_found(client: Client, seed: Seed) -> None:
    assert (await client.ask(SHOCK, input={"shockFraction": 0.1}))["simulateMarketShock"]["code"] == "NOT_FOUND"
    await seed.marks(AAPL=100.0)
    answer = (await client.ask(SHOCK, input={"shockFraction": 0.1, "symbols": ["AAPL", "XYZ"]}))["simulateMarketShock"]
    assert answer["code"] == "NOT_FOUND"
    assert "XYZ" in answer["message"]


async def test_rest_simulates_by_the_same_rules(client: Client, seed: Seed, records: Read) -> None:
    await seed.marks(MSFT=400.0)
    for path in ("/simulate/portfolio-update", "/simulate/portfolio", "/portfolio/simulate"):
        portfolio_id = "new" + path.replace("/", "-")
        response = await client.http.post(path, params={"portfolio_id": portfolio_id})
        body = response.json()
        assert response.status_code == 200
        assert body["status"] == "success"
        assert body["portfolio_id"] == portfolio_id
        # The sample is worth $51,243.75; by our mark MSFT is $20.25 less a share, 50 times.
        assert body["portfolio_value"] == "$50,231.25"


async def test_rest_states_a_whole_portfolio_as_on_the_topic(client: Client) -> None:
    portfolio = {"id": "p-1", "advisor_id": "a", "positions": [{"symbol": "AAPL", "quantity": 1}], "surplus": True}
    response = await client.http.post("/portfolio/update", json={"portfolio": portfolio})
    assert response.status_code == 200, response.text
    assert response.json() | {"message": ""} == {"status": "success", "message": "", "portfolio_id": "p-1"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "body: "),
        (b'{"portfolio": {"id": "p-1", "advisor_id": "a"}}', "positions"),
        (b'{"portfolio": {"id": "p 1", "advisor_id": "a", "positions": []}}', "portfolio.id"),
        (b'{"portfolio": {"id": "p", "advisor_id": "a", "positions": [{"symbol": "A", "quantity": NaN}]}}', "quantity"),
    ],
)
async def test_rest_names_what_is_wrong_with_a_portfolio(client: Client, body: bytes, named: str) -> None:
    response = await client.http.post("/portfolio/update", content=body)
    assert response.status_code == 422
    assert named in response.json()["detail"]


async def test_without_kafka_a_change_is_refused_within_its_time(
    client: Client, embedded_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await simulate(client)
    monkeypatch.setattr("api.publisher.ACKNOWLEDGED_WITHIN_SECONDS", 0.3)
    embedded_broker.down()
    answer = (await client.ask(SIMULATE, input={"portfolioId": "p-1"}))["simulatePortfolioUpdate"]
    assert (answer["__typename"], answer["code"], answer["dependency"]) == (
        "UnavailableProblem",
        "UNAVAILABLE",
        "Kafka",
    )
    response = await client.http.post("/simulate/portfolio-update", params={"portfolio_id": "p-1"})
    assert response.status_code == 503
    assert (await client.http.get("/health")).json()["kafka_connected"] is False


async def test_the_api_finds_a_kafka_that_comes_up_later(client: Client, embedded_broker: EmbeddedBroker) -> None:
    embedded_broker.down()
    embedded_broker.up()
    await simulate(client)
    assert (await client.http.get("/health")).json()["kafka_connected"] is True
