"""Answers of a subscription over plain HTTP: server-sent events, and the multipart form that Apollo's clients read.

Events are framed as clients were found to read them. Lines of an event stream end in LF alone, because urql looks for
two of those. The boundary of a part is sent with the part and not before the next one, because Apollo Client shows a
part only when it has seen what follows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
from graphql import GraphQLError

from api.documents import RefusedDocument
from api.event_streams import Framing
from api.execution import told
from api.negotiation import EVENT_STREAM, MULTIPART
from api.refusal import graphql_errors

_FAREWELL = graphql_errors("sign in again to go on", "UNAUTHENTICATED")
_PART = b"\r\ncontent-type: application/json; charset=utf-8\r\n\r\n"
FRAMINGS = {
    EVENT_STREAM: Framing(
        content_type="text/event-stream; charset=utf-8",
        opening=b":\n\n",
        before=b"event: next\ndata: ",
        after=b"\n\n",
        beat=b":\n\n",
        # Without its empty data browsers would not tell of this event.
        closing=b"event: complete\ndata: \n\n",
        farewell=b"event: next\ndata: " + _FAREWELL + b"\n\n",
    ),
    MULTIPART: Framing(
        content_type='multipart/mixed;boundary="-";subscriptionSpec=1.0',
        opening=b"\r\n---",
        before=_PART + b'{"payload":',
        after=b"}\r\n---",
        beat=_PART + b"{}\r\n---",
        closing=b"--\r\n",
        farewell=_PART + b'{"payload":' + _FAREWELL + b"}\r\n---",
    ),
}


async def once(payload: bytes) -> AsyncGenerator[bytes, None]:
    """The answer of a query as a stream of one event, for a reader who takes nothing else."""
    yield payload


def words_of(error: Exception) -> bytes:
    """What a reader is told of an error that ends a stream."""
    if isinstance(error, RefusedDocument):
        return msgspec.json.encode({"errors": [told(each) for each in error.errors]})
    return msgspec.json.encode({"errors": [told(GraphQLError("", original_error=error))]})
