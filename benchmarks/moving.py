"""Portfolios that change as after an engine: `python -m benchmarks.moving REDIS PORTFOLIOS ADVISORS RATE`.

Every risk number, value and P&L moves a little, portfolio after portfolio, at a steady rate in messages of one
advisor's each, until this process is ended; and a heartbeat a second says that an engine is there. What is stored stays
as it was: a page reads the list once and is told of what changes.
"""

from __future__ import annotations

import sys
import time

import msgspec
import numpy as np
import redis

from benchmarks import seeding
from benchmarks.fanout import snapshot
from embedded.store import connect
from plimsoll import keys, processes
from plimsoll.messages import RiskBatch, RiskSnapshot, encode
from plimsoll.transport import Redis

STEP_SECONDS = 0.05
NUMBERS = np.arange(5, 99)


def portfolios(count: int, advisors: int) -> list[RiskSnapshot]:
    """The snapshots to begin with, an advisor's side by side: risk numbers of every size, no two values alike."""
    rng = np.random.default_rng(11)
    template = snapshot()
    made = []
    for number, risk_number in enumerate(rng.choice(NUMBERS, count).tolist()):
        value = float(rng.uniform(5e4, 5e6))
        made.append(
            msgspec.structs.replace(
                template, portfolio_id=f"portfolio-{number:05d}", advisor_id=f"advisor-{number * advisors // count}",
                sequence="1", risk_number=risk_number, market_value=value, var_95=value * risk_number / 2000.0,
            )
        )  # fmt: skip
    return made


def fill(client: redis.Redis, snapshots: list[RiskSnapshot]) -> None:
    """Store them and their lists, as the engine would."""
    pipeline = client.pipeline(transaction=False)
    for each in snapshots:
        pipeline.set(keys.risk(each.portfolio_id), encode(each))
        for advisor_id in (None, each.advisor_id):
            pipeline.zadd(keys.by_id(advisor_id), {each.portfolio_id: 0.0})
            pipeline.zadd(keys.by_risk(advisor_id), {each.portfolio_id: float(each.risk_number or 0)})
        pipeline.zadd(keys.ADVISORS, {each.advisor_id: 0.0})
    pipeline.execute()
    seeding.beat(client)


def move(client: redis.Redis, snapshots: list[RiskSnapshot], rate: float) -> None:
    """Publish changes at a rate, for ever; at a rate of 0 the heartbeat alone."""
    rng = np.random.default_rng(13)
    began, sent, beat_at = time.monotonic(), 0, 0.0
    while True:
        now = time.monotonic()
        if now - beat_at >= 1.0:
            seeding.beat(client)
            beat_at = now
        due = int((now - began) * rate)
        _publish(client, [number % len(snapshots) for number in range(sent, due)], snapshots, rng)
        sent = due
        time.sleep(STEP_SECONDS)


def _publish(client: redis.Redis, numbers: list[int], snapshots: list[RiskSnapshot], rng: np.random.Generator) -> None:
    by_advisor: dict[str, list[RiskSnapshot]] = {}
    now_ns = time.time_ns()
    for number in numbers:
        before = snapshots[number]
        factor = 1.0 + 0.01 * float(rng.standard_normal())
        step = int(rng.integers(-1, 2))
        after = snapshots[number] = msgspec.structs.replace(
            before, sequence=str(int(before.sequence) + 1), calculated_at_ns=now_ns,
            risk_number=min(99, max(1, (before.risk_number or 1) + step)), var_95=before.var_95 * factor,
            market_value=before.market_value * factor, day_pnl=before.market_value * (factor - 1.0),
        )  # fmt: skip
        by_advisor.setdefault(after.advisor_id, []).append(after)
    pipeline = client.pipeline(transaction=False)
    for advisor_id, changed in by_advisor.items():
        pipeline.publish(keys.risk_channel(advisor_id), encode(RiskBatch(changed)))
    pipeline.execute()


def main() -> None:
    """Fill the store, say so, and move."""
    processes.end_with_parent()
    redis_url, count, advisors, rate = sys.argv[1:]
    with connect(Redis(redis_url), seconds=30.0) as client:
        snapshots = portfolios(int(count), int(advisors))
        fill(client, snapshots)
        print("filled", flush=True)
        move(client, snapshots, float(rate))


if __name__ == "__main__":
    main()
