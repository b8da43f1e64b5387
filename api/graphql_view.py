"""GraphQL over HTTP and over `graphql-transport-ws`, with the corners of Strawberry's view made safe.

JSON is strict both ways: NaN and numbers too large for a float are refused, and none is ever sent. Over a socket
every frame is text, and what is wrong with one operation ends that operation, not the socket and its neighbours.
"""

from __future__ import annotations

import html
import json
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import msgspec
from cross_web import HTTPException
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.websockets import WebSocket
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.exceptions import NonJsonMessageReceived, WebSocketDisconnected
from strawberry.http.types import QueryParams
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import SubscribeMessage
from strawberry.types.execution import ExecutionResult, PreExecutionError

from api import pages
from api.backend import Backend
from api.schema import schema

OPERATIONS_PER_SOCKET_MAX = 100
INIT_WITHIN_SECONDS = 10

_NO_PAGES = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Plimsoll GraphQL</title>
<h1>GraphQL answers here</h1>
<p>The web pages are not in this install, so there is no GraphiQL: <code>SKIP_WEB=1</code> was set, or no npm registry
could be reached. To have them: <code>uv sync --reinstall-package plimsoll</code>.</p>
<p>Queries and mutations work all the same, by POST to this address:</p>
<pre>curl {url} -H 'content-type: application/json' -d '{{"query": "{{ systemStatus {{ status }} }}"}}'</pre>
<p>Subscriptions: <code>graphql-transport-ws</code> at the same address.</p></html>
"""


class _Socket(ASGIWebSocketAdapter):
    """A socket whose messages are objects."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """Every message. Raises `NonJsonMessageReceived` for JSON that is no object, which closes the socket."""
        async for message in super().iter_json(ignore_parsing_errors=ignore_parsing_errors):
            if not isinstance(message, dict):
                raise NonJsonMessageReceived
            yield message


class _Handler(BaseGraphQLTransportWSHandler[Backend, None]):
    """The protocol's server side."""

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        # A syntax error is one operation's, and other subscriptions share the socket.
        return None

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what went wrong, unless it is a client that left while we spoke."""
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation, or close the socket on a message that is none."""
        if not _is_subscribe(message):
            await self.handle_invalid_message("Invalid subscribe message")
            return
        await super().handle_subscribe(message)

    async def _send_result_stream(self, operation: Operation[Backend, None], result_source: Any) -> None:  # noqa: ANN401
        is_first = True
        async for result in result_source:
            if is_first and _failed_before_data(result):
                await operation.send_initial_errors(result.errors)
                return
            if not isinstance(result, ExecutionResult):
                await self._reject_incremental_delivery(operation)
                return
            await operation.send_next(result)
            is_first = False


class GraphQLView(GraphQL[Backend, None]):
    """The `/graphql` endpoint, for HTTP and for sockets. `graphiql_html` gives the page, or None without the pages."""

    graphql_transport_ws_handler_class = _Handler
    websocket_adapter_class = _Socket

    def __init__(self, graphiql_html: Callable[[], str | None]) -> None:
        super().__init__(
            schema,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=INIT_WITHIN_SECONDS),
            max_subscriptions_per_connection=OPERATIONS_PER_SOCKET_MAX,
        )
        self._graphiql_html = graphiql_html

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Backend:
        """The backend; the schema makes each operation its own context of it."""
        backend: Backend = request.app.state.backend
        return backend

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        """Only for a browser that opens the address: curl wants an answer, not a page."""
        accept = request.headers.get("accept", "")
        return request.method == "GET" and request.query_params.get("query") is None and "text/html" in accept

    async def render_graphql_ide(self, request: Request) -> Response:
        """GraphiQL from our own pages, never from somebody else's host."""
        page = self._graphiql_html()
        if page is None:
            page = _NO_PAGES.format(url=html.escape(str(request.url.replace(query=""))))
        headers = {
            "content-security-policy": pages.CONTENT_SECURITY_POLICY,
            # The page names its assets by their hashes: an old page would ask for assets that are gone.
            "cache-control": "no-cache",
            "vary": "accept",
        }
        return HTMLResponse(page, headers=headers)

    def decode_json(self, data: str | bytes) -> object:
        """JSON as the standard has it: no NaN, no Infinity, no number that only looks finite."""
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from None

    def parse_json(self, data: str | bytes) -> Any:  # noqa: ANN401 - as in the class above
        """A body, or the variables of a GET. Whatever is no object is refused here: further on it would be a 500."""
        parsed = super().parse_json(data)
        # A list is a batch, and refused as one.
        if not isinstance(parsed, dict | list):
            raise HTTPException(400, 'The request must be a JSON object, such as {"query": "{ __typename }"}')
        return parsed

    def parse_query_params(self, params: QueryParams) -> dict[str, Any]:
        """The parameters of a GET; `null` for its variables or extensions says that there are none."""
        return super().parse_query_params({name: value for name, value in params.items() if value != "null"})

    def encode_json(self, data: object) -> str:
        """Text, not bytes: Strawberry sends bytes as binary frames, which browsers do not read as JSON."""
        return msgspec.json.encode(data).decode()


def _failed_before_data(result: object) -> bool:
    """Whether an operation ended before its first event: then it is an error of the operation, not an event."""
    if isinstance(result, PreExecutionError):
        return True
    return (
        isinstance(result, ExecutionResult)
        and result.data is None
        and bool(result.errors)
        and all(error.path is None for error in result.errors or ())
    )


def _is_subscribe(message: SubscribeMessage) -> bool:
    payload = message.get("payload")
    return (
        isinstance(message.get("id"), str)
        and isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables") or {}, dict)
        and isinstance(payload.get("operationName") or "", str)
    )
