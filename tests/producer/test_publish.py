"""Publishing, against a broker that speaks the real protocol, and against one that never answers."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from aiokafka.admin import NewTopic
from confluent_kafka import Consumer, TopicPartition

from embedded.broker import EmbeddedBroker
from plimsoll.errors import Unavailable
from plimsoll.topics import MARKET_CLOSES, MARKET_DATA, PORTFOLIO_UPDATES, Topic
from plimsoll.transport import Kafka
from producer import publish
from producer.publish import Publisher, Record, Unacknowledged, WrongTopic, connect, partition_of

pytestmark = pytest.mark.anyio

TOPICS = (MARKET_CLOSES, MARKET_DATA, PORTFOLIO_UPDATES)


def read_back(address: str, topic: Topic) -> list[tuple[int, bytes, bytes]]:
    """Partition, key and value of every record of a topic, each partition in its order."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
        records, open_partitions = [], topic.partitions
        while open_partitions:
            message = consumer.poll(10.0)
            assert message is not None, "the broker stopped answering"
            if message.error():
                open_partitions -= 1
            else:
                records.append((message.partition(), message.key(), message.value()))
        return records
    finally:
        consumer.close()


def numbered(count: int, keys: int = 40) -> list[Record]:
    return [(f"portfolio-{number % keys:04d}".encode(), str(number).encode()) for number in range(count)]


