"""A bridge from a market data feed to Plimsoll: lines of JSON in, records on Kafka out. Start from it for your own.

    python examples/market_bridge.py --brokers 127.0.0.1:9092 --history prices.csv < feed.jsonl

A line is a price, or the end of a session:

    {"symbol": "AAPL", "price": 190.51, "timestamp": 1764590000.125}
    {"session": "2026-11-30", "closes": {"AAPL": 190.51, "KO": 71.2}}
    {"session": "2026-11-30"}

The last takes the newest prices of the session as its closes, for feeds without official ones. `--history` publishes
the closes of a CSV file first: a date, then a column for each symbol; where it cannot be read, nothing is published and
the exit code is 2. Every record is acknowledged by all replicas before the program ends; a line that is none of these
is named on standard error and left out, and the exit code is then 1.

The only library is aiokafka. Its partitioner is murmur2 of the key, as Kafka's own clients have it, so that a symbol
stays in one partition whoever sends it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self, TextIO

from aiokafka import AIOKafkaProducer

IN_FLIGHT_MAX = 1_000
"""Records on their way; whoever reads the feed waits where the broker is slower than it."""


class Record(NamedTuple):
    """What goes to Kafka."""

    topic: str
    key: str
    value: dict[str, object]


class Session:
    """The newest price of each symbol since the last close."""

    def __init__(self) -> None:
        self._newest: dict[str, float] = {}

    def record(self, line: str) -> Record:
        """What a line of the feed becomes. Raises ValueError where it is none."""
        said = json.loads(line)
        if not isinstance(said, dict):
            raise ValueError("not an object")
        if "session" in said:
            closes = said.get("closes") or self._newest
            if not closes:
                raise ValueError("a session without any price")
            self._newest = {}
            return Record("market-closes", str(said["session"]), {"session": said["session"], "closes": closes})
        symbol, price = said.get("symbol"), said.get("price")
        if not isinstance(symbol, str) or not isinstance(price, (int, float)) or not price > 0:
            raise ValueError("neither a symbol with a price above zero nor a session")
        self._newest[symbol] = float(price)
        return Record("market-data", symbol, said)


def history(path: Path) -> Iterator[Record]:
    """The closes of a CSV file, a session a record; an empty cell is no close.

    Raises OSError, or ValueError with the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        symbols = next(rows, [])[1:]
        if not symbols:
            raise ValueError("line 1 is no date and symbols with commas between them")
        for session, *cells in filter(None, rows):
            if len(cells) != len(symbols):
                raise ValueError(f"line {rows.line_num} has {len(cells)} closes for {len(symbols)} symbols")
            try:
                closes = {symbol: float(cell) for symbol, cell in zip(symbols, cells, strict=True) if cell.strip()}
            except ValueError as error:
                raise ValueError(f"line {rows.line_num}: {error}") from None
            if closes:
                yield Record("market-closes", session, {"session": session, "closes": closes})


async def lines(file: TextIO) -> AsyncIterator[str]:
    """The lines of a feed as they come. Replace this by your vendor's client."""
    while line := await asyncio.to_thread(file.readline):
        yield line


class Publisher:
    """Sends records and sees to it that each is acknowledged."""

    def __init__(self, brokers: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=brokers.split(","),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=5,
        )
        self._waiting: set[asyncio.Future[object]] = set()

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def publish(self, record: Record) -> None:
        """Hand a record over. Raises aiokafka's error for one that the broker refused."""
        key, value = record.key.encode(), json.dumps(record.value, allow_nan=False).encode()
        self._waiting.add(await self._producer.send(record.topic, value, key))
        if len(self._waiting) >= IN_FLIGHT_MAX:
            await self.settle()

    async def settle(self) -> None:
        """Return when everything is acknowledged."""
        waiting, self._waiting = self._waiting, set()
        await asyncio.gather(*waiting)


async def bridge(brokers: str, past: Sequence[Record], feed: TextIO) -> int:
    """Publish the history, then the feed until it ends; how many lines were left out."""
    session, bad, number = Session(), 0, 0
    async with Publisher(brokers) as publisher:
        for record in past:
            await publisher.publish(record)
        await publisher.settle()
        async for line in lines(feed):
            number += 1
            if not line.strip():
                continue
            try:
                record = session.record(line)
            except ValueError as error:
                bad += 1
                print(f"line {number}: {error}: {line.strip()[:80]}", file=sys.stderr)
                continue
            await publisher.publish(record)
        await publisher.settle()
    return bad


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="Publish a feed of prices, lines of JSON, to Kafka.")
    parser.add_argument("--brokers", default="127.0.0.1:9092", help="host:port, comma separated")
    parser.add_argument("--history", type=Path, help="CSV of closes that are published first")
    given = parser.parse_args()
    try:
        past = [] if given.history is None else list(history(given.history))
    except (OSError, ValueError) as error:
        parser.error(f"--history {given.history}: {error}")
    sys.exit(1 if asyncio.run(bridge(given.brokers, past, sys.stdin)) else 0)


if __name__ == "__main__":
    main()
