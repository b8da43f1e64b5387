"""For those who run this: is it alive, and can it answer.

Neither asks anybody anything. *Alive* is that the event loop comes round to saying so. *Ready* was found out in the
background, once a second and within a deadline, so that a probe is answered from memory however many ask, and a Redis
that hangs makes the answer no and not late. There is no port of its own for them: another port on the same loop would
be served no sooner, and from a thread it would answer while the loop, which serves the users, does not.

A finding that is too old is itself a reason not to be ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.engine_state import EngineState
from api.fanout import Fanout
from api.publisher import Publisher
from api.snapshots import SnapshotStore
from plimsoll.errors import PlimsollError, Unavailable

CHECK_SECONDS = 1.0
DEADLINE_SECONDS = 0.8
"""What Redis gets to answer a check; less than the pause, so that checks do not pile up."""
LATE_SECONDS = 5.0
"""A finding older than this says nothing of now."""

_NO_STORE = {"cache-control": "no-store"}


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being ready. `since` is when it last changed, in UTC nanoseconds."""

    check: str
    ok: bool
    required: bool
    """Whether we are not ready without it."""
    reason: str
    since: int


class Readiness:
    """What was found out last. `clock` gives UTC nanoseconds, `monotonic` seconds. `run` it as long as we live."""

    def __init__(
        self,
        store: SnapshotStore,
        engine: EngineState,
        fanout: Fanout,
        publisher: Publisher,
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        troubles: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._store = store
        self._troubles = troubles
        self._engine = engine
        self._fanout = fanout
        self._publisher = publisher
        self._clock = clock
        self._monotonic = monotonic
        self._found: dict[str, Check] = {}
        self._found_at: float | None = None
        self._beat_at_ns: int | None = None

    async def run(self) -> None:
        """Look once a second. Ends only by being cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_SECONDS)

    async def look(self) -> None:
        """Find out everything once, within two deadlines. Raises nothing: what is away is a finding."""
        away = await self._why_redis_is_away()
        self._note("redis", not away, away or "answers", required=True)
        heard = self._fanout.connected
        self._note("subscriber", heard, "hears what is published" if heard else "no connection to Redis; it tries on")
        kafka = self._publisher.connected
        refused = self._publisher.refused
        why = f"{refused.what}; the log says more" if refused else "no broker answers"
        self._note("kafka", kafka, "answers" if kafka else f"{why}: one can read, not change")
        silent = await self._why_the_engine_is_silent(away)
        self._note("engine", not silent, silent or "speaks")
        # What is wrong with keys is for the log: this answer is open to all.
        keys = not self._troubles()
        self._note("sign-in", keys, "its keys are read" if keys else "keys cannot be read; the log says which")
        self._found_at = self._monotonic()

    def checks(self) -> list[Check]:
        """Every condition as it was found last, and whether that is long ago."""
        age = None if self._found_at is None else self._monotonic() - self._found_at
        late = age is None or age > LATE_SECONDS
        reason = "not looked yet" if age is None else f"looked {age:.1f} s ago"
        return [Check("checks", not late, required=True, reason=reason, since=self._clock()), *self._found.values()]

    def holds(self, check: str) -> bool:
        """Whether a condition held when it was last looked at."""
        found = self._found.get(check)
        return found is not None and found.ok

    @property
    def heartbeat_age_seconds(self) -> float:
        """Since the engine's newest heartbeat; NaN where there was none."""
        return float("nan") if self._beat_at_ns is None else (self._clock() - self._beat_at_ns) / 1e9

    async def _why_redis_is_away(self) -> str:
        """Empty where it answers."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._store.ping()
        except TimeoutError:
            return f"no answer within {DEADLINE_SECONDS:g} s"
        except Unavailable as error:
            return error.detail
        except RedisError as error:
            return f"it answers with {type(error).__name__}: look at REDIS_URL and at what its user may do"
        return ""

    async def _why_the_engine_is_silent(self, redis_away: str) -> str:
        """Empty where it speaks."""
        if redis_away:
            return "not known: Redis is away"
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                age_ns = await self._engine.age_ns()
                stale = await self._engine.is_stale()
        except TimeoutError:
            return f"Redis gave no heartbeats within {DEADLINE_SECONDS:g} s"
        except (PlimsollError, RedisError) as error:
            return f"its heartbeats cannot be read: {error}"
        self._beat_at_ns = None if age_ns is None else self._clock() - age_ns
        if not stale:
            return ""
        return "never heard of" if age_ns is None else "its last heartbeat is too old; answers are marked stale"

    def _note(self, check: str, ok: bool, reason: str, *, required: bool = False) -> None:
        known = self._found.get(check)
        since = known.since if known is not None and known.ok == ok else self._clock()
        self._found[check] = Check(check, ok, required, reason, since)


async def live(_request: Request) -> Response:
    """The loop turns."""
    return JSONResponse({"status": "alive"}, headers=_NO_STORE)


async def ready(request: Request) -> Response:
    """Redis answers, so questions can be answered: without Kafka one can still read. 503 otherwise, with the reason."""
    checks = request.app.state.backend.readiness.checks()
    is_ready = all(check.ok for check in checks if check.required)
    body = {
        "status": "ready" if is_ready else "not ready",
        "checks": [
            {
                "check": check.check,
                "ok": check.ok,
                "required": check.required,
                "reason": check.reason,
                "since": datetime.fromtimestamp(check.since // 1_000_000_000, UTC).isoformat(),
            }
            for check in checks
        ],
    }
    return JSONResponse(body, status_code=200 if is_ready else 503, headers=_NO_STORE)
