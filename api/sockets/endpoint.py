"""The websocket side of /graphql: which upgrade is accepted, and in which protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from api.documents import Prepared
from api.graphql_request import of_json
from api.persisted import Documents
from api.rates import Rates
from api.schema.operation import Session
from api.sockets.codes import Code
from api.sockets.connection import Connection
from api.sockets.messages import PROTOCOLS


class SocketEndpoint:
    """ASGI application for sockets. Its `app` has `backend`, `streams` and `sockets` in its state.

    `origins` are those of pages elsewhere that may open one; our own pages may, and so may all that is no browser.
    """

    def __init__(self, origins: tuple[str, ...], documents: Documents, rates: Rates) -> None:
        self._origins = frozenset(origins)
        self._documents = documents
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket, or refuse it before it opens: 403 for a foreign page, 503 where there is no room."""
        await receive()  # `websocket.connect`: nothing else can come first
        state = scope["app"].state
        headers = dict(scope["headers"])
        if not self._may_open(headers):
            await _refuse(scope, send, 403, "a page of another site may not open this; see PLIMSOLL_ALLOWED_ORIGINS")
            return
        if state.sockets.is_full:
            await _refuse(scope, send, 503, "this server has as many sockets as it may; come back later")
            return
        offered = scope.get("subprotocols", [])
        spoken = next((protocol for name, protocol in PROTOCOLS.items() if name in offered), None)
        if spoken is None:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": Code.NO_PROTOCOL, "reason": "Subprotocol not acceptable"})
            return
        connection = Connection(
            scope,
            receive,
            send,
            protocol=spoken,
            backend=state.backend,
            streams=state.streams,
            sockets=state.sockets,
            rates=self._rates,
            read_document=self._read,
        )
        await connection.run()

    def _read(self, session: Session, request: Mapping[str, Any]) -> Prepared:
        """The document that a request states or names. Raises `RefusedRequest` and `RefusedDocument`."""
        return self._documents.prepared(of_json(request), session)

    def _may_open(self, headers: Mapping[bytes, bytes]) -> bool:
        """A browser names the page's origin, and no page can change that. Whatever names none is no page."""
        stated = headers.get(b"origin")
        if stated is None:
            return True
        origin, host = stated.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")
        return origin in self._origins or (bool(host) and origin.partition("://")[2].lower() == host.lower())


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    """Answer an upgrade with a status where the server can; else with 403, which is all that ASGI has without it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": Code.TRY_LATER, "reason": why})
        return
    body = why.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
