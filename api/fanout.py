"""One subscriber to Redis, many readers: who hears of which portfolio, and what waits while a reader is busy.

A process holds one pub/sub connection, however many sockets it serves. Channels are subscribed to while somebody
watches them and no longer. What has arrived waits in each reader's mailbox, the newest of each portfolio and no more:
a slow reader sees fewer snapshots, never stale ones, and nobody waits for it.

All that has arrived is taken in before readers are woken, and they are woken a few at a time, in the order in which
their news came. So what cannot be carried out in time is replaced by newer in the mailboxes, where it is one snapshot
for each portfolio, and does not pile up in Redis, which cuts off who does not take what it sends.

Pub/sub loses what is published while the connection is down, and says nothing. The one sign is that Redis confirms a
channel a second time; every reader of it is then told of a gap, and reads the store again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.pubsub import Line, Reply, opened
from plimsoll import keys, transport
from plimsoll.errors import BadMessage, Unavailable
from plimsoll.messages import Moved, RiskBatch, RiskSnapshot, decode

SUBSCRIBED_WITHIN_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""A silent connection is asked whether it lives after this, and given up after as long again."""
RETRY_SECONDS_MAX = 2.0
WOKEN_AT_ONCE = 128
"""Readers that are woken before others get their turn on the loop, and before what came meanwhile is taken in."""
BEHIND_TURNS_MAX = 4
"""Turns of the loop for which readers wait while what has arrived is taken in; then some are woken all the same. In
turns and not in seconds, so that they get their share of a processor that is busy with other things as well."""
THIS_SERVER = "this server"
"""What is unavailable where the process stops."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Closed:
    """The portfolio is closed: nothing follows, unless somebody opens it again."""

    portfolio_id: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Something may have been missed: read the store again. Older news of the mailbox has been dropped."""


@dataclass(frozen=True, slots=True)
class Restate:
    """The engine fell silent, or came back: what was told last has to be told again, as it looks now."""


News = RiskSnapshot | Moved | Closed | Gap | Restate


@dataclass(slots=True)
class Traffic:
    """What went through, since the process started."""

    received: int = 0
    """Snapshots that Redis sent."""
    conflated: int = 0
    """Snapshots that a reader never saw, because a newer one replaced them."""
    gaps: int = 0
    """Times the connection to Redis came back, with something perhaps lost."""
    refused: int = 0
    """Messages that were none."""


class Due:
    """Readers who wait and have news, woken in the order in which it came: a few at a time, and not while `is_behind`.

    What is still arriving may replace what they would be woken for.
    """

    __slots__ = ("_is_behind", "_loop", "_mailboxes", "_turns")

    def __init__(self, is_behind: Callable[[], bool] = lambda: False) -> None:
        self._is_behind = is_behind
        self._mailboxes: dict[Mailbox, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = 0

    def future(self) -> asyncio.Future[None]:
        """What a reader waits for."""
        # Kept, because Python makes a system call of each question for the running loop.
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.create_future()

    def add(self, mailbox: Mailbox) -> None:
        """Its reader has been given a `future`, and is to be woken in its turn."""
        if not self._mailboxes and self._loop is not None:
            self._turns = 0
            self._loop.call_soon(self._wake)
        self._mailboxes[mailbox] = None

    def _wake(self) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101  # which calls this
        if self._is_behind() and self._turns < BEHIND_TURNS_MAX:
            self._turns += 1
        else:
            self._turns = 0
            for mailbox in tuple(islice(self._mailboxes, WOKEN_AT_ONCE)):
                del self._mailboxes[mailbox]
                mailbox.wake()
        if self._mailboxes:
            loop.call_soon(self._wake)


class Mailbox:
    """What one reader has yet to read. Bounded by the portfolios it watches; the newest of each gives way to newer."""

    __slots__ = (
        "_due", "_ended", "_gap", "_reader", "_restate", "_stale", "_traffic", "_waiting", "channel", "portfolio_id",
    )  # fmt: skip

    def __init__(
        self, channel: str, portfolio_id: str | None, traffic: Traffic, due: Due | None = None, *, stale: bool = False
    ) -> None:
        self.channel = channel
        self.portfolio_id = portfolio_id
        self._traffic = traffic
        self._due = Due() if due is None else due
        self._stale = stale
        self._restate = False
        self._waiting: dict[str, News] = {}
        self._gap = False
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def put(self, portfolio_id: str, news: RiskSnapshot | Moved | Closed) -> None:
        """Leave news of a portfolio, in the place of any unread news of it."""
        if isinstance(self._waiting.get(portfolio_id), RiskSnapshot):
            self._traffic.conflated += 1
        self._waiting[portfolio_id] = news
        if self._reader is not None:
            self._due.add(self)

    def put_gap(self) -> None:
        """Say that something may be missing. What waits is older than what the store says, so it goes."""
        self._waiting.clear()
        self._gap = True
        self._arrived()

    def put_state(self, *, stale: bool) -> None:
        """Say whether the engine is silent. Its reader hears of it when that is not what it was told before."""
        if stale != self._stale:
            self._stale = stale
            self._restate = True
            self._arrived()

    def put_end(self) -> None:
        """Say that nothing comes any more."""
        self._ended = True
        self._arrived()

    def _arrived(self) -> None:
        if self._reader is not None:
            self._due.add(self)

    def wake(self) -> None:
        """Let the reader go on, if it still waits."""
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def take(self) -> News:
        """Wait for news and take one piece: the portfolio that has waited longest, at its newest.

        Raises `Unavailable` when nothing comes any more.
        """
        while not (self._waiting or self._gap or self._restate or self._ended):
            self._reader = self._due.future()
            await self._reader
        if self._ended:
            raise Unavailable(THIS_SERVER, "it stops; subscribe again, and another one answers")
        if self._gap:
            self._gap = False
            return Gap()
        if self._restate:
            self._restate = False
            return Restate()
        # One at a time: what stays may still be replaced by newer while the reader is busy with this.
        return self._waiting.pop(next(iter(self._waiting)))

    def __len__(self) -> int:
        return len(self._waiting)


@dataclass(slots=True, eq=False)
class _Channel:
    """Who reads one channel or pattern."""

    everything: set[Mailbox] = field(default_factory=set)
    one_portfolio: dict[str, set[Mailbox]] = field(default_factory=dict)
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, mailbox: Mailbox) -> None:
        if mailbox.portfolio_id is None:
            self.everything.add(mailbox)
        else:
            self.one_portfolio.setdefault(mailbox.portfolio_id, set()).add(mailbox)

    def remove(self, mailbox: Mailbox) -> None:
        self.everything.discard(mailbox)
        if mailbox.portfolio_id is not None and (readers := self.one_portfolio.get(mailbox.portfolio_id)):
            readers.discard(mailbox)
            if not readers:
                del self.one_portfolio[mailbox.portfolio_id]

    def readers_of(self, portfolio_id: str) -> Collection[Mailbox]:
        own = self.one_portfolio.get(portfolio_id, ())
        # Most have only one kind of reader, and no set has to be made for them.
        return (*self.everything, *own) if self.everything and own else own or self.everything

    def readers(self) -> set[Mailbox]:
        return self.everything.union(*self.one_portfolio.values())

    @property
    def unread(self) -> bool:
        return not self.everything and not self.one_portfolio


