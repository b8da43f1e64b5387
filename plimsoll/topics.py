"""The five Kafka topics: their names, keys, partitions and what Kafka may forget.

A topic is data here; whoever needs one creates what is missing with the client it already has. Partition counts are
part of the contract: they carry the distribution of portfolios over workers, and never shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `cleanup` is Kafka's `cleanup.policy`: compact keeps the newest of each key for ever."""

    name: str
    partitions: int
    cleanup: str

    def config(self) -> dict[str, str]:
        """The topic's settings as Kafka spells them. Compression is the producer's own (lz4)."""
        return {"cleanup.policy": self.cleanup}


PORTFOLIO_UPDATES = Topic("portfolio-updates", partitions=12, cleanup="compact")
"""Key portfolio_id; the whole portfolio, a null value closes it."""

MARKET_DATA = Topic("market-data", partitions=3, cleanup="compact")
"""Key symbol; the newest price of a symbol."""

MARKET_CLOSES = Topic("market-closes", partitions=1, cleanup="compact")
"""Key session date; the official closes of a session. The scenario set is a pure function of this topic."""

RISK_UPDATES = Topic("risk-updates", partitions=12, cleanup="delete")
"""Key portfolio_id; every published risk snapshot, with the source offset it came from."""

DEAD_LETTERS = Topic("dead-letters", partitions=3, cleanup="delete")
"""Key topic/partition/offset; what could not be applied and why."""

ALL = (PORTFOLIO_UPDATES, MARKET_DATA, MARKET_CLOSES, RISK_UPDATES, DEAD_LETTERS)
BY_NAME = MappingProxyType({topic.name: topic for topic in ALL})
