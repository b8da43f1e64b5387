"""Events on their way to one reader over plain HTTP, whatever they say and however they are framed.

Nothing waits here but the one event that is being sent: a slow reader slows the source down, which conflates. Whoever
stops reading is cut off, and whoever may not read any more is told no further event, so no stream outlives what let
its reader in: it is asked before each event and every `BEAT_SECONDS`, and nobody gets longer than `SEND_SECONDS` to
take what is there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

BEAT_SECONDS = 10.0
"""Between signs of life, and at most between looks at whether the reader may still read."""
BEGIN_SECONDS = 1.0
"""What the first event gets to be there, or to be refused with a status; a quiet stream begins without it."""
SEND_SECONDS = 10.0
"""What a reader gets to take one event, and at the end all that was sent; one who does not is cut off."""
LOOK_SECONDS = 0.1
"""Between looks at whether everything is taken, once all is sent."""


class Framing(NamedTuple):
    """How events are set apart from one another."""

    content_type: str
    opening: bytes
    before: bytes
    after: bytes
    beat: bytes
    closing: bytes
    farewell: bytes = b""
    """A last event for a reader who may not read any more; empty where the stream just ends."""


class Stream:
    """One stream and its reader. `may_still` says whether the reader may read on.

    An error among the events ends the stream: `words_of` says what the reader is told of it, None for nothing, or
    raises it. One of `refusals` is raised instead where nothing has been sent yet.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        framing: Framing,
        *,
        may_still: Callable[[], Awaitable[bool]],
        words_of: Callable[[Exception], bytes | None],
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        # Of our own server; another one is left to itself with those who do not read.
        self._transport: asyncio.WriteTransport | None = scope["state"].get("transport")
        self._receive = receive
        self._send = send
        self._framing = framing
        self._may_still = may_still
        self._words_of = words_of
        self._refusals = refusals

    async def tell(self, events: AsyncGenerator[bytes, None]) -> None:
        """Send every event until the last, or until the reader is gone or may read no more."""
        coming = asyncio.ensure_future(anext(events, None))
        gone = asyncio.ensure_future(self._departure())
        try:
            await asyncio.wait({coming, gone}, timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if coming.done() and isinstance(error := coming.exception(), self._refusals):
                raise error
            await self._begin()
            beat_at = _now() + BEAT_SECONDS
            while not gone.done():
                is_due = _now() >= beat_at
                if (is_due or coming.done()) and not await self._may_still():
                    await self._part(self._framing.farewell)
                    break
                if is_due:
                    beat_at = _now() + BEAT_SECONDS
                    await self._part(self._framing.beat)
                if coming.done():
                    payload = self._payload(coming)
                    if payload is None:
                        break
                    await self._part(self._framing.before + payload + self._framing.after)
                    coming = asyncio.ensure_future(anext(events, None))
                await asyncio.wait(
                    {coming, gone}, timeout=max(0.0, beat_at - _now()), return_when=asyncio.FIRST_COMPLETED
                )
            await self._part(self._framing.closing, more=False)
            await self._is_taken()
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
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

    async def _part(self, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _is_taken(self) -> None:
        """Wait until the reader has taken the end. Raises `TimeoutError`: a closed connection would wait for ever."""
        for _ in range(math.ceil(SEND_SECONDS / LOOK_SECONDS)):
            if self._transport is None or not self._transport.get_write_buffer_size():
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError

    async def _departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _payload(self, coming: asyncio.Future[bytes | None]) -> bytes | None:
        """What came; an error that ends the stream is its last event but one, and then comes the end."""
        error = coming.exception()
        if error is None:
            return coming.result()
        if not isinstance(error, Exception):
            raise error
        return self._words_of(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
