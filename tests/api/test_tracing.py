"""One span an operation, below its caller's; and the trace goes on to Kafka."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from api import tracing
from api.publisher import Publisher
from api.telemetry import Telemetry
from api.tracing import Spans
from plimsoll import logs, topics
from plimsoll.settings import Settings, load
from plimsoll.transport import Kafka

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed, Served

pytestmark = pytest.mark.anyio
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
SIMULATE = """mutation { simulatePortfolioUpdate(input: {portfolioId: "p-1"}) {
  __typename ... on PortfolioUpdateAccepted { topic partition offset } } }"""


class Collected:
    """The spans that ended, in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = Spans(provider.get_tracer("test"), provider.shutdown)

    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def collected() -> Collected:
    return Collected()


def collect_from(client: Client | Served, collected: Collected) -> None:
    client.app.state.backend.telemetry.spans = collected.spans


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


# --- spans ------------------------------------------------------------------------------------------------------------


async def test_an_operation_is_one_span_below_its_caller_s(
    client: Client, collected: Collected, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot())
    collect_from(client, collected)
    query = "query Mine($id: ID!) { portfolioRisk(portfolioId: $id) { var95 } }"
    await client.http.post(
        "/graphql",
        json={"query": query, "variables": {"id": "p-1"}, "operationName": "Mine"},
        headers={"traceparent": TRACEPARENT, "x-request-id": "mine"},
    )
    (span,) = collected.ended()
    assert span.name == "query portfolioRisk"
    assert (trace_of(span), parent_of(span)) == (TRACE, CALLER)
    assert dict(span.attributes or {}) == {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Mine",
        "plimsoll.request_id": "mine",
        "plimsoll.outcome": "ok",
    }


async def test_without_a_caller_s_trace_a_span_begins_its_own(client: Client, collected: Collected) -> None:
    collect_from(client, collected)
    for header in ({}, {"traceparent": "nonsense"}):
        await client.http.post("/graphql", json={"query": "{ systemStatus { redisConnected } }"}, headers=header)
    first, second = collected.ended()
    assert (first.parent, second.parent) == (None, None)
    assert trace_of(first) != trace_of(second)


async def test_an_operation_with_errors_is_a_span_with_one(client: Client, collected: Collected) -> None:
    collect_from(client, collected)
    await client.answer("{ portfolios(first: -1) { totalCount } }")
    (span,) = collected.ended()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["plimsoll.outcome"] == "error"


async def test_a_subscription_is_one_span_from_its_start_to_its_end(
    served: Served, collected: Collected, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot())
    collect_from(served, collected)
    socket = await served.socket()
    operation = await socket.start('subscription { portfolioRisk(portfolioId: "p-1") { reason } }')
    await socket.event()
    await seed.publish(make.snapshot(sequence="2"))
    await socket.event()
    assert collected.ended() == ()
    await socket.stop(operation)
    await make.eventually(lambda: len(collected.ended()) == 1)
    (span,) = collected.ended()
    assert span.name == "subscription portfolioRisk"


def test_lines_within_a_span_name_its_trace(collected: Collected) -> None:
    telemetry = Telemetry(collected.spans)
    with telemetry.operation("query", {"firmRisk"}, "http"):
        within = logs.CONTEXT.get()["trace_id"]
    (span,) = collected.ended()
    assert within == trace_of(span)
    assert "trace_id" not in logs.CONTEXT.get()


# --- to Kafka ---------------------------------------------------------------------------------------------------------


class Producer:
    """Takes what is sent as Kafka's client does, and answers at once."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, bytes]] = []

    async def send_and_wait(self, topic: str, value: bytes, **stated: Any) -> Any:
        self.headers += stated["headers"]
        return TopicPartitionOffset(topic, 3, 7)


class TopicPartitionOffset(NamedTuple):
    """What Kafka's client answers, as much as we read of it."""

    topic: str
    partition: int
    offset: int


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def publisher(producer: Producer) -> Publisher:
    made = Publisher(Kafka("127.0.0.1:1"), 1)
    made._producer = cast("Any", producer)
    made._started.set()
    return made


async def test_a_record_carries_the_span_that_published_it(
    publisher: Publisher, producer: Producer, collected: Collected
) -> None:
    tracing.enter(TRACEPARENT)
    with Telemetry(collected.spans).operation("mutation", {"updatePortfolio"}, "http"):
        await publisher.publish(topics.PORTFOLIO_UPDATES, "p-1", b"{}")
    (span,) = collected.ended()
    assert span.context is not None
    assert producer.headers == [("traceparent", f"00-{TRACE}-{span.context.span_id:016x}-01".encode())]
    assert tracing.current() == TRACEPARENT


