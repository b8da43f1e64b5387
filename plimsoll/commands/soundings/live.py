"""Readings one after another, for whoever watches: Redis, the workers' metrics and the API's. Kafka is not asked.

What the watcher wants to know of Kafka, the workers say: how far they are behind it, and that they wait for it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import redis

from api.aggregates import aggregate
from api.on_demand import Terms
from plimsoll.commands.soundings import ports, store
from plimsoll.commands.soundings.clients import redis_client
from plimsoll.commands.soundings.crew import Crew, crew_of
from plimsoll.commands.soundings.patience import side_by_side
from plimsoll.errors import PlimsollError
from plimsoll.messages import RiskSnapshot
from plimsoll.settings import Settings
from plimsoll.transport import Redis

FIRM_SECONDS = 5.0
"""How often the sums of all advisors are read: they are the most there is to read, and move slowly."""
_WHOLE_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Firm:
    """Every portfolio as one, in the reporting currency; losses are positive."""

    portfolios: int
    market_value: float
    day_pnl: float
    var_95: float
    es_975: float
    risk_number: int | None


@dataclass(frozen=True, slots=True)
class Held:
    """What Redis told."""

    contents: store.Contents
    crew: Crew
    riskiest: list[RiskSnapshot]


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment. `at` is a monotonic time in seconds, `at_ns` UTC nanoseconds."""

    at: float
    at_ns: int
    held: Held | PlimsollError
    firm: Firm | None
    """None: not read yet, or too many advisors to read."""
    workers: dict[int, list[ports.Sample] | PlimsollError]
    """Metrics by worker index, of those that can be reached from here."""
    api: list[ports.Sample] | PlimsollError


class Watch:
    """Takes readings, `portfolios` of the riskiest in each; remembers the firm's totals for a while."""

    def __init__(self, settings: Settings, api: str, portfolios: int) -> None:
        self.place = store.place(settings.redis_url)
        self.api = api
        self._settings = settings
        self._portfolios = portfolios
        self._terms = Terms.of(settings)
        self._firm: Firm | None = None
        self._firm_at = float("-inf")

    def look(self) -> Reading:
        """A reading of now, within ten seconds whatever hangs. What is away is said in it."""
        now, now_ns = time.monotonic(), time.time_ns()
        questions: dict[str, Callable[[], Any]] = {
            "Redis": partial(self._held, now_ns),
            self.api: partial(ports.metrics, self.api),
        }
        answers = side_by_side(questions, _WHOLE_SECONDS)
        held = cast("Held | PlimsollError", answers["Redis"])
        workers: dict[int, list[ports.Sample] | PlimsollError] = {}
        if not isinstance(held, PlimsollError):
            speaking = [beat for beat in held.crew.beats if beat.worker_index not in held.crew.silent]
            workers = ports.each_worker(speaking, socket.gethostname(), ports.metrics)
        return Reading(now, now_ns, held, self._firm, workers, answers[self.api])

    def _held(self, now_ns: int) -> Held:
        settings = self._settings
        with store.reaching(Redis.of(settings)), redis_client(settings, store.ANSWER_SECONDS) as client:
            contents = store.contents(client)
            crew = crew_of(contents.heartbeats, now_ns, settings.stale_seconds)
            if time.monotonic() - self._firm_at >= FIRM_SECONDS:
                self._firm, self._firm_at = self._read_firm(client, contents, crew), time.monotonic()
            return Held(contents, crew, store.riskiest(client, self._portfolios))

    def _read_firm(self, client: redis.Redis, contents: store.Contents, crew: Crew) -> Firm | None:
        sums = store.advisor_sums(client, crew.beats)
        # Without a scenario set only beta and dates are not known, and neither is shown.
        whole = None if sums is None else aggregate(sums, contents.scenario_set_id, None, self._terms)
        if whole is None or whole.measured is None:
            return None
        told = whole.measured
        number = told["risk_number"]
        return Firm(
            portfolios=whole.portfolios,
            market_value=float(told["market_value"] or 0.0),
            day_pnl=float(told["day_pnl"] or 0.0),
            var_95=float(told["var_95"] or 0.0),
            es_975=float(told["es_975"] or 0.0),
            risk_number=None if number is None else int(number),
        )
