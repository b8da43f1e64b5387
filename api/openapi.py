"""Typed handlers: one signature makes the route, its checks, and its place in the OpenAPI document.

A handler is `async def name(backend, ...) -> Body`, and its backend shows what the caller may see. A parameter named in
the path is read from it, one named `body` from the request's JSON, any other from the query. What cannot be read is
answered with 422 and the parameter's name before the handler runs; what stands before every request adds statuses of
its own (`guard`, `bodies`, `rates`). The document and the page at /docs follow from the
signatures, so they cannot disagree.
"""

from __future__ import annotations

import html
import inspect
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any, NamedTuple, get_type_hints

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.audit import Decision
from api.backend import Backend
from api.errors import BadInput, Contradiction, Forbidden, NotAdmitted, NotFound
from api.event_streams import Framing, Stream
from api.identity import STRANGER, Caller, Role
from api.negotiation import JSON, refused_content_type
from api.pages import ICON_PATH
from api.roles import require_route
from api.sockets.registry import Sockets, TooMany
from plimsoll.errors import BadMessage, PlimsollError, Unavailable
from plimsoll.messages import decode
from plimsoll.refusals import in_words

_ENCODER = msgspec.json.Encoder()
_WHOLE_MAX = 2.0**63
_ALWAYS = (421, 429, 500)
"""Statuses that any route may answer: a Host that is none of ours, too many requests, an error of ours."""
Handler = Callable[..., Awaitable[Any]]


class ErrorBody(msgspec.Struct):
    """Every error of the REST routes."""

    error: str
    detail: str
    timestamp: datetime


class EventStream(NamedTuple):
    """What a handler returns whose answer is a stream of server-sent events: the data of each, as they come."""

    events: AsyncGenerator[bytes, None]


EVENTS = Framing(
    content_type="text/event-stream; charset=utf-8",
    opening=b"",
    before=b"data: ",
    after=b"\n\n",
    beat=b": ping\n\n",
    closing=b"",
)


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    kind: Any
    default: Any
    place: str
    """`path`, `query` or `body`."""

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route, and for whom it is.

    `errors` are the statuses it may answer besides 200; 422 is added where it takes anything, and 401 and 403 where
    there is sign-in.
    """

    method: str
    path: str
    handler: Handler
    tag: str
    roles: frozenset[Role]
    errors: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    parameters: tuple[_Parameter, ...] = field(init=False)
    returns: Any = field(init=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(self.handler, include_extras=True)
        in_path = set(re.findall(r"{(\w+)}", self.path))
        parameters = tuple(
            _Parameter(
                name, hints[name], each.default, "path" if name in in_path else "body" if name == "body" else "query"
            )
            for name, each in list(inspect.signature(self.handler).parameters.items())[1:]
        )
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "returns", hints["return"])

    def routes(self) -> list[Route]:
        """The route and its aliases."""
        return [Route(path, self._answer, methods=[self.method]) for path in (self.path, *self.aliases)]

    async def _answer(self, request: Request) -> Response:
        backend: Backend = request.app.state.backend
        # Whoever is not known here came past the door, and may nothing.
        caller: Caller = getattr(request.state, "caller", STRANGER)
        told = partial(backend.audit.record, caller, "http", f"{self.method} {self.path}", (), _ids(request))
        try:
            require_route(caller, self.roles, f"{self.method} {self.path}")
        except Forbidden:
            told(Decision.FORBIDDEN)
            raise
        told()
        arguments = {each.name: await _read(each, request) for each in self.parameters}
        answer = await self.handler(backend.seen_by(caller), **arguments)
        if isinstance(answer, EventStream):
            # Nobody reads the body of an answer to HEAD, so a stream would never end.
            is_read = request.method != "HEAD"
            return _Told(answer, backend, caller, told) if is_read else Response(media_type=EVENTS.content_type)
        return Response(_ENCODER.encode(answer), media_type="application/json")


class _Told(Response):
    """An answer of events, for as long as its reader would still be let in."""

    def __init__(self, stream: EventStream, backend: Backend, caller: Caller, told: Callable[[Decision], None]) -> None:
        self._stream = stream
        self._may_still = partial(backend.admission.still, caller)
        self._caller = caller
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. Raises a 429 where the caller has as many streams as one may."""
        stream = Stream(scope, receive, send, EVENTS, may_still=self._may_still, words_of=_no_words)
        sockets: Sockets = scope["app"].state.sockets
        try:
            with sockets.holding(self._caller):
                await stream.tell(self._stream.events)
        except TooMany as error:
            raise HTTPException(429, str(error)) from None
        finally:
            self._told(Decision.ENDED)


