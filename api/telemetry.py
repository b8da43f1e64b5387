"""What the API counts and times of itself: plain numbers, added to on the event loop and nowhere else.

Every request, operation and message passes here, so there are no locks, no strings are joined and nothing is looked up
twice: an operation costs about a microsecond. `metrics` shows the numbers to Prometheus, `tracing` makes a span of an
operation where somebody collects spans, and the log gets a line of it.

No label is what a client sent. Names of fields come from documents that were validated against the schema, so there
are as many as the schema has; methods, close codes and reasons are those of the lists below, or "other". Even so, no
more than `SERIES_MAX` series are kept of anything: a mistake here must cost figures and not the memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar

from api.tracing import OpenSpan, Spans
from plimsoll.errors import PlimsollError

Kind: TypeAlias = Literal["query", "mutation", "subscription"]
Transport: TypeAlias = Literal["http", "graphql-transport-ws", "graphql-ws", "sse", "multipart"]
Outcome: TypeAlias = Literal["ok", "error", "refused", "cancelled"]
"""ok: no errors; error: some, or an exception; refused: nothing was carried out; cancelled: nobody waits any more."""
Cache: TypeAlias = Literal["documents", "persisted"]
Refusal: TypeAlias = Literal[
    "aliases", "batch", "body", "cost", "csrf", "depth", "directives", "document", "encoding", "forbidden", "method",
    "not_admitted", "origin", "persisted", "rate", "request", "sockets", "subscriptions", "tokens", "trusted",
]  # fmt: skip
"""Why something was refused before it was carried out."""

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends in seconds. A look-up takes a millisecond, what is computed on demand up to twenty."""
SERIES_MAX = 2_000
"""Of each family: ten times what the schema and its transports make."""
SLOW_SECONDS = 1.0
"""From here on a request or an operation is worth a line in a quiet log."""
LAG_EVERY_SECONDS = 0.1
"""How often the loop is asked to be in time: a stall of that length cannot hide."""

_SEVERAL, _NONE, _OTHER = "several", "none", "other"
_SHOWN_MAX = 64
_STANDARD_CLOSE_CODES = range(1000, 1016)
_log = logging.getLogger(__name__)
_Key = TypeVar("_Key", bound=Hashable)


class Timing:
    """How long things of one kind took: how many ended in each bucket of `BUCKETS` (and beyond), and all seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: Timing) -> None:
        """Another's on top."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


