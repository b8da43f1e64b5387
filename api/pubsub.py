"""One pub/sub connection to Redis, read in bulk: all replies that have come are taken, and none is waited for.

redis-py makes the connection: it knows addresses, TLS, who we are, and both versions of the protocol. Its own way to
read pub/sub takes a chain of coroutines and a timeout for each message, and under RESP3 writes each out as text for a
log that nobody keeps. So once the connection stands, a protocol of ours takes over its transport: what the socket held
is fed to hiredis, and every reply that is whole is handed over at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import hiredis
from redis.asyncio import Redis
from redis.exceptions import InvalidResponse, ResponseError

AT_ONCE_SIZE = 262_144
"""Bytes that are taken in before others get their turn on the loop: about a millisecond of decoding. (libuv alone would
read 8 MB in a turn.)"""
REPLY_SIZE_MAX = 67_108_864
"""Bytes of a reply that is not whole yet. Redis keeps 32 MB for a subscriber, and then cuts it off."""

Reply: TypeAlias = Any
"""As hiredis has it: bytes, a number, None, or a list of these. A push of RESP3 is a list as well."""
_PART = object()


class Line(asyncio.Protocol):
    """An open connection. `hear` is given each reply; what it raises ends the line, as an error of Redis does."""

    def __init__(self, hear: Callable[[Reply], None], pack: Callable[..., list[bytes]]) -> None:
        self._hear = hear
        self._pack = pack
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_PART)
        self._lost: asyncio.Future[Exception] = self._loop.create_future()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._taken = 0
        self._halted = False
        self._transport: Any = None
        self.heard_at = self._loop.time()
        """When something came last, by the clock of the loop."""
        self.is_behind = False
        """Whether more may have come than has been taken in: until a turn of the loop brings nothing."""

    async def say(self, *command: str) -> None:
        """Send a command, and wait while Redis reads nothing. Its answer is heard like everything else.

        Raises what `hold` does where the connection is broken.
        """
        if self._transport.is_closing():
            await self.hold()
        self._transport.writelines(self._pack(*command))
        await self._may_write.wait()

    async def hold(self) -> None:
        """Wait until the connection breaks, and raise why: a `RedisError` or an `OSError`."""
        raise await self._lost

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's own signature is wider than ours
        """Read from now on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every reply that is whole by now."""
        self.heard_at = self._loop.time()
        self._taken += len(data)
        if not self.is_behind:
            self.is_behind = True
            self._loop.call_soon(self._next_turn)
        try:
            self._read(data)
        except Exception as error:
            # Whatever it is, nothing after it can be trusted; whoever holds the line gets it.
            self.connection_lost(error)
            self._transport.abort()
            return
        if self._taken >= AT_ONCE_SIZE and not self._halted:
            self._halted = True
            self._transport.pause_reading()

    def _read(self, data: bytes) -> None:
        reader, hear = self._reader, self._hear
        reader.feed(data)
        while (reply := reader.gets()) is not _PART:
            if isinstance(reply, Exception):
                raise reply
            hear(reply)
        if reader.len() > REPLY_SIZE_MAX:
            raise InvalidResponse(f"a reply of more than {REPLY_SIZE_MAX:,} bytes")

    def _next_turn(self) -> None:
        if not self._taken:
            self.is_behind = False
            return
        self._taken = 0
        if self._halted and not self._transport.is_closing():
            self._halted = False
            self._transport.resume_reading()
        self._loop.call_soon(self._next_turn)

    def pause_writing(self) -> None:
        """Redis does not read."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It broke. Only the first reason counts."""
        self._may_write.set()
        if not self._lost.done():
            self._lost.set_result(exc or ConnectionError("Redis closed the connection"))


@asynccontextmanager
async def opened(redis: Redis, hear: Callable[[Reply], None]) -> AsyncIterator[Line]:
    """A connection of its own, as `redis` would make it; closed at the end. Raises a `RedisError` or an `OSError`."""
    pool: Any = redis.connection_pool
    connection = pool.make_connection()
    try:
        await connection.connect()
        line = Line(hear, connection.pack_command)
        # redis-py has no public way to its transport. Every answer to its greeting has been read, and Redis says
        # nothing to a new connection that it was not asked for, so nothing is left behind in the old protocol.
        transport = connection._writer.transport  # noqa: SLF001
        line.connection_made(transport)
        transport.set_protocol(line)
        yield line
    finally:
        await connection.disconnect(nowait=True)
