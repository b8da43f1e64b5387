"""Subscriptions that ask for the same are carried out once a process, and their frames are shared.

The same means: the same document, operation and variables, asked for by callers who see the same (`Caller.view`). What
is shared is made from the view alone; nothing of whoever came first is in it. Who may subscribe at all is decided for
each subscriber before it gets here, and who may stay is watched where its connection is.

A stream keeps the newest event of every portfolio that it follows. One who joins is told these as if they were the
beginning, in the same step in which it is added to the readers: nothing can come in between, so the first events are
the present state and everything after is strictly newer. Its `previousSequence` is that of the stream, not of what one
reader saw: where it is larger than what a reader saw last, something in between was left out for that reader.

A stream hands frames over and never waits for a reader; what is yet unread is each reader's own to keep, within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from inspect import isawaitable
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
from graphql import GraphQLError

from api import event_projection, execution
from api.documents import Prepared, RefusedDocument
from api.event_projection import Asked, Moment
from api.fanout import THIS_SERVER
from api.frames import LAST, Event, Frame, Writer, as_of_ns, label_of, merged, other_ways
from api.identity import Caller, Role
from api.schema.operation import Session
from api.schema.subscriptions import STREAMS

READERS_AT_ONCE = 128
"""Readers that are handed a frame before others get their turn on the loop."""

Errors: TypeAlias = list[Mapping[str, Any]]


class Reader(Protocol):
    """Whoever follows a stream. Both calls return at once."""

    def tell(self, frame: Frame) -> None:
        """The next frame; or, of its portfolio, one that replaces what is yet unread."""

    def end(self, errors: Errors | None) -> None:
        """Nothing follows: it is complete, or these errors ended it."""


class _Key(NamedTuple):
    text: str
    operation_name: str | None
    variables: bytes
    view: str | None


class Stream:
    """One subscription carried out, and who reads it."""

    __slots__ = ("_asked", "_present", "_readers", "_session", "_writer")

    def __init__(self, asked: Asked, session: Session) -> None:
        self._asked = asked
        self._session = session
        engine, clock = session.backend.engine, session.backend.clock
        write = asked.write or _never
        self._writer = Writer(lambda event: write(event, Moment(clock(), engine.stale_now())), clock)
        self._readers: dict[Reader, None] = {}
        self._present: dict[str, Frame] = {}

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def add(self, reader: Reader) -> None:
        """Begin to hand over: the present state first."""
        self._readers[reader] = None
        for frame in self._present.values():
            reader.tell(frame.as_first())

    def remove(self, reader: Reader) -> None:
        """Hand over no more."""
        self._readers.pop(reader, None)

    async def run(self) -> Errors | None:
        """Follow to the end. Returns what ended it: None where it is complete."""
        try:
            await self._session.backend.engine.is_stale()  # so that the first event is written from what is known now
            events: Any = STREAMS[self._asked.field](self._session.backend, self._asked.arguments)
            async with aclosing(events):
                async for event in events:
                    await self._tell(event)
        except Exception as error:
            # Whatever it is, its readers are told, and `told` masks and logs what is ours.
            located = GraphQLError(str(error), self._asked.node, path=[self._asked.response_key], original_error=error)
            return [execution.told(located)]
        return None

    async def _tell(self, event: Event) -> None:
        frame = Frame(event, self._writer)
        if self._asked.write is None:
            await self._write_ahead(frame)
        before = self._present.get(frame.key)
        if label_of(event) in LAST:
            self._present.pop(frame.key, None)
        else:
            self._present[frame.key] = frame
        if len(self._readers) == 1:
            next(iter(self._readers)).tell(frame)
        else:
            await self._tell_many(frame)
        if before is not None:
            self._note_age(event, before.event)

    async def _tell_many(self, frame: Frame) -> None:
        # Whoever joins meanwhile is told this frame by `add`, and is not among these.
        readers = tuple(self._readers)
        for start in range(0, len(readers), READERS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            for reader in readers[start : start + READERS_AT_ONCE]:
                reader.tell(frame)

    def _note_age(self, event: Event, before: Event) -> None:
        """How old the news was when everyone had it. An event that is offered again brings none."""
        newest_ns = as_of_ns(event)
        if newest_ns > as_of_ns(before):
            backend = self._session.backend
            # A sender's clock may be ahead of ours.
            backend.telemetry.tick_to_subscriber.observe(max(0.0, (backend.clock() - newest_ns) / 1e9))

    async def _write_ahead(self, frame: Frame) -> None:
        """Write it in every way it may be needed: what takes a resolver cannot be written while a reader waits."""
        backend = self._session.backend
        moment = Moment(backend.clock(), backend.engine.stale_now())
        frame.keep(await self._slowly(frame.event, moment))
        for other in other_ways(frame.event):
            frame.has_said(label_of(other), await self._slowly(other, moment))

    async def _slowly(self, event: Event, moment: Moment) -> bytes:
        written = self._asked.write_slowly(event, moment)
        payload: bytes = await written if isawaitable(written) else written
        return payload

    def take_readers(self) -> tuple[Reader, ...]:
        """Every reader, who is none of this stream's any more."""
        readers = tuple(self._readers)
        self._readers.clear()
        return readers


