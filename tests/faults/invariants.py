"""One program that says whether the engine told the truth, whatever happened to it meanwhile.

    python tests/faults/invariants.py --kafka HOST:PORT --redis URL [--transcript FILE] [--wait SECONDS]

It reads the whole log from Kafka, all of Redis, and what a recording subscriber wrote down (`watch.py`), and checks:

I1  every portfolio in Redis is what the log comes to, by two recomputations (`reference.py`), field by field; its
    sequence is that of its newest statement, at a market watermark no larger than the log's
I2  sequences strictly increase at the subscriber, and never fall in Redis
I3  what the subscriber saw last is what Redis holds, byte for byte; the same sequence stands on `risk-updates`
I4  produced = applied + stale + dead-lettered, by the counters of the whole crew; the dead letters, unique by their
    source position, are exactly the records that cannot be applied, each for its reason
I5  every index, and each advisor's sum, is what a recount of `risk:*` gives; positions are those of the log
I7  every number is finite or null

(I6, that nobody sees a portfolio of another's, is the API's.) Settings of the engine are read from the environment, as
it does. Exit code 0 where all hold, 1 with a line for each violation, 2 where nothing could be checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import redis
from logfile import IN, Log, read_log
from reference import ByHand, Expected, Position, Statements, by_hand, by_the_engine, statements

from engine.revalue import WATERMARK_RANGE
from plimsoll import keys, topics
from plimsoll.risk.score import LIST_STEPS
from plimsoll.settings import Settings, load

RELATIVE = 1e-6
"""float32 products differ by rounding between batches: 3e-7 of value at risk at most."""
OF_GROSS = 1e-8
"""Of gross exposure: what is a difference of large numbers carries their rounding."""
ABSOLUTE = 1e-6
"""Of ratios near zero (a beta, a mean return)."""
SCORE = 2e-4
"""Points of risk score, of which there are 99."""
SETTLE_SECONDS = 0.6
"""How much later than Redis a subscriber and Kafka may hear of a snapshot: deliveries are on their way."""
SHOWN_MAX = 40

_MONEY = {
    "market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "cash", "var_95", "var_99",
    "es_975", "day_pnl",
}  # fmt: skip
_RATIOS = {
    "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "sharpe_ratio",
    "sortino_ratio", "beta", "tracking_error", "max_drawdown", "effective_names", "coverage",
}  # fmt: skip
_EXACT = {
    "advisor_id", "source_partition", "source_offset", "portfolio_id", "client_id", "risk_tolerance", "method",
    "horizon_days", "observations", "scenario_set_id", "incomplete_symbols", "proxied_symbols",
}  # fmt: skip
_SCORES = {"risk_number", "risk_number_structural"}


# --- what is read -----------------------------------------------------------------------------------------------------


@dataclass
class Store:
    """All of Redis as far as it is the engine's."""

    strings: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)

    @cached_property
    def risk(self) -> dict[str, dict[str, Any]]:
        """Every snapshot, by portfolio."""
        return self._parsed(keys.risk(""))

    @cached_property
    def positions(self) -> dict[str, dict[str, Any]]:
        """Every `PortfolioRecord`, by portfolio."""
        return self._parsed(keys.portfolio(""))

    @cached_property
    def crew(self) -> list[dict[str, Any]]:
        """What the workers said last, of those that are in charge: of as many as the youngest heartbeat says."""
        beats = [json.loads(beat) for beat in self.hashes.get(keys.ENGINE, {}).values()]
        if not beats:
            return []
        workers = max(beats, key=lambda beat: beat["beat_at_ns"])["workers"]
        return [beat for beat in beats if beat["workers"] == workers]

    def _parsed(self, prefix: str) -> dict[str, dict[str, Any]]:
        found = {key.removeprefix(prefix): raw for key, raw in self.strings.items() if key.startswith(prefix)}
        return {name: json.loads(raw) for name, raw in found.items()}


def read_store(client: redis.Redis) -> Store:
    """Read everything, a type at a time. Streams (the history) are no state of now and are left out."""
    store = Store()
    found = sorted(client.scan_iter(count=1_000))
    pipeline = client.pipeline(transaction=False)
    for key in found:
        pipeline.type(key)
    kinds = dict(zip(found, pipeline.execute(), strict=True))
    readers: dict[bytes, Any] = {
        b"string": pipeline.get,
        b"hash": pipeline.hgetall,
        b"zset": lambda key: pipeline.zrange(key, 0, -1, withscores=True),
    }
    readable = [key for key in found if kinds[key] in readers]
    for key in readable:
        readers[kinds[key]](key)
    for key, value in zip(readable, pipeline.execute(), strict=True):
        name = key.decode()
        if kinds[key] == b"string" and value is not None:
            store.strings[name] = value
        elif kinds[key] == b"hash":
            store.hashes[name] = {field.decode(): each for field, each in value.items()}
        elif kinds[key] == b"zset":
            store.sets[name] = {member.decode(): score for member, score in value}
    return store


