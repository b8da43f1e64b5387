"""Dead letters read back and sent again: unique by source, whole or fetched, once, and never over something newer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from embedded.broker import EmbeddedBroker
from engine.dead_letters import (
    REPLAY_HEADER,
    Choice,
    Letters,
    LogSince,
    Plan,
    Send,
    Source,
    harmless,
    hexdump,
    is_whole,
    plan,
    shown,
    summary,
    text_of,
)
from engine.drain import Drain
from engine.kafka_sink import KafkaWriter, producer
from engine.ledger import RAW_SIZE_MAX, Ledger, Record
from engine.replay import Log, LogMoved, look_since, opened, read_letters, send
from engine.window import Window
from plimsoll import topics
from plimsoll.errors import Reason, Unavailable
from plimsoll.messages import DeadLetter, encode
from plimsoll.transport import Heard, Kafka

NOW_NS = 1_600_000_000 * 10**9
GOOD = b'{"id":"p-1","advisor_id":"a","positions":[{"symbol":"AAPL","quantity":1}]}'
UPDATES = topics.PORTFOLIO_UPDATES.name


def letter(offset: int, **other: Any) -> DeadLetter:
    raw = other.pop("raw", GOOD)
    stated: dict[str, Any] = {
        "reason": Reason.INTERNAL,
        "field": "",
        "detail": "d",
        "topic": UPDATES,
        "partition": 3,
        "offset": offset,
        "key": b"p-1",
        "raw": raw[:RAW_SIZE_MAX],
        "raw_size": len(raw),
        "raw_truncated": len(raw) > RAW_SIZE_MAX,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "dead_at_ns": NOW_NS + offset,
    }
    return DeadLetter(**(stated | other))


def folded(letters: list[DeadLetter], choice: Choice | None = None, **how: Any) -> Letters:
    found = Letters(choice or Choice(), **how)
    for each in letters:
        found.take(encode(each))
    return found


def nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


# --- reading ----------------------------------------------------------------------------------------------------------


@given(st.from_regex(r"[a-z][a-z.-]{0,10}", fullmatch=True), st.integers(0, 99), st.integers(0, 2**62))
def test_a_source_is_read_as_it_is_written(topic: str, partition: int, offset: int) -> None:
    assert Source.parse(str(Source(topic, partition, offset))) == Source(topic, partition, offset)


@pytest.mark.parametrize("text", ["", "a", "a/1", "a/1/", "/1/2", "a/b/2", "a/1/-2", "a/1/2/3", "a/1/2 ", "a/1/²"])
def test_what_is_no_source_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="like portfolio-updates/3/1207"):
        Source.parse(text)


def test_of_a_letter_written_twice_the_later_counts_and_the_repeat_is_told() -> None:
    found = folded([letter(1, detail="first"), letter(2), letter(1, detail="second"), letter(1, detail="third")])
    assert [(each.offset, each.detail) for each in found.chosen()] == [(1, "third"), (2, "d")]
    assert found.repeats(found.chosen()) == 2


def test_a_later_letter_that_does_not_match_hides_the_earlier_that_does() -> None:
    wanted = Choice(reasons=frozenset({Reason.SCHEMA}))
    assert folded([letter(1, reason=Reason.SCHEMA), letter(1)], wanted).chosen() == []
    (found,) = folded([letter(1), letter(1, reason=Reason.SCHEMA)], wanted).chosen()
    assert found.raw == GOOD


def test_bytes_are_kept_only_of_what_is_asked_for() -> None:
    found = folded([letter(1), letter(2)], Choice(sources=frozenset({Source(UPDATES, 3, 2)})))
    assert [each.raw for each in found.by_source.values()] == [b"", GOOD]
    assert [each.raw for each in folded([letter(1)], with_raw=False).chosen()] == [b""]


@pytest.mark.parametrize("value", [None, b"", b"{", b"{}", b"\xff", b'{"reason":"NEW"}'])
def test_what_is_no_letter_is_counted_and_does_no_harm(value: bytes | None) -> None:
    found = folded([letter(1)])
    found.take(value)
    assert (len(found.chosen()), found.unreadable) == (1, 1)


def test_a_choice_has_to_match_in_everything_that_is_stated() -> None:
    one = letter(5, reason=Reason.FUTURE)
    assert Choice().matches(one)
    assert Choice(reasons=frozenset({Reason.FUTURE, Reason.SCHEMA}), topic=UPDATES, since_ns=NOW_NS + 5).matches(one)
    assert not Choice(reasons=frozenset({Reason.SCHEMA})).matches(one)
    assert not Choice(topic="market-data").matches(one)
    assert not Choice(since_ns=NOW_NS + 6).matches(one)
    assert not Choice(sources=frozenset({Source(UPDATES, 3, 4)})).matches(one)


def test_the_summary_counts_by_reason_and_topic_the_most_first() -> None:
    letters = [letter(1), letter(2, reason=Reason.SCHEMA), letter(3, reason=Reason.SCHEMA), letter(4, topic="x")]
    assert summary(letters) == [
        (Reason.SCHEMA, UPDATES, 2),
        (Reason.INTERNAL, UPDATES, 1),
        (Reason.INTERNAL, "x", 1),
    ]


# --- planning ---------------------------------------------------------------------------------------------------------


def planned(letters: list[DeadLetter], *log: tuple[int, bytes | None, bytes | None, bytes | None], **how: Any) -> Plan:
    """A plan where partition 3 of the updates holds `log`, (offset, key, value, replay of), and ends at 100."""
    since = LogSince(letters, ends={(UPDATES, 3): 100})
    for offset, key, value, replay_of in log:
        since.take(Source(UPDATES, 3, offset), key, value, replay_of)
    return plan(letters, since, NOW_NS, **how)


def test_a_whole_record_of_which_nothing_newer_is_known_is_sent_as_it_arrived() -> None:
    found = planned([letter(5)], (5, b"p-1", GOOD, None), (6, b"p-2", b"{}", None))
    assert (found.send, found.held, found.done) == ([Send(letter(5), GOOD, "")], [], [])


def test_what_would_replace_something_newer_is_held_back_naming_both_unless_forced() -> None:
    log = ((7, b"p-1", b"{}", None), (9, b"p-1", None, None))
    found = planned([letter(5)], *log)
    ((source, why),) = found.held
    assert source == Source(UPDATES, 3, 5)
    assert why.startswith("portfolio-updates/3/9 is a newer record of portfolio p-1")
    assert not found.send
    assert [each.letter.offset for each in planned([letter(5)], *log, force=True).send] == [5]


def test_of_several_letters_of_one_portfolio_only_the_newest_is_sent_and_forced_ones_keep_their_order() -> None:
    letters = [letter(8), letter(5), letter(6)]
    log = tuple((offset, b"p-1", GOOD, None) for offset in (5, 6, 8))
    assert [each.letter.offset for each in planned(letters, *log).send] == [8]
    assert [each.letter.offset for each in planned(letters, *log, force=True).send] == [5, 6, 8]


def test_what_was_replayed_before_is_left_out_also_when_forced() -> None:
    log = ((20, b"p-1", GOOD, b"portfolio-updates/3/5"),)
    for force in (False, True):
        found = planned([letter(5)], *log, force=force)
        assert found.done == [(Source(UPDATES, 3, 5), Source(UPDATES, 3, 20))]
        assert not found.send
        assert not found.held


@pytest.mark.parametrize("header", [b"", b"x", b"\xff\xff/1/2", b"portfolio-updates/3/6", b"portfolio-updates/4/5"])
def test_a_header_that_names_another_record_or_none_is_no_replay_of_this_one(header: bytes) -> None:
    found = planned([letter(5, key=None)], (20, None, GOOD, header))
    assert [each.letter.offset for each in found.send] == [5]


def test_a_letter_from_before_the_topic_was_created_anew_is_held_back() -> None:
    ((_, why),) = planned([letter(100)]).held
    assert "ends before offset 100: the topic was created anew" in why


def test_a_letter_that_is_not_whole_is_completed_from_the_log() -> None:
    long = GOOD + b" " * RAW_SIZE_MAX
    assert not is_whole(letter(5, raw=long))
    (sent,) = planned([letter(5, raw=long)], (5, b"p-1", long, None)).send
    assert (sent.value, sent.warning) == (long, "")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([], r"holds 65,536 of 65,610 bytes, and the log no longer holds the original at portfolio-updates/3/5"),
        ([(5, b"p-1", b"other", None)], r"stands at portfolio-updates/3/5 now is another record"),
    ],
)
def test_a_letter_that_cannot_be_completed_is_held_back_even_if_forced(log: list[Any], said: str) -> None:
    long = GOOD + b" " * RAW_SIZE_MAX
    ((_, why),) = planned([letter(5, raw=long)], *log, force=True).held
    assert said in why
    assert "--value" in why
    (sent,) = planned([letter(5, raw=long)], *log, corrected=GOOD).send
    assert sent.value == GOOD


@pytest.mark.parametrize("value", [None, b""])
def test_a_null_value_and_an_empty_one_are_told_apart_by_the_log_alone(value: bytes | None) -> None:
    (sent,) = planned([letter(5, raw=b"")], (5, b"p-1", value, None)).send
    assert sent.value == value
    assert bool(sent.warning) == (value is not None)
    ((_, why),) = planned([letter(5, raw=b"")]).held
    assert "cannot tell whether it was a null value" in why


def test_bytes_that_are_not_those_that_arrived_are_held_back() -> None:
    ((_, why),) = planned([letter(5, sha256="0" * 64)]).held
    assert "not those that arrived" in why


@pytest.mark.parametrize(
    ("topic", "key", "raw", "said"),
    [
        (UPDATES, b"p-1", b"{", "MALFORMED_JSON"),
        (UPDATES, b"p-2", GOOD, "KEY_MISMATCH"),
        ("market-data", b"A", b'{"symbol":"A","price":-1}', "OUT_OF_RANGE: price"),
        ("market-closes", b"2020-01-02", b'{"session":"2020-01-02","closes":{}}', "SCHEMA: closes"),
    ],
)
def test_a_record_that_would_be_set_aside_again_is_sent_with_a_warning(
    topic: str, key: bytes, raw: bytes, said: str
) -> None:
    one = letter(5, topic=topic, key=key, raw=raw)
    (sent,) = plan([one], LogSince([one], ends={(topic, 3): 100}), NOW_NS).send
    assert sent.warning.startswith("would be set aside again, ")
    assert said in sent.warning


def test_what_lay_in_the_future_may_have_come_meanwhile() -> None:
    ahead = GOOD[:-1] + b',"timestamp":%d}' % (NOW_NS // 10**9 + 3600)
    one = letter(5, raw=ahead, reason=Reason.FUTURE)
    since = LogSince([one], ends={(UPDATES, 3): 100})
    assert "FUTURE" in plan([one], since, NOW_NS).send[0].warning
    assert plan([one], since, NOW_NS + 3600 * 10**9).send[0].warning == ""


def test_reading_begins_at_the_oldest_letter_of_each_partition() -> None:
    letters = [letter(7), letter(5), letter(2, partition=4)]
    assert LogSince(letters).starts == {(UPDATES, 3): 5, (UPDATES, 4): 2}


# --- bytes for people -------------------------------------------------------------------------------------------------


def test_a_record_cannot_give_orders_to_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\u202ec\n\té") == "a\\x1b[2Jb\\u202ec\n\té"
    assert shown(b"a\nb") == "a\\nb"
    assert shown(b"\xff") == "b'\\xff'"


def test_truncation_in_the_middle_of_a_character_leaves_text() -> None:
    assert text_of("né".encode()[:-1], truncated=True) == "n"
    assert text_of("né".encode()[:-1]) is None
    assert text_of(b"\xff\xfe\xfd\xfc", truncated=True) is None
    assert text_of(b"", truncated=True) == ""


def test_a_hexdump_shows_offset_bytes_and_what_is_printable() -> None:
    assert hexdump(b"0123456789abcdef\x00\xffA").splitlines() == [
        "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "00000010  00 ff 41                                          |..A|",
    ]


# --- with a broker ----------------------------------------------------------------------------------------------------


def written(address: str, letters: list[DeadLetter]) -> None:
    """Write letters as the engine does."""
    writer = KafkaWriter(producer(Kafka(address)), Drain())
    writer.write_batch([Window(dead_letters=letters)])
    writer.snapshot()


def told(address: str, records: list[tuple[bytes | None, bytes | None]], partition: int = 3) -> list[int]:
    """Send records of other people's making to the updates; their offsets."""
    offsets: list[int] = []
    client = Producer({"bootstrap.servers": address})
    for key, value in records:
        client.produce(
            UPDATES, key=key, value=value, partition=partition, callback=lambda _, m: offsets.append(m.offset())
        )
    assert client.flush(10) == 0
    return offsets


