"""Answers of a subscription over plain HTTP: server-sent events, and the multipart form that Apollo's clients read.

Events are framed as clients were found to read them. Lines of an event stream end in LF alone, because urql looks for
two of those. The boundary of a part is sent with the part and not before the next one, because Apollo Client shows a
part only when it has seen what follows. Nothing waits here but the one event that is being sent: a slow reader slows
the source down, which conflates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

import msgspec
from graphql import GraphQLError
from starlette.types import Receive, Scope, Send

from api.documents import RefusedDocument
from api.execution import told
from api.negotiation import EVENT_STREAM, MULTIPART
from api.refusal import graphql_errors

BEAT_SECONDS = 10.0
"""Between signs of life, and between looks at whether the reader may still read."""
BEGIN_SECONDS = 1.0
"""What the first event gets to be there, or to be refused with a status; a quiet stream begins without it."""
SEND_SECONDS = 10.0
"""What a reader gets to take one event; one who does not is cut off."""


class Framing(NamedTuple):
    """How events are set apart from one another."""

    content_type: str
    opening: bytes
    before: bytes
    after: bytes
    beat: bytes
    closing: bytes


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
    ),
    MULTIPART: Framing(
        content_type='multipart/mixed;boundary="-";subscriptionSpec=1.0',
        opening=b"\r\n---",
        before=_PART + b'{"payload":',
        after=b"}\r\n---",
        beat=_PART + b"{}\r\n---",
        closing=b"--\r\n",
    ),
}


class Stream:
    """One subscription on its way to one reader. `may_still` is asked every `BEAT_SECONDS`."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, framing: Framing, may_still: Callable[[], Awaitable[bool]]
    ) -> None:
        self._abort: Callable[[], None] | None = scope["state"].get("abort")
        self._receive = receive
        self._send = send
        self._framing = framing
        self._may_still = may_still

    async def tell(self, events: AsyncGenerator[bytes, None]) -> None:
        """Send every event until the last, or until the reader is gone.

        Raises `RefusedDocument` where the subscription cannot begin: then nothing has been sent.
        """
        coming = asyncio.ensure_future(anext(events, None))
        gone = asyncio.ensure_future(self._departure())
        try:
            await asyncio.wait({coming, gone}, timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if coming.done() and isinstance(error := coming.exception(), RefusedDocument):
                raise error
            await self._begin()
            beat_at = _now() + BEAT_SECONDS
            while not gone.done():
                if _now() >= beat_at:
                    beat_at = _now() + BEAT_SECONDS
                    if not await self._may_still():
                        await self._event(graphql_errors("sign in again to go on", "UNAUTHENTICATED"))
                        break
                    await self._part(self._framing.beat)
                if coming.done():
                    payload = _payload(coming)
                    if payload is None:
                        break
                    await self._event(payload)
                    coming = asyncio.ensure_future(anext(events, None))
                await asyncio.wait(
                    {coming, gone}, timeout=max(0.0, beat_at - _now()), return_when=asyncio.FIRST_COMPLETED
                )
            await self._part(self._framing.closing, more=False)
        except TimeoutError:
            if self._abort is not None:
                self._abort()
                await gone
        finally:
            for task in (coming, gone):
                task.cancel()
            await asyncio.wait({coming, gone})
            await events.aclose()

    async def _begin(self) -> None:
        headers = [
            (b"content-type", self._framing.content_type.encode()),
            (b"cache-control", b"no-store"),
            (b"vary", b"Accept"),
            # Proxies of nginx's kind would keep events until they have a bufferful.
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._part(self._framing.opening)

    async def _event(self, payload: bytes) -> None:
        await self._part(self._framing.before + payload + self._framing.after)

    async def _part(self, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def once(payload: bytes) -> AsyncGenerator[bytes, None]:
    """The answer of a query as a stream of one event, for a reader who takes nothing else."""
    yield payload


def _now() -> float:
    return asyncio.get_running_loop().time()


def _payload(coming: asyncio.Future[bytes | None]) -> bytes | None:
    """What came; an error that ends the stream is its last event but one, and then comes the end."""
    error = coming.exception()
    if error is None:
        return coming.result()
    if isinstance(error, RefusedDocument):
        return msgspec.json.encode({"errors": [told(each) for each in error.errors]})
    if not isinstance(error, Exception):
        raise error
    return msgspec.json.encode({"errors": [told(GraphQLError("", original_error=error))]})
