"""What stands before every request: whose page sends it, to which name, and what each answer tells a browser.

Three things a browser may be made to do against its user, and what stops each:
a page of another site sends requests here (it may not, unless its origin is in `PLIMSOLL_ALLOWED_ORIGINS`);
a page of another site makes its own name stand for this machine and reads our answers (without sign-in we answer to
addresses, to localhost and to the names in `PLIMSOLL_ALLOWED_HOSTS`); an answer is shown as what it is not (headers
on every answer). Nobody is let in by a cookie, so no answer allows credentials.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import refused_body
from api.negotiation import headers_of
from api.refusal import refusal

_log = logging.getLogger(__name__)

_CHANGES_NOTHING = frozenset(("GET", "HEAD", "OPTIONS"))
_OWN_SITE = (b"same-origin", b"none")
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""For an answer that says nothing else of the same name. Data is nobody's to keep; pages have policies of their own."""
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY)

_PREFLIGHT_SECONDS = "600"
_METHODS = "GET, POST"
_HEADERS = ", ".join(
    (
        "accept",
        "authorization",
        "content-type",
        "last-event-id",
        "x-api-key",
        "x-request-id",
        "x-requested-with",
        "traceparent",
        "tracestate",
        "apollo-require-preflight",
        "apollographql-client-name",
        "apollographql-client-version",
        "graphql-require-preflight",
        "x-apollo-operation-id",
        "x-apollo-operation-name",
    )
)
"""What clients of ours send. `*` would not cover `authorization`."""
_EXPOSED = (b"access-control-expose-headers", b"retry-after, x-request-id")


class Guard:
    """ASGI middleware. `hosts` are the names this server answers to besides addresses; None where any will do."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], hosts: tuple[str, ...] | None) -> None:
        self._app = app
        self._origins = frozenset(each.encode() for each in origins)
        self._hosts = None if hosts is None else frozenset(each.lower().encode() for each in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on; `scope["state"]["cross_site"]` is there where another site's page asks for an answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        # A server need not offer it, and those behind us speak through it.
        scope.setdefault("state", {})
        if scope["type"] == "websocket":
            if not self._is_ours(headers.get(b"host")):
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._cors_of(headers.get(b"origin")))
        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, answer.send)
            return
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            # It left in the middle of its own request.
            return
        except Exception:
            # Whatever it is, it is ours: the caller gets an id, and the log what it stands for.
            if answer.begun:
                raise
            error_id = secrets.token_hex(8)
            _log.exception("internal error %s", error_id, extra={"error_id": error_id})
            told = refusal(scope, 500, "INTERNAL", f"internal error {error_id}; the log knows more")
            await told(scope, receive, answer.send)

    def _refused(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """The answer that takes the place of the application's, if one does."""
        host = headers.get(b"host")
        if host is None and scope["http_version"] == "1.1":
            return refusal(scope, 400, "BAD_REQUEST", "the request has no Host header; HTTP/1.1 asks for one")
        if not self._is_ours(host):
            return refusal(scope, 421, "UNKNOWN_HOST", _unknown(host or b""))
        if (unread := refused_body(headers)) is not None:
            return refusal(scope, *unread)
        if b"origin" in headers or b"sec-fetch-site" in headers:
            return self._refused_page(scope, headers)
        return None

    def _refused_page(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """The same for what a page sends, where it comes from another site."""
        method = scope["method"]
        if method == "OPTIONS" and b"access-control-request-method" in headers:
            return self._preflight(scope, headers.get(b"origin"))
        if not self._is_cross_site(headers):
            return None
        if method not in _CHANGES_NOTHING:
            detail = "a page of another site may not send this; add its origin to PLIMSOLL_ALLOWED_ORIGINS"
            return refusal(scope, 403, "CROSS_SITE", detail)
        scope["state"]["cross_site"] = True
        return None

    def _is_ours(self, host: bytes | None) -> bool:
        if self._hosts is None or host is None or is_own_address(host):
            return True
        name = host.lower()
        return name in self._hosts or name.rpartition(b":")[0] in self._hosts

    def _is_cross_site(self, headers: Mapping[bytes, bytes]) -> bool:
        origin = headers.get(b"origin")
        if origin in self._origins:
            return False
        # A browser says this itself and no page can change it. Older ones only name the origin.
        if (site := headers.get(b"sec-fetch-site")) is not None:
            return site not in _OWN_SITE
        return origin is not None and origin.partition(b"://")[2].lower() != headers.get(b"host", b"").lower()

    def _cors_of(self, origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
        if not self._origins:
            return ()
        vary = (b"vary", b"Origin")
        if origin is None or origin not in self._origins:
            return (vary,)
        return (vary, (b"access-control-allow-origin", origin), _EXPOSED)

    def _preflight(self, scope: Scope, origin: bytes | None) -> Response:
        if origin not in self._origins:
            detail = "this origin may not send requests here; add it to PLIMSOLL_ALLOWED_ORIGINS"
            return refusal(scope, 403, "CROSS_SITE", detail)
        headers = {
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": _PREFLIGHT_SECONDS,
            "vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
        }
        return Response(status_code=204, headers=headers)


class _Answer:
    """An answer on its way out."""

    def __init__(self, send: Send, cors: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._cors = cors
        self.begun = False

    async def send(self, message: Message) -> None:
        """Pass it on, and add to its head what every answer says."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = message["headers"]
            stated = _SECURITY_NAMES.intersection([name for name, _ in headers])
            added = _SECURITY if not stated else [each for each in _SECURITY if each[0] not in stated]
            message["headers"] = [*headers, *added, *self._cors]
        await self._send(message)


def _unknown(host: bytes) -> str:
    return (
        f"{host.decode('latin-1')[:80]!r} is no name of this server: without sign-in it answers to localhost and to "
        "addresses; add the name to PLIMSOLL_ALLOWED_HOSTS"
    )


@lru_cache(256)
def is_own_address(host: bytes) -> bool:
    """Whether a Host header can only mean the machine it reached: an address, or localhost.

    Nobody can make an address stand for another machine, and resolvers keep localhost to themselves.
    """
    text = host.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        name = text
    elif not port.isdigit():
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