async def test_without_spans_a_record_carries_the_caller_s_trace_as_it_came(
    publisher: Publisher, producer: Producer
) -> None:
    tracing.enter(TRACEPARENT)
    with Telemetry().operation("mutation", {"updatePortfolio"}, "http"):
        await publisher.publish_all(topics.PORTFOLIO_UPDATES, [("p-1", b"{}"), ("p-2", b"{}")])
    assert producer.headers == [("traceparent", TRACEPARENT.encode())] * 2


async def test_without_a_trace_a_record_has_no_headers(publisher: Publisher, producer: Producer) -> None:
    await publisher.publish(topics.PORTFOLIO_UPDATES, "p-1", b"{}")
    assert producer.headers == []


class TestWithABroker:
    """What a client of Kafka finds beside the record."""

    @pytest.fixture
    def settings(self, redis_url: str, broker_address: str) -> Settings:
        return Settings(redis_url=redis_url, kafka_brokers=broker_address)

    async def headers_of(self, address: str, accepted: dict[str, Any]) -> dict[str, bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=address)
        await consumer.start()
        try:
            place = TopicPartition(accepted["topic"], accepted["partition"])
            consumer.assign([place])
            consumer.seek(place, int(accepted["offset"]))
            record = await asyncio.wait_for(consumer.getone(place), 10)
        finally:
            await consumer.stop()
        return dict(record.headers)

    async def test_a_mutation_s_trace_is_in_kafka(
        self, client: Client, collected: Collected, broker_address: str
    ) -> None:
        collect_from(client, collected)
        response = await client.http.post("/graphql", json={"query": SIMULATE}, headers={"traceparent": TRACEPARENT})
        accepted = response.json()["data"]["simulatePortfolioUpdate"]
        (span,) = collected.ended()
        assert span.context is not None
        headers = await self.headers_of(broker_address, accepted)
        assert headers == {"traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01".encode()}

    async def test_so_it_is_over_rest_and_without_spans(self, client: Client, broker_address: str) -> None:
        response = await client.http.post(
            "/simulate/portfolio-update?portfolio_id=p-1", headers={"traceparent": TRACEPARENT}
        )
        topic, partition, offset = response.json()["message"].split()[2].split("/")
        accepted = {"topic": topic, "partition": int(partition), "offset": offset}
        assert await self.headers_of(broker_address, accepted) == {"traceparent": TRACEPARENT.encode()}


# --- what comes from outside ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        TRACEPARENT.upper(),
        TRACEPARENT + "-more",
        TRACEPARENT + "\n",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{CALLER}-1",
    ],
)
def test_what_is_no_trace_is_as_if_it_had_not_come(header: str) -> None:
    assert tracing.accepted(header) is None
    assert tracing.accepted(TRACEPARENT) == TRACEPARENT


@given(header=st.text(max_size=80))
def test_whatever_comes_is_taken_or_left(header: str) -> None:
    assert tracing.accepted(header) in (None, header)


# --- where they go ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector/own/path", "https://collector/own/path"),
    ],
)
def test_a_collector_is_named_by_its_address(endpoint: str, url: str) -> None:
    assert tracing.traces_url(load({"PLIMSOLL_OTLP_ENDPOINT": endpoint}).otlp_endpoint) == url


async def test_a_collector_that_is_away_holds_nothing_up() -> None:
    spans = tracing.spans_to("http://127.0.0.1:1")
    assert spans is not None
    with Telemetry(spans).operation("query", {"firmRisk"}, "http"):
        pass
    await asyncio.wait_for(spans.close(), tracing.FLUSH_SECONDS + 3)


def test_without_a_collector_nothing_that_makes_or_sends_spans_is_imported() -> None:
    assert tracing.spans_to(Settings().otlp_endpoint) is None
    look = "import sys, api.app; print(sys.modules.keys() & {'opentelemetry.sdk.trace', 'opentelemetry.exporter'})"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


WITHOUT_SDK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk") or name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from api.__main__ import main
sys.argv = ["risk-api", "--port", "1"]
main()
"""


def test_a_collector_without_the_sdk_is_refused_with_the_remedy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PLIMSOLL_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    )
    assert done.returncode == 2
    assert "PLIMSOLL_OTLP_ENDPOINT" in done.stderr
    assert "plimsoll[otel]" in done.stderr
    assert "Traceback" not in done.stderr