def stands_at(address: str, at: Source) -> Any:
    """The record at a source."""
    client = Consumer({"bootstrap.servers": address, "group.id": "t", "auto.offset.reset": "error"})
    client.assign([TopicPartition(*at)])
    deadline = time.monotonic() + 10
    message = None
    while message is None or message.error() is not None:
        assert time.monotonic() < deadline, f"nothing at {at}"
        message = client.poll(0.2)
    client.close()
    assert message.offset() == at.offset
    return message


def set_aside(address: str, records: list[tuple[bytes | None, bytes | None]]) -> list[DeadLetter]:
    """Send records, have the engine's ledger judge them, and write what it sets aside."""
    ledger = Ledger.recovered(None, "SP500", 500, 0.94)
    for offset, (key, value) in zip(told(address, records), records, strict=True):
        ledger.take(Record(UPDATES, 3, offset, key, value), NOW_NS)
    letters = ledger.take_dead()
    written(address, letters)
    return letters


def test_every_letter_there_is_comes_back_as_the_engine_wrote_it(broker_address: str) -> None:
    letters = set_aside(broker_address, [(b"p-%d" % n, b"{%d" % n) for n in range(100)])
    written(broker_address, letters[:7])
    steps: list[tuple[int, int]] = []
    with opened(Kafka(broker_address)) as log:
        found = read_letters(log, Choice(), lambda done, total: steps.append((done, total)))
    assert sorted(found.letters.chosen(), key=Source.of) == letters
    assert found.letters.repeats(found.letters.chosen()) == 7
    assert found.forgotten == 0
    assert steps[-1] == (107, 107)


