"""Updates with poison among them against the same updates without: what the bad ones cost the good.

One of ten records is one that nobody can apply (of eight kinds in turn, `records.poisoned`). Two brokers hold the two
logs, and the engine reads now the one, now the other. Of the poisoned log every good portfolio must have its snapshot,
equal to the reference, and every bad record one dead letter, by its position; the rate that is compared is that of the
good ones.
"""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.measuring import Steady, Stuck, median_of, wait_for
from benchmarks.records import PortfolioLog, poisoned, write, write_market
from benchmarks.reference import Differs, Reference
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers
from benchmarks.updates import POSITIONS, RECORD_BYTES, engine
from plimsoll import topics

EVERY = 9
"""Good records to a bad one: a tenth of all are bad."""


class Figures(NamedTuple):
    """Medians of the rounds."""

    updates: int
    poison: int
    dead_letters: int
    clean: Steady
    poisoned: Steady


def measure(clean: Servers, mixed: Servers, count: int, rounds: int) -> Figures:
    """Write both logs, then run them in turn. Raises `Differs` where dead letters and poison are not the same."""
    count = min(servers.records_at_most(count, RECORD_BYTES) for servers in (clean, mixed))
    log, reference, poison = PortfolioLog(count, POSITIONS), Reference(), -(-count // EVERY)
    for servers in (clean, mixed):
        write_market(servers)
    write(clean, topics.PORTFOLIO_UPDATES, log.records())
    written = write(mixed, topics.PORTFOLIO_UPDATES, poisoned(log.records(), EVERY))
    if written != count + poison:
        raise Differs(f"{written:,} records written, of which {count:,} are good and {poison:,} bad")

    def look(running: Engine) -> None:
        wait_for(lambda: _counted(running) >= poison, f"{poison:,} dead letters counted", 30.0)
        if (counted := _counted(running)) != poison:
            raise Differs(f"{counted:,} dead letters counted, of {poison:,} bad records")

    without, among = [], []
    for _ in range(rounds):
        without.append(engine(clean, count, 1, reference, log))
        among.append(engine(mixed, count, 1, reference, log, look))
    letters = dead_letter_keys(mixed)
    if len(letters) != poison * rounds or len(set(letters)) != poison:
        raise Differs(f"{len(letters):,} dead letters of {len(set(letters)):,} records, {poison * rounds:,} were due")
    return Figures(count, poison, len(set(letters)), median_of(without), median_of(among))


def _counted(running: Engine) -> int:
    return sum(beat.dead_lettered for beat in running.heartbeats())


def dead_letter_keys(servers: Servers) -> list[bytes]:
    """The key of every dead letter: the position of the record it is about."""
    topic, total = topics.DEAD_LETTERS, servers.record_count(topics.DEAD_LETTERS)
    consumer = Consumer({"bootstrap.servers": servers.brokers, "group.id": "plimsoll-bench", "log_level": 2})
    consumer.assign([TopicPartition(topic.name, partition, OFFSET_BEGINNING) for partition in range(topic.partitions)])
    found: list[bytes] = []
    try:
        while len(found) < total:
            # No more than there are: for those it would wait until its time is up.
            messages = consumer.consume(min(2_000, total - len(found)), timeout=10.0)
            if not messages:
                raise Stuck(f"{len(found):,} of {total:,} dead letters could be read")
            found += [message.key() or b"" for message in messages if message.error() is None]
    finally:
        consumer.close()
    return found


def rows(figures: Figures) -> list[Row]:
    """The claims about poison."""
    clean, mixed = figures.clean.per_second, figures.poisoned.per_second
    return [
        row(
            f"good updates a second, a tenth of all poison ({figures.updates:,} good)", f"{mixed:,.0f}/s",
            baseline=f"without poison {clean:,.0f}/s", ratio=mixed / clean, at_least=0.75,
        ),
        Row(
            "   dead letters", f"{figures.dead_letters:,}", "all, once", f"{figures.poison:,} bad records",
            figures.dead_letters / figures.poison, figures.dead_letters == figures.poison,
        ),
    ]  # fmt: skip
