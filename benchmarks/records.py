"""What benchmarks write to Kafka: closes and marks from the bundled data, portfolios drawn from a seed, ticks, poison.

A portfolio update is as existing producers send it, every optional field of theirs filled in: with 15 positions it is
about 2 KB of JSON. Portfolios are distinct, their ids in order, and dealt to 500 advisors round about.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Producer

from benchmarks.measuring import Stuck, progress
from benchmarks.servers import Servers
from plimsoll import topics
from plimsoll.messages import MarketTick, PortfolioUpdate, Position, RiskTolerance, encode
from plimsoll.risk.scenarios import history_sessions
from plimsoll.topics import Topic
from producer import closes
from producer.stream import close_record

ADVISORS = 500
STOCKS = tuple(sorted(closes.SECTORS))
SESSIONS = history_sessions(500) + 1
"""Closes published: as many as the scenario set of the engine is made of."""
SHORT_SHARE = 0.1
CHUNK = 5_000
"""Portfolios drawn at a time."""
SAMPLED = 200
"""Updates of a log kept to check snapshots against."""
_TOLERANCES = tuple(RiskTolerance)
_ACCOUNT_TYPES = ("Individual", "Joint", "IRA", "Roth IRA", "401k", "Trust")

Record = tuple[bytes, bytes]
"""Key and value."""


def last_marks() -> dict[str, float]:
    """The last bundled close of every symbol, the index included: what everything is valued with before a tick."""
    return closes.load().of(-1)


def writer(brokers: str, linger_ms: float = 20.0) -> Producer:
    """A producer as a sender of many records would set it up: lz4, batches, the same partition as other clients."""
    return Producer(
        {
            "bootstrap.servers": brokers,
            "compression.type": "lz4",
            "linger.ms": linger_ms,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
            "allow.auto.create.topics": False,
            "log_level": 3,
        }
    )


def write(servers: Servers, topic: Topic, records: Iterable[Record]) -> int:
    """Write the records and wait until the broker has all of them; how many. Raises `Stuck`."""
    producer, before, count = writer(servers.brokers), servers.record_count(topic), 0
    for count, (key, value) in enumerate(records, start=1):
        while True:
            try:
                producer.produce(topic.name, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
        if count % 10_000 == 0:
            producer.poll(0)
            progress(f"writing {topic.name}: {count:,}")
    left = producer.flush(120.0)
    progress("")
    written = servers.record_count(topic) - before
    if left or written != count:
        raise Stuck(f"{topic.name}: {count:,} records written, of which the broker has {written:,}")
    return count


def write_market(servers: Servers) -> None:
    """The closes of the scenario set, and a mark for every symbol."""
    bundled = closes.load()
    sessions = range(len(bundled.sessions) - SESSIONS, len(bundled.sessions))
    write(servers, topics.MARKET_CLOSES, (close_record(bundled, session) for session in sessions))
    now = time.time()
    marks = (
        (symbol.encode(), encode(MarketTick(symbol, price, timestamp=now, source="replay")))
        for symbol, price in last_marks().items()
    )
    write(servers, topics.MARKET_DATA, marks)


@dataclass(slots=True)
class PortfolioLog:
    """`count` portfolios of `positions` positions each, numbered from `first`, drawn from `seed`."""

    count: int
    positions: int
    first: int = 0
    seed: int = 7
    sampled: dict[str, bytes] = field(default_factory=dict)
    """Portfolio id to value, of some that were drawn, evenly spread."""

    def records(self) -> Iterator[Record]:
        """Draw them all."""
        every = max(1, self.count // SAMPLED)
        for start in range(0, self.count, CHUNK):
            numbers = range(self.first + start, self.first + min(start + CHUNK, self.count))
            for number, update in zip(numbers, drawn(numbers, self.positions, self.seed), strict=True):
                value = encode(update)
                if (number - self.first) % every == 0:
                    self.sampled[update.id] = value
                yield update.id.encode(), value


def portfolio_id(number: int) -> str:
    """The id of portfolio `number`."""
    return f"portfolio-{number:07d}"


def advisor_id(number: int) -> str:
    """The advisor of portfolio `number`."""
    return f"advisor-{number % ADVISORS + 1}"


FIRST_ADVISORS = tuple(advisor_id(number) for number in range(10))
"""Those whose portfolios a follower looks at: every 50th record is one of theirs, all over the log."""


def drawn(numbers: range, positions: int, seed: int) -> Iterator[PortfolioUpdate]:
    """These portfolios: the same for the same `numbers`, as many and from the same first one."""
    rng = np.random.default_rng([seed, numbers.start])
    marks = last_marks()
    price = np.array([marks[symbol] for symbol in STOCKS])
    held = np.sort(np.argsort(rng.random((len(numbers), len(STOCKS))), axis=1)[:, :positions], axis=1)
    quantity = rng.integers(10, 2_000, held.shape) * np.where(rng.random(held.shape) < SHORT_SHARE, -1.0, 1.0)
    value = quantity * price[held]
    # Enough that nobody's market value is below zero, whatever was drawn.
    cash = np.round(rng.uniform(10_000, 200_000, len(numbers)) + np.maximum(0.0, -1.5 * value.sum(axis=1)), 2)
    total = value.sum(axis=1) + cash
    weight = np.round(100.0 * value / total[:, None], 6)
    now = time.time()
    columns = zip(
        numbers, held.tolist(), quantity.tolist(), np.round(value, 2).tolist(), weight.tolist(), cash.tolist(),
        np.round(total, 2).tolist(), strict=True,
    )  # fmt: skip
    for number, symbols, quantities, values, weights, its_cash, its_total in columns:
        yield PortfolioUpdate(
            id=portfolio_id(number),
            advisor_id=advisor_id(number),
            client_id=f"client-{number:07d}",
            positions=[
                Position(STOCKS[symbol], amount, float(price[symbol]), worth, share, closes.SECTORS[STOCKS[symbol]])
                for symbol, amount, worth, share in zip(symbols, quantities, values, weights, strict=True)
            ],
            risk_tolerance=_TOLERANCES[number % 3],
            account_type=_ACCOUNT_TYPES[number % len(_ACCOUNT_TYPES)],
            cash=its_cash,
            total_value=its_total,
            timestamp=now,
        )


# --- poison -----------------------------------------------------------------------------------------------------------


def poisoned(records: Iterable[Record], every: int) -> Iterator[Record]:
    """The same records, and before each `every`-th of them one that nobody can apply, of many kinds in turn."""
    kinds = itertools.cycle(_POISON)
    for number, (key, value) in enumerate(records):
        if number % every == 0:
            name = f"poison-{number:07d}"
            yield name.encode(), next(kinds)(name, value)
        yield key, value


def _spoiled(name: str, value: bytes, old: bytes, new: bytes) -> bytes:
    return value.replace(value[: value.index(b",")], b'{"id":"%s"' % name.encode(), 1).replace(old, new, 1)


_POISON: tuple[Callable[[str, bytes], bytes], ...] = (
    lambda name, value: value[: len(value) // 2],
    lambda name, value: _spoiled(name, value, b'"quantity":', b'"quantity":NaN,"was":'),
    lambda name, value: _spoiled(name, value, b'"quantity":', b'"quantity":1e400,"was":'),
    lambda name, value: _spoiled(name, value, b'"quantity":', b'"quantity":"many","was":'),
    lambda name, value: _spoiled(name, value, b'"advisor_id":"', b'"advisor_id":"\xff'),
    lambda name, value: _spoiled(name, value, b'"client_id":', b'"client_id":' + b"[" * 2000),
    lambda name, value: _spoiled(name, value, b'"timestamp":', b'"timestamp":9e9,"was":'),
    lambda name, value: value,  # another portfolio's, under this key
)
