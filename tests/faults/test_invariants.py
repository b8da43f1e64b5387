"""The checker, checked: it says yes to an engine that was left alone, and no to every way of spoiling what it reads."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invariants import Store as Read
from invariants import Truth, order, read_store, read_transcript, violations
from load import Plan
from logfile import read_log
from rig import Rig, Store

from embedded.broker import EmbeddedBroker
from plimsoll import keys, topics
from plimsoll.settings import load as load_settings

SEED = 11
PROGRAM = Path(__file__).parent / "invariants.py"


class World:
    """What an undisturbed engine made of a load, read once; `rig` still stands, at rest."""

    def __init__(self, rig: Rig) -> None:
        assert rig.watcher is not None
        self.rig = rig
        self.truth = Truth.of(read_log(rig.brokers), load_settings(rig.settings_environ()), time.time_ns())
        self.store = read_store(rig.store.client)
        self.transcript = read_transcript(rig.watcher.flush())

    def violations(self, store: Read | None = None, transcript: list[dict[str, Any]] | None = None) -> list[str]:
        return violations(self.truth, store or self.store, self.transcript if transcript is None else transcript)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    with EmbeddedBroker.start() as broker:
        store = Store(directory / "store")
        rig = Rig(broker.address, store, directory, SEED)
        try:
            store.start()
            sender = rig.opened(Plan(SEED, portfolios=40, rate=800.0, poison_share=0.05))
            rig.watch()
            engine = rig.engine()
            rig.running(engine)
            sender.run(2.0)
            rig.holds()
            assert engine.stopped()[0] == 0
            yield World(rig)
        finally:
            rig.close()
            store.stop()


def test_an_engine_left_alone_breaks_nothing(world: World) -> None:
    assert world.violations() == []
    assert len(world.store.risk) > 30
    assert len(world.truth.expected.counted.dead) > 30
    assert world.truth.expected.counted.stale > 0
    assert any(entry["kind"] == "closed" for entry in world.transcript)
    assert any(each["incomplete_symbols"] for each in world.store.risk.values()), "nothing unpriced was held"
    assert any(each["proxied_symbols"] for each in world.store.risk.values()), "nothing was valued by proxy"


def test_both_recomputations_are_of_every_portfolio(world: World) -> None:
    assert world.truth.valued is not None
    assert world.truth.expected.snapshots.keys() == world.truth.valued.row.keys() == world.store.risk.keys()


# --- Redis spoiled ----------------------------------------------------------------------------------------------------


def first_of(store: Read) -> str:
    return min(store.risk)


def with_snapshot(store: Read, **changed: Any) -> None:
    key = keys.risk(first_of(store))
    store.strings[key] = json.dumps(json.loads(store.strings[key]) | changed, separators=(",", ":")).encode()


def older(store: Read) -> None:
    with_snapshot(store, sequence=str(int(store.risk[first_of(store)]["sequence"]) - 10**15))


def a_hair_off(store: Read) -> None:
    with_snapshot(store, var_99=store.risk[first_of(store)]["var_99"] * (1.0 + 5e-6))


def of_tomorrow(store: Read) -> None:
    with_snapshot(store, as_of_ns=store.risk[first_of(store)]["as_of_ns"] + 86_400 * 10**9)


def another_day(store: Read) -> None:
    with_snapshot(store, var_95_scenario_date="2022-12-27")


def no_number(store: Read) -> None:
    with_snapshot(store, beta=float("nan"))


def lost(store: Read) -> None:
    del store.strings[keys.risk(first_of(store))]


def risen_from_the_dead(store: Read) -> None:
    raw = store.strings[keys.risk(first_of(store))]
    store.strings[keys.risk("portfolio-closed-long-ago")] = raw


def out_of_an_index(store: Read) -> None:
    del store.sets[keys.by_risk()][first_of(store)]


def out_of_an_advisors_index(store: Read) -> None:
    portfolio_id = first_of(store)
    del store.sets[keys.by_id(store.risk[portfolio_id]["advisor_id"])][portfolio_id]


def left_with_an_advisor(store: Read) -> None:
    store.sets[keys.by_risk("advisor-gone")] = {first_of(store): 1.0}


def at_another_score(store: Read) -> None:
    store.sets[keys.by_risk()][first_of(store)] += 0.01


def another_quantity(store: Read) -> None:
    key = keys.portfolio(first_of(store))
    record = json.loads(store.strings[key])
    record["quantities"][0] += 1e-9
    store.strings[key] = json.dumps(record).encode()


def one_record_less(store: Read) -> None:
    (worker, beat), *_ = store.hashes[keys.ENGINE].items()
    counted = json.loads(beat)
    store.hashes[keys.ENGINE][worker] = json.dumps(counted | {"applied": counted["applied"] - 1}).encode()


def a_worker_missing(store: Read) -> None:
    (worker, beat), *_ = store.hashes[keys.ENGINE].items()
    store.hashes[keys.ENGINE][worker] = json.dumps(json.loads(beat) | {"workers": 2}).encode()


def an_old_mark(store: Read) -> None:
    mark = json.loads(store.hashes[keys.MARKS]["KO"])
    store.hashes[keys.MARKS]["KO"] = json.dumps(mark | {"price": mark["price"] + 0.01}).encode()


def an_advisors_sum_off(store: Read) -> None:
    (key, by_worker), *_ = ((k, v) for k, v in store.hashes.items() if k.startswith(keys.advisor_pnl("")))
    (worker, raw), *_ = by_worker.items()
    pnl = json.loads(raw)
    store.hashes[key][worker] = json.dumps(pnl | {"market_value": pnl["market_value"] * 1.001}).encode()


SPOILED: list[tuple[Callable[[Read], None], str]] = [
    (older, "I1"), (a_hair_off, "I1"), (of_tomorrow, "I1"), (another_day, "I1"), (lost, "I1"),
    (risen_from_the_dead, "I1"), (older, "I3"), (out_of_an_index, "I5"), (out_of_an_advisors_index, "I5"),
    (left_with_an_advisor, "I5"), (at_another_score, "I5"), (another_quantity, "I5"), (an_old_mark, "I5"),
    (an_advisors_sum_off, "I5"), (one_record_less, "I4"), (a_worker_missing, "I4"), (no_number, "I7"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "broken"), SPOILED, ids=lambda each: getattr(each, "__name__", each))
def test_a_spoiled_redis_is_noticed(world: World, spoil: Callable[[Read], None], broken: str) -> None:
    store = Read(*copy.deepcopy((world.store.strings, world.store.hashes, world.store.sets)))
    spoil(store)
    found = Read(store.strings, store.hashes, store.sets)  # what was parsed before is forgotten
    assert broken in {violation[:2] for violation in world.violations(found)}


# --- the subscriber spoiled -------------------------------------------------------------------------------------------


def test_a_blind_subscriber_is_noticed(world: World) -> None:
    """One that misses three of ten: most of what it saw last is still the last, and what is not is enough."""
    chance = random.Random(SEED)
    blind = [each for each in world.transcript if each["kind"] != "announced" or chance.random() > 0.3]
    assert {violation[:2] for violation in world.violations(transcript=blind)} == {"I3"}


def test_a_subscriber_that_saw_another_content_is_noticed(world: World) -> None:
    spoiled = copy.deepcopy(world.transcript)
    last = {each["portfolio_id"]: each for each in spoiled if each["kind"] == "announced"}
    last[first_of(world.store)]["digest"] = "0" * 16
    assert [violation[:2] for violation in world.violations(transcript=spoiled)] == ["I3"]


def said(kind: str, sequence: int) -> dict[str, Any]:
    return {"kind": kind, "portfolio_id": "p", "sequence": str(sequence), "digest": ""}


BREAK = {"kind": "break"}


@pytest.mark.parametrize(
    ("entries", "holds"),
    [
        ([said("announced", 1), said("announced", 2)], True),
        ([said("announced", 2), said("announced", 2)], False),
        ([said("announced", 2), said("announced", 1)], False),
        ([said("announced", 2), BREAK, said("announced", 2), said("announced", 3)], True),
        ([said("announced", 2), BREAK, said("announced", 2), said("announced", 2)], False),
        ([said("announced", 2), BREAK, said("announced", 1)], False),
        ([said("read", 2), said("read", 2)], True),
        ([said("read", 2), said("read", 1)], False),
        ([said("read", 2), BREAK, said("read", 1)], False),
    ],
)
def test_sequences_increase_at_a_subscriber_and_never_fall_in_redis(entries: list[dict[str, Any]], holds: bool) -> None:
    assert (order(entries) == []) is holds


# --- Kafka spoiled ----------------------------------------------------------------------------------------------------


def test_a_letter_that_is_missing_and_one_too_many_are_noticed(world: World) -> None:
    dead = dict(world.truth.dead_on_kafka)
    gone = min(dead)
    reason = dead.pop(gone)
    assert violations(replace(world.truth, dead_on_kafka=dead), world.store)[0].startswith("I4 ")
    other = world.truth.dead_on_kafka | {gone: "SCHEMA" if reason != "SCHEMA" else "FUTURE"}
    assert violations(replace(world.truth, dead_on_kafka=other), world.store)[0].startswith("I4 ")
    record = next(
        each
        for each in world.truth.log.of(topics.PORTFOLIO_UPDATES)
        if (each.topic, each.partition, each.offset) not in world.truth.dead_on_kafka
    )
    more = world.truth.dead_on_kafka | {(record.topic, record.partition, record.offset): "SCHEMA"}
    assert violations(replace(world.truth, dead_on_kafka=more), world.store)[0].startswith("I4 ")


# --- the program ------------------------------------------------------------------------------------------------------


def run_by_hand(world: World) -> subprocess.CompletedProcess[str]:
    assert world.rig.watcher is not None
    return subprocess.run(
        [
            sys.executable, PROGRAM, "--kafka", world.rig.brokers, "--redis", world.rig.store.url,
            "--transcript", world.rig.watcher.path,
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_program_says_so_by_its_exit_code(world: World) -> None:
    done = run_by_hand(world)
    assert (done.returncode, done.stdout) == (0, "every invariant holds\n"), done.stdout + done.stderr
    portfolio_id = first_of(world.store)
    client = world.rig.store.client
    client.zrem(keys.by_risk(), portfolio_id)
    spoiled = run_by_hand(world)
    client.zadd(keys.by_risk(), {portfolio_id: world.store.sets[keys.by_risk()][portfolio_id]})
    assert spoiled.returncode == 1
    assert portfolio_id in spoiled.stdout
    assert "I5" in spoiled.stdout
