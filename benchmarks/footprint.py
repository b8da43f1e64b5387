"""What a portfolio takes: in Redis, at rest and with its history full, and in Kafka for each of its records.

The engine values every portfolio (20 positions) on an empty Redis and ends; what Redis has grown by is a portfolio at
rest, indexes, sums and its first point of history included. Then some are written again for as many minutes as history
keeps and a hundred more, by the engine's own writer, so that Redis has begun to drop the oldest: what it has grown by
is their history. Memory is `used_memory`, as Redis counts it, fragmentation and replicas' buffers not included.

Kafka's bytes are those of the log's files, compressed as they were sent, so they are told of a real broker alone.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
import redis

from benchmarks.load import fill, settled
from benchmarks.measuring import progress
from benchmarks.records import portfolio_id, write_market
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers
from engine.drain import Drain
from engine.fence import take
from engine.redis_sink import RedisWriter
from engine.revalue import Publication
from engine.window import Window
from plimsoll import keys, messages, topics
from plimsoll.messages import RiskSnapshot
from plimsoll.settings import Settings
from plimsoll.topics import Topic
from plimsoll.transport import Redis

PORTFOLIOS_MAX = 10_000
"""A portfolio among more takes no other room, and filling histories takes its time."""
WITH_HISTORY_MAX = 1_000
MINUTES_MORE = 100
"""Beyond what is kept: Redis drops history by blocks of as many entries, so it holds up to one block more."""
MINUTE_MS = 60_000


class Figures(NamedTuple):
    """Bytes, of one portfolio or record each."""

    portfolios: int
    at_rest: float
    history_points: int
    history: float
    longest_history: int
    """Points that were found of one portfolio."""
    snapshot: float
    """As JSON, uncompressed."""
    in_kafka: dict[str, float]
    """Topic to the bytes of a record on disk; empty where the broker has no disk."""


def measure(servers: Servers, wanted: int) -> Figures:
    """Fill both, and weigh them."""
    count = servers.records_at_most(min(wanted, PORTFOLIOS_MAX), 2_800)
    history_points = Settings().history_points
    write_market(servers)
    with servers.client() as client:
        empty = _used(client)
        fill(servers, count, 0)
        with Engine(servers) as engine:
            settled(engine, count)
        full = _used(client)
        some = [portfolio_id(number) for number in range(min(count, WITH_HISTORY_MAX))]
        snapshots = [messages.decode(text, RiskSnapshot) for text in client.mget([keys.risk(each) for each in some])]
        _live_on(servers, snapshots, history_points + MINUTES_MORE)
        return Figures(
            count,
            (full - empty) / count,
            history_points,
            (_used(client) - full) / len(some),
            client.xlen(keys.history(some[0])),
            sum(len(messages.encode(each)) for each in snapshots) / len(snapshots),
            _in_kafka(servers),
        )


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _live_on(servers: Servers, snapshots: list[RiskSnapshot], minutes: int) -> None:
    """Write each once a minute, for so many minutes, as the worker that owns all partitions would."""
    partitions = range(topics.PORTFOLIO_UPDATES.partitions)
    with servers.client() as client:
        token = take(client, partitions, time.time_ns())
    history_points = Settings().history_points
    writer = RedisWriter(Redis(servers.store.url), "0/1", partitions, history_points, Drain(), token=token)
    began_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    for minute in range(1, minutes + 1):
        progress(f"history: minute {minute} of {minutes}")
        said = [_again(each, minute, began_ms) for each in snapshots]
        writer.write(Window(publications=said))
    progress("")


def _again(snapshot: RiskSnapshot, minute: int, began_ms: int) -> Publication:
    """The same portfolio a minute later: its sequence is larger, its figures have as many digits."""
    later = msgspec.structs.replace(snapshot, sequence=str(int(snapshot.sequence) + minute))
    return Publication(
        portfolio_id=snapshot.portfolio_id,
        risk_score=float(snapshot.risk_number or 0),
        snapshot=messages.encode(later),
        positions=b"",
        backtest=b"",
        minute_ms=began_ms + minute * MINUTE_MS,
        again=False,
    )


def _in_kafka(servers: Servers) -> dict[str, float]:
    if not servers.is_real:
        return {}
    return {topic.name: _log_bytes(servers, topic) / servers.record_count(topic) for topic in _WEIGHED}


_WEIGHED = (topics.PORTFOLIO_UPDATES, topics.RISK_UPDATES)


def _log_bytes(servers: Servers, topic: Topic) -> int:
    return sum(segment.stat().st_size for segment in servers.directory.rglob(f"{topic.name}-*/*.log"))


def rows(figures: Figures) -> list[Row]:
    """What is claimed of room."""
    told = [
        row(
            f"Redis, a portfolio of 20 positions at rest, of {figures.portfolios:,}",
            f"{figures.at_rest:,.0f} B",
            baseline=f"its snapshot alone {figures.snapshot:,.0f} B",
            ratio=figures.at_rest / figures.snapshot,
        ),
        row(
            f"Redis, its history of {figures.history_points} minutes ({figures.longest_history} points held)",
            f"{figures.history:,.0f} B",
            baseline=f"{figures.history / figures.longest_history:,.0f} B a point",
        ),
    ]
    for name, size in figures.in_kafka.items():
        told.append(row(f"Kafka, a record of {name} on disk, lz4", f"{size:,.0f} B"))
    return told
