"""GraphQL over HTTP, as https://graphql.github.io/graphql-over-http has it.

Most requests come this way, and a view in between cost more than the answers, so this is plain ASGI.
POST takes JSON and nothing else, which a page of another site cannot send unasked; GET only asks, and not for another
site's page. Statuses follow the form of the answer: in `application/graphql-response+json` a document that is refused
is a 400; in `application/json`, which older clients read, it is a 200 with `errors`. What is no GraphQL request has
its own status in both. A subscription is answered as a stream, where one is accepted.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import msgspec
from graphql import OperationType
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api import pages
from api.backend import Backend
from api.documents import Prepared, RefusedDocument
from api.event_streams import Stream
from api.execution import admit, answer, told, told_of
from api.graphql_request import Asked, RefusedRequest, of_json, of_query, read_json
from api.graphql_streams import FRAMINGS, once, words_of
from api.identity import STRANGER, Caller
from api.negotiation import EVENT_STREAM, GRAPHQL_JSON, JSON, accepted, accepts_html, headers_of, refused_content_type
from api.persisted import Documents
from api.rates import Rates, too_often
from api.refusal import count, graphql_errors
from api.schema.operation import Session
from api.shared_streams import SharedStreams
from api.sockets.registry import Sockets, TooMany

BATCH_MAX = 10
"""Requests in one body."""
METHODS = "GET, HEAD, POST, OPTIONS"

_CONTENT_TYPES = {each: f"{each}; charset=utf-8".encode() for each in (JSON, GRAPHQL_JSON)}

_NO_PAGES = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Plimsoll GraphQL</title>
<h1>GraphQL answers here</h1>
<p>The web pages are not in this install, so there is no GraphiQL: <code>SKIP_WEB=1</code> was set, or no npm registry
could be reached. To have them: <code>uv sync --reinstall-package plimsoll</code>.</p>
<p>Queries and mutations work all the same, by POST to this address:</p>
<pre>curl {url} -H 'content-type: application/json' -d '{{"query": "{{ systemStatus {{ status }} }}"}}'</pre>
<p>Subscriptions: <code>graphql-transport-ws</code> at the same address.</p></html>
"""

