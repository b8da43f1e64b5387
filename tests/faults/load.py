"""A load for fault tests: portfolios that change, open and close, prices that move, and a set share of poison.

What is made is a pure function of a seed; `Sender` sends it at a rate and counts what Kafka acknowledged, and where.
So a test knows exactly which positions of the log hold poison of which kind, whatever happened on the way. Closes of
the bundled history go first: without scenarios there is no risk.

The embedded broker keeps 5 MB of a partition. A minute at 2,000 records a second stays below that.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import Message, Producer

from plimsoll import topics
from plimsoll.errors import Reason
from plimsoll.messages import POSITIONS_MAX
from producer import closes

SESSIONS = 520
"""Of closes: 500 scenarios need 501, and a few to spare."""
UNPRICED = "UNLISTED"
"""Held here and there, and never priced: the portfolio says that it is incomplete."""
UNHEARD = "NEWCO"
"""Priced, and without a history of its own: valued by proxy."""
STALE_SHARE = 0.02
CLOSING_SHARE = 0.01
PARTNERS = 8
"""Advisors."""
LARGE_SHARE = 0.005
"""Of poison that is an update of too many positions: each takes 300 KB."""


class Made(NamedTuple):
    """A record to be sent, and why it must be set aside; None where it is good."""

    topic: str
    key: bytes
    value: bytes | None
    poison: Reason | None = None


@dataclass(frozen=True)
class Plan:
    """What to make. Shares are of all records; a rate is records a second."""

    seed: int
    portfolios: int = 60
    rate: float = 2_000.0
    tick_share: float = 0.4
    poison_share: float = 0.0
    unpriced: bool = True


class Stream:
    """An endless, seeded stream of records; `now` is what their timestamps say."""

    def __init__(self, plan: Plan, prices: dict[str, float], now: Callable[[], float] = time.time) -> None:
        self.plan = plan
        self.now = now
        self.chance = random.Random(plan.seed)
        self._prices = {**prices, UNHEARD: 42.0}
        self._held = [symbol for symbol in self._prices if symbol != closes.BENCHMARK]
        self._sectors = {**closes.SECTORS, UNHEARD: "Technology", UNPRICED: "Other"}
        self._versions: dict[str, int] = {}
        self._open: set[str] = set()

    def everything_once(self) -> Iterator[Made]:
        """A price of every symbol and a first statement of every portfolio."""
        yield from (self.tick(symbol) for symbol in self._prices)
        yield from (self.update(self._id(number)) for number in range(self.plan.portfolios))

    def __iter__(self) -> Iterator[Made]:
        while True:
            if self.chance.random() < self.plan.poison_share:
                yield self.poison()
            elif self.chance.random() < self.plan.tick_share:
                yield self.tick(self.chance.choice(list(self._prices)))
            else:
                yield self._change(self._id(self.chance.randrange(self.plan.portfolios)))

    def tick(self, symbol: str) -> Made:
        """A price near the last one."""
        self._prices[symbol] *= math.exp(self.chance.gauss(0.0, 0.002))
        tick: dict[str, Any] = {"symbol": symbol, "price": round(self._prices[symbol], 4), "timestamp": self.now()}
        if symbol == UNHEARD:
            tick |= {"volatility": 0.35, "beta": 1.4}
        return Made(topics.MARKET_DATA.name, symbol.encode(), json.dumps(tick).encode())

    def update(self, portfolio_id: str, **besides: Any) -> Made:
        """A portfolio as a whole: some names, a few of them short. Every other portfolio counts its versions."""
        number = int(portfolio_id.rpartition("-")[2])
        symbols = self.chance.sample(self._held, self.chance.randint(2, 12))
        if self.plan.unpriced and number % 7 == 0:
            symbols.append(UNPRICED)
        update: dict[str, Any] = {
            "id": portfolio_id,
            "advisor_id": f"advisor-{(number + (self.chance.random() < 0.05)) % PARTNERS}",
            "client_id": f"client-{number}",
            "positions": [self._position(symbol) for symbol in symbols],
            "cash": round(self.chance.uniform(0.0, 50_000.0), 2),
            "risk_tolerance": self.chance.choice(["Conservative", "Moderate", "Aggressive"]),
            "timestamp": self.now(),
        }
        if number % 2 == 0:
            self._versions[portfolio_id] = self._versions.get(portfolio_id, 0) + 1
            update["version"] = self._versions[portfolio_id]
        self._open.add(portfolio_id)
        return self._record(portfolio_id, update | besides)

    def _position(self, symbol: str) -> dict[str, Any]:
        quantity = round(self.chance.uniform(10.0, 500.0), 3) * (-1.0 if self.chance.random() < 0.12 else 1.0)
        return {"symbol": symbol, "quantity": quantity, "sector": self._sectors[symbol], "price": 1.0, "weight": 0.1}

    def _change(self, portfolio_id: str) -> Made:
        draw = self.chance.random()
        if draw < CLOSING_SHARE and portfolio_id in self._open:
            self._open.discard(portfolio_id)
            return Made(topics.PORTFOLIO_UPDATES.name, portfolio_id.encode(), None)
        known = self._versions.get(portfolio_id, 0)
        if draw > 1.0 - STALE_SHARE and known > 1 and portfolio_id in self._open:
            late = self.update(portfolio_id, version=known - 1)
            self._versions[portfolio_id] = known
            return late
        return self.update(portfolio_id)

    def _id(self, number: int) -> str:
        return f"portfolio-{number}"

    def _record(self, portfolio_id: str, update: dict[str, Any]) -> Made:
        return Made(topics.PORTFOLIO_UPDATES.name, portfolio_id.encode(), json.dumps(update).encode())

    # --- poison --------------------------------------------------------------------------------------------------

    def poison(self) -> Made:
        """A record that must be set aside, of any kind there is."""
        kinds: list[Callable[[], Made]] = [*self._poisonous_updates().values(), *self._poisonous_ticks()]
        if self.chance.random() < LARGE_SHARE:
            return self._too_large()
        return self.chance.choice(kinds)()

    def poison_of(self, reason: Reason) -> Made:
        """An update that must be set aside for this reason."""
        return self._poisonous_updates()[reason]()

    def every_kind(self) -> list[Made]:
        """One record for every reason there is."""
        return [*(make() for make in self._poisonous_updates().values()), self._too_large()]

    def _poisonous_updates(self) -> dict[Reason, Callable[[], Made]]:
        return {
            Reason.MALFORMED_JSON: lambda: self._raw(b'{"id": "portfolio-0", "advisor_id": ', Reason.MALFORMED_JSON),
            Reason.INVALID_UTF8: lambda: self._raw(b'{"id": "\xff\xfe"}', Reason.INVALID_UTF8),
            Reason.TOO_DEEP: lambda: self._raw(
                b'{"id": "p", "advisor_id": "a", "positions": ' + b"[" * 99 + b"]" * 99 + b"}", Reason.TOO_DEEP
            ),
            Reason.SCHEMA: lambda: self._spoiled(Reason.SCHEMA, positions="none"),
            Reason.NON_FINITE: lambda: self._spoiled(Reason.NON_FINITE, cash=math.nan),
            Reason.OUT_OF_RANGE: lambda: self._spoiled(
                Reason.OUT_OF_RANGE, positions=[{"symbol": "KO", "quantity": 1e13}]
            ),
            Reason.KEY_MISMATCH: self._under_another_key,
            Reason.DUPLICATE_SYMBOL: lambda: self._spoiled(
                Reason.DUPLICATE_SYMBOL, positions=[self._position("KO"), self._position("KO")]
            ),
            Reason.FUTURE: lambda: self._spoiled(Reason.FUTURE, timestamp=self.now() + 1e7),
            Reason.VERSION_CONFLICT: self._conflicting,
        }

    def _poisonous_ticks(self) -> list[Callable[[], Made]]:
        topic = topics.MARKET_DATA.name
        return [
            lambda: Made(topic, b"KO", b'{"symbol": "KO", "price": NaN}', Reason.NON_FINITE),
            lambda: Made(topic, b"KO", b'{"symbol": "KO", "price": -1.0}', Reason.OUT_OF_RANGE),
            lambda: Made(topic, b"KO", b"KO 47.11", Reason.MALFORMED_JSON),
            lambda: Made(topic, b"KO", None, Reason.SCHEMA),
        ]

    def _raw(self, value: bytes, reason: Reason) -> Made:
        key = self._id(self.chance.randrange(self.plan.portfolios)).encode()
        return Made(topics.PORTFOLIO_UPDATES.name, key, value, reason)

    def _spoiled(self, reason: Reason, **wrong: Any) -> Made:
        """An update that is good but for one thing. Its version is none: one that is never applied is never held."""
        number = self.chance.randrange(self.plan.portfolios) | 1
        made = self._record(self._id(number), {"id": self._id(number), "advisor_id": "nobody", "positions": []} | wrong)
        return made._replace(poison=reason)

    def _under_another_key(self) -> Made:
        return self._spoiled(Reason.KEY_MISMATCH)._replace(key=b"somebody-else")

    def _conflicting(self) -> Made:
        """Other content under a version that is held already; another kind while none is."""
        held = sorted(each for each in self._open if each in self._versions)
        if not held:
            return self._spoiled(Reason.SCHEMA, positions="none")
        portfolio_id = self.chance.choice(held)
        update = {"id": portfolio_id, "advisor_id": "nobody", "positions": [], "version": self._versions[portfolio_id]}
        return self._record(portfolio_id, update)._replace(poison=Reason.VERSION_CONFLICT)

    def _too_large(self) -> Made:
        many = [{"symbol": f"S{number}", "quantity": 1} for number in range(POSITIONS_MAX + 1)]
        return self._spoiled(Reason.TOO_LARGE, positions=many)


# --- sending ----------------------------------------------------------------------------------------------------------


@dataclass
class Acknowledged:
    """What Kafka took: how many records of each topic, and where the poison lies."""

    records: Counter[str] = field(default_factory=Counter)
    poison: dict[tuple[str, int, int], str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Of all topics."""
        return sum(self.records.values())


