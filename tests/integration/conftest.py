"""A whole system on one broker and one store: what a producer, an engine and an API make of them together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from embedded.store import free_port
from plimsoll import keys, topics
from plimsoll.messages import MarketTick, encode

PORTFOLIOS = 40
READY_SECONDS = 60.0


@dataclass
class System:
    """Engine and API on one broker and one store, after the producer has filled them with `portfolios`."""

    broker: str
    store: redis.Redis
    base: str
    processes: Any
    engine: Any
    engine_arguments: list[str]
    environ: dict[str, str]
    kafka: Producer
    portfolios: int = PORTFOLIOS

    def send(self, topic: topics.Topic, key: str, value: bytes | None) -> None:
        self.kafka.produce(topic.name, key=key.encode(), value=value)
        assert self.kafka.flush(20) == 0

    def tick(self, symbol: str, price: float) -> None:
        self.send(topics.MARKET_DATA, symbol, encode(MarketTick(symbol, price, timestamp=time.time())))

    def snapshot(self, portfolio_id: str) -> dict[str, Any]:
        return json.loads(self.store.get(keys.risk(portfolio_id)) or "{}")  # type: ignore[arg-type]

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        answer = httpx.post(f"{self.base}/graphql", json={"query": query, "variables": variables}, timeout=10).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def until(self, condition: Any, what: str, seconds: float = 20.0) -> Any:
        return self.processes.wait_for(condition, what, seconds)

    def until_all_are_known(self, portfolios: int) -> None:
        self.until(lambda: self.store.zcard(keys.by_risk()) == portfolios, "every portfolio's risk", READY_SECONDS)

    def consumed(self, topic: topics.Topic) -> list[dict[str, Any]]:
        """Every record a topic holds now."""
        client = Consumer({"bootstrap.servers": self.broker, "group.id": "test", "enable.partition.eof": True})
        client.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
        values, ended = [], set()
        deadline = time.monotonic() + 30
        while len(ended) < topic.partitions:
            assert time.monotonic() < deadline, f"the end of {topic.name} was not reached"
            for message in client.consume(5_000, 0.2):
                if message.error():
                    ended.add(message.partition())
                elif message.value() is not None:
                    values.append(json.loads(message.value()))
        client.close()
        return values

    def last_closes(self) -> dict[str, float]:
        """The closes of the newest session."""
        return max((told["session"], told["closes"]) for told in self.consumed(topics.MARKET_CLOSES))[1]


@pytest.fixture(scope="module")
def system(
    any_broker_of_file: str, redis_url_of_file: str, processes_of_file: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One for all tests of a file, on each broker: each asks about portfolios of its own and sets marks of its own."""
    directory = tmp_path_factory.mktemp("system")
    with _running(any_broker_of_file, redis_url_of_file, processes_of_file, directory) as running:
        yield running
        # The one on the other broker finds neither these programs nor what they wrote.
        processes_of_file.stop()
        running.store.flushdb()


@pytest.fixture
def own_system(any_broker: str, redis_url: str, processes: Any, tmp_path: Path) -> Iterator[System]:
    """One for a single test, which changes what everybody would see."""
    with _running(any_broker, redis_url, processes, tmp_path) as running:
        yield running


@contextmanager
def _running(broker: str, redis_url: str, processes: Any, directory: Path) -> Iterator[System]:
    environ = {"KAFKA_BROKERS": broker, "REDIS_URL": redis_url, "PLIMSOLL_REPUBLISH_SECONDS": "5"}
    batch = ["--mode", "batch", "--num-portfolios", str(PORTFOLIOS), "--updates-per-portfolio", "2", "--advisors", "4"]
    producer = processes.python("-m", "producer", *batch, environ=environ)
    port = free_port()
    arguments = ["--workers", "2", "--recovery-directory", str(directory / "recovery"), "--epoch-interval", "0.5"]
    engine = processes.python("-m", "engine", *arguments, environ=environ)
    processes.python("-m", "api", "--port", str(port), environ=environ)
    processes.wait_for(lambda: producer.exit_code() == 0, "end of the batch", READY_SECONDS)
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        sending = {"partitioner": "murmur2_random", "linger.ms": 1, "log_level": 2}
        kafka = Producer({"bootstrap.servers": broker, **sending})
        base = f"http://127.0.0.1:{port}"
        made = System(broker, store, base, processes, engine, arguments, environ, kafka)
        made.until_all_are_known(PORTFOLIOS)
        made.until(lambda: _answers(base), "answer from the API", READY_SECONDS)
        yield made


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/live", timeout=1).status_code == 200
    except httpx.TransportError:
        return False
