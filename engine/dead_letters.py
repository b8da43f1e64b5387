"""Dead letters read back: which there are, which may be sent again, and which must not. No I/O, no clock.

A dead letter is known by its *source*: where in the log the record stands that could not be applied. An engine that
crashes may write a letter twice, so letters are unique by source, and the later one wins; both have one key, so both
are in one partition, whose order says which is later.

A replay is a new record at the end of the partition that the old one stands in, with a header that names the source.
That header is all there is to know of it. Whoever reads the partition from the letter's record on meets the record
itself, every replay of it, and whatever was said of its portfolio since: one reading answers what is whole, what is
done and what would do harm, and a second run relies on what the first has achieved, though it was killed half way.
Compaction does not spoil that: it removes a replay only after a newer record of the same key, which holds it back too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from plimsoll import messages, topics
from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import DeadLetter

REPLAY_HEADER = "plimsoll-replay-of"
"""Of a Kafka record that was sent again: its value is the source, `topic/partition/offset`."""

KEYED_BY = {
    topics.PORTFOLIO_UPDATES.name: "portfolio",
    topics.MARKET_DATA.name: "symbol",
    topics.MARKET_CLOSES.name: "session",
}
"""The topics that the engine reads, and what their keys name."""

Where = tuple[str, int]
"""Topic and partition."""


class Source(NamedTuple):
    """Where a record stands in the log."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, letter: DeadLetter) -> Source:
        """Where the record stands that the letter is about."""
        return cls(letter.topic, letter.partition, letter.offset)

    @classmethod
    def parse(cls, text: str) -> Source:
        """`topic/partition/offset` as written. Raises ValueError where the text is none."""
        topic, *numbers = text.split("/")
        if not topic or len(numbers) != 2 or not all(each.isascii() and each.isdigit() for each in numbers):
            raise ValueError(f"{text!r} is not topic/partition/offset, like portfolio-updates/3/1207")
        return cls(topic, int(numbers[0]), int(numbers[1]))

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant: those that match in everything that is stated."""

    sources: frozenset[Source] = frozenset()
    reasons: frozenset[Reason] = frozenset()
    topic: str | None = None
    since_ns: int | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.sources or Source.of(letter) in self.sources)
            and (not self.reasons or letter.reason in self.reasons)
            and self.topic in (None, letter.topic)
            and (self.since_ns is None or letter.dead_at_ns >= self.since_ns)
        )


@dataclass(slots=True)
class Letters:
    """Dead letters as they come from the topic, unique by source.

    Everything but the raw bytes is kept of every letter, because a later one of the same source may match where this
    one does not. Raw bytes are kept only where they are asked for and the letter matches: a topic full of them could
    fill the memory.
    """

    choice: Choice
    with_raw: bool = True
    by_source: dict[Source, DeadLetter] = field(default_factory=dict)
    unreadable: int = 0
    """Records of the topic that are no dead letters."""
    _written: Counter[Source] = field(default_factory=Counter)

    def take(self, value: bytes | None) -> None:
        """Fold one record of the topic in; records of one key in the order of their offsets."""
        try:
            letter = messages.decode(value or b"", DeadLetter)
        except BadMessage:
            self.unreadable += 1
            return
        source = Source.of(letter)
        self._written[source] += 1
        keep = self.with_raw and self.choice.matches(letter)
        self.by_source[source] = letter if keep else replace(letter, raw=b"")

    def chosen(self) -> list[DeadLetter]:
        """Those that match, by when they were set aside, the newest last."""
        matching = (letter for letter in self.by_source.values() if self.choice.matches(letter))
        return sorted(matching, key=lambda letter: (letter.dead_at_ns, Source.of(letter)))

    def repeats(self, chosen: Iterable[DeadLetter]) -> int:
        """How many records of the topic said again what another says of the same source."""
        return sum(self._written[Source.of(letter)] - 1 for letter in chosen)


def summary(letters: Iterable[DeadLetter]) -> list[tuple[Reason, str, int]]:
    """How many there are by reason and topic, the most first."""
    counts = Counter((letter.reason, letter.topic) for letter in letters)
    return [(reason, topic, count) for (reason, topic), count in sorted(counts.items(), key=lambda x: (-x[1], x[0]))]


def is_whole(letter: DeadLetter) -> bool:
    """Whether the letter holds all that arrived.

    An empty one does not: a record without bytes and a record with a null value, which closes a portfolio, leave the
    same letter. Only the log can tell them apart.
    """
    return not letter.raw_truncated and letter.raw_size > 0


def is_what_arrived(letter: DeadLetter, value: bytes | None) -> bool:
    """Whether these are the bytes that the letter's hash was taken of."""
    return hashlib.sha256(value or b"").hexdigest() == letter.sha256