class Telemetry:
    """One process's numbers. All methods are called on its event loop; whoever asks reads the attributes.

    What each caller says:

        with telemetry.operation("query", {"portfolioRisk"}, "http", name="Risk", document=text) as told:
            ...                                   # an exception counts by itself; refusals are `PlimsollError`s
            told.outcome = "error"                # where the answer carries errors
        telemetry.refused("depth")                # beside an operation, or where there was none
        telemetry.looked_up("documents", found=True)
        with telemetry.computation("what_if") as told:
            ...                                   # waiting for a thread
            told.begins()
        telemetry.socket_opened("graphql-transport-ws")
        telemetry.socket_closed("graphql-transport-ws", 4403, by="server")
        telemetry.messages_sent += 1              # also messages_conflated, slow_readers_closed

    A subscription is an operation too: the `with` lasts as long as it does.
    """

    def __init__(self, spans: Spans | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.spans = spans
        self.clock = clock
        self.operations: dict[tuple[str, str, str, str], Timing] = {}
        """By kind, field, transport and outcome."""
        self.running: Counter[tuple[str, str]] = Counter()
        """Subscriptions open now, by field and transport."""
        self.requests: dict[tuple[str, str, int], Timing] = {}
        """By method, route and status; seconds until the answer begins."""
        self.sockets_open: Counter[str] = Counter()
        self.sockets_opened: Counter[str] = Counter()
        self.sockets_closed: Counter[tuple[str, str, str]] = Counter()
        """By protocol, close code and side."""
        self.messages_sent = 0
        self.messages_conflated = 0
        """Frames that a slow reader never got, because a newer one took their place."""
        self.slow_readers_closed = 0
        self.lookups: Counter[tuple[str, str]] = Counter()
        """By cache, and `hit` or `miss`."""
        self.computations: dict[str, Timing] = {}
        self.waits: dict[str, Timing] = {}
        """Of computations, for a thread to begin them."""
        self.waiting: Counter[str] = Counter()
        self.computing: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.tick_to_subscriber = Timing()
        """From a price or an update to its being handed to subscribers: once for each event of a stream, not for each
        of its readers, and for none that tells nothing newer than the one before."""
        self.lag = Timing()
        """By how much the loop was late when it was asked to be in time."""

    # --- operations --------------------------------------------------------------------------------------------------

    def operation(
        self,
        kind: Kind,
        fields: Collection[str],
        transport: Transport,
        *,
        name: str | None = None,
        document: str | None = None,
    ) -> ToldOperation:
        """One operation, from here to the end of the `with`.

        `fields` are the names at its top, of a validated document. `name` and `document` are the client's own, and
        go into the span (the name) and the log (the name, and a hash of the document) only.
        """
        field = next(iter(fields)) if len(fields) == 1 else _SEVERAL if fields else _NONE
        return ToldOperation(self, kind, field, transport, name, document)

    def document_refused(self, transport: Transport, reason: Refusal) -> None:
        """A document that never became an operation: it could not be read, or breaks a rule."""
        self.refused(reason)
        _timing(self.operations, ("unknown", _NONE, transport, "refused")).observe(0.0)

    def looked_up(self, cache: Cache, *, found: bool) -> None:
        """Something was sought where it is kept."""
        self.lookups[cache, "hit" if found else "miss"] += 1

    def computation(self, name: str) -> ToldComputation:
        """Something computed on demand, from being asked for to the end of the `with`. `name` is one of ours."""
        return ToldComputation(self, name)

    def refused(self, reason: Refusal) -> None:
        """A request, a socket, an operation or a subscription was refused."""
        self.refusals[reason] += 1

    # --- requests and sockets ----------------------------------------------------------------------------------------

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP answer began `seconds` after its request came. `route` is a template of ours."""
        _timing(self.requests, (method, route, status)).observe(seconds)

    def socket_opened(self, protocol: str) -> None:
        """A socket was accepted; `protocol` is the one agreed upon."""
        self.sockets_open[protocol] += 1
        self.sockets_opened[protocol] += 1

    def socket_closed(self, protocol: str, code: int, by: Literal["server", "client"]) -> None:
        """A socket ended. A code of the client's own invention counts as "other"."""
        self.sockets_open[protocol] -= 1
        told = str(code) if by == "server" or code in _STANDARD_CLOSE_CODES else _OTHER
        self.sockets_closed[protocol, told, by] += 1

    # --- the loop ----------------------------------------------------------------------------------------------------

    async def watch_loop(self) -> None:
        """Measure how late the event loop is. Ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_SECONDS
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self.lag.observe(max(0.0, loop.time() - due))


class ToldOperation:
    """One operation under way. Whoever carries it out sets `outcome` where an answer carries errors."""

    __slots__ = (
        "_document", "_field", "_kind", "_name", "_span", "_started", "_telemetry", "_transport", "outcome",
    )  # fmt: skip

    def __init__(
        self,
        telemetry: Telemetry,
        kind: Kind,
        field: str,
        transport: Transport,
        name: str | None,
        document: str | None,
    ) -> None:
        self.outcome: Outcome = "ok"
        self._telemetry = telemetry
        self._kind = kind
        self._field = field
        self._transport = transport
        self._name = name
        self._document = document
        self._span: OpenSpan | None = None

    def __enter__(self) -> Self:
        telemetry = self._telemetry
        if self._kind == "subscription":
            telemetry.running[self._field, self._transport] += 1
        if telemetry.spans is not None:
            self._span = telemetry.spans.begin(self._kind, self._field, self._shown_name())
        self._started = telemetry.clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        telemetry = self._telemetry
        seconds = telemetry.clock() - self._started
        if error is not None and self.outcome == "ok":
            self.outcome = _outcome_of(error)
        key = (self._kind, self._field, self._transport, self.outcome)
        timing = telemetry.operations.get(key)
        if timing is None:
            timing = _timing(telemetry.operations, key)
        timing.observe(seconds)
        if self._kind == "subscription":
            telemetry.running[self._field, self._transport] -= 1
            self._say(logging.DEBUG, seconds)
        else:
            self._say(logging.WARNING if seconds >= SLOW_SECONDS else logging.DEBUG, seconds)
        if self._span is not None:
            self._span.end(self.outcome)

    def _say(self, level: int, seconds: float) -> None:
        if not _log.isEnabledFor(level):
            return
        told: dict[str, object] = {"transport": self._transport, "outcome": self.outcome, "ms": round(1e3 * seconds, 3)}
        if self._name:
            told["operation"] = self._shown_name()
        if self._document is not None:
            # What was asked may name what nobody else should read; the hash finds it among documents one has.
            told["document"] = hashlib.sha256(self._document.encode(errors="replace")).hexdigest()[:16]
        _log.log(level, "%s %s: %s", self._kind, self._field, self.outcome, extra=told)

    def _shown_name(self) -> str | None:
        return None if self._name is None else self._name[:_SHOWN_MAX]


class ToldComputation:
    """One computation: it waits until `begins` is called, and counts as one that never waited where it is not."""

    __slots__ = ("_asked", "_began", "_name", "_telemetry")

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name
        self._began: float | None = None

    def __enter__(self) -> Self:
        self._telemetry.waiting[self._name] += 1
        self._asked = self._telemetry.clock()
        return self

    def begins(self) -> None:
        """It has its thread, and is worked on."""
        if self._began is None:
            self._began = self._telemetry.clock()
            self._telemetry.waiting[self._name] -= 1
            self._telemetry.computing[self._name] += 1
            _timing(self._telemetry.waits, self._name).observe(self._began - self._asked)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._began is None:
            self._telemetry.waiting[self._name] -= 1
            began = self._asked
        else:
            self._telemetry.computing[self._name] -= 1
            began = self._began
        _timing(self._telemetry.computations, self._name).observe(self._telemetry.clock() - began)


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    return "refused" if isinstance(error, PlimsollError) else "error"


def _timing(kept: dict[_Key, Timing], key: _Key) -> Timing:
    timing = kept.get(key)
    if timing is None:
        timing = Timing()
        if len(kept) < SERIES_MAX:
            kept[key] = timing
    return timing