@dataclass
class Truth:
    """What the log comes to, computed once."""

    log: Log
    settings: Settings
    expected: Expected
    told: Statements
    valued: ByHand | None
    dead_on_kafka: dict[Position, str]

    @classmethod
    def of(cls, log: Log, settings: Settings, now_ns: int) -> Truth:
        """Recompute everything, both ways."""
        expected = by_the_engine(log, settings, now_ns)
        dead_on_kafka = {}
        for record in log.of(topics.DEAD_LETTERS):
            letter = json.loads(record.value or b"{}")
            dead_on_kafka[letter["topic"], letter["partition"], letter["offset"]] = letter["reason"]
        # Both: where a letter is missing, or one too many, that is I4's to say, and nobody's to trip over.
        dead = expected.counted.dead.keys() | dead_on_kafka.keys()
        told = statements(log, dead)
        return cls(log, settings, expected, told, by_hand(log, told, dead, settings), dead_on_kafka)


def violations(truth: Truth, store: Store, transcript: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """Everything that does not hold, a sentence each; empty where all is well."""
    transcript = list(transcript)
    return [
        *state(truth, store),
        *order(transcript),
        *ends(truth, store, transcript),
        *counts(truth, store),
        *indexes(truth, store),
        *finite(truth.log, store),
    ]


# --- I1 ---------------------------------------------------------------------------------------------------------------


def state(truth: Truth, store: Store) -> list[str]:
    """I1: Redis holds the portfolios of the log, each as both recomputations have it."""
    expected, told = truth.expected.snapshots, truth.told
    corrections = max((beat.get("corrections", 0) for beat in store.crew), default=0)
    found = [f"I1 the engine's parts and plain JSON disagree on whether {each} is open" for each in sorted(
        expected.keys() ^ told.portfolios.keys()
    )]  # fmt: skip
    found += [f"I1 {each} is open in the log and not in Redis" for each in sorted(expected.keys() - store.risk.keys())]
    found += [f"I1 {each} is in Redis and not open in the log" for each in sorted(store.risk.keys() - expected.keys())]
    for portfolio_id in sorted(expected.keys() & store.risk.keys() & told.portfolios.keys()):
        snapshot = store.risk[portfolio_id]
        problems = [
            *_sequence(truth, portfolio_id, snapshot, corrections),
            *_as_the_engine(truth.expected, portfolio_id, snapshot),
            *_as_by_hand(truth, portfolio_id, snapshot),
        ]
        found += [f"I1 {portfolio_id}: {problem}" for problem in problems]
    return found


def _sequence(truth: Truth, portfolio_id: str, snapshot: Mapping[str, Any], corrections: int) -> list[str]:
    statement, watermark = divmod(int(snapshot["sequence"]), WATERMARK_RANGE)
    found = []
    if statement != truth.told.portfolios[portfolio_id].statement:
        found.append(
            f"statement number {statement} in Redis, {truth.told.portfolios[portfolio_id].statement} in the log"
        )
    end = truth.log.market_watermark + corrections
    if watermark > end:
        found.append(f"market watermark {watermark} in Redis, the log ends at {end}, corrections included")
    return found


def _as_the_engine(expected: Expected, portfolio_id: str, snapshot: Mapping[str, Any]) -> list[str]:
    wanted = expected.snapshots[portfolio_id]
    gross = wanted["gross_exposure"]
    score_is_near = math.isclose(expected.scores[portfolio_id] % 1.0, 0.5, abs_tol=SCORE)
    found = [
        f"{name} is {snapshot.get(name)!r} in Redis, {wanted[name]!r} by recomputation"
        for name in sorted(_MONEY | _RATIOS | _EXACT | _SCORES)
        if not _agree(name, snapshot.get(name), wanted[name], gross)
        and not (name in _SCORES and score_is_near and _near(snapshot.get(name), wanted[name]))
    ]
    # A tick that repeats a price changes no number: its time may come with the next offer, and never before it.
    late = [name for name in ("as_of_ns", "oldest_price_ns") if (snapshot[name] or 0) > (wanted[name] or math.inf)]
    return [
        *found,
        *(f"{name} is {snapshot[name]} in Redis, later than any in the log ({wanted[name]})" for name in late),
    ]


def _agree(name: str, found: Any, wanted: Any, gross: float) -> bool:
    if name in _MONEY:
        return _close(found, wanted, OF_GROSS * gross)
    if name in _RATIOS:
        return _close(found, wanted, ABSOLUTE)
    return bool(found == wanted)


def _close(found: float | None, wanted: float | None, absolute: float) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return math.isclose(found, wanted, rel_tol=RELATIVE, abs_tol=absolute)


def _near(found: int | None, wanted: int | None) -> bool:
    """Whether two whole numbers are neighbours, one rounded up and the other down."""
    return None not in (found, wanted) and abs(found - wanted) <= 1  # type: ignore[operator]


def _as_by_hand(truth: Truth, portfolio_id: str, snapshot: Mapping[str, Any]) -> list[str]:
    told = truth.told.portfolios[portfolio_id]
    stated = {
        "advisor_id": told.advisor_id, "client_id": told.client_id, "cash": told.cash,
        "source_partition": told.source[0], "source_offset": told.source[1],
    }  # fmt: skip
    found = [
        f"{name} is {snapshot[name]!r} in Redis, {wanted!r} as the log states it"
        for name, wanted in stated.items()
        if snapshot[name] != wanted
    ]
    if truth.valued is None:
        return found
    measured, score = truth.valued.of(portfolio_id), truth.valued.score(portfolio_id)
    found += [
        f"{name} is {snapshot[name]!r} in Redis, {wanted!r} in float64"
        for name, wanted in measured.items()
        if not _close(snapshot[name], wanted, OF_GROSS * measured["gross_exposure"])
    ]
    number = snapshot["risk_number"]
    if (number is None) != math.isnan(score) or (number is not None and abs(number - score) > 0.5 + SCORE):
        found.append(f"risk_number is {number} in Redis, {score:.4f} before rounding in float64")
    # Two scenarios may bring the same loss but for rounding: either is the one.
    loss = -truth.valued.pnl_on(portfolio_id, snapshot["var_95_scenario_date"])
    if not math.isnan(loss) and not _close(loss, snapshot["var_95"], OF_GROSS * measured["gross_exposure"]):
        found.append(f"var_95 is said to be that of {snapshot['var_95_scenario_date']}, which would lose {loss:.6g}")
    return found


# --- I2, I3 -----------------------------------------------------------------------------------------------------------


def order(transcript: Iterable[Mapping[str, Any]]) -> list[str]:
    """I2: what was announced strictly increases, what was read never falls.

    After a `break` (Redis lost what it held, or the subscriber its connection) a sequence may come once more, and
    still none that is lower.
    """
    announced: dict[str, int] = {}
    read: dict[str, int] = {}
    repeatable: set[str] = set()
    found = []
    for entry in transcript:
        if entry["kind"] == "break":
            repeatable = set(announced)
        elif entry["kind"] == "announced":
            portfolio_id, sequence = entry["portfolio_id"], int(entry["sequence"])
            before = announced.get(portfolio_id, -1)
            if sequence < before or (sequence == before and portfolio_id not in repeatable):
                found.append(f"I2 {portfolio_id}: {sequence} was announced after {before}")
            repeatable.discard(portfolio_id)
            announced[portfolio_id] = max(before, sequence)
        elif entry["kind"] == "read":
            portfolio_id, sequence = entry["portfolio_id"], int(entry["sequence"])
            if sequence < read.get(portfolio_id, -1):
                found.append(f"I2 {portfolio_id}: Redis held {sequence} after {read[portfolio_id]}")
            read[portfolio_id] = max(read.get(portfolio_id, -1), sequence)
    return found


def ends(truth: Truth, store: Store, transcript: list[Mapping[str, Any]]) -> list[str]:
    """I3: who listened, and who reads `risk-updates`, ends where Redis is."""
    held = {portfolio_id: int(snapshot["sequence"]) for portfolio_id, snapshot in store.risk.items()}
    found = _heard(store, held, transcript) if transcript else []
    on_kafka = newest_on_kafka(truth.log)
    complete = truth.log.whole([topics.RISK_UPDATES])
    for portfolio_id, sequence in sorted(held.items()):
        published = on_kafka.get(portfolio_id)
        if published != sequence and (complete or published is not None):
            found.append(f"I3 {portfolio_id}: {published} is the newest on risk-updates, Redis holds {sequence}")
    return found


def _heard(store: Store, held: Mapping[str, int], transcript: Iterable[Mapping[str, Any]]) -> list[str]:
    """The subscriber's end: the newest it was told or read when it subscribed, of what was not closed since."""
    seen: dict[str, tuple[int, str]] = {}
    for entry in transcript:
        if entry["kind"] in ("announced", "resumed"):
            newest = (int(entry["sequence"]), entry["digest"])
            if newest[0] >= seen.get(entry["portfolio_id"], (-1, ""))[0]:
                seen[entry["portfolio_id"]] = newest
        elif entry["kind"] == "closed":
            seen.pop(entry["portfolio_id"], None)
        elif entry["kind"] == "break":
            # Whoever reads again finds nothing of what was closed while Redis was away; nobody announces that.
            seen = {portfolio_id: last for portfolio_id, last in seen.items() if portfolio_id in held}
    found = []
    for portfolio_id in sorted(held.keys() | seen.keys()):
        last, digest = seen.get(portfolio_id, (None, ""))
        if last != held.get(portfolio_id):
            found.append(f"I3 {portfolio_id}: the subscriber saw {last} last, Redis holds {held.get(portfolio_id)}")
        elif digest != digest_of(store.strings[keys.risk(portfolio_id)]):
            found.append(f"I3 {portfolio_id}: the subscriber saw another content of {last} than Redis holds")
    return found


def newest_on_kafka(log: Log) -> dict[str, int]:
    """The largest sequence of each portfolio on `risk-updates`: a crash may repeat what is older."""
    newest: dict[str, int] = {}
    for record in log.of(topics.RISK_UPDATES):
        portfolio_id = (record.key or b"").decode()
        newest[portfolio_id] = max(newest.get(portfolio_id, -1), sequence_in(record.value or b""))
    return newest


def sequence_in(snapshot: bytes) -> int:
    """The sequence of a snapshot, which is its first field."""
    found = re.match(rb'\{"sequence":"(\d+)"', snapshot)
    if found is None:
        raise ValueError(f"no snapshot begins like this: {snapshot[:60]!r}")
    return int(found[1])


def digest_of(snapshot: bytes) -> str:
    """Enough of a snapshot to tell whether another is the same to the byte."""
    return hashlib.blake2b(snapshot, digest_size=8).hexdigest()


# --- I4 ---------------------------------------------------------------------------------------------------------------


def counts(truth: Truth, store: Store) -> list[str]:
    """I4: nothing is lost, nothing counted twice, and the dead letters are exactly what cannot be applied."""
    found = []
    wanted, letters = truth.expected.counted.dead, truth.dead_on_kafka
    found += [
        f"I4 {_named(each)} is dead ({wanted[each]}) and has no letter"
        for each in sorted(wanted.keys() - letters.keys())
    ]
    found += [
        f"I4 {_named(each)} has a letter ({letters[each]}) and can be applied"
        for each in sorted(letters.keys() - wanted.keys())
    ]
    found += [
        f"I4 {_named(each)} is dead for {wanted[each]}, its letter says {letters[each]}"
        for each in sorted(wanted.keys() & letters.keys())
        if wanted[each] != letters[each]
    ]
    if not truth.log.whole():
        return found  # Who counted read more than is left.
    crew = store.crew
    indexes_there = sorted(beat["worker_index"] for beat in crew)
    workers = crew[0]["workers"] if crew else 0
    if not crew or indexes_there != list(range(workers)):
        return [*found, f"I4 the crew is not complete: heartbeats of {indexes_there} of {workers}"]
    counted = truth.expected.counted
    applied, stale, dead = (sum(beat[name] for beat in crew) for name in ("applied", "stale", "dead_lettered"))
    for name, have, want in (
        ("applied + stale + dead-lettered", applied + stale + dead, counted.by_crew(workers)),
        ("dead-lettered", dead, counted.dead_by_crew(workers)),
        ("stale", stale, counted.stale),
    ):
        if have != want:
            found.append(f"I4 {name}: {have} counted by the crew of {workers}, {want} in the log")
    return found


def _named(position: Position) -> str:
    return "/".join(map(str, position))


# --- I5 ---------------------------------------------------------------------------------------------------------------


def _stands_at(listed: float, score: float) -> bool:
    """Whether a list has a score where it belongs: on its own step, or on the next where it is at the edge of both."""
    return (listed * LIST_STEPS).is_integer() and -SCORE <= score - listed <= 1 / LIST_STEPS + SCORE


def indexes(truth: Truth, store: Store) -> list[str]:
    """I5: what is kept beside the snapshots is what they say."""
    members: dict[str, dict[str, float]] = {keys.by_risk(): {}, keys.by_id(): {}, keys.ADVISORS: {}}
    for portfolio_id, snapshot in store.risk.items():
        advisor_id = snapshot["advisor_id"]
        score = truth.expected.scores.get(portfolio_id, math.nan)
        for everyones in (None, advisor_id):
            members.setdefault(keys.by_risk(everyones), {})[portfolio_id] = score
            members.setdefault(keys.by_id(everyones), {})[portfolio_id] = 0.0
        members[keys.ADVISORS][advisor_id] = 0.0
    found = []
    kept = {key: value for key, value in store.sets.items() if key.startswith("portfolios:") or key == keys.ADVISORS}
    for key in sorted(members.keys() | kept.keys()):
        have, want = kept.get(key, {}), members.get(key, {})
        if have.keys() != want.keys():
            found.append(
                f"I5 {key} lacks {sorted(want.keys() - have.keys())}"
                f" and has {sorted(have.keys() - want.keys())} besides"
            )
        found += [
            f"I5 {key}: {member} stands at {have[member]}, its score is {want[member]}"
            for member in sorted(have.keys() & want.keys())
            if not _stands_at(have[member], want[member])
        ]
    return [*found, *_positions(truth, store), *_advisors(store), *_market(truth, store)]


def _positions(truth: Truth, store: Store) -> list[str]:
    found = []
    for portfolio_id in sorted(store.positions.keys() | store.risk.keys()):
        record, told = store.positions.get(portfolio_id), truth.told.portfolios.get(portfolio_id)
        if record is None or told is None:
            found.append(
                f"I5 {portfolio_id}: positions {'are missing' if record is None else 'of a portfolio that is not open'}"
            )
            continue
        have = dict(zip(record["symbols"], record["quantities"], strict=True))
        stated = (told.quantities, told.advisor_id, told.cash, *told.source, told.version)
        kept = (have, *(record[name] for name in _OF_RECORD))
        if kept != stated:
            found.append(f"I5 {portfolio_id}: positions are {kept}, the log states {stated}")
    twice = store.risk.keys() & store.hashes.get(keys.CLOSED, {}).keys()
    return [*found, *(f"I5 {portfolio_id} is open and closed at once" for portfolio_id in sorted(twice))]


_OF_RECORD = ("advisor_id", "cash", "source_partition", "source_offset", "version")


def _advisors(store: Store) -> list[str]:
    """Each advisor's sum over the crew is that of the snapshots: of market value, gross exposure and portfolios."""
    crew = {f"{beat['worker_index']}/{beat['workers']}" for beat in store.crew}
    sums: dict[str, list[float]] = {}
    for snapshot in store.risk.values():
        one = sums.setdefault(snapshot["advisor_id"], [0.0, 0.0, 0.0])
        for at, part in enumerate((1.0, snapshot["market_value"], snapshot["gross_exposure"])):
            one[at] += part
    found = []
    told = {
        key.removeprefix(keys.advisor_pnl("")): by_worker
        for key, by_worker in store.hashes.items()
        if key.startswith(keys.advisor_pnl(""))
    }
    for advisor_id in sorted(sums.keys() | told.keys()):
        parts = [json.loads(raw) for worker, raw in told.get(advisor_id, {}).items() if worker in crew]
        have = [float(sum(part[name] for part in parts)) for name in ("portfolios", "market_value", "gross_exposure")]
        want = sums.get(advisor_id, [0.0, 0.0, 0.0])
        if not all(
            math.isclose(a, b, rel_tol=RELATIVE, abs_tol=OF_GROSS * want[2]) for a, b in zip(have, want, strict=True)
        ):
            found.append(f"I5 advisor {advisor_id}: portfolios, value and gross sum to {have}, the snapshots to {want}")
    return found


def _market(truth: Truth, store: Store) -> list[str]:
    """The marks are the newest ticks, and the scenario set is that of the closes."""
    newest = {}
    for record in truth.log.of(topics.MARKET_DATA):
        if (record.topic, record.partition, record.offset) not in truth.expected.counted.dead:
            newest[(record.key or b"").decode()] = json.loads(record.value or b"")["price"]
    have = {symbol: json.loads(mark)["price"] for symbol, mark in store.hashes.get(keys.MARKS, {}).items()}
    found = [
        f"I5 marks: {symbol} is {have.get(symbol)}, its newest tick says {newest.get(symbol)}"
        for symbol in sorted(newest.keys() | have.keys())
        if have.get(symbol) != newest.get(symbol)
    ]
    current = store.strings.get(keys.CURRENT_SCENARIO_SET, b"").decode() or None
    if current != truth.expected.scenario_set_id:
        found.append(f"I5 scenario set {current} is current, the closes make {truth.expected.scenario_set_id}")
    elif current is not None and keys.scenario_set(current) not in store.strings:
        found.append(f"I5 scenario set {current} is current and is not there")
    return found


# --- I7 ---------------------------------------------------------------------------------------------------------------


def finite(log: Log, store: Store) -> list[str]:
    """I7: whatever is JSON says only numbers that are some."""
    said = [(key, raw) for key, raw in store.strings.items() if raw.startswith(b"{")]
    said += [(f"{key} {name}", raw) for key, each in store.hashes.items() for name, raw in each.items()]
    said += [
        (f"{record.topic}/{record.partition}/{record.offset}", record.value or b"{}")
        for topic in (topics.RISK_UPDATES, topics.DEAD_LETTERS)
        for record in log.of(topic)
    ]
    return [f"I7 {where}: {problem}" for where, raw in said if (problem := _not_finite(raw))]


def _not_finite(raw: bytes) -> str:
    met: list[str] = []

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            met.append(text)
        return value

    try:
        json.loads(raw, parse_float=number, parse_constant=number)
    except ValueError as error:
        # Plain texts (a sequence, an id, a token) are no JSON and hold no numbers.
        return str(error) if raw[:1] in b"{[" else ""
    return ", ".join(met)


# --- the program ------------------------------------------------------------------------------------------------------


def read_transcript(path: Path | None) -> list[dict[str, Any]]:
    """What `watch.py` wrote: an entry a line. While it still writes, the last may be half there: that is left out."""
    written = path.read_text(encoding="utf-8").rpartition("\n")[0] if path else ""
    return [json.loads(line) for line in written.splitlines()]


def check(
    brokers: str,
    client: redis.Redis,
    settings: Settings,
    transcript: Path | None = None,
    wait: float = 0.0,
    now_ns: Callable[[], int] = time.time_ns,
    before_reading: Callable[[], object] = lambda: None,
) -> list[str]:
    """Check until all holds or `wait` seconds have passed; what does not hold then.

    The log of what the engine reads has to be at rest. The engine itself may still be at work: what was lost in a
    flush comes back with its next offer. Redis is read before Kafka and the transcript, which are told of it later.
    """
    deadline = time.monotonic() + wait
    inputs = read_log(brokers, IN)
    while True:
        late = time.monotonic() > deadline
        store = read_store(client)
        time.sleep(SETTLE_SECONDS)
        outputs = read_log(brokers, (topics.RISK_UPDATES, topics.DEAD_LETTERS))
        before_reading()
        log = Log(inputs.records | outputs.records, inputs.ends | outputs.ends)
        found = violations(Truth.of(log, settings, now_ns()), store, read_transcript(transcript))
        if late or not found:
            return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check that Redis is what the log comes to.")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--redis", required=True, metavar="URL")
    parser.add_argument("--transcript", type=Path, metavar="FILE", help="what watch.py wrote down meanwhile")
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="give the engine so long to get there"
    )
    chosen = parser.parse_args()
    settings = load(os.environ)
    try:
        with redis.Redis.from_url(chosen.redis) as client:
            found = check(chosen.kafka, client, settings, chosen.transcript, chosen.wait)
    except (redis.RedisError, TimeoutError, OSError) as error:
        print(f"nothing could be checked: {error}", file=sys.stderr)
        return 2
    print(report(found))
    return 1 if found else 0


def report(found: list[str]) -> str:
    """The violations as text, the first of them only where there are very many."""
    if not found:
        return "every invariant holds"
    left_out = [f"and {len(found) - SHOWN_MAX} more"] if len(found) > SHOWN_MAX else []
    return "\n".join([f"{len(found)} violations:", *found[:SHOWN_MAX], *left_out])


if __name__ == "__main__":
    sys.exit(main())
