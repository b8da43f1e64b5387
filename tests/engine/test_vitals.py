"""Alive, ready, and counted: what a worker says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.census import ZONES, Census
from engine.pulse import Pulse
from engine.vitals import Check, Vitals

DOCUMENT = Path(__file__).parents[2] / "docs" / "OBSERVABILITY.md"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals("0/1", monotonic=clock)


def failing(checks: list[Check]) -> dict[str, str]:
    return {check.check: check.reason for check in checks if not check.ok}


# --- alive ------------------------------------------------------------------------------------------------------------


def test_a_flow_that_turns_is_alive_and_one_that_stopped_is_not(vitals: Vitals, clock: Clock) -> None:
    vitals.turned()
    clock.now += 9.9
    assert vitals.alive().ok
    clock.now += 0.2
    dead = vitals.alive()
    assert not dead.ok
    assert "not turned for 10.1 s" in dead.reason
    assert vitals.age(dead) == pytest.approx(10.1)
    vitals.turned()
    assert vitals.alive().ok


def test_a_start_may_take_longer_than_a_turn(vitals: Vitals, clock: Clock) -> None:
    clock.now += 59
    assert vitals.alive().ok
    vitals.starting()
    clock.now += 59
    assert vitals.alive().ok
    clock.now += 2
    assert not vitals.alive().ok


def test_what_the_flow_says_is_in_the_pulse() -> None:
    pulse = Pulse.create()
    vitals = Vitals("0/1", pulse)
    vitals.turned()
    vitals.reading("portfolio-updates", 4, 9)
    assert (pulse.flowing, str(pulse.position)) == (True, "topic portfolio-updates, partition 4, offset 9")
    vitals.progressed()
    assert (pulse.progress, pulse.position) == (1, None)
    pulse.close()


# --- ready ------------------------------------------------------------------------------------------------------------


def test_a_worker_is_ready_once_the_market_is_read_and_the_lag_is_small(vitals: Vitals) -> None:
    assert failing(vitals.ready(100)) == {"market": "not read yet", "lag": "not measured yet"}
    vitals.has("market")
    vitals.lag({("market-data", 0): 40, ("market-data", 1): 60})
    assert failing(vitals.ready(100)) == {}
    vitals.lag({("market-data", 0): 41, ("market-data", 1): 60})
    assert failing(vitals.ready(100)) == {
        "lag": "101 records behind, 100 are allowed; most in market-data [1]: 60",
    }


def test_while_a_dependency_is_away_the_worker_is_not_ready_since_it_first_was(vitals: Vitals, clock: Clock) -> None:
    vitals.has("market")
    vitals.lag({})
    vitals.waits_for("Redis", "connection refused")
    clock.now += 5
    vitals.waits_for("Redis", "still loading")
    (check,) = [each for each in vitals.ready(100) if not each.ok]
    assert (check.check, check.reason, vitals.age(check)) == ("Redis", "still loading", 5.0)
    vitals.has("Redis")
    vitals.has("Kafka")
    assert failing(vitals.ready(100)) == {}


# --- metrics ----------------------------------------------------------------------------------------------------------


def labels(*values: str) -> frozenset[str]:
    return frozenset(values)


def samples(vitals: Vitals) -> dict[tuple[str, frozenset[str]], float]:
    """Every sample by name and by the values of its labels beside the worker's."""
    found = {}
    for family in text_string_to_metric_families(vitals.metrics().decode()):
        for sample in family.samples:
            assert sample.labels.pop("worker", "0/1") == "0/1"
            found[sample.name, frozenset(sample.labels.values())] = sample.value
    return found


def test_everything_that_was_said_is_a_metric(vitals: Vitals, clock: Clock) -> None:
    vitals.counted(
        applied={"market-data": 7},
        stale={"market-data": 2},
        dead={"portfolio-updates": 1},
        reasons={"SCHEMA": 1},
        calculations=11,
        published=9,
        portfolios=3,
        positions=45,
        symbols=20,
    )
    vitals.lag({("market-data", 1): 5})
    vitals.waits_for("Redis", "away")
    vitals.retried("Redis")
    vitals.window_took(0.004)
    vitals.epoch_took(0.2)
    vitals.wrote(9, 0.06)
    vitals.wrote(1, None)
    vitals.progressed()
    vitals.turned()
    clock.now += 2.5
    got = samples(vitals)
    assert got["plimsoll_engine_records_total", labels("market-data", "applied")] == 7
    assert got["plimsoll_engine_records_total", labels("market-data", "stale")] == 2
    assert got["plimsoll_engine_records_total", labels("portfolio-updates", "dead")] == 1
    assert got["plimsoll_engine_dead_letters_total", labels("SCHEMA")] == 1
    assert got["plimsoll_engine_lag_records", labels("market-data", "1")] == 5
    assert got["plimsoll_engine_awaited", labels("Redis")] == 1
    assert got["plimsoll_engine_retries_total", labels("Redis")] == 1
    assert got["plimsoll_engine_snapshots_written_total", labels()] == 10
    assert got["plimsoll_engine_calculations_total", labels()] == 11
    assert got["plimsoll_engine_snapshots_total", labels()] == 9
    assert [got[f"plimsoll_engine_{name}", labels()] for name in ("portfolios", "positions", "symbols")] == [3, 45, 20]
    assert got["plimsoll_engine_turn_age_seconds", labels()] == 2.5
    assert got["plimsoll_engine_batches_total", labels()] == 1
    assert got["plimsoll_engine_window_seconds_bucket", labels("0.005")] == 1
    assert got["plimsoll_engine_window_seconds_bucket", labels("0.002")] == 0
    assert got["plimsoll_engine_epoch_seconds_sum", labels()] == 0.2
    assert got["plimsoll_engine_tick_to_publish_seconds_count", labels()] == 1
    assert got["process_resident_memory_bytes", labels()] > 0


def test_the_table_in_the_document_is_that_of_the_metrics(vitals: Vitals) -> None:
    none: dict[str, int] = {}
    counts = {"calculations": 0, "published": 0, "portfolios": 0, "positions": 0, "symbols": 0}
    vitals.counted(applied=none, stale=none, dead=none, reasons=none, **counts)
    vitals.census = Census(dict.fromkeys(ZONES, 0), 0, 0, 0, 0)
    vitals.lag({("market-data", 0): 0})
    rows = []
    for family in text_string_to_metric_families(vitals.metrics().decode()):
        if family.name.startswith("plimsoll_") and not family.name.endswith("_created"):
            named = ", ".join(f"`{label}`" for label in family.samples[0].labels if label not in ("worker", "le"))
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append(f"| `{name}` | {family.type} | {named} | {family.documentation} |")
    table = "\n".join(["| name | kind | labels | |", "| --- | --- | --- | --- |", *sorted(rows)])
    text = DOCUMENT.read_text("utf-8")
    found = re.search(r"<!-- engine metrics -->\n(.*?)\n<!-- end of engine metrics -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == table


def test_two_workers_in_one_process_do_not_count_into_each_other(vitals: Vitals) -> None:
    other = Vitals("1/2")
    other.retried("Redis")
    assert samples(vitals)["plimsoll_engine_retries_total", labels("Redis")] == 0


def test_before_anything_was_said_there_are_metrics_all_the_same(vitals: Vitals) -> None:
    assert ("plimsoll_engine_awaited", labels("market")) in samples(vitals)
