"""The engine judged: by its heartbeats, by what its workers say on their health ports, and by what it left in Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from engine.same_log import Log, differences
from plimsoll import __version__
from plimsoll.commands.findings import Finding, fault, reason_of, warning, well
from plimsoll.commands.findings.store import SKEW_SECONDS_MAX
from plimsoll.commands.soundings.crew import Crew, age_seconds, ranges
from plimsoll.commands.soundings.ports import Readiness
from plimsoll.commands.soundings.store import Contents
from plimsoll.errors import PlimsollError
from plimsoll.risk.scenarios import OBSERVATIONS_MIN

START = "`uv run risk-calculator --workers {} --recovery-directory recovery`"


def judge_crew(crew: Crew, now_ns: int) -> Iterator[Finding]:
    """Whether every worker of one engine speaks, by its heartbeats."""
    yield _presence(crew)
    if crew.others:
        numbers = " and ".join(map(str, sorted([crew.workers, *crew.others])))
        yield fault(
            "one engine",
            f"engines of {numbers} workers beat at the same time: each takes the other's partitions away",
            "stop all but one; every machine has to be given the same --workers",
        )
    ahead = [beat for beat in crew.beats if age_seconds(beat, now_ns) < -SKEW_SECONDS_MAX]
    for beat in ahead:
        said = f"worker {beat.worker_index} beat {-age_seconds(beat, now_ns):.1f} s in our future"
        yield warning("engine clock", said, f"`timedatectl set-ntp true` on {beat.host or 'its machine'} and here")
    versions = sorted({beat.version or "of an older version" for beat in crew.beats})
    if versions and versions != [__version__]:
        yield warning(
            "engine version",
            f"the engine is {' and '.join(versions)}, this command {__version__}",
            "start every part from one installation; an upgrade goes engine first",
        )
    elif versions:
        yield well("engine version", f"{__version__}, as this command")


def _presence(crew: Crew) -> Finding:
    start = START.format(crew.workers or 1)
    if not crew.workers:
        return fault("engine", "no heartbeat: none has ever written to this Redis", f"{start}, with this REDIS_URL")
    if crew.state == "stopped":
        return fault("engine", f"it was stopped {min(crew.silent.values()):.0f} s ago", start)
    if crew.is_silent:
        return fault(
            "engine",
            f"silent for {min(crew.silent.values()):.0f} s: it is dead, suspended, or cannot reach Redis",
            f"look at the last line of its log; then {start}. One that is suspended goes on with `kill -CONT PID`",
        )
    if crew.absent:
        silent = [f"{index} for {seconds:.0f} s" for index, seconds in sorted(crew.silent.items())]
        said = [f"silent: worker {', '.join(silent)}"] if silent else []
        said += [f"never heard: worker {ranges(crew.unheard)}"] if crew.unheard else []
        return fault(
            "engine",
            f"{len(crew.absent)} of {crew.workers} workers are missing ({'; '.join(said)})",
            f"`uv run risk-calculator --workers {crew.workers} --worker-index {crew.absent[0]} --recovery-directory "
            "recovery` on its machine",
        )
    workers = f"{crew.workers} worker{'s' if crew.workers > 1 else ''}"
    if crew.state != "running":
        return warning("engine", f"{workers}, {crew.state}", "wait: `uv run plimsoll status` says when")
    return well("engine", f"running, {workers}")


def judge_workers(readiness: Mapping[int, Readiness | PlimsollError]) -> Iterator[Finding]:
    """What those workers say whose health port can be reached from here."""
    for index, told in sorted(readiness.items()):
        check = f"worker {index}"
        if isinstance(told, PlimsollError):
            remedy = "look at its log: it may hang, or another program may have its PLIMSOLL_HEALTH_PORT"
            yield warning(check, f"its health port does not answer: {reason_of(told)}", remedy)
        elif told.is_ready:
            yield well(check, "ready")
        else:
            remedy = "mend what it waits for; behind, it catches up by itself, or give the engine more --workers"
            yield fault(check, f"not ready: {'; '.join(told.wants)}", remedy)


def judge_contents(contents: Contents, crew: Crew, log: Log | None) -> Iterator[Finding]:
    """What is in Redis. `log` is what Kafka holds now; None where Kafka is away."""
    yield _scenario_set(contents, crew)
    if contents.unreadable:
        yield fault(
            "heartbeats",
            f"those of {', '.join(contents.unreadable)} cannot be read: another version wrote them",
            "use the `plimsoll` of the engine's own installation",
        )
    if log is not None and contents.log is not None:
        yield _same_log(contents.log, log)


def _scenario_set(contents: Contents, crew: Crew) -> Finding:
    check, current = "scenario set", contents.scenario_set_id
    if current is None:
        return fault(
            check,
            "missing: nothing can be valued",
            f"market-closes has to hold {OBSERVATIONS_MIN + 1} sessions at least, and an engine to read them: "
            f"`uv run data-generator` sends a replay, {START.format(crew.workers or 1)} reads it",
        )
    if not contents.has_scenario_set:
        return fault(
            check,
            f"{current} is named as the current one and is not there",
            "restart the engine, which writes it again from market-closes",
        )
    # A worker is a window behind another while the set rolls; both are right.
    others = sorted({beat.scenario_set_id or "none" for beat in crew.beats} - {current})
    if others and not crew.is_silent:
        said = f"{current} is current, and workers still value by {', '.join(others)}"
        return warning(check, said, "ask again in a second; if it stays, restart the workers that lag behind")
    return well(check, f"{current} is there")


def _same_log(claimed: bytes, here: Log) -> Finding:
    try:
        reason = differences(msgspec.json.decode(claimed, type=Log), here)
    except msgspec.MsgspecError:
        reason = "another program's, as it cannot be read"
    if reason:
        return fault(
            "log",
            f"Redis holds the results of another log: {reason}",
            "name an empty database in REDIS_URL, or empty this one: `redis-cli FLUSHDB`",
        )
    return well("log", "Redis holds the results of this Kafka's log")
