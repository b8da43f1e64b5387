"""The whole dataflow on one screen.

    Kafka ──▶ book ──┬──▶ Redis and its pub/sub
                     └──▶ Kafka (risk-updates, dead-letters)

One worker, one key: the book is one object in arrays, not an operator's dictionary of portfolios. Both sinks are done
with a window before its epoch commits, so what a crash repeats is only what the versions in Redis already refuse.
"""

from __future__ import annotations

from collections.abc import Callable

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import Sink

from engine.sources import Poll
from engine.window import RecoveryState, Window

BuildBook = Callable[[RecoveryState | None], StatefulBatchLogic[Poll, Window, RecoveryState]]


def build_flow(
    key: str,
    kafka_in: Source[Poll],
    build_book: BuildBook,
    redis_out: Sink[tuple[str, Window]],
    kafka_out: Sink[tuple[str, Window]],
) -> Dataflow:
    """Draw the dataflow of one worker. `key` is what its recovery state is filed under."""
    flow = Dataflow("plimsoll")
    polls = op.input("kafka-in", flow, kafka_in)
    keyed = op.key_on("worker", polls, lambda _: key)
    windows = op.stateful_batch("book", keyed, build_book)
    op.output("redis", windows, redis_out)
    op.output("kafka-out", windows, kafka_out)
    return flow
