"""Typed handlers: one signature makes the route, its checks, and its place in the OpenAPI document.

A handler is `async def name(backend, ...) -> Body`. A parameter named in the path is read from it, one named `body`
from the request's JSON, any other from the query. What cannot be read is answered with 422 and the parameter's name
before the handler runs. The document and the page at /docs follow from the signatures, so they cannot disagree.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, get_type_hints

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from api.errors import BadInput, NotFound
from plimsoll.errors import BadMessage, Unavailable
from plimsoll.messages import decode
from plimsoll.refusals import in_words

_ENCODER = msgspec.json.Encoder()
Handler = Callable[..., Awaitable[Any]]


class ErrorBody(msgspec.Struct):
    """Every error of the REST routes."""

    error: str
    detail: str
    timestamp: datetime


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
    """One route. `errors` are the statuses it may answer besides 200; 422 is added where it takes anything."""

    method: str
    path: str
    handler: Handler
    tag: str
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
        arguments = {each.name: await _read(each, request) for each in self.parameters}
        answer = await self.handler(request.app.state.backend, **arguments)
        if isinstance(answer, Response):
            return answer
        return Response(_ENCODER.encode(answer), media_type="application/json")


async def _read(parameter: _Parameter, request: Request) -> Any:  # noqa: ANN401  # whatever the handler declared
    if parameter.place == "body":
        try:
            return decode(await request.body(), parameter.kind)
        except BadMessage as error:
            raise BadInput(error.field or parameter.name, error.detail) from None
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


# --- errors -----------------------------------------------------------------------------------------------------------


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the one shape that errors have."""
    body = ErrorBody(error=HTTPStatus(status).phrase, detail=detail, timestamp=datetime.now(UTC))
    return Response(_ENCODER.encode(body), status_code=status, headers=headers, media_type="application/json")


async def told(_request: Request, error: Exception) -> Response:
    """What a caller is told of each kind of error."""
    match error:
        case HTTPException():
            return error_response(error.status_code, error.detail, error.headers)
        case NotFound():
            return error_response(404, str(error))
        case BadInput():
            return error_response(422, str(error))
        case Unavailable():
            return error_response(503, str(error), {"Retry-After": "1"})
    return error_response(500, "internal error; the log knows more")


HANDLED = dict.fromkeys((HTTPException, NotFound, BadInput, Unavailable, Exception), told)
"""Starlette's `exception_handlers`."""


# --- the document -----------------------------------------------------------------------------------------------------


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints."""
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
                **_operation(each, schema_of),
            }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll",
            "version": "1",
            "description": "Live portfolio risk. The same answers, and more, are at /graphql.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(each: Endpoint, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    answer = (
        {"text/event-stream": {}} if _streams(each) else {"application/json": {"schema": schema_of[_key(each.returns)]}}
    )
    error = {"application/json": {"schema": schema_of[_key(ErrorBody)]}}
    statuses = sorted({*each.errors, *([422] if each.parameters else [])})
    operation: dict[str, Any] = {
        "tags": [each.tag],
        "summary": (inspect.getdoc(each.handler) or "").split("\n")[0],
        "description": inspect.getdoc(each.handler) or "",
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
    return each.returns is StreamingResponse


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "pre{overflow-x:auto;padding:.7rem;border:1px solid;border-radius:6px}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}section{border-top:1px solid;margin-top:2rem}"
)


def page(spec: Mapping[str, Any], base_url: str) -> HTMLResponse:
    """The document as a page that needs no script and asks no other host."""
    sections = [
        _section(path, method, operation, base_url)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Plimsoll REST API</title><style>{_STYLE}</style>'
        f"<h1>Plimsoll REST API</h1><p>{html.escape(spec['info']['description'])} "
        'The same as a document: <a href="/openapi.json">openapi.json</a>.</p>' + "".join(sections) + "</html>"
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