class Sender:
    """Sends records and hears what became of each. Closes first, then `stream`; `run` at the plan's rate."""

    def __init__(self, brokers: str, plan: Plan) -> None:
        history = closes.load()
        self._sessions = [(history.sessions[at], history.of(at)) for at in range(len(history.sessions))][-SESSIONS:]
        self.stream = Stream(plan, self._sessions[-1][1])
        self.sent = Acknowledged()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._client = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.timeout.ms": 0,  # Kafka may be away; what was made is sent in the end.
                "partitioner": "murmur2_random",
                "reconnect.backoff.max.ms": 250,
                "log_level": 2,
            }
        )

    def history(self) -> None:
        """Every session's closes."""
        for session, prices in self._sessions:
            value = json.dumps({"session": session, "closes": prices, "sectors": dict(closes.SECTORS)}).encode()
            self.send(Made(topics.MARKET_CLOSES.name, session.encode(), value))

    def opening(self) -> None:
        """Closes, prices and a first statement of every portfolio; returns once Kafka has them."""
        self.history()
        for made in self.stream.everything_once():
            self.send(made)
        self.settle()

    def send(self, made: Made) -> None:
        """Hand one record over."""

        def acknowledged(error: Any, message: Message) -> None:
            if error is not None:
                self.sent.refused.append(f"{made.topic}: {error}")
                return
            self.sent.records[made.topic] += 1
            if made.poison is not None:
                self.sent.poison[made.topic, message.partition() or 0, message.offset() or 0] = made.poison

        while True:
            try:
                self._client.produce(made.topic, key=made.key, value=made.value, on_delivery=acknowledged)
            except BufferError:
                self._client.poll(0.1)
            else:
                break
        self._client.poll(0)

    def settle(self, seconds: float = 30.0) -> Acknowledged:
        """Wait until Kafka has everything. Raises `TimeoutError`, and `AssertionError` where it refused some."""
        if left := self._client.flush(seconds):
            raise TimeoutError(f"Kafka has not acknowledged {left} records within {seconds:g} s")
        assert not self.sent.refused, self.sent.refused[:3]
        return self.sent

    def run(self, seconds: float) -> None:
        """Send at the plan's rate for so long, or until `stop`."""
        began, count, records = time.monotonic(), 0, iter(self.stream)
        while not self._stopping.is_set() and (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * self.stream.plan.rate) - count
            for _ in range(due):
                self.send(next(records))
            count += max(0, due)
            self._stopping.wait(0.005)

    def start(self, seconds: float = 600.0) -> None:
        """The same beside us, until `stop`."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self.run, args=(seconds,), daemon=True)
        self._thread.start()

    def stop(self) -> Acknowledged:
        """Send nothing more, and wait until Kafka has everything."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self.settle()

    def abandon(self) -> None:
        """Send nothing more, and wait for nothing."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self._client.purge()