def test_reading_commits_nothing_so_a_second_reading_sees_the_same(broker_address: str) -> None:
    set_aside(broker_address, [(b"p-1", b"{")])
    for _ in range(2):
        with opened(Kafka(broker_address)) as log:
            assert len(read_letters(log, Choice(), nothing).letters.chosen()) == 1


def test_only_what_stands_within_the_span_is_handed_over(broker_address: str) -> None:
    told(broker_address, [(b"p-1", b"%d" % n) for n in range(10)])
    offsets: list[int] = []
    with opened(Kafka(broker_address)) as log:
        log.read({(UPDATES, 3): range(2, 5)}, lambda message: offsets.append(message.offset()), nothing)
        log.read({(UPDATES, 3): range(8, 8), (UPDATES, 4): range(0)}, lambda message: offsets.append(-1), nothing)
    assert offsets == [2, 3, 4]


class Compacted:
    """A consumer of a partition that holds only some offsets any more, and no end that it would tell of."""

    def __init__(self, offsets: list[int]) -> None:
        self._messages = [
            SimpleNamespace(topic=lambda: UPDATES, partition=lambda: 3, offset=lambda at=offset: at, error=lambda: None)
            for offset in offsets
        ]

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def unassign(self) -> None: ...

    def consume(self, most: int, timeout: float) -> list[Any]:
        taken, self._messages = self._messages[:most], self._messages[most:]
        return taken


