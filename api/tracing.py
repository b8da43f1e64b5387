"""Traces: one span of each operation where somebody collects them, and the caller's trace carried on to Kafka always.

A trace crosses us as a `traceparent` (W3C Trace Context): it comes with a request, an operation's span is its child,
and the records that a mutation publishes carry the newest one in their headers. Without a collector there are no spans,
and the caller's own `traceparent` goes on as it came: whoever traces around us finds both ends. A span says which field
was asked for, by which name and how it ended; never variables, never the document.

The SDK is asked for only where spans are to be sent. Its provider belongs to the process's `Backend`, not to the
library's globals.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextvars import ContextVar, Token
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

from plimsoll import __version__, logs
from plimsoll.errors import BadSetting

HEADER = "traceparent"
SETTING = "PLIMSOLL_OTLP_ENDPOINT"
FLUSH_SECONDS = 2.0
"""What spans that are not sent yet get when the process ends; those of a collector that is away are lost."""
QUEUE_SPANS_MAX = 8_192
"""Spans that wait to be sent; newer ones give way, and requests never wait for a collector."""

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACES_PATH = "/v1/traces"

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def accepted(traceparent: str | None) -> str | None:
    """A caller's `traceparent` where it is one, else None: what comes from outside goes no further unread."""
    return traceparent if traceparent is not None and _FORM.fullmatch(traceparent) else None


def enter(traceparent: str | None) -> None:
    """What happens from here on, in this task and those it starts, belongs to this accepted trace, or to none."""
    _current.set(traceparent)


def current() -> str | None:
    """The `traceparent` of whoever asks next: of the span under way, else the caller's."""
    return _current.get()


def trace_id(traceparent: str) -> str:
    """The part that is the same at both ends: 32 hexadecimal digits."""
    return traceparent[3:35]


def kafka_headers() -> list[tuple[str, bytes]]:
    """The headers of a record that is published now; none where nobody traces."""
    traceparent = _current.get()
    return [] if traceparent is None else [(HEADER, traceparent.encode())]


class OpenSpan:
    """One operation's span, from `Spans.begin` until `end`."""

    __slots__ = ("_lines", "_span", "_token")

    def __init__(self, span: Span, *, carried: bool) -> None:
        self._span = span
        self._token: Token[str | None] | None = None
        context = span.get_span_context()
        if carried:
            written = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
            self._token = _current.set(written)
            self._lines = logs.CONTEXT.set(logs.CONTEXT.get() | {"trace_id": f"{context.trace_id:032x}"})

    def end(self, outcome: str) -> None:
        """It is over."""
        self._span.set_attribute("plimsoll.outcome", outcome)
        if outcome == "error":
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        if self._token is not None:
            _current.reset(self._token)
            logs.CONTEXT.reset(self._lines)


class Spans:
    """Makes spans. `shutdown` sends what waits and ends it; it may block."""

    def __init__(self, tracer: Tracer, shutdown: Callable[[], None] = lambda: None) -> None:
        self._tracer = tracer
        self._shutdown = shutdown

    def begin(self, kind: str, field: str, name: str | None) -> OpenSpan:
        """A span of an operation, below the caller's. `name` is what the client calls the operation."""
        attributes = {"graphql.operation.type": kind}
        if name:
            attributes["graphql.operation.name"] = name
        request_id = logs.CONTEXT.get().get("request_id")
        if request_id is not None:
            attributes["plimsoll.request_id"] = request_id
        span = self._tracer.start_span(
            f"{kind} {field}", context=_parent(_current.get()), kind=SpanKind.SERVER, attributes=attributes
        )
        # A subscription publishes nothing, and may be ended by another task than began it: it is not carried.
        return OpenSpan(span, carried=kind != "subscription")

    async def close(self) -> None:
        """Send what waits, within `FLUSH_SECONDS`."""
        closing = asyncio.get_running_loop().run_in_executor(None, self._shutdown)
        await asyncio.wait({closing}, timeout=FLUSH_SECONDS)


def require_sdk(endpoint: str) -> None:
    """Nothing where spans can be sent, or need not be. Raises `BadSetting` where the SDK is not installed."""
    if endpoint:
        try:
            # An extra: most installs send spans to nobody.
            import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415
            import opentelemetry.sdk.trace  # noqa: F401, PLC0415
        except ModuleNotFoundError as missing:
            raise BadSetting(
                SETTING,
                f"spans are sent by the OpenTelemetry SDK, and {missing.name} is not installed: "
                "install plimsoll[otel], or set it to off",
            ) from None


def spans_to(endpoint: str) -> Spans | None:
    """Spans that are sent to a collector by OTLP over HTTP; None where `endpoint` is empty. Raises `BadSetting`."""
    if not endpoint:
        return None
    require_sdk(endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({"service.name": "plimsoll-api", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=FLUSH_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS_MAX))
    return Spans(provider.get_tracer("plimsoll.api", __version__), provider.shutdown)


def traces_url(endpoint: str) -> str:
    """Where spans are posted: a collector's address, with the usual path where it has none of its own."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _TRACES_PATH


def _parent(traceparent: str | None) -> Context:
    """The caller's span as the SDK wants a parent: empty where there is none."""
    if traceparent is None:
        return Context()
    _, trace_hex, span_hex, flags = traceparent.split("-")
    remote = SpanContext(int(trace_hex, 16), int(span_hex, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())
