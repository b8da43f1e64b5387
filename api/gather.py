"""Reads that are asked for at once, in one round trip.

A round trip costs this process more than what it brings: a tenth of a millisecond of the client's own work, where a
snapshot takes two microseconds to decode. So what is asked for while one is on its way, or in the same turn of the
event loop, goes out together, as one MGET, each key once. Nothing is kept after that: a read never begins before it is
asked for, so whoever has just written finds what was written.

What waits is bounded by whoever asks: requests are, and each of them reads a page at the most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from plimsoll.messages import decode

_Message = TypeVar("_Message", bound=msgspec.Struct)
_Read = TypeVar("_Read")


class Strings:
    """Redis strings by key. `read` is an MGET; it may raise, and then every reader of that round trip is told.

    One round trip is on its way at a time: what is asked for meanwhile gathers, and goes out when it has ended.
    """

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]], keys_max: int) -> None:
        self._read = read
        self._keys_max = keys_max
        self._next: deque[_Batch] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def get(self, keys: Sequence[str], kind: type[_Message]) -> list[_Message | None]:
        """The message of each key, in the order asked for. Raises what `read` does."""
        if len(keys) <= self._keys_max:
            return await self._get(keys, kind)
        parts = [keys[start : start + self._keys_max] for start in range(0, len(keys), self._keys_max)]
        return [message for part in parts for message in await self._get(part, kind)]

    async def _get(self, keys: Sequence[str], kind: type[_Message]) -> list[_Message | None]:
        if not keys:
            return []
        loop = asyncio.get_running_loop()
        if not self._next or len(self._next[-1].raw) + len(keys) > self._keys_max:
            self._next.append(_Batch())
            if self._reading is None and len(self._next) == 1:
                # Not at once: who asks in this turn of the loop is still in time.
                loop.call_soon(self._send)
        batch = self._next[-1]
        batch.raw.update(dict.fromkeys(keys))
        # A future each: one reader who is cancelled leaves the others where they were.
        waiting: asyncio.Future[None] = loop.create_future()
        batch.waiting.append(waiting)
        await waiting
        return batch.decoded(keys, kind)

    def _send(self) -> None:
        task = self._reading = asyncio.get_running_loop().create_task(self._fill(self._next.popleft()))
        task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._reading = None
        if self._next:
            self._send()

    async def _fill(self, batch: _Batch) -> None:
        try:
            found = await self._read(list(batch.raw))
        except Exception as error:
            # Whatever it is, it is raised where each of them waits.
            for each in batch.waiting:
                if not each.done():
                    each.set_exception(error)
            return
        batch.raw = dict(zip(batch.raw, found, strict=True))
        for each in batch.waiting:
            if not each.done():
                each.set_result(None)


class _Batch:
    """One round trip: what it reads, who waits for it, and what was decoded of it."""

    def __init__(self) -> None:
        self.raw: dict[str, bytes | None] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self._messages: dict[type, dict[str, Any]] = {}

    def decoded(self, keys: Sequence[str], kind: type[_Message]) -> list[_Message | None]:
        """Messages of this kind; each is decoded once, for whoever asks first."""
        known = self._messages.setdefault(kind, {})
        raw = self.raw
        found: list[_Message | None] = []
        for key in keys:
            message = known.get(key)
            if message is None and (stored := raw[key]) is not None:
                message = known[key] = decode(stored, kind)
            found.append(message)
        return found


class Alike:
    """Reads that are the same: one is on its way at a time, and all who asked before it began share what it brings.

    Whoever asks while one is on its way waits for the next, which begins when that one ends. So what one is told was
    read after one asked.
    """

    def __init__(self) -> None:
        self._next: dict[Hashable, _Shared] = {}
        self._reading: dict[Hashable, asyncio.Task[None]] = {}

    async def read(self, name: Hashable, begin: Callable[[], Awaitable[_Read]]) -> _Read:
        """What `begin` gives or raises. `name` says what is read, all of it."""
        shared = self._next.get(name)
        if shared is None:
            loop = asyncio.get_running_loop()
            shared = self._next[name] = _Shared(loop.create_future(), begin)
            if name not in self._reading:
                # Not at once: who asks in this turn of the loop is still in time.
                loop.call_soon(self._begin, name)
        # Shielded: one reader who is cancelled leaves the others where they were.
        read: _Read = await asyncio.shield(shared.future)
        return read

    def _begin(self, name: Hashable) -> None:
        shared = self._next.pop(name)
        task = self._reading[name] = shared.future.get_loop().create_task(shared.finish())
        task.add_done_callback(lambda _: self._ended(name))

    def _ended(self, name: Hashable) -> None:
        del self._reading[name]
        if name in self._next:
            self._begin(name)


class _Shared(NamedTuple):
    """One read, and where its readers wait."""

    future: asyncio.Future[Any]
    begin: Callable[[], Awaitable[Any]]

    async def finish(self) -> None:
        """Read, and tell everyone."""
        try:
            found = await self.begin()
        except Exception as error:
            # Whatever it is, it is raised where each reader waits; and nobody may be left to be told.
            self.future.set_exception(error)
            self.future.exception()
        else:
            self.future.set_result(found)
