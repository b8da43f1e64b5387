"""Bodies of requests: how large they may be, and how one is refused so that its sender hears.

A size that is stated is judged before a byte is read; one that is not is counted as it comes. Whoever is refused while
still sending would meet a reset connection and never see why, so what still comes is read and dropped for a moment,
and then the connection ends. How long a body may take is `patience`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.negotiation import headers_of
from plimsoll.messages import RECORD_SIZE_MAX

BODY_SIZE_MAX = RECORD_SIZE_MAX
"""Bytes of a body: a whole portfolio may be stated in one, by REST and by GraphQL, and a record of Kafka holds it."""
LINGER_SECONDS = 2.0
LINGER_SIZE_MAX = 64_000_000
"""Bytes that are dropped after a refusal, at most."""

_CLOSE = {"connection": "close"}
_DIGITS_MAX = len(str(BODY_SIZE_MAX))


class Bodies:
    """ASGI middleware: no handler meets a body that is too large. It stands before all that refuse."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may be read."""
        if scope["type"] == "http":
            headers = headers_of(scope)
            # What is left of a small body whose size is known hinders nobody.
            if b"transfer-encoding" in headers or _is_too_large(headers):
                body = _Body(receive, send, waits=b"expect" in headers)
                receive, send = body.receive, body.send
        await self._app(scope, receive, send)


def refused_body(headers: Mapping[bytes, bytes]) -> tuple[int, str, str, dict[str, str]] | None:
    """Why a body is not read at all: status, code, detail and headers of the answer; None where it is."""
    if _is_too_large(headers):
        return 413, "BODY_TOO_LARGE", _TOO_LARGE, _CLOSE
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"identity", b""):
        detail = f"bodies coded as {coding.decode('latin-1')[:40]!r} are not read; send it without content-encoding"
        return 415, "UNSUPPORTED_MEDIA_TYPE", detail, {"accept-encoding": "identity"}
    return None


class _Body:
    """A body on its way in that may be too large, and the answer on its way out."""

    def __init__(self, receive: Receive, send: Send, *, waits: bool) -> None:
        self._receive = receive
        self._send = send
        self._waits = waits
        """For a word from us before it is sent."""
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next part. Raises `HTTPException` where it is too large."""
        message = await self._receive()
        if not self._complete:
            self._waits = False
            self._size += len(message.get("body", b""))
            if self._size > BODY_SIZE_MAX:
                raise HTTPException(413, _TOO_LARGE, _CLOSE)
            self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on; after the last one, whatever of the body nobody read is dropped."""
        if self._complete:
            await self._send(message)
        elif message["type"] == "http.response.start":
            # What is left of the body would be taken for the next request.
            others = [each for each in message["headers"] if each[0].lower() != b"connection"]
            await self._send({**message, "headers": [*others, (b"connection", b"close")]})
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            if not self._waits:
                await self._drop_the_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_the_rest(self) -> None:
        dropped = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while dropped < LINGER_SIZE_MAX:
                    message = await self._receive()
                    dropped += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return


_TOO_LARGE = f"the body is larger than {BODY_SIZE_MAX:,} bytes; send less at a time"


def _is_too_large(headers: Mapping[bytes, bytes]) -> bool:
    stated = headers.get(b"content-length")
    if stated is None:
        return False
    return len(stated) > _DIGITS_MAX or (stated.isdigit() and int(stated) > BODY_SIZE_MAX)
