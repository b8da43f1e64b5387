"""ASGI middleware: every request has a caller before anything answers it, or is answered 401 here.

Sockets pass: they say who they are in their first message, and nothing is done for them before. Static pages, probes
and the documents of the API are open to all (`roles.OPEN_PATHS`), and so is the page of GraphiQL, which is a form to
ask with and knows nothing itself.
"""

from __future__ import annotations

import ipaddress

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.admission import is_shown_by
from api.audit import Decision
from api.backend import Backend
from api.errors import Forbidden, NotAdmitted
from api.identity import ANYONE, STRANGER, Caller
from api.openapi import told
from api.rates import Rates, too_often
from api.refusal import GRAPHQL_PATH, refusal
from api.roles import OPEN_BELOW, OPEN_PATHS, OPERATORS, PEER_PATHS, require_route
from plimsoll.errors import Unavailable

_GRAPHQL_JSON = "application/graphql-response+json"
_FORWARDED = ("forwarded", "x-forwarded-for")


class Admitted:
    """Puts who asks at `scope["state"]["caller"]`. By `rates`, an address shows new tokens and keys so often only."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        backend: Backend = scope["app"].state.backend
        if not backend.admission.required:
            scope.setdefault("state", {})["caller"] = ANYONE
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_known = _is_open(scope, headers) or backend.admission.knows(headers)
        if not is_known and (wait := self._rates.take_unknown(scope)):
            await refusal(scope, 429, "RATE_LIMITED", *too_often(wait))(scope, receive, send)
            return
        try:
            scope.setdefault("state", {})["caller"] = await _caller(backend, scope, headers)
        except (NotAdmitted, Forbidden, Unavailable) as error:
            decision = Decision.FORBIDDEN if isinstance(error, Forbidden) else Decision.UNAUTHENTICATED
            backend.telemetry.refused("forbidden" if isinstance(error, Forbidden) else "not_admitted")
            backend.audit.record(None, "http", f"{scope['method']} {scope['path']}", decision=decision)
            await (await _refusal(scope, headers, error))(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _caller(backend: Backend, scope: Scope, headers: Headers) -> Caller:
    """Who asks. Raises `NotAdmitted`, `Forbidden` and `Unavailable`."""
    if _is_open(scope, headers):
        return STRANGER
    caller = await backend.admission.request(headers)
    if scope["path"] in PEER_PATHS:
        require_route(caller, OPERATORS, f"{scope['method']} {scope['path']}")
    return caller


def _is_open(scope: Scope, headers: Headers) -> bool:
    path: str = scope["path"]
    if path in OPEN_PATHS or path.startswith(OPEN_BELOW):
        return True
    if path in PEER_PATHS:
        # One who shows a key is taken for who it says, also from beside us: it may let them see more.
        return is_beside_us(scope, headers) and not is_shown_by(headers)
    # Only without a question: with one, the same address answers it.
    asks_for_page = scope["method"] == "GET" and not scope["query_string"] and "text/html" in headers.get("accept", "")
    return path == GRAPHQL_PATH and asks_for_page


def is_beside_us(scope: Scope, headers: Headers) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it that says whom it speaks for."""
    if any(name in headers for name in _FORWARDED):
        return False
    host, _ = scope.get("client") or ("", 0)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refusal(scope: Scope, headers: Headers, error: NotAdmitted | Forbidden | Unavailable) -> Response:
    """The answer in the shape that its route has for errors."""
    answer = await told(None, error)
    if scope["path"] == GRAPHQL_PATH:
        code = {401: "UNAUTHENTICATED", 403: "FORBIDDEN"}.get(answer.status_code, "UNAVAILABLE")
        body = {"errors": [{"message": str(error), "extensions": {"code": code}}]}
        media_type = _GRAPHQL_JSON if _GRAPHQL_JSON in headers.get("accept", "") else "application/json"
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        answer = Response(msgspec.json.encode(body), answer.status_code, kept, media_type)
    return answer
