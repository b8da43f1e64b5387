"""What the engine is measured against, each in a process of its own: `python -m benchmarks.loops bare|map ...`.

`bare` reads portfolio updates as the engine does, in batches, and decodes them with the project's own typed decoder:
nothing else. No engine can be quicker than that, so its rate bounds every other. It says what it measured as one line
of JSON.

`map` is the flow that one writes first, and that predecessors wrote: Bytewax, `op.map` for each message, and in it
decode, the headline measures of that one portfolio in numpy, and one trip to Redis (SET and PUBLISH). It runs until it
is ended; who started it counts the keys in Redis.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import bytewax.operators as op
import msgspec
import redis
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from benchmarks.measuring import STEADY_FROM, STEADY_TO
from benchmarks.reference import Reference, naive
from plimsoll import keys, processes, topics
from plimsoll.messages import decode_portfolio_update, decode_timed_update

BATCH_RECORDS_MAX = 2_000


def bare(brokers: str, total: int) -> dict[str, float]:
    """Consume and decode `total` updates; the rate and the CPU of the part between a tenth and nine tenths."""
    topic = topics.PORTFOLIO_UPDATES
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "plimsoll-bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    consumer.assign([TopicPartition(topic.name, partition, OFFSET_BEGINNING) for partition in range(topic.partitions)])
    marks = [(0, time.perf_counter(), time.process_time())]
    count, now_ns = 0, time.time_ns()
    while count < total:
        for message in consumer.consume(BATCH_RECORDS_MAX, timeout=0.1):
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own public spelling
                    continue
                raise SystemExit(error.str())
            decode_timed_update(message.key(), message.value() or b"", now_ns)
            count += 1
        marks.append((count, time.perf_counter(), time.process_time()))
    consumer.close()
    low = next(mark for mark in marks if mark[0] >= STEADY_FROM * total)
    high = next(mark for mark in marks if mark[0] >= STEADY_TO * total)
    if high is low:  # A log so small that it came as one batch.
        low, high = marks[0], marks[-1]
    done = high[0] - low[0]
    return {"per_second": done / (high[1] - low[1]), "cpu_per_1000": (high[2] - low[2]) / done * 1000}


class _Nothing(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Everything was done in the map."""


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nothing:
        return _Nothing()


def map_flow(brokers: str, redis_url: str) -> Dataflow:
    """One message at a time: decode, measure, write, announce."""
    reference = Reference()
    market, number = reference.market, reference.number
    client = redis.Redis.from_url(redis_url)

    def value(message: Any) -> str:  # noqa: ANN401 - the source's own type is of a message or of an error
        update = decode_portfolio_update(message.key, message.value, time.time_ns())
        measured = msgspec.json.encode(
            {"portfolio_id": update.id, "advisor_id": update.advisor_id, **naive(update, market, number)}
        )
        pipeline = client.pipeline(transaction=False)
        pipeline.set(keys.risk(update.id), measured)
        pipeline.publish(keys.risk_channel(update.advisor_id), measured)
        pipeline.execute()
        return update.id

    flow = Dataflow("map")
    updates = op.input("updates", flow, KafkaSource([brokers], [topics.PORTFOLIO_UPDATES.name]))
    op.output("nowhere", op.map("value", updates, value), _Nowhere())
    return flow


def main() -> None:
    """Run one of the two: `bare BROKERS TOTAL` or `map BROKERS REDIS_URL`."""
    processes.end_with_parent()
    which, brokers, last = sys.argv[1:]
    if which == "bare":
        print(json.dumps(bare(brokers, int(last))))
    else:
        cli_main(map_flow(brokers, last))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
