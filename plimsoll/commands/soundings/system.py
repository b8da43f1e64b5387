"""The whole system at one moment, asked side by side: what `plimsoll status` and `plimsoll doctor` judge.

Workers are asked last, because where they listen stands in Redis. The whole takes 13 seconds at most, whatever hangs;
where everything answers, well under one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from plimsoll.commands.soundings import kafka, ports, store
from plimsoll.commands.soundings.clients import redis_client
from plimsoll.commands.soundings.crew import Crew, crew_of
from plimsoll.commands.soundings.patience import side_by_side
from plimsoll.errors import PlimsollError
from plimsoll.settings import Settings
from plimsoll.transport import Redis

WHOLE_SECONDS = 9.0
"""For everything but the workers' ports."""
LETTERS_HOURS = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sounding:
    """What was found; an error in place of what is away. `crew` is None while Redis is."""

    at_ns: int
    brokers: dict[str, str | PlimsollError]
    kafka: kafka.KafkaReading | PlimsollError
    dead_letters: int | PlimsollError
    """Set aside within the last `LETTERS_HOURS`."""
    server: store.ServerReading | PlimsollError
    refused: list[str] | None
    """What Redis does not allow; None where that was not asked, or it is away."""
    contents: store.Contents | PlimsollError
    crew: Crew | None
    workers: dict[int, ports.Readiness | PlimsollError]
    """By index, of those whose health port can be reached from here."""
    api: ports.Readiness | PlimsollError | None
    """None: not asked."""


def sound(settings: Settings, api: str | None = None, *, thoroughly: bool = False) -> Sounding:
    """Ask everything. `thoroughly` with the topics' settings and the rights in Redis. Raises nothing expected."""
    now_ns = time.time_ns()
    since_ms = now_ns // 1_000_000 - LETTERS_HOURS * 3_600_000
    questions: dict[str, Callable[[], Any]] = {
        "brokers": partial(kafka.each_broker, settings),
        "Kafka": partial(kafka.read, settings, thoroughly=thoroughly),
        "the topic dead-letters": partial(kafka.dead_letters_since, settings, since_ms),
        "Redis": partial(_of_redis, settings, store.server),
        "what is in Redis": partial(_of_redis, settings, store.contents),
    }
    if thoroughly:
        questions["rights in Redis"] = partial(_of_redis, settings, store.refused)
    if api is not None:
        questions[api] = partial(ports.readiness, api)
    answers = side_by_side(questions, WHOLE_SECONDS)
    contents = cast("store.Contents | PlimsollError", answers["what is in Redis"])
    crew = None
    if not isinstance(contents, PlimsollError):
        crew = crew_of(contents.heartbeats, now_ns, settings.stale_seconds)
    brokers, refused = answers["brokers"], answers.get("rights in Redis")
    return Sounding(
        at_ns=now_ns,
        brokers=dict.fromkeys(settings.kafka_brokers.split(","), brokers)
        if isinstance(brokers, PlimsollError)
        else brokers,
        kafka=answers["Kafka"],
        dead_letters=answers["the topic dead-letters"],
        server=answers["Redis"],
        refused=None if isinstance(refused, PlimsollError) else refused,
        contents=contents,
        crew=crew,
        workers={} if crew is None else ports.each_worker(crew.beats, socket.gethostname(), ports.readiness),
        api=None if api is None else answers[api],
    )


def _of_redis(settings: Settings, ask: Callable[[Any], T]) -> T:
    """Ask on a connection of its own."""
    with store.reaching(Redis.of(settings)), redis_client(settings, store.ANSWER_SECONDS) as client:
        return ask(client)