_NOT_IN_PRODUCTION = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Plimsoll GraphQL</title>
<h1>GraphQL answers here, without GraphiQL</h1>
<p>This server runs with <code>PLIMSOLL_PROFILE=production</code>, where neither GraphiQL nor the schema is shown.
Queries and mutations are sent by POST to this address.</p>
<p><a href="/">To the dashboard</a></p></html>
"""


class _Answer(NamedTuple):
    """One answer, with its status in `application/graphql-response+json` and in `application/json`."""

    body: bytes
    status: int = 200
    status_in_json: int = 200
    headers: Mapping[str, str] = {}


class GraphQLHTTP:
    """The endpoint. `graphiql_html` gives the page for browsers; None where this server shows none."""

    def __init__(self, documents: Documents, rates: Rates, graphiql_html: Callable[[], str | None] | None) -> None:
        self._documents = documents
        self._rates = rates
        self._graphiql_html = graphiql_html

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = headers_of(scope)
        wanted = accepted(headers.get(b"accept"))
        try:
            method = scope["method"]
            if method == "POST":
                asked = await self._posted(scope, headers, receive)
            elif method in ("GET", "HEAD"):
                if _wants_page(scope, headers):
                    await _send_page(send, *self._page(scope, headers))
                    return
                asked = _queried(scope)
            else:
                await _send_methods(send, method)
                return
            if wanted == (None, None):
                raise RefusedRequest("NOT_ACCEPTABLE", f"answers are {JSON} or {GRAPHQL_JSON}; accept one", 406)
            session = _session(scope)
            if isinstance(asked, list):
                await _send(send, _Answer(await self._batch(session, asked)), wanted.json or JSON)
                return
            prepared = self._prepared(session, asked, method)
            if prepared.kind(asked.operation_name) is OperationType.SUBSCRIPTION or wanted.json is None:
                await _stream(scope, receive, send, session, prepared, asked)
                return
            body = await answer(session, prepared, asked.variables, asked.operation_name)
            await _send(send, _Answer(body), wanted.json)
        except (RefusedRequest, RefusedDocument, HTTPException) as refused:
            if isinstance(refused, RefusedRequest):
                count(scope, refused.code)
            await _send(send, _refusal(refused), wanted.json or JSON)

    def _page(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[int, str]:
        """GraphiQL from our own pages, never from somebody else's host; or why there is none, with a status."""
        if self._graphiql_html is None:
            return 404, _NOT_IN_PRODUCTION
        if (page := self._graphiql_html()) is not None:
            return 200, page
        url = f"{scope['scheme']}://{headers.get(b'host', b'').decode('latin-1')}{scope['path']}"
        return 200, _NO_PAGES.format(url=html.escape(url))

    async def _posted(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Asked | list[object]:
        """A request, or the places of a batch."""
        reason = refused_content_type(headers.get(b"content-type"))
        if reason is not None:
            raise RefusedRequest("UNSUPPORTED_MEDIA_TYPE", reason, 415, {"accept": JSON})
        parsed = read_json(await _body(receive))
        if type(parsed) is not list:
            return of_json(parsed)
        if not 1 <= len(parsed) <= BATCH_MAX:
            raise RefusedRequest("BAD_BATCH", f"a batch holds 1 to {BATCH_MAX} requests, not {len(parsed)}; send fewer")
        if wait := self._rates.take(scope, len(parsed) - 1):
            message, told_when = too_often(wait)
            raise RefusedRequest("RATE_LIMITED", message, 429, told_when)
        return parsed

    def _prepared(self, session: Session, asked: Asked, method: str) -> Prepared:
        """The document, which may be carried out by this method."""
        prepared = self._documents.prepared(asked, session)
        if method != "POST" and prepared.kind(asked.operation_name) is OperationType.MUTATION:
            raise RefusedRequest("METHOD_NOT_ALLOWED", "mutations are sent by POST", 405, {"allow": "POST"})
        return prepared

    async def _batch(self, session: Session, batch: list[object]) -> bytes:
        """The answers in the order of the requests, which run side by side."""
        answers = await asyncio.gather(*(self._one_of_batch(session, each) for each in batch))
        return b"[" + b",".join(answers) + b"]"

    async def _one_of_batch(self, session: Session, stated: object) -> bytes:
        try:
            asked = of_json(stated)
            prepared = self._prepared(session, asked, "POST")
            if prepared.kind(asked.operation_name) is OperationType.SUBSCRIPTION:
                raise RefusedRequest(
                    "SUBSCRIPTION_IN_BATCH", "a batch has one answer, and a subscription many; send it alone"
                )
            return await answer(session, prepared, asked.variables, asked.operation_name)
        except (RefusedRequest, RefusedDocument) as refused:
            return _refusal(refused).body


async def _body(receive: Receive) -> bytes:
    """All of a body; the guard before us holds it to its limits."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _queried(scope: Scope) -> Asked:
    asked = of_query(scope["query_string"])
    if scope["state"].get("cross_site"):
        raise RefusedRequest(
            "CROSS_SITE", "a page of another site may not ask; add its origin to PLIMSOLL_ALLOWED_ORIGINS", 403
        )
    return asked


def _session(scope: Scope) -> Session:
    backend: Backend = scope["app"].state.backend
    # Whoever is not known here came past the door, and may nothing.
    caller: Caller = scope["state"].get("caller", STRANGER)
    return Session(backend.seen_by(caller), caller)


async def _stream(
    scope: Scope, receive: Receive, send: Send, session: Session, prepared: Prepared, asked: Asked
) -> None:
    """Answer as a stream. Raises `RefusedDocument` or `RefusedRequest` before any of it is sent."""
    form = accepted(headers_of(scope).get(b"accept")).stream
    if form is None:
        remedy = f"accept {' or '.join(FRAMINGS)}, or use a websocket (graphql-transport-ws) at this address"
        raise RefusedRequest("NOT_ACCEPTABLE", f"a subscription is answered by a stream: {remedy}", 406)
    session = Session(session.backend, session.caller, "sse" if form == EVENT_STREAM else "multipart")
    stream = Stream(
        scope,
        receive,
        send,
        FRAMINGS[form],
        may_still=_may_still(session),
        words_of=words_of,
        refusals=(RefusedDocument,),
    )
    if prepared.kind(asked.operation_name) is not OperationType.SUBSCRIPTION:
        await stream.tell(once(await answer(session, prepared, asked.variables, asked.operation_name)))
        return
    streams: SharedStreams = scope["app"].state.streams
    sockets: Sockets = scope["app"].state.sockets
    try:
        with sockets.holding(session.caller):
            await stream.tell(_followed(streams, session, prepared, asked))
    except TooMany as error:
        raise RefusedRequest(error.code, str(error), 429) from None


async def _followed(
    streams: SharedStreams, session: Session, prepared: Prepared, asked: Asked
) -> AsyncGenerator[bytes, None]:
    """The payloads of a subscription. Raises `RefusedDocument` before the first where it cannot begin."""
    with told_of(session, prepared, asked.operation_name):
        admit(session, prepared, asked.variables, asked.operation_name)
        payloads = streams.payloads(session, prepared, asked.variables, asked.operation_name)
        async with aclosing(payloads):
            async for payload in payloads:
                yield payload


def _may_still(session: Session) -> Callable[[], Awaitable[bool]]:
    """Whether a caller who was let in may still read."""
    return partial(session.backend.admission.still, session.caller)


def _refusal(refused: RefusedRequest | RefusedDocument | HTTPException) -> _Answer:
    """What a caller is told who asked for what cannot be."""
    match refused:
        case RefusedDocument():
            errors = [told(each) for each in refused.errors]
            forbidden = (refused.errors[0].extensions or {}).get("code") == "FORBIDDEN"
            return _Answer(msgspec.json.encode({"errors": errors}), 403 if forbidden else 400, 200)
        case RefusedRequest():
            # Older clients of persisted queries read the errors of a 200 only.
            in_json = 200 if refused.code == "PERSISTED_QUERY_NOT_FOUND" else refused.status
            return _Answer(graphql_errors(str(refused), refused.code), refused.status, in_json, refused.headers)
    body = graphql_errors(refused.detail, "BODY_TOO_LARGE" if refused.status_code == 413 else "BAD_REQUEST")
    return _Answer(body, refused.status_code, refused.status_code, refused.headers or {})


async def _send(send: Send, told: _Answer, form: str) -> None:
    headers = [
        (b"content-type", _CONTENT_TYPES[form]),
        (b"content-length", str(len(told.body)).encode()),
        (b"vary", b"Accept"),
    ]
    headers += [(name.encode(), value.encode()) for name, value in told.headers.items()]
    status = told.status if form is GRAPHQL_JSON else told.status_in_json
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": told.body})


async def _send_methods(send: Send, method: str) -> None:
    """OPTIONS says what may be sent here; any other method is refused with the same."""
    if method == "OPTIONS":
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", METHODS.encode())]})
        await send({"type": "http.response.body", "body": b""})
        return
    body = graphql_errors("GraphQL is sent by POST, and queries by GET as well", "METHOD_NOT_ALLOWED")
    await _send(send, _Answer(body, 405, 405, {"allow": METHODS}), JSON)


# --- the page ---------------------------------------------------------------------------------------------------------


def _wants_page(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Only a browser that opens the address: curl wants an answer, not a page."""
    return accepts_html(headers.get(b"accept")) and not scope["query_string"]


async def _send_page(send: Send, status: int, page: str) -> None:
    body = page.encode()
    told = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", pages.CONTENT_SECURITY_POLICY.encode()),
        # The page names its assets by their hashes: an old page would ask for assets that are gone.
        (b"cache-control", b"no-cache"),
        (b"vary", b"Accept"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