def test_where_compaction_took_the_last_records_what_lies_beyond_ends_the_reading_and_is_not_taken() -> None:
    offsets: list[int] = []
    kafka = Kafka("brokers")
    log = Log(kafka, Compacted([0, 2, 7, 8]), 0.3, Heard(kafka))  # type: ignore[arg-type]
    log.read({(UPDATES, 3): range(5)}, lambda message: offsets.append(message.offset()), nothing)
    assert offsets == [0, 2]


def test_an_empty_topic_is_read_at_once(broker_address: str) -> None:
    with opened(Kafka(broker_address)) as log:
        assert read_letters(log, Choice(), nothing).letters.chosen() == []


def test_what_retention_has_dropped_is_counted(embedded_broker: EmbeddedBroker) -> None:
    set_aside(embedded_broker.address, [(b"p-1", b"{%d" % n) for n in range(30)])
    with opened(Kafka(embedded_broker.address)) as log:
        spans = [log.span((topics.DEAD_LETTERS.name, partition)) for partition in range(3)]
        for partition, span in enumerate(spans):
            if span:
                embedded_broker.trim(topics.DEAD_LETTERS.name, partition, span.stop - 1)
        found = read_letters(log, Choice(), nothing)
    kept = sum(1 for span in spans if span)
    assert (len(found.letters.chosen()), found.forgotten) == (kept, 30 - kept)