class Fanout:
    """The process's one subscriber. `run` it as long as the process lives; readers `watch`."""

    def __init__(
        self,
        at: transport.Redis,
        jitter: Callable[[], float] = random.random,
        is_stale: Callable[[], bool] = lambda: False,
    ) -> None:
        # No retries of its own: a connection that comes back by itself comes back with a silent gap.
        self._redis: Redis = Redis.from_url(
            **at.redis_py(), retry=Retry(NoBackoff(), 0), socket_connect_timeout=QUIET_SECONDS, health_check_interval=0
        )
        self._at = at
        self._jitter = jitter
        self._is_stale = is_stale
        self._channels: dict[str, _Channel] = {}
        self._changed = asyncio.Event()
        self._line: Line | None = None
        self._due = Due(lambda: self._line is not None and self._line.is_behind)
        self._ended = False
        self.traffic = Traffic()
        self.connected = False

    @property
    def readers(self) -> int:
        """How many watch now."""
        return sum(len(channel.readers()) for channel in self._channels.values())

    @asynccontextmanager
    async def watch(self, channel: str, portfolio_id: str | None = None) -> AsyncIterator[Mailbox]:
        """A mailbox for all of a channel (or of `keys.ALL_RISK_CHANNELS`), or for one portfolio on it.

        Inside, Redis has confirmed the channel: what is published from now on arrives, or a `Gap` does. Raises
        `Unavailable` where Redis confirms nothing within five seconds.
        """
        mailbox = Mailbox(channel, portfolio_id, self.traffic, self._due, stale=self._is_stale())
        if self._ended:
            mailbox.put_end()
        entry = self._channels.setdefault(channel, _Channel())
        entry.add(mailbox)
        self._changed.set()
        try:
            try:
                await asyncio.wait_for(entry.confirmed.wait(), SUBSCRIBED_WITHIN_SECONDS)
            except TimeoutError:
                raise Unavailable("Redis", "it confirms no subscription; subscribe again when it is back") from None
            yield mailbox
        finally:
            entry.remove(mailbox)
            if entry.unread and self._channels.get(channel) is entry:
                del self._channels[channel]
                self._changed.set()

    def tell_state(self, *, stale: bool) -> None:
        """Tell every reader whether the engine is silent."""
        for channel in self._channels.values():
            for mailbox in channel.readers():
                mailbox.put_state(stale=stale)

    def end(self) -> None:
        """Tell every reader, and whoever comes yet, that this process stops."""
        self._ended = True
        for channel in self._channels.values():
            for mailbox in channel.readers():
                mailbox.put_end()

    async def run(self) -> None:
        """Hold the connection, and come back with a growing, jittered delay. Ends only by being cancelled."""
        failures = 0
        try:
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await self._converse()
                except* (RedisError, OSError, TimeoutError) as failed:
                    # Once for each outage: what follows is the same news.
                    error = failed.exceptions[0]
                    level = logging.ERROR if (refused := self._at.refusal(error)) else logging.WARNING
                    said = refused or self._at.said(error)
                    _log.log(logging.DEBUG if failures else level, "no subscriber: %s", said)
                self.connected, self._line = False, None
                lasted = asyncio.get_running_loop().time() - began
                failures = 0 if lasted > QUIET_SECONDS else failures + 1
                await asyncio.sleep(min(RETRY_SECONDS_MAX, 0.05 * 2**failures) * (0.5 + 0.5 * self._jitter()))
        finally:
            await self._redis.aclose()

    async def _converse(self) -> None:
        """One life of the connection: subscribe to what is watched, then follow both sides until it breaks."""
        async with opened(self._redis, self._hear) as line, asyncio.TaskGroup() as tasks:
            self._line = line
            self.connected = True
            tasks.create_task(self._subscribe(line))
            tasks.create_task(_ask_when_quiet(line))
            tasks.create_task(line.hold())

    async def _subscribe(self, line: Line) -> None:
        """Keep what Redis sends equal to what is watched."""
        subscribed: dict[str, _Channel] = {}
        while True:
            self._changed.clear()
            wanted = dict(self._channels)
            # A channel that was given up and taken again has another `_Channel`, which needs its own confirmation.
            fresh = [name for name, channel in wanted.items() if subscribed.get(name) is not channel]
            gone = [name for name in subscribed if name not in wanted]
            await _each_kind(line, "UNSUBSCRIBE", gone)
            await _each_kind(line, "SUBSCRIBE", fresh)
            subscribed = wanted
            await self._changed.wait()

    def _hear(self, reply: Reply) -> None:
        """One reply of Redis; what it says of channels nobody watches, or in ways we do not know, is passed over."""
        match reply:
            case [b"message", bytes(name), bytes(raw)]:
                self._deliver(name, raw, of_everyone=False)
            case [b"pmessage", bytes(name), _, bytes(raw)]:
                self._deliver(name, raw, of_everyone=True)
            case [b"subscribe" | b"psubscribe", bytes(name), _]:
                channel = self._channels.get(name.decode("utf-8", "replace"))
                if channel is not None:
                    self._confirm(channel)

    def _confirm(self, channel: _Channel) -> None:
        if not channel.confirmed.is_set():
            channel.confirmed.set()
            return
        self.traffic.gaps += 1
        for mailbox in channel.readers():
            mailbox.put_gap()

    def _deliver(self, name: bytes, raw: bytes, *, of_everyone: bool) -> None:
        channel = self._channels.get(name.decode("utf-8", "replace"))
        if channel is None:
            return
        try:
            batch = decode(raw, RiskBatch)
        except BadMessage as error:
            self.traffic.refused += 1
            _log.warning("a message on a risk channel is none: %s", error)
            return
        self.traffic.received += len(batch.snapshots)
        for snapshot in batch.snapshots:
            for mailbox in channel.readers_of(snapshot.portfolio_id):
                mailbox.put(snapshot.portfolio_id, snapshot)
        # It is still among everyone's, and the snapshot that says so came the same way.
        for moved in () if of_everyone else batch.moved:
            for mailbox in channel.readers_of(moved.portfolio_id):
                mailbox.put(moved.portfolio_id, moved)
        for portfolio_id in batch.closed:
            for mailbox in channel.readers_of(portfolio_id):
                mailbox.put(portfolio_id, Closed(portfolio_id))


async def _ask_when_quiet(line: Line) -> None:
    """Ask a silent connection whether it lives. Raises `TimeoutError` when it does not answer."""
    clock = asyncio.get_running_loop().time
    while True:
        heard_at = line.heard_at
        await asyncio.sleep(heard_at + QUIET_SECONDS - clock())
        if line.heard_at != heard_at:
            continue
        await line.say("PING")
        await asyncio.sleep(QUIET_SECONDS)
        if line.heard_at == heard_at:
            raise TimeoutError(f"no sign of life for {2 * QUIET_SECONDS:g} s")


async def _each_kind(line: Line, command: str, names: list[str]) -> None:
    """Name the channels to the command, and the pattern to the same for patterns; nothing is sent for none."""
    plain = [name for name in names if name != keys.ALL_RISK_CHANNELS]
    if plain:
        await line.say(command, *plain)
    if len(plain) < len(names):
        await line.say(f"P{command}", keys.ALL_RISK_CHANNELS)
