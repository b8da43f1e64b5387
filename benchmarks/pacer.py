"""Ticks at a steady rate, from a process of its own: `python -m benchmarks.pacer BROKERS RATE SECONDS`.

Each tick moves one of the 20 stocks by a little, in turn, and carries the time at which it was handed to the client as
its event time: what was due is sent at once, every millisecond. It runs for so many seconds, then says as one line of
JSON how many it sent and how far it ever was behind its own schedule: a rate that was not reached is no load.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from benchmarks.records import STOCKS, last_marks, writer
from plimsoll import processes, topics
from plimsoll.messages import MarketTick, encode

STEP_SECONDS = 0.001
LINGER_MS = 1.0
"""How long the client waits for more to send along: part of every latency that is measured."""
MOVE = 2e-4
"""Standard deviation of a tick's move, a fraction."""


def pace(brokers: str, rate: float, seconds: float) -> dict[str, float]:
    """Send `rate` ticks a second for so long; what came of it."""
    producer = writer(brokers, LINGER_MS)
    rng = np.random.default_rng(3)
    keys = [symbol.encode() for symbol in STOCKS]
    marks = last_marks()
    start = np.array([marks[symbol] for symbol in STOCKS])
    # Around the close rather than away from it: however long it lasts, prices stay prices.
    prices = np.round(start * (1.0 + MOVE * rng.standard_normal((4096, len(STOCKS)))), 4).tolist()
    began = time.perf_counter()
    sent, behind = 0, 0.0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(elapsed * rate)
        behind = max(behind, elapsed - sent / rate)
        for number in range(sent, due):
            stock = number % len(STOCKS)
            price = prices[number // len(STOCKS) % len(prices)][stock]
            tick = MarketTick(STOCKS[stock], price, timestamp=time.time(), source="replay")
            producer.produce(topics.MARKET_DATA.name, key=keys[stock], value=encode(tick))
        sent = due
        producer.poll(0)
        time.sleep(STEP_SECONDS)
    left = producer.flush(30.0)
    return {"sent": sent - left, "per_second": sent / seconds, "behind_seconds": behind}


def main() -> None:
    """Pace, and say what came of it."""
    processes.end_with_parent()
    brokers, rate, seconds = sys.argv[1:]
    print(json.dumps(pace(brokers, float(rate), float(seconds))))


if __name__ == "__main__":
    main()