def test_a_topic_that_is_missing_is_named_with_the_remedy() -> None:
    with (
        EmbeddedBroker.start([topics.PORTFOLIO_UPDATES]) as broker,
        opened(Kafka(broker.address)) as log,
        pytest.raises(LogMoved, match=r"no topic dead-letters at .*`plimsoll topics` creates it"),
    ):
        read_letters(log, Choice(), nothing)


def test_a_broker_that_is_away_is_named() -> None:
    with (
        opened(Kafka("127.0.0.1:1"), patience_seconds=0.3) as log,
        pytest.raises(Unavailable, match=r"Kafka is unavailable: .* at 127\.0\.0\.1:1 \(set KAFKA_BROKERS"),
    ):
        read_letters(log, Choice(), nothing)


def test_a_broker_that_falls_silent_while_it_is_read_is_named(embedded_broker: EmbeddedBroker) -> None:
    set_aside(embedded_broker.address, [(b"p-1", b"{")])
    with opened(Kafka(embedded_broker.address), patience_seconds=2.0) as log:
        spans = {("dead-letters", partition): log.span(("dead-letters", partition)) for partition in range(3)}
        embedded_broker.down()
        with pytest.raises(Unavailable, match=r"nothing heard for 2 s"):
            log.read(spans, lambda message: None, nothing)
        embedded_broker.up()


def replayed(address: str, letters: list[DeadLetter], **how: Any) -> tuple[Plan, Callable[[], Any]]:
    with opened(Kafka(address)) as log:
        found = plan(letters, look_since(log, letters, nothing), NOW_NS, **how)
    return found, lambda: send(producer(Kafka(address), reports_all=True), found.send)


def test_a_replay_goes_to_its_own_partition_under_its_key_and_says_what_it_is(broker_address: str) -> None:
    letters = set_aside(broker_address, [(b"p-1", b"{1"), (b"p-2", GOOD), (None, b"{3")])
    found, go = replayed(broker_address, letters)
    assert len(found.send) == 3
    sent = go()
    assert [(str(source), str(at)) for source, at in sent.delivered] == [
        (f"portfolio-updates/3/{n}", f"portfolio-updates/3/{n + 3}") for n in range(3)
    ]
    for (_, at), one in zip(sent.delivered, letters, strict=True):
        message = stands_at(broker_address, at)
        assert (message.key(), message.value()) == (one.key, one.raw)
        assert message.headers() == [(REPLAY_HEADER, str(Source.of(one)).encode())]


