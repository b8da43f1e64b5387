"""What the business looks like to Prometheus: right, from counts alone, and gone while it cannot be known."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from plimsoll import keys
from plimsoll.messages import AdvisorPnl

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed, Served

pytestmark = pytest.mark.anyio


def a_pnl(pnl: Any, portfolios: int, **stated: Any) -> AdvisorPnl:
    vector = np.asarray(pnl, np.float64).tobytes()
    return AdvisorPnl("set-1", portfolios, 1_000.0, 800.0, 800.0, 200.0, 0.0, 600.0, as_of_ns(5.0), 1, vector, vector)


def as_of_ns(seconds_ago: float) -> int:
    return time.time_ns() - int(seconds_ago * 1e9)


async def figures(client: Client) -> dict[str, float]:
    """Every sample of ours, read anew: `portfolios{band=HIGH}` by its label, all else by its name."""
    await client.app.state.backend.business.look()
    text = (await client.http.get("/metrics")).text
    return {
        sample.name.removeprefix("plimsoll_api_") + "".join(sample.labels.get(each, "") for each in ("band", "le")):
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }  # fmt: skip


async def test_portfolios_are_counted_by_band_and_at_the_threshold(client: Client, seed: Seed, make: Make) -> None:
    for number in (None, 29, 30, 69, 70, 99):
        await seed.write(make.snapshot(f"p-{number}", risk_number=number))
    found = await figures(client)
    bands = {band: found[f"portfolios{band}"] for band in ("LOW", "MODERATE", "HIGH", "NONE")}
    assert bands == {"LOW": 1, "MODERATE": 2, "HIGH": 2, "NONE": 1}
    assert found["portfolios_at_risk"] == 2


async def test_the_firm_is_measured_as_one(client: Client, seed: Seed) -> None:
    await seed.heartbeat(portfolios=3)
    await seed.redis.set(keys.CURRENT_SCENARIO_SET, "set-1")
    await seed.redis.zadd(keys.by_id(), {"p-1": 0.0, "p-2": 0.0, "p-3": 0.0})
    pnl = np.arange(-10.0, 90.0)
    await seed.advisor_pnl("advisor-1", "0/1", a_pnl(pnl, 1))
    await seed.advisor_pnl("advisor-2", "0/1", a_pnl(pnl, 2))
    found = await figures(client)
    assert found["firm_market_value_usd"] == 2_000.0
    # Five of a hundred scenarios lose more than the first, one more than the second; both advisors lose together.
    assert (found["firm_var_95_usd"], found["firm_var_99_usd"]) == (10.0, 18.0)
    assert found["firm_es_975_usd"] >= found["firm_var_95_usd"]
    assert (found["firm_coverage_ratio"], found["firm_partial"]) == (0.75, 0.0)
    assert 5.0 <= found["result_age_seconds"] < 60.0


async def test_a_firm_of_which_something_is_missing_says_so(client: Client, seed: Seed) -> None:
    await seed.heartbeat()
    await seed.redis.zadd(keys.by_id(), {"p-1": 0.0, "p-2": 0.0})
    await seed.advisor_pnl("advisor-1", "0/1", a_pnl(np.ones(100), 1))
    assert (await figures(client))["firm_partial"] == 1.0


async def test_portfolios_of_a_silent_worker_are_stale_and_no_others(client: Client, seed: Seed) -> None:
    await seed.heartbeat(0, 2, portfolios=40)
    await seed.heartbeat(1, 2, portfolios=7, beat_at_ns=as_of_ns(60.0))
    # Heartbeats are read once a second, and may have been between those two.
    for _ in range(400):
        if (found := await figures(client))["portfolios_stale"] == 7:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still {found}")


async def test_before_anything_is_known_nothing_is_claimed(client: Client) -> None:
    found = await figures(client)
    assert math.isnan(found["result_age_seconds"])
    assert math.isnan(found["firm_var_95_usd"])
    assert found["portfoliosHIGH"] == 0


async def test_figures_that_cannot_be_read_are_not_shown_as_if_they_were_new(client: Client, seed: Seed) -> None:
    assert "portfolios_at_risk" in await figures(client)
    await seed.redis.set(keys.ADVISORS, "no sorted set")
    found = await figures(client)
    assert "portfolios_at_risk" not in found
    assert "firm_market_value_usd" not in found
    assert math.isnan(found["result_age_seconds"])
    await seed.redis.delete(keys.ADVISORS)
    assert "portfolios_at_risk" in await figures(client)


async def test_what_is_told_to_subscribers_is_timed_from_its_price_and_only_where_it_is_new(
    served: Served, seed: Seed, make: Make
) -> None:
    timing = served.app.state.backend.telemetry.tick_to_subscriber
    await seed.write(make.snapshot(as_of_ns=as_of_ns(60.0)))
    socket = await served.socket()
    await socket.start('subscription { portfolioRisk(portfolioId: "p-1") { reason } }')
    await socket.event()
    assert timing.count == 0, "the present state is no news"
    told = as_of_ns(2.0)
    await seed.publish(make.snapshot(sequence="2", as_of_ns=told))
    await socket.event()
    await make.eventually(lambda: timing.count == 1)
    assert 2.0 <= timing.seconds < 30.0
    # Offered again, with nothing newer in it; then one more price.
    await seed.publish(make.snapshot(sequence="3", as_of_ns=told))
    await socket.event()
    await seed.publish(make.snapshot(sequence="4", as_of_ns=as_of_ns(-5.0)))
    await socket.event()
    await make.eventually(lambda: timing.count == 2)
    assert timing.counts[0] == 1, "a sender's clock that is ahead makes it no time at all"


async def test_batches_are_timed_by_the_newest_price_in_them(served: Served, seed: Seed, make: Make) -> None:
    timing = served.app.state.backend.telemetry.tick_to_subscriber
    socket = await served.socket()
    await socket.start("subscription { riskBatches { reason risks { portfolioId } } }")
    await socket.event()
    await seed.publish(make.snapshot("p-1", as_of_ns=as_of_ns(3.0)))
    await socket.event()
    await make.eventually(lambda: timing.count == 1)
    assert 3.0 <= timing.seconds < 30.0
