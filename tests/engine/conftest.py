"""A market of real closes and a few portfolios, for every test of the engine."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from importlib import resources

import msgspec
import pytest

from engine.ledger import Ledger, Record
from plimsoll import topics
from plimsoll.messages import MarketClose, MarketTick, PortfolioUpdate, Position, encode

NOW_NS = 1_700_000_000 * 10**9
BENCHMARK = "SP500"


def _rows(name: str) -> list[list[str]]:
    raw = resources.files("producer").joinpath("data", name).read_bytes()
    return list(csv.reader(io.StringIO(gzip.decompress(raw).decode())))


@pytest.fixture(scope="session")
def all_sessions() -> list[tuple[str, dict[str, float]]]:
    """Every session of real closes there is, the index among them."""
    stocks, index = _rows("sp500_dataset.csv.gz"), _rows("sp500_index.csv.gz")
    symbols = stocks[0][1:]
    return [
        (row[0], {**dict(zip(symbols, map(float, row[1:]), strict=True)), BENCHMARK: float(at[1])})
        for row, at in zip(stocks[1:], index[1:], strict=True)
    ]


@pytest.fixture(scope="session")
def sessions(all_sessions: list[tuple[str, dict[str, float]]]) -> list[tuple[str, dict[str, float]]]:
    """The last 501 of them: 500 scenarios."""
    return all_sessions[-501:]


class Feed:
    """Writes Kafka records with offsets that grow, as a broker would number them."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}

    def record(self, topic: topics.Topic, key: bytes | None, value: bytes | None, partition: int = 0) -> Record:
        offset = self._next.get((topic.name, partition), 0)
        self._next[topic.name, partition] = offset + 1
        return Record(topic.name, partition, offset, key, value)

    def close(self, session: str, closes: dict[str, float], sectors: dict[str, str] | None = None) -> Record:
        return self.record(
            topics.MARKET_CLOSES, session.encode(), encode(MarketClose(session, closes, sectors=sectors))
        )

    def tick(self, symbol: str, price: float, **opinion: float) -> Record:
        return self.record(topics.MARKET_DATA, symbol.encode(), encode(MarketTick(symbol, price, **opinion)))

    def portfolio(self, portfolio_id: str, holdings: dict[str, float], **stated: object) -> Record:
        update = PortfolioUpdate(
            id=portfolio_id,
            advisor_id=str(stated.pop("advisor_id", "advisor-1")),
            positions=[Position(symbol, quantity) for symbol, quantity in holdings.items()],
        )
        update = msgspec.structs.replace(update, **stated)
        return self.record(topics.PORTFOLIO_UPDATES, portfolio_id.encode(), encode(update))

    def closed(self, portfolio_id: str) -> Record:
        return self.record(topics.PORTFOLIO_UPDATES, portfolio_id.encode(), None)


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def ledger() -> Ledger:
    """An empty ledger with a window of 500."""
    return Ledger.recovered(None, BENCHMARK, 500, 0.94)


@pytest.fixture
def take(ledger: Ledger) -> Callable[[Sequence[Record]], Ledger]:
    """Folds records into the ledger."""

    def fold(records: Sequence[Record]) -> Ledger:
        for record in records:
            ledger.take(record, NOW_NS)
        return ledger

    return fold