# --- replaying --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class LogSince:
    """What the log says from the records of some letters on: those records, their replays, what is newer.

    `ends` are the ends of the partitions as they were when the reading began: nothing beyond has been seen.
    """

    letters: Sequence[DeadLetter]
    ends: dict[Where, int] = field(default_factory=dict)
    originals: dict[Source, bytes | None] = field(default_factory=dict)
    """Values of the records that their letters do not hold whole, as far as the log still has them."""
    replays: dict[Source, Source] = field(default_factory=dict)
    """Source of a letter to where its newest replay stands."""
    newest: dict[tuple[Where, bytes], int] = field(default_factory=dict)
    """Offset of the newest record of each key that a letter has."""
    _asked: set[Source] = field(init=False)
    _keys: set[tuple[Where, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self._asked = {Source.of(letter) for letter in self.letters if not is_whole(letter)}
        self._keys = {
            ((letter.topic, letter.partition), letter.key) for letter in self.letters if letter.key is not None
        }

    @property
    def starts(self) -> dict[Where, int]:
        """Where reading begins: at the oldest letter's record in each partition."""
        oldest: dict[Where, int] = {}
        for letter in self.letters:
            where = (letter.topic, letter.partition)
            oldest[where] = min(letter.offset, oldest.get(where, letter.offset))
        return oldest

    def take(self, at: Source, key: bytes | None, value: bytes | None, replay_of: bytes | None) -> None:
        """Take note of one record, in the order of offsets; `replay_of` is its `REPLAY_HEADER`, if it has one."""
        if at in self._asked:
            self.originals[at] = value
        if key is not None and ((at.topic, at.partition), key) in self._keys:
            self.newest[(at.topic, at.partition), key] = at.offset
        if replay_of is not None:
            try:
                self.replays[Source.parse(replay_of.decode("utf-8", "replace"))] = at
            except ValueError:
                return  # somebody else's header: no replay of ours


class Send(NamedTuple):
    """One record to be sent again. `warning` says why that may be in vain; empty where nothing is known against it."""

    letter: DeadLetter
    value: bytes | None
    warning: str


@dataclass(slots=True)
class Plan:
    """What a replay would do, in the order in which the records stand in the log: the newest stays the newest."""

    send: list[Send] = field(default_factory=list)
    done: list[tuple[Source, Source]] = field(default_factory=list)
    """Replayed before: the source, and where the replay stands."""
    held: list[tuple[Source, str]] = field(default_factory=list)
    """Not to be sent: the source, and why."""


def plan(
    letters: Iterable[DeadLetter], since: LogSince, now_ns: int, *, corrected: bytes | None = None, force: bool = False
) -> Plan:
    """What to do with each letter, given what the log has said since; `now_ns` is our clock, against the future.

    `corrected` replaces the bytes of every letter given. `force` sends also what is older than what the log holds of
    the same portfolio, symbol or session.
    """
    found = Plan()
    for letter in sorted(letters, key=Source.of):
        source = Source.of(letter)
        if replayed := since.replays.get(source):
            found.done.append((source, replayed))
            continue
        if not force and (why := _superseded(letter, since)):
            found.held.append((source, why))
            continue
        if corrected is None and (why := _not_whole(letter, since)):
            found.held.append((source, why))
            continue
        value = corrected if corrected is not None else letter.raw if is_whole(letter) else since.originals[source]
        found.send.append(Send(letter, value, _in_vain(letter, value, now_ns)))
    return found


def _superseded(letter: DeadLetter, since: LogSince) -> str:
    """Why sending the record again would put something old in the place of something newer; empty if it would not."""
    where = (letter.topic, letter.partition)
    end = since.ends.get(where, 0)
    if letter.offset >= end:
        return (
            f"{letter.topic}/{letter.partition} ends before offset {end}: the topic was created anew since, so nobody "
            "can say what is newer (--force sends it all the same)"
        )
    newest = since.newest.get((where, letter.key), -1) if letter.key is not None else -1
    if newest <= letter.offset:
        return ""
    name = f"{KEYED_BY.get(letter.topic, 'key')} {shown(letter.key or b'')}"
    return (
        f"{Source(*where, newest)} is a newer record of {name}, and the older one would replace it "
        "(--force sends it all the same)"
    )


def _not_whole(letter: DeadLetter, since: LogSince) -> str:
    """Why we do not have the record as it arrived; empty if we do."""
    source = Source.of(letter)
    remedy = "send a corrected file with --value, or have its sender send it again"
    if is_whole(letter):
        if is_what_arrived(letter, letter.raw):
            return ""
        return f"its bytes are not those that arrived (another sha256): {remedy}"
    what = (
        f"the letter holds {len(letter.raw):,} of {letter.raw_size:,} bytes"
        if letter.raw_truncated
        else "it is empty, and the letter cannot tell whether it was a null value"
    )
    if source not in since.originals:
        return f"{what}, and the log no longer holds the original at {source}: {remedy}"
    if not is_what_arrived(letter, since.originals[source]):
        return f"{what}, and what stands at {source} now is another record (another sha256): {remedy}"
    return ""


def _in_vain(letter: DeadLetter, value: bytes | None, now_ns: int) -> str:
    """What this version of the decoders has against the record; empty if nothing. Only the engine's book knows all."""
    try:
        if letter.topic == topics.PORTFOLIO_UPDATES.name:
            if value is None:
                messages.decode_closed_portfolio(letter.key)
            else:
                messages.decode_portfolio_update(letter.key, value, now_ns)
        elif value is None:
            raise BadMessage(Reason.SCHEMA, "a null value: a price or a close cannot be taken back, only replaced")
        elif letter.topic == topics.MARKET_DATA.name:
            messages.decode_market_tick(letter.key, value, now_ns)
        elif letter.topic == topics.MARKET_CLOSES.name:
            messages.decode_market_close(letter.key, value, now_ns)
    except BadMessage as bad:
        return f"would be set aside again, {bad.reason}: {bad}"
    return ""


# --- bytes for people -------------------------------------------------------------------------------------------------


def text_of(raw: bytes, *, truncated: bool = False) -> str | None:
    """The bytes as text, None where they are not UTF-8; a character that truncation cut in two is dropped."""
    for cut in range(4 if truncated else 1):
        try:
            return raw[: len(raw) - cut].decode()
        except UnicodeDecodeError:
            continue
    return None


def harmless(text: str) -> str:
    """A text that a terminal only shows: control characters are spelt out, so that a record cannot give it orders."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


def shown(raw: bytes) -> str:
    """A key on one line: as text where it is UTF-8, else as Python writes bytes."""
    text = text_of(raw)
    return repr(raw) if text is None else harmless(text).replace("\n", "\\n").replace("\t", "\\t")


def hexdump(raw: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, and what is printable in ASCII."""
    lines = []
    for start in range(0, len(raw), 16):
        row = raw[start : start + 16]
        pairs = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        printable = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        lines.append(f"{start:08x}  {pairs:<48}  |{printable}|")
    return "\n".join(lines)