class SharedStreams:
    """All streams of a process. `join` one and `leave` it; it runs while it has readers."""

    def __init__(self) -> None:
        self._streams: dict[_Key, Stream] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._joined: dict[Reader, _Key] = {}

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._joined)

    def join(
        self,
        session: Session,
        prepared: Prepared,
        variables: Mapping[str, Any],
        operation_name: str | None,
        reader: Reader,
    ) -> None:
        """Hand a subscription's frames to a reader who may have them, from the present state on, until it leaves.

        Raises `RefusedDocument` where the variables do not fit. What else is wrong ends the reader with errors.
        """
        key = _Key(prepared.text, operation_name, _canonical(variables), session.caller.view)
        stream = self._streams.get(key)
        if stream is None:
            everyone = Session(session.backend, _of_view(key.view))
            asked = event_projection.read(prepared, variables, operation_name, everyone)
            stream = self._streams[key] = Stream(asked, everyone)
            self._tasks[key] = asyncio.create_task(self._run(key, stream), name=f"stream of {asked.field}")
        self._joined[reader] = key
        stream.add(reader)

    def leave(self, reader: Reader) -> None:
        """Hand over no more; a stream without readers ends. Does nothing for who has left already."""
        key = self._joined.pop(reader, None)
        if key is None or (stream := self._streams.get(key)) is None:
            return
        stream.remove(reader)
        if not stream.readers:
            self._tasks[key].cancel()
            del self._streams[key], self._tasks[key]

    async def payloads(
        self, session: Session, prepared: Prepared, variables: Mapping[str, Any], operation_name: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The same for one who waits for each payload: an HTTP answer. Conflated while it is busy.

        Raises `RefusedDocument` before the first payload where the subscription cannot begin. Later, an error that
        ends the stream is its last payload, except that this server stops: then it just ends, and its reader comes
        back for the rest.
        """
        waiting = Waiting()
        self.join(session, prepared, variables, operation_name, waiting)
        try:
            async for payload in waiting:
                yield payload
        finally:
            self.leave(waiting)

    async def aclose(self) -> None:
        """End every stream."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._streams.clear()
        self._tasks.clear()

    async def _run(self, key: _Key, stream: Stream) -> None:
        errors = await stream.run()
        # No pause between the end and its being known: whoever joins from here on begins a stream of its own.
        if self._streams.get(key) is stream:
            del self._streams[key], self._tasks[key]
        readers = stream.take_readers()
        for reader in readers:
            self._joined.pop(reader, None)
        for reader in readers:
            reader.end(errors)


class Waiting:
    """A reader that is waited for: the newest frame of each portfolio, at most one for each that the stream follows."""

    def __init__(self) -> None:
        self._frames: dict[str, Frame] = {}
        self._arrived = asyncio.Event()
        self._ended = False
        self._errors: Errors | None = None

    def tell(self, frame: Frame) -> None:
        """Keep it in the place of what is unread of its portfolio."""
        waiting = self._frames.get(frame.key)
        newest = frame if waiting is None else merged(waiting, frame)
        if newest is None:
            del self._frames[frame.key]
        else:
            self._frames[frame.key] = newest
            self._arrived.set()

    def end(self, errors: Errors | None) -> None:
        """After what is unread, nothing follows."""
        self._ended, self._errors = True, errors
        self._arrived.set()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Payloads as they come. Raises `RefusedDocument` where errors came before any."""
        begun = False
        while True:
            await self._arrived.wait()
            while self._frames:
                yield self._frames.pop(next(iter(self._frames))).payload
                begun = True
            if self._ended:
                break
            self._arrived.clear()
        if self._errors and not begun:
            raise RefusedDocument([_as_error(each) for each in self._errors])
        if self._errors and not stops(self._errors):
            yield msgspec.json.encode({"data": None, "errors": self._errors})


def stops(errors: Errors) -> bool:
    """Whether what ended a stream is that this server stops."""
    return any(each.get("extensions", {}).get("dependency") == THIS_SERVER for each in errors)


def _as_error(told: Mapping[str, Any]) -> GraphQLError:
    return GraphQLError(told["message"], path=told.get("path"), extensions=told.get("extensions"))


def _canonical(variables: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(variables, order="deterministic")


def _of_view(view: str | None) -> Caller:
    """A caller who is nobody, and sees what the view allows."""
    role = Role.RISK_MANAGER if view is None else Role.ADVISOR
    return Caller("a shared stream", frozenset((role,)), view)


def _never(_event: Event, _moment: Moment) -> bytes:
    raise AssertionError("written ahead, or not at all")