def test_a_second_run_leaves_out_what_the_first_achieved(broker_address: str) -> None:
    letters = set_aside(broker_address, [(b"p-%d" % n, b"{") for n in range(5)])
    first, _ = replayed(broker_address, letters)
    send(producer(Kafka(broker_address), reports_all=True), first.send[:2])  # and then it was killed
    second, go = replayed(broker_address, letters)
    assert [(source.offset, at.offset) for source, at in second.done] == [(0, 5), (1, 6)]
    assert len(go().delivered) == 3
    third, _ = replayed(broker_address, letters)
    assert (len(third.done), third.send, third.held) == (5, [], [])


def test_a_record_that_was_restated_meanwhile_is_held_back(broker_address: str) -> None:
    letters = set_aside(broker_address, [(b"p-1", b"{"), (b"p-2", b"{")])
    told(broker_address, [(b"p-1", GOOD)])
    told(broker_address, [(b"p-2", GOOD)], partition=4)
    found, _ = replayed(broker_address, letters)
    assert [(str(source), why[:23]) for source, why in found.held] == [
        ("portfolio-updates/3/0", "portfolio-updates/3/2 i")
    ]
    assert [each.letter.key for each in found.send] == [b"p-2"]


def test_a_truncated_letter_is_fetched_from_the_log_while_that_holds_it(embedded_broker: EmbeddedBroker) -> None:
    long = b"{" + b"x" * (RAW_SIZE_MAX + 10)
    letters = set_aside(embedded_broker.address, [(b"p-1", long)])
    assert letters[0].raw_truncated
    found, go = replayed(embedded_broker.address, letters)
    assert found.send[0].value == long
    ((_, at),) = go().delivered
    assert stands_at(embedded_broker.address, at).value() == long

    told(embedded_broker.address, [(b"p-9", b"{}")])
    letters = set_aside(embedded_broker.address, [(b"p-2", long)])
    embedded_broker.trim(UPDATES, 3, letters[0].offset + 1)
    told(embedded_broker.address, [(b"p-9", b"{}")])
    found, _ = replayed(embedded_broker.address, letters)
    assert not found.send
    assert "no longer holds the original" in found.held[0][1]


def test_a_closing_that_failed_is_replayed_as_a_closing(broker_address: str) -> None:
    letters = set_aside(broker_address, [(b"p/1", None)])
    assert letters[0].raw == b""
    _, go = replayed(broker_address, letters)
    ((_, at),) = go().delivered
    assert stands_at(broker_address, at).value() is None


def test_what_the_broker_refuses_is_named_and_the_others_arrive(broker_address: str) -> None:
    good, nowhere, large = letter(0), letter(1, partition=99), letter(2)
    sends = [Send(good, GOOD, ""), Send(nowhere, GOOD, ""), Send(large, b"x" * 2_000_000, "")]
    sent = send(producer(Kafka(broker_address), reports_all=True), sends)
    assert [source.offset for source, _ in sent.delivered] == [0]
    assert sorted(source.offset for source, _ in sent.refused) == [1, 2]
    assert sent.unacknowledged == 0


def test_a_silent_broker_is_not_waited_for_without_end() -> None:
    began = time.monotonic()
    client = producer(Kafka("127.0.0.1:1"), reports_all=True)
    sent = send(client, [Send(letter(n), GOOD, "") for n in range(3)], patience_seconds=0.3)
    assert (sent.delivered, sent.refused, sent.unacknowledged) == ([], [], 3)
    assert len(client) == 0, "what was given up must not be sent behind our back"
    assert time.monotonic() - began < 10.0
