"""How often one may ask: a bucket of tokens for each caller, filled at a steady rate.

A caller who signed in is known by its subject. Where there is sign-in, whoever has not is known by an address: it pays
for open pages, and for every token and key that we have not met before, which costs the most and is therefore paid for
before it is looked at. Without sign-in it is the address that counts as well, and by default nothing does: everyone is
then this machine.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.identity import ANYONE, STRANGER
from api.refusal import refusal

CALLERS_MAX = 10_000
"""Buckets kept; the caller heard of the longest ago is forgotten, and begins anew with a full one."""
BURST_SECONDS = 2.0
"""A full bucket lasts this long beyond the rate."""
UNLIMITED_PATHS = frozenset(("/live", "/ready", "/metrics"))
"""For those who watch over us; a probe that is refused restarts what is well."""


class Buckets:
    """A bucket a key. `per_second` tokens flow in, until `BURST_SECONDS` worth are there."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._full = max(1.0, per_second * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, count: int = 1) -> float:
        """Take tokens, or say in how many seconds they will be there; 0.0 where they were taken."""
        now = self._clock()
        left, since = self._buckets.pop(key, (self._full, now))
        left = min(self._full, left + (now - since) * self._per_second)
        wanted = min(float(count), self._full)
        wait = 0.0 if left >= wanted else (wanted - left) / self._per_second
        self._buckets[key] = (left - wanted if not wait else left, now)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return wait


class Rates:
    """What callers are held to. A rate of 0 is none."""

    def __init__(self, signed_in: int, anyone: int, clock: Callable[[], float]) -> None:
        self._signed_in = Buckets(signed_in, clock) if signed_in else None
        self._strangers = Buckets(signed_in, clock) if signed_in else None
        self._anyone = Buckets(anyone, clock) if anyone else None

    def __bool__(self) -> bool:
        """Whether anyone is held to anything."""
        return self._signed_in is not None or self._anyone is not None

    def take(self, scope: Scope, count: int = 1) -> float:
        """Count requests to whoever makes them: seconds until they may, 0.0 for at once."""
        caller = scope["state"].get("caller", ANYONE)
        if caller is STRANGER:
            return self.take_unknown(scope, count)
        if caller is not ANYONE:
            return self._signed_in.take(caller.subject, count) if self._signed_in else 0.0
        return self._anyone.take(_address(scope), count) if self._anyone else 0.0

    def take_unknown(self, scope: Scope, count: int = 1) -> float:
        """The same for an address from which somebody asks who is not known, where there is sign-in."""
        return self._strangers.take(_address(scope), count) if self._strangers else 0.0


class RateLimit:
    """ASGI middleware that refuses whoever asks too often. It stands behind the one that says who asks."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may be asked now; 429 otherwise."""
        if scope["type"] == "http" and scope["path"] not in UNLIMITED_PATHS and (wait := self._rates.take(scope)):
            answer = refusal(scope, 429, "RATE_LIMITED", *too_often(wait))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def too_often(wait_seconds: float) -> tuple[str, dict[str, str]]:
    """What a caller who asks too often is told, and the header that says when to come back."""
    seconds = math.ceil(wait_seconds)
    return f"too many requests; ask again in {seconds} s", {"retry-after": str(seconds)}
