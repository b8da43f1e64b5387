"""Every record ends in exactly one of applied, stale, dead-lettered."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.ledger import RAW_SIZE_MAX, Ledger, Record
from plimsoll import topics
from plimsoll.errors import Reason
from plimsoll.messages import encode

NOW_NS = 1_700_000_000 * 10**9
Take = Callable[[Sequence[Record]], Ledger]

GOOD = b'{"id":"p-0","advisor_id":"a","positions":[{"symbol":"AAPL","quantity":1}]}'
POISON = [
    (topics.PORTFOLIO_UPDATES, b"p-0", b"{nope", Reason.MALFORMED_JSON, ""),
    (topics.PORTFOLIO_UPDATES, b"p-0", b"", Reason.MALFORMED_JSON, ""),
    (topics.PORTFOLIO_UPDATES, b"p-1", GOOD, Reason.KEY_MISMATCH, "key"),
    (topics.PORTFOLIO_UPDATES, None, GOOD, Reason.KEY_MISMATCH, "key"),
    (topics.PORTFOLIO_UPDATES, b"p/0", None, Reason.KEY_MISMATCH, "key"),
    (topics.MARKET_DATA, b"AAPL", b'{"symbol":"AAPL","price":NaN}', Reason.NON_FINITE, "price"),
    (topics.MARKET_DATA, b"AAPL", b'{"symbol":"AAPL","price":-1}', Reason.OUT_OF_RANGE, "price"),
    (topics.MARKET_DATA, b"AAPL", b'{"symbol":"AAPL"}', Reason.SCHEMA, ""),
    (topics.MARKET_DATA, b"AAPL", None, Reason.SCHEMA, ""),
    (topics.MARKET_CLOSES, b"2020-02-30", b'{"session":"2020-02-30","closes":{"A":1}}', Reason.SCHEMA, "session"),
    (
        topics.MARKET_CLOSES,
        b"2020-02-03",
        b'{"session":"2020-02-03","closes":{"A":0}}',
        Reason.OUT_OF_RANGE,
        "closes.A",
    ),
]


@pytest.mark.parametrize(("topic", "key", "value", "reason", "field"), POISON)
def test_what_cannot_be_applied_is_kept_with_its_reason(
    take: Take, feed: Any, topic: topics.Topic, key: bytes | None, value: bytes | None, reason: Reason, field: str
) -> None:
    ledger = take([feed.record(topic, key, value)])
    (letter,) = ledger.take_dead()
    assert (letter.reason, letter.field) == (reason, field)
    assert (letter.topic, letter.partition, letter.offset) == (topic.name, 0, 0)
    assert (letter.key, letter.raw) == (key, value or b"")
    assert (ledger.applied, ledger.stale, ledger.dead_lettered) == (0, 0, 1)


def test_poison_does_no_harm_to_its_neighbours(take: Take, feed: Any) -> None:
    poison = [feed.record(topic, key, value) for topic, key, value, _, _ in POISON]
    good = [feed.portfolio("p-0", {"AAPL": 1.0}), feed.tick("AAPL", 10.0)]
    ledger = take([poison[0], good[0], *poison[1:], good[1]])
    assert (ledger.applied, ledger.dead_lettered) == (2, len(POISON))
    assert list(ledger.book.row_of) == ["p-0"]
    assert ledger.marks.mark("AAPL").price == 10.0


def test_a_dead_letter_keeps_64_kib_and_the_hash_of_the_whole(take: Take, feed: Any) -> None:
    (letter,) = take([feed.record(topics.MARKET_DATA, b"A", b"x" * (RAW_SIZE_MAX + 1))]).take_dead()
    assert (len(letter.raw), letter.raw_size, letter.raw_truncated) == (RAW_SIZE_MAX, RAW_SIZE_MAX + 1, True)
    assert len(letter.sha256) == 64


LONG = 300_000
"""Bytes of a text within a record that still is one."""


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        (topics.PORTFOLIO_UPDATES, b"p-0", GOOD[:-1] + b',"risk_tolerance":"' + b"x" * 3 * LONG + b'"}'),
        (topics.PORTFOLIO_UPDATES, b"p-0", GOOD[:-1] + b',"currency":"' + b"\\u0001" * (LONG // 2) + b'"}'),
        (topics.PORTFOLIO_UPDATES, b"p-0", GOOD[:-1] + b',"' + b"x" * 3 * LONG + b'":NaN}'),
        (topics.PORTFOLIO_UPDATES, b"\xff" * 3 * LONG, GOOD),
        (topics.PORTFOLIO_UPDATES, b"\xff" * 3 * LONG, None),
        (topics.MARKET_CLOSES, b"a", b'{"session":"' + "\x80".encode() * LONG + b'","closes":{"A":1}}'),
    ],
    ids=["tolerance", "currency", "field", "key", "closed", "session"],
)
def test_a_dead_letter_fits_the_brokers_limit_whatever_its_record_holds(
    take: Take, feed: Any, topic: topics.Topic, key: bytes, value: bytes | None
) -> None:
    """Kafka refuses one that does not, and the worker would end there after every start."""
    (letter,) = take([feed.record(topic, key, value)]).take_dead()
    assert len(encode(letter)) < 2 * RAW_SIZE_MAX


def test_a_fault_of_our_own_is_set_aside_too(
    ledger: Ledger, feed: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(ledger.book, "apply", broken)
    ledger.take(feed.portfolio("p-0", {"AAPL": 1.0}), NOW_NS)
    (letter,) = ledger.take_dead()
    assert letter.reason is Reason.INTERNAL
    assert "ZeroDivisionError" in caplog.text


def test_the_market_watermark_counts_every_market_record_read_bad_ones_too(take: Take, feed: Any) -> None:
    ledger = take(
        [feed.tick("AAPL", 1.0), feed.record(topics.MARKET_DATA, b"B", b"?"), feed.close("2020-02-03", {"A": 1.0})]
    )
    assert ledger.market_watermark == 3


def test_a_market_record_met_twice_is_stale(take: Take, feed: Any) -> None:
    tick = feed.tick("AAPL", 1.0)
    ledger = take([tick, tick])
    assert (ledger.applied, ledger.stale, ledger.market_watermark) == (1, 1, 1)


def test_a_closed_portfolio_is_told_of_once_and_not_if_it_opens_again(take: Take, feed: Any) -> None:
    ledger = take([feed.portfolio("p-0", {"AAPL": 1.0}), feed.portfolio("p-1", {"AAPL": 1.0})])
    take([feed.closed("p-0"), feed.closed("p-1"), feed.portfolio("p-1", {"AAPL": 2.0})])
    assert [closed.portfolio_id for closed in ledger.take_closed()] == ["p-0"]
    assert ledger.take_closed() == []
    assert list(ledger.book.row_of) == ["p-1"]


def test_closes_read_again_after_a_restart_are_not_counted_again(take: Take, feed: Any) -> None:
    closes = [feed.close("2020-02-03", {"A": 1.0}), feed.close("2020-02-04", {"A": 2.0})]
    before = take([*closes, feed.tick("A", 3.0)])
    after = Ledger.recovered(pickle.loads(pickle.dumps(before.recovery_state())), "SP500", 500, 0.94)
    for record in [*closes, feed.close("2020-02-05", {"A": 3.0})]:
        after.take(record, NOW_NS)
    assert (before.applied, after.applied) == (3, 4)
    assert list(after.marks.closes) == ["2020-02-03", "2020-02-04", "2020-02-05"]
    assert after.market_watermark == 4


records = st.lists(
    st.tuples(
        st.sampled_from([topics.PORTFOLIO_UPDATES, topics.MARKET_DATA, topics.MARKET_CLOSES]),
        st.one_of(st.none(), st.sampled_from([b"p-0", b"AAPL", b"2020-02-03"]), st.binary(max_size=8)),
        st.one_of(
            st.none(), st.binary(max_size=40),
            st.sampled_from([GOOD, b'{"symbol":"AAPL","price":3}', b'{"session":"2020-02-03","closes":{"A":1}}']),
        ),
    ),
    max_size=40,
)  # fmt: skip


@given(records)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_arrives_is_counted_exactly_once_and_nothing_is_raised(
    some: list[tuple[topics.Topic, bytes | None, bytes | None]],
) -> None:
    ledger = Ledger.recovered(None, "SP500", 500, 0.94)
    for offset, (topic, key, value) in enumerate(some):
        ledger.take(Record(topic.name, 0, offset, key, value), NOW_NS)
    assert ledger.applied + ledger.stale + ledger.dead_lettered == len(some)
    assert len(ledger.take_dead()) == ledger.dead_lettered
