"""`plimsoll status`: is the system healthy now? One look at everything that runs, for a person or a script.

Healthy is: an engine that runs, and no fault among what `plimsoll doctor` says of the same readings. Doctor looks at
more, and says what mends it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plimsoll import topics
from plimsoll.commands.doctor import ApiUrl
from plimsoll.commands.letter_tables import counted, plain_table, print_all
from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from rich.table import Table

    from plimsoll.commands.findings import Finding
    from plimsoll.commands.soundings.ports import Readiness
    from plimsoll.commands.soundings.system import Sounding
    from plimsoll.messages import Heartbeat
    from plimsoll.settings import Settings

_MIB = 1 << 20


def command(told: Callable[[], Settings]) -> Callable[..., None]:
    """The command; `told` reads the settings when it runs."""

    def status(
        *,
        api: ApiUrl = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    ) -> None:
        """Say whether the system is healthy now: Kafka, Redis, every engine worker, and with --api the API.

        Exits with 0 where it is, and with 1 where it is not; `plimsoll doctor`
        says what mends it.
        """
        from plimsoll.commands.soundings import ports, system  # noqa: PLC0415

        settings = told()
        found = system.sound(settings, None if api is None else ports.require_url("--api", api))
        problems = problems_of(found, settings)
        if as_json:
            typer.echo(json.dumps(_described(found, problems), indent=2, ensure_ascii=False))
        else:
            _show(found, problems, settings)
        if problems:
            raise typer.Exit(1)

    return status


def problems_of(found: Sounding, settings: Settings) -> list[Finding]:
    """What keeps the system from being healthy. An engine that catches up is on its way there, and not there yet."""
    from plimsoll.commands.findings import Verdict  # noqa: PLC0415
    from plimsoll.commands.findings.system import judge  # noqa: PLC0415

    judged = [each for each in judge(found, settings) if each.verdict is not Verdict.OK]
    return [each for each in judged if each.verdict is Verdict.FAULT or each.check == "engine"]


# --- for machines -----------------------------------------------------------------------------------------------------


def _described(found: Sounding, problems: Sequence[Finding]) -> dict[str, Any]:
    """Everything as JSON; null where it is not known, and `problems` say why."""
    return {
        "healthy": not problems,
        "problems": [{"check": each.check, "found": each.found, "remedy": each.remedy} for each in problems],
        "at": _moment(found.at_ns),
        "kafka": _kafka(found),
        "redis": _redis(found),
        "engine": _engine(found),
        "api": None if found.api is None else _ready(found.api),
        "portfolios": None if isinstance(found.contents, PlimsollError) else found.contents.portfolios,
        "at_risk": None if isinstance(found.contents, PlimsollError) else found.contents.at_risk,
        "dead_letters_last_hour": None if isinstance(found.dead_letters, PlimsollError) else found.dead_letters,
    }


def _kafka(found: Sounding) -> dict[str, Any]:
    brokers = {address: isinstance(answer, str) for address, answer in found.brokers.items()}
    if isinstance(found.kafka, PlimsollError):
        return {"brokers": brokers, "cluster": None, "topics": None}
    partitions = {name: topic.partitions for name, topic in found.kafka.topics.items()}
    return {"brokers": brokers, "cluster": found.kafka.log.cluster, "topics": partitions}


def _redis(found: Sounding) -> dict[str, Any] | None:
    if isinstance(found.server, PlimsollError):
        return None
    server = found.server
    return {
        "server": server.name,
        "version": server.version,
        "memory_used_bytes": server.memory_used,
        "memory_max_bytes": server.memory_max or None,
        "policy": server.policy,
        "persistence": server.persistence,
    }


def _engine(found: Sounding) -> dict[str, Any] | None:
    if found.crew is None:
        return None
    return {
        "state": found.crew.state,
        "workers_wanted": found.crew.workers,
        "scenario_set_id": None if isinstance(found.contents, PlimsollError) else found.contents.scenario_set_id,
        "workers": [_worker(found, beat) for beat in found.crew.beats],
    }


def _worker(found: Sounding, beat: Heartbeat) -> dict[str, Any]:
    asked = found.workers.get(beat.worker_index)
    return {
        "worker_index": beat.worker_index,
        "state": "silent" if found.crew and beat.worker_index in found.crew.silent else beat.state,
        "age_seconds": round((found.at_ns - beat.beat_at_ns) / 1e9, 3),
        "started_at": _moment(beat.started_at_ns),
        "portfolios": beat.portfolios,
        "applied": beat.applied,
        "stale": beat.stale,
        "dead_lettered": beat.dead_lettered,
        "published": beat.published,
        "lag": beat.lag,
        "scenario_set_id": beat.scenario_set_id,
        "last_session": beat.last_session,
        "market_source": beat.market_source,
        "version": beat.version,
        "host": beat.host,
        "health": beat.health,
        "ready": None if asked is None else _ready(asked),
    }


def _ready(told: Readiness | PlimsollError) -> dict[str, Any]:
    if isinstance(told, PlimsollError):
        return {"ready": False, "wants": [str(told)]}
    return {"ready": told.is_ready, "wants": told.wants}


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")


# --- for people -------------------------------------------------------------------------------------------------------


def _show(found: Sounding, problems: Sequence[Finding], settings: Settings) -> None:
    from rich.text import Text  # noqa: PLC0415

    from engine.dead_letters import harmless  # noqa: PLC0415

    said = f"not healthy: {counted(len(problems), 'problem')}" if problems else "healthy"
    print_all(
        Text(said, style="bold red" if problems else "bold green"),
        *(Text(f"{name:<8} {harmless(text)}") for name, text in _lines(found, settings)),
    )
    if found.crew is not None and found.crew.beats:
        print_all("", _workers_table(found, found.crew.beats))
    if problems:
        print_all(
            "",
            *(Text(f"{each.check}: {harmless(each.found)}") for each in problems),
            "`uv run plimsoll doctor` says what mends it",
        )


def _workers_table(found: Sounding, beats: Sequence[Heartbeat]) -> Table:
    from rich.text import Text  # noqa: PLC0415

    from engine.dead_letters import harmless  # noqa: PLC0415

    table = plain_table()
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name != "where")
    for beat in beats:
        table.add_row(*(Text(harmless(cell)) for cell in _row(found, beat)))
    return table


def _lines(found: Sounding, settings: Settings) -> Iterator[tuple[str, str]]:
    """What each part says, in a line."""
    from plimsoll.commands.findings import reason_of  # noqa: PLC0415
    from plimsoll.commands.soundings.store import place  # noqa: PLC0415

    up = sum(isinstance(answer, str) for answer in found.brokers.values())
    if isinstance(found.kafka, PlimsollError):
        yield "kafka", f"{settings.kafka_brokers} away: {reason_of(found.kafka)}"
    else:
        letters = "?" if isinstance(found.dead_letters, PlimsollError) else f"{found.dead_letters:,}"
        there = f"{up} of {len(found.brokers)} answer, {len(found.kafka.topics)} of {len(topics.ALL)} topics"
        yield "kafka", f"{settings.kafka_brokers}, {there}, {letters} dead letters in the last hour"
    where = place(settings.redis_url)
    if isinstance(found.server, PlimsollError):
        yield "redis", f"away: {reason_of(found.server)}"
    else:
        server = found.server
        limit = f"{server.memory_max / _MIB:,.0f} MiB" if server.memory_max else "no limit"
        used = f"{server.memory_used / _MIB:,.1f} MiB of {limit}"
        yield "redis", f"{where}, {server.name} {server.version}, {used}, {server.policy}"
    yield from _engine_lines(found)
    if found.api is not None:
        wants = [str(found.api)] if isinstance(found.api, PlimsollError) else found.api.wants
        ready = not isinstance(found.api, PlimsollError) and found.api.is_ready
        yield "api", "; ".join(["ready" if ready else "not ready", *wants])


def _engine_lines(found: Sounding) -> Iterator[tuple[str, str]]:
    from plimsoll.risk.score import AT_RISK_NUMBER  # noqa: PLC0415

    if found.crew is None or isinstance(found.contents, PlimsollError):
        yield "engine", "not known: Redis is away"
        return
    newest = max(found.crew.beats, key=lambda beat: beat.beat_at_ns, default=None)
    said = [found.crew.state, counted(found.crew.workers, "worker")]
    said.append(f"scenario set {found.contents.scenario_set_id or 'missing'}")
    if newest is not None:
        said.append(f"last close {newest.last_session or 'none'}")
        played = f" of {newest.replay.session}" if newest.replay else ""
        said.append(f"prices: {newest.market_source or 'none'}{played}")
    yield "engine", ", ".join(said)
    portfolios = counted(found.contents.portfolios, "portfolio")
    yield "book", f"{portfolios}, {found.contents.at_risk:,} at risk ({AT_RISK_NUMBER} or more)"


_COLUMNS = ("worker", "state", "beat", "portfolios", "applied", "stale", "dead", "lag", "ready", "where")
_NUMBERS = frozenset({"beat", "portfolios", "applied", "stale", "dead", "lag"})


def _row(found: Sounding, beat: Heartbeat) -> list[str]:
    asked = found.workers.get(beat.worker_index)
    silent = found.crew is not None and beat.worker_index in found.crew.silent
    ready = "?" if asked is None or isinstance(asked, PlimsollError) else "yes" if asked.is_ready else "no"
    return [
        f"{beat.worker_index}/{beat.workers}",
        "silent" if silent else beat.state,
        f"{round((found.at_ns - beat.beat_at_ns) / 1e9, 1) + 0.0:.1f} s",  # + 0.0: none beat "-0.0 s" ago
        *(f"{number:,}" for number in (beat.portfolios, beat.applied, beat.stale, beat.dead_lettered)),
        "?" if beat.lag is None else f"{beat.lag:,}",
        ready,
        beat.health or beat.host or "?",
    ]