def _no_words(error: Exception) -> None:
    """A stream that fails ends, and its reader comes back: that is how such streams heal."""
    if not isinstance(error, PlimsollError):
        raise error


def _ids(request: Request) -> list[str]:
    """What was asked for by name, in the path or in the query."""
    stated: Iterable[tuple[str, str]] = (*request.path_params.items(), *request.query_params.items())
    return [value for name, value in stated if name.endswith("_id")]


async def _read(parameter: _Parameter, request: Request) -> Any:  # noqa: ANN401  # whatever the handler declared
    if parameter.place == "body":
        content_type = request.headers.get("content-type")
        # Older clients leave it out. A page of another site cannot: its browser would say what a form says.
        if content_type is not None and (reason := refused_content_type(content_type.encode("latin-1"))):
            raise HTTPException(415, reason, {"accept": JSON})
        return _stated(await request.body(), parameter)
    source: Mapping[str, str] = request.path_params if parameter.place == "path" else request.query_params
    text = source.get(parameter.name)
    if text is None:
        if parameter.required:
            raise BadInput(parameter.name, "is missing; add it to the query")
        return parameter.default
    try:
        return msgspec.convert(text, parameter.kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(parameter.name, in_words(str(error))) from None


def _stated(body: bytes, parameter: _Parameter) -> Any:  # noqa: ANN401  # whatever the handler declared
    try:
        return decode(body, parameter.kind)
    except BadMessage as error:
        refused = BadInput(error.field or parameter.name, error.detail)
    try:
        # To JSON, and to whoever reads our document, 651.0 is a whole number; to the decoder it is none.
        return decode(msgspec.json.encode(_whole(msgspec.json.decode(body))), parameter.kind)
    except (BadMessage, ValueError, RecursionError):
        raise refused from None


def _whole(value: Any) -> Any:  # noqa: ANN401  # any JSON
    match value:
        case float() if value.is_integer() and abs(value) < _WHOLE_MAX:
            return int(value)
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {name: _whole(each) for name, each in value.items()}
    return value


# --- errors -----------------------------------------------------------------------------------------------------------


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the one shape that errors have."""
    body = ErrorBody(error=HTTPStatus(status).phrase, detail=detail, timestamp=datetime.now(UTC))
    return Response(_ENCODER.encode(body), status_code=status, headers=headers, media_type="application/json")


async def told(_request: Request | None, error: Exception) -> Response:
    """What a caller is told of each kind of error."""
    if isinstance(error, HTTPException):
        return error_response(error.status_code, error.detail, error.headers)
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), None)
    if status is None:
        raise error
    headers = {"Retry-After": "1"} if isinstance(error, Unavailable) else None
    if isinstance(error, NotAdmitted):
        headers = {"WWW-Authenticate": error.challenge}
    return error_response(status, str(error), headers)


_STATUSES = {NotAdmitted: 401, Forbidden: 403, NotFound: 404, Contradiction: 409, BadInput: 422, Unavailable: 503}
"""The more special kind before the general one."""
HANDLED = dict.fromkeys((HTTPException, *_STATUSES), told)
"""Starlette's `exception_handlers`. Any other error is ours, and `guard` says so."""


# --- the document -----------------------------------------------------------------------------------------------------


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(endpoints: Iterable[Endpoint], *, sign_in: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints, as they are with sign-in or without."""
    endpoints = list(endpoints)
    types = [ErrorBody]
    for each in endpoints:
        types += [parameter.kind for parameter in each.parameters] + ([] if _streams(each) else [each.returns])
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        for index, path in enumerate((each.path, *each.aliases)):
            operation_id = each.handler.__name__ + (f"_alias_{index}" if index else "")
            paths.setdefault(path, {})[each.method.lower()] = {
                "operationId": operation_id,
                **_operation(each, schema_of, sign_in=sign_in),
            }
    security = {"securitySchemes": _SECURITY} if sign_in else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll",
            "version": "1",
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Live portfolio risk. The same answers, and more, are at /graphql.",
        },
        "paths": paths,
        "components": {"schemas": components} | security,
    }


def _operation(each: Endpoint, schema_of: Mapping[str, Any], *, sign_in: bool) -> dict[str, Any]:
    answer = (
        {"text/event-stream": {}} if _streams(each) else {"application/json": {"schema": schema_of[_key(each.returns)]}}
    )
    error = {"application/json": {"schema": schema_of[_key(ErrorBody)]}}
    roles = f"\n\nFor {' and '.join(sorted(each.roles))}." if sign_in else ""
    places = {parameter.place for parameter in each.parameters}
    statuses = sorted(
        {
            *_ALWAYS,
            *each.errors,
            *([422] if places else []),
            *([401, 403] if sign_in else []),
            *([403] if each.method != "GET" else []),
            *([413, 415] if "body" in places else []),
        }
    )
    operation: dict[str, Any] = {
        "tags": [each.tag],
        "summary": (inspect.getdoc(each.handler) or "").split("\n")[0],
        "description": (inspect.getdoc(each.handler) or "") + roles,
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.required,
                "schema": schema_of[_key(parameter.kind)] | _default(parameter),
            }
            for parameter in each.parameters
            if parameter.place != "body"
        ],
        "responses": {"200": {"description": "OK", "content": answer}}
        | {str(status): {"description": HTTPStatus(status).phrase, "content": error} for status in statuses},
    }
    if sign_in:
        operation["security"] = [{scheme: []} for scheme in _SECURITY]
    for parameter in each.parameters:
        if parameter.place == "body":
            content = {"application/json": {"schema": schema_of[_key(parameter.kind)]}}
            operation["requestBody"] = {"required": True, "content": content}
    return operation


def _default(parameter: _Parameter) -> dict[str, Any]:
    return (
        {} if parameter.required or parameter.default is None else {"default": msgspec.to_builtins(parameter.default)}
    )


def _key(kind: Any) -> str:  # noqa: ANN401  # types are not hashable alike: `list[str]`, `Annotated[int, ...]`
    return repr(kind)


def _streams(each: Endpoint) -> bool:
    return each.returns is EventStream


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "pre{overflow-x:auto;padding:.7rem;border:1px solid;border-radius:6px}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}section{border-top:1px solid;margin-top:2rem}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(spec: Mapping[str, Any], base_url: str) -> HTMLResponse:
    """The document as a page that needs no script and asks no other host."""
    sections = [
        _section(path, method, operation, base_url)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Plimsoll REST API</title>'
        f'<link rel="icon" type="image/svg+xml" href="{ICON_PATH}"><style>{_STYLE}</style>'
        f"<h1>Plimsoll REST API</h1><p>{html.escape(spec['info']['description'])} "
        'The same as a document: <a href="/openapi.json">openapi.json</a>.</p>' + "".join(sections) + "</html>",
        headers={"content-security-policy": _POLICY},
    )


def _section(path: str, method: str, operation: Mapping[str, Any], base_url: str) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(each['name'])}</code><td>{each['in']}"
        f"<td>{'required' if each['required'] else 'optional'}<td><code>{html.escape(_plain(each['schema']))}</code>"
        for each in operation["parameters"]
    )
    table = f"<table><tr><th>parameter<th>in<th><th>schema{rows}</table>" if rows else ""
    statuses = ", ".join(f"{status} {each['description']}" for status, each in operation["responses"].items())
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return (
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation['description'])}</p>{table}"
        + (f"<p>Body: <code>{html.escape(_plain(body))}</code></p>" if body else "")
        + f"<p>Answers: {html.escape(statuses)}</p>"
        f"<pre>{html.escape(_curl(path, method, operation, base_url))}</pre></section>"
    )


def _curl(path: str, method: str, operation: Mapping[str, Any], base_url: str) -> str:
    required = [each["name"] for each in operation["parameters"] if each["in"] == "query" and each["required"]]
    query = "?" + "&".join(f"{name}=portfolio_123" for name in required) if required else ""
    url = base_url.rstrip("/") + path.replace("{portfolio_id}", "portfolio_123").replace("{advisor_id}", "advisor-1")
    verb = "" if method == "get" else f" -X {method.upper()}"
    body = " -H 'content-type: application/json' -d @portfolio.json" if "requestBody" in operation else ""
    return f"curl{verb} '{url}{query}'{body}"


def _plain(schema: Mapping[str, Any]) -> str:
    return msgspec.json.encode(schema).decode()