@pytest.mark.parametrize(
    ("key", "murmur2"),
    # The reference values of Apache Kafka's own UtilsTest.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_has_the_partition_that_other_kafka_clients_give_it(key: bytes, murmur2: int) -> None:
    assert partition_of(key, 12) == (murmur2 & 0x7FFFFFFF) % 12


async def test_everything_published_is_read_back_once_and_in_order(broker_address: str) -> None:
    publisher = await connect(Kafka(broker_address), TOPICS)
    sent = numbered(12_000)
    try:
        await publisher.publish(PORTFOLIO_UPDATES, sent)
        await publisher.settle()
    finally:
        await publisher.close()
    assert publisher.acknowledged == Counter({PORTFOLIO_UPDATES.name: 12_000})
    read = read_back(broker_address, PORTFOLIO_UPDATES)
    assert all(partition == partition_of(key, 12) for partition, key, _ in read)
    for key in {key for key, _ in sent}:
        assert [value for _, other, value in read if other == key] == [value for other, value in sent if other == key]
    assert len(read) == len(sent)


async def test_a_broker_that_goes_and_comes_back_has_everything_once(embedded_broker: EmbeddedBroker) -> None:
    publisher = await connect(Kafka(embedded_broker.address), TOPICS)
    sent = numbered(4_000)
    try:
        await publisher.publish(PORTFOLIO_UPDATES, sent[:1000])
        await publisher.settle()
        embedded_broker.down()
        later = asyncio.create_task(publisher.publish(PORTFOLIO_UPDATES, sent[1000:]))
        await asyncio.wait([later], timeout=0.3)
        assert publisher.acknowledged[PORTFOLIO_UPDATES.name] == 1000
        embedded_broker.up()
        await later
        await publisher.settle()
    finally:
        await publisher.close()
    read = read_back(embedded_broker.address, PORTFOLIO_UPDATES)
    assert sorted(int(value) for _, _, value in read) == list(range(4_000))


async def test_a_large_record_goes_alone(broker_address: str) -> None:
    publisher = await connect(Kafka(broker_address), TOPICS)
    sent = [(b"portfolio-0001", b"x" * size) for size in (10, 2 * publish.BATCH_SIZE_MAX, 20)]
    try:
        await publisher.publish(PORTFOLIO_UPDATES, sent)
        await publisher.settle()
    finally:
        await publisher.close()
    assert [len(value) for _, _, value in read_back(broker_address, PORTFOLIO_UPDATES)] == [
        len(value) for _, value in sent
    ]


async def test_a_missing_topic_is_named_with_what_to_create() -> None:
    with EmbeddedBroker.start([MARKET_DATA, MARKET_CLOSES]) as broker:
        with pytest.raises(WrongTopic, match=r"portfolio-updates is missing.*create it with 12 partitions.*compact"):
            await connect(Kafka(broker.address), TOPICS)
        # Asking for it has not made the broker create it with partitions of its own choice.
        with pytest.raises(WrongTopic, match="portfolio-updates is missing"):
            await connect(Kafka(broker.address), TOPICS)


async def test_a_topic_with_other_partitions_is_refused() -> None:
    other = Topic(PORTFOLIO_UPDATES.name, 5, "compact")
    with (
        EmbeddedBroker.start([MARKET_DATA, MARKET_CLOSES, other]) as broker,
        pytest.raises(WrongTopic, match="portfolio-updates has 5 partitions and not 12"),
    ):
        await connect(Kafka(broker.address), TOPICS)


async def test_a_broker_that_is_away_is_named_with_the_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(Unavailable, match=rf"{address}.*KAFKA_BROKERS or --broker"):
        await connect(Kafka(address), TOPICS, patience_seconds=0.2)


async def test_a_broker_that_accepts_and_never_answers_is_away() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(Unavailable, match="KAFKA_BROKERS or --broker"):
            await connect(Kafka(f"127.0.0.1:{mute.getsockname()[1]}"), TOPICS, patience_seconds=0.3)


async def test_a_broker_that_comes_while_we_wait_is_used(embedded_broker: EmbeddedBroker) -> None:
    embedded_broker.down()
    connecting = asyncio.create_task(connect(Kafka(embedded_broker.address), TOPICS))
    await asyncio.wait([connecting], timeout=0.3)
    assert not connecting.done()
    embedded_broker.up()
    publisher = await connecting
    await publisher.close()


class Admin:
    """An admin client of a cluster that has a controller; `codes` is what it answers for a topic to be created."""

    def __init__(self, codes: dict[str, int], listed_after: int = 0) -> None:
        self.partitions: dict[str, int] = {}
        self.asked: list[NewTopic] = []
        self._codes = codes
        self._listed_after = listed_after

    async def describe_cluster(self) -> dict[str, object]:
        return {"controller_id": 1, "brokers": [{"node_id": 1}]}

    async def create_topics(self, topics: list[NewTopic]) -> SimpleNamespace:
        self.asked += topics
        self.partitions |= {topic.name: topic.num_partitions for topic in topics}
        return SimpleNamespace(topic_errors=[(topic.name, self._codes[topic.name], None) for topic in topics])

    async def describe_topics(self, topics: None) -> list[dict[str, object]]:
        self._listed_after -= 1
        known = {} if self._listed_after >= 0 else self.partitions
        return [{"topic": name, "partitions": [{}] * count} for name, count in known.items()]


async def test_missing_topics_are_created_as_the_contract_says() -> None:
    admin = Admin({topic.name: 0 for topic in TOPICS}, listed_after=2)
    assert await publish._refusals(admin, TOPICS, replication_factor=3) == {}
    assert [(topic.name, topic.num_partitions) for topic in admin.asked] == [
        ("market-closes", 1),
        ("market-data", 3),
        ("portfolio-updates", 12),
    ]
    assert {topic.replication_factor for topic in admin.asked} == {3}
    assert {topic.topic_configs["cleanup.policy"] for topic in admin.asked} == {"compact"}
    assert await publish._listed(admin, TOPICS) == {"market-closes": 1, "market-data": 3, "portfolio-updates": 12}


async def test_a_topic_that_somebody_else_just_created_is_no_refusal() -> None:
    already_exists, not_authorized = 36, 29
    admin = Admin({MARKET_CLOSES.name: already_exists, MARKET_DATA.name: not_authorized})
    refusals = await publish._refusals(admin, [MARKET_CLOSES, MARKET_DATA], replication_factor=1)
    assert refusals == {MARKET_DATA.name: "this user may not create it, or may not see it (docs/SECURITY.md)"}


class Batch:
    """What `create_batch` gives: takes records until it is closed."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def append(self, *, timestamp: int | None, key: bytes, value: bytes) -> object:
        self.records.append(value)
        return object()

    def close(self) -> None:
        pass


class Silent:
    """A client whose broker answers only when a test says so."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[object]] = []
        self.stop_forever = False

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[object]:
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def stop(self) -> None:
        if self.stop_forever:
            await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


async def publishing(publisher: Publisher, batches: Sequence[Sequence[Record]]) -> None:
    for batch in batches:
        await publisher.publish(MARKET_DATA, batch)


async def test_no_more_is_in_flight_than_the_bound_and_the_rest_waits() -> None:
    client = Silent()
    publisher = Publisher(client)
    task = asyncio.create_task(publishing(publisher, [numbered(1000, keys=1)] * 12))
    await until(lambda: publisher.in_flight == publish.IN_FLIGHT_MAX)
    assert not task.done()
    while not task.done():
        next(future for future in client.futures if not future.done()).set_result(None)
        await asyncio.sleep(0.001)
        assert publisher.in_flight <= publish.IN_FLIGHT_MAX
    for future in client.futures:
        if not future.done():
            future.set_result(None)
    await publisher.settle()
    assert publisher.acknowledged[MARKET_DATA.name] == 12_000


async def test_two_who_publish_at_once_share_the_bound() -> None:
    client = Silent()
    publisher = Publisher(client)
    tasks = [asyncio.create_task(publishing(publisher, [numbered(1000, keys=1)] * 6)) for _ in range(2)]
    await until(lambda: publisher.in_flight == publish.IN_FLIGHT_MAX)
    while not all(task.done() for task in tasks):
        if waiting := [future for future in client.futures if not future.done()]:
            waiting[0].set_result(None)
        await asyncio.sleep(0.001)
        assert publisher.in_flight <= publish.IN_FLIGHT_MAX
    await asyncio.gather(*tasks)
    assert len(client.futures) == 12


async def test_a_refused_record_ends_the_publishing_with_topic_and_reason() -> None:
    client = Silent()
    publisher = Publisher(client)
    await publisher.publish(MARKET_DATA, numbered(1))
    client.futures[0].set_exception(RuntimeError("disk full"))
    with pytest.raises(Unacknowledged, match="market-data: RuntimeError: disk full"):
        await publisher.settle()
    with pytest.raises(Unacknowledged, match="disk full"):
        await publisher.publish(MARKET_DATA, numbered(1))
    assert publisher.acknowledged.total() == 0


async def test_what_is_not_acknowledged_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PATIENCE_SECONDS", 0.05)
    publisher = Publisher(Silent())
    await publisher.publish(MARKET_DATA, numbered(1))
    with pytest.raises(Unacknowledged, match=r"market-data: not acknowledged within 0\.05 s"):
        await publisher.settle()


async def test_closing_does_not_wait_for_a_broker_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "CLOSE_SECONDS_MAX", 0.05)
    client = Silent()
    client.stop_forever = True
    publisher = Publisher(client)
    await publisher.publish(MARKET_DATA, numbered(1))
    async with asyncio.timeout(2.0):
        await publisher.close()


async def test_each_acknowledged_batch_is_told() -> None:
    told: list[tuple[str, int]] = []
    client = Silent()
    publisher = Publisher(client, lambda topic, records: told.append((topic, records)))
    await publisher.publish(MARKET_DATA, numbered(3, keys=1))
    assert told == []
    client.futures[0].set_result(None)
    await publisher.settle()
    assert told == [(MARKET_DATA.name, 3)]
