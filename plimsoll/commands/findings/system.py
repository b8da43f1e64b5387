"""A whole sounding judged: everything that runs, in the order in which one thing needs another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from plimsoll.commands.findings import Finding, fault, reason_of, warning, well
from plimsoll.commands.findings.engine import judge_contents, judge_crew, judge_workers
from plimsoll.commands.findings.kafka import judge_brokers, judge_topics
from plimsoll.commands.findings.store import away, judge_rights, judge_server
from plimsoll.commands.soundings.ports import Readiness
from plimsoll.commands.soundings.store import place, redis_cli
from plimsoll.commands.soundings.system import LETTERS_HOURS, Sounding
from plimsoll.errors import PlimsollError
from plimsoll.settings import Settings


def judge(found: Sounding, settings: Settings) -> Iterator[Finding]:
    """Kafka, Redis, the engine and the API."""
    yield from judge_brokers(found.brokers)
    if not isinstance(found.kafka, PlimsollError):
        yield from judge_topics(found.kafka, settings)
    elif any(isinstance(each, str) for each in found.brokers.values()):
        yield fault(
            "topics", f"cannot be listed: {reason_of(found.kafka)}", "ask again; the log of the brokers says more"
        )
    yield _dead_letters(found.dead_letters)
    called = redis_cli(settings.redis_url)
    for each in _judge_redis(found, settings):
        # A remedy is copied as it is: without its address it would change, or empty, whatever Redis is at hand.
        yield replace(each, remedy=each.remedy.replace("`redis-cli ", f"`{called} "))
    if found.api is not None:
        yield _api(found.api)


def _judge_redis(found: Sounding, settings: Settings) -> Iterator[Finding]:
    where = place(settings.redis_url)
    if isinstance(found.server, PlimsollError):
        yield away(where, found.server)
    else:
        yield from judge_server(found.server, where)
        if found.refused is not None:
            yield judge_rights(found.refused)
    if isinstance(found.contents, PlimsollError) or found.crew is None:
        unknown = "not known: what is in Redis cannot be read"
        yield warning("engine", unknown, "mend what is said of redis, then ask again")
        return
    log = None if isinstance(found.kafka, PlimsollError) else found.kafka.log
    yield from judge_crew(found.crew, found.at_ns)
    yield from judge_workers({index: told for index, told in found.workers.items() if index not in found.crew.silent})
    yield from judge_contents(found.contents, found.crew, log)


def _dead_letters(count: int | PlimsollError) -> Finding:
    hours = "hour" if LETTERS_HOURS == 1 else f"{LETTERS_HOURS} hours"
    if isinstance(count, PlimsollError):
        return warning("dead letters", f"not known: {reason_of(count)}", "mend what is said of Kafka, then ask again")
    if not count:
        return well("dead letters", f"none in the last {hours}")
    return warning(
        "dead letters",
        f"{count:,} in the last {hours}",
        f"`uv run plimsoll dead-letters list --since {LETTERS_HOURS}h`",
    )


def _api(told: Readiness | PlimsollError) -> Finding:
    if isinstance(told, PlimsollError):
        return fault(
            "api", f"away: {reason_of(told)}", "`uv run risk-api`, or name the right one: `--api http://host:port`"
        )
    if not told.is_ready:
        return fault("api", f"not ready: {'; '.join(told.wants)}", "mend what it waits for; its log says more")
    if told.wants:
        return warning("api", f"ready, but without {'; '.join(told.wants)}", "mend what is missing")
    return well("api", "ready")
