"""Bytes in, a valid message or a `BadMessage` out: what a sender may get wrong, and what it is told."""

from __future__ import annotations

import json
import re
import string
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import (
    CASH_MAX,
    FUTURE_MAX_SECONDS,
    POSITIONS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    RECORD_SIZE_MAX,
    SESSION_SECONDS_MAX,
    AdvisorPnl,
    BacktestRecord,
    DeadLetter,
    Heartbeat,
    Mark,
    MarketClose,
    MarketTick,
    Moved,
    PortfolioRecord,
    PortfolioUpdate,
    Position,
    RiskBatch,
    RiskPoint,
    RiskSnapshot,
    RiskTolerance,
    ScenarioSetRecord,
    decode,
    decode_closed_portfolio,
    decode_market_close,
    decode_market_tick,
    decode_portfolio_update,
    encode,
    event_time_ns,
)
from plimsoll.refusals import IDENTIFIER_PATTERN, NESTING_MAX, is_identifier

NOW_NS = 1_700_000_000 * 10**9
TOO_LARGE_FOR_A_FLOAT = "the number is too large for a float"

identifiers = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=64)
quantities = st.floats(-QUANTITY_MAX, QUANTITY_MAX)
prices = st.floats(1e-9, PRICE_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
seconds = st.floats(0, NOW_NS / 1e9 + FUTURE_MAX_SECONDS)

positions = st.builds(
    Position,
    symbol=identifiers,
    quantity=quantities,
    price=st.none() | prices,
    weight=st.none() | st.floats(-1, 1),
    sector=st.none() | texts,
)
updates = st.builds(
    PortfolioUpdate,
    id=identifiers,
    advisor_id=identifiers,
    positions=st.lists(positions, max_size=8, unique_by=lambda position: position.symbol),
    client_id=st.none() | identifiers,
    risk_tolerance=st.sampled_from(RiskTolerance),
    account_type=st.none() | texts,
    cash=st.floats(-CASH_MAX, CASH_MAX),
    currency=st.sampled_from([None, "USD"]),
    version=st.none() | st.integers(0, 2**63 - 1),
    timestamp=st.none() | seconds,
)
ticks = st.builds(
    MarketTick,
    symbol=identifiers,
    price=prices,
    volatility=st.none() | st.floats(0, 10),
    expected_return=st.none() | st.floats(-10, 10),
    beta=st.none() | st.floats(-20, 20),
    timestamp=st.none() | seconds,
    source=st.sampled_from([None, "replay"]),
    average_daily_volume=st.none() | st.floats(0, QUANTITY_MAX),
    session_seconds=st.none() | st.floats(0, SESSION_SECONDS_MAX, exclude_min=True),
)
closes = st.builds(
    MarketClose,
    session=st.dates(max_value=date(2023, 11, 14)).map(str),
    closes=st.dictionaries(identifiers, prices, min_size=1, max_size=8),
    sectors=st.none() | st.dictionaries(identifiers, texts, max_size=8),
)


def portfolio(**changes: object) -> bytes:
    """A good update but for what is named."""
    stated: dict[str, object] = {
        "id": "growth",
        "advisor_id": "advisor-1",
        "positions": [{"symbol": "AAPL", "quantity": 10}],
    }
    return json.dumps(stated | changes).encode()


def with_quantity(literal: str) -> bytes:
    """A good update but for its quantity, as it stands in the JSON."""
    return portfolio(positions=[{"symbol": "AAPL", "quantity": 1.5}]).replace(b"1.5", literal.encode())


def refusal(value: bytes, key: bytes | None = b"growth") -> tuple[Reason, str]:
    """Reason and field with which an update is refused."""
    with pytest.raises(BadMessage) as refused:
        decode_portfolio_update(key, value, NOW_NS)
    return refused.value.reason, refused.value.field


def reason_of(read: Callable[[], object]) -> Reason | None:
    """Why a reader refused, None where it did not. Anything but a `BadMessage` comes through, and fails the test."""
    try:
        read()
    except BadMessage as bad:
        return bad.reason
    return None


# --- what is well formed comes through unchanged ----------------------------------------------------------------------


@given(update=updates)
def test_an_update_is_read_as_it_was_written(update: PortfolioUpdate) -> None:
    assert decode_portfolio_update(update.id.encode(), encode(update), NOW_NS) == update


@given(tick=ticks)
def test_a_tick_is_read_as_it_was_written(tick: MarketTick) -> None:
    assert decode_market_tick(tick.symbol.encode(), encode(tick), NOW_NS) == tick


@given(close=closes)
def test_a_close_is_read_as_it_was_written(close: MarketClose) -> None:
    assert decode_market_close(close.session.encode(), encode(close), NOW_NS) == close


OUR_OWN = (
    RiskSnapshot,
    PortfolioRecord,
    Mark,
    ScenarioSetRecord,
    AdvisorPnl,
    BacktestRecord,
    RiskPoint,
    Heartbeat,
    Moved,
    RiskBatch,
    DeadLetter,
)
plain: dict[object, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Every value of a type that messages are made of."""
    if hint in plain:
        return plain[hint]
    inner = get_args(hint)
    if get_origin(hint) is list:
        return st.lists(values_of(inner[0]), max_size=3)
    if get_origin(hint) is dict:
        return st.dictionaries(values_of(inner[0]), values_of(inner[1]), max_size=3)
    if inner:
        return st.one_of([values_of(each) for each in inner])
    if issubclass(hint, Struct):
        return st.builds(hint, **{name: values_of(each) for name, each in get_type_hints(hint).items()})
    return st.sampled_from(hint)


@pytest.mark.parametrize("kind", OUR_OWN)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_we_say_ourselves_is_read_as_it_was_written(kind: type[Struct], data: st.DataObject) -> None:
    message = data.draw(values_of(kind))
    assert decode(encode(message), kind) == message


def test_a_snapshot_begins_with_the_two_fields_that_the_redis_script_reads_out_of_the_text() -> None:
    assert RiskSnapshot.__struct_fields__[:2] == ("sequence", "advisor_id")


def test_an_update_as_older_producers_send_it_is_read() -> None:
    value = portfolio(
        client_id="client-9",
        positions=[
            {"symbol": "AAPL", "quantity": -3, "price": 1, "market_value": -3, "weight": 1, "sector": "Technology"}
        ],
        total_value=-3,
        timestamp="2023-11-14T22:13:20Z",
        risk_tolerance="Aggressive",
        account_type="IRA",
        invented_since="ignored",
    )
    update = decode_portfolio_update(b"growth", value, NOW_NS)
    assert update.positions[0].quantity == -3
    assert update.risk_tolerance is RiskTolerance.AGGRESSIVE
    assert event_time_ns(update.timestamp, NOW_NS) == NOW_NS


def test_a_portfolio_without_positions_is_one() -> None:
    assert decode_portfolio_update(b"growth", portfolio(positions=[]), NOW_NS).positions == []


# --- what is not, is refused with a reason and the field --------------------------------------------------------------

POISON: dict[str, tuple[bytes, Reason, str]] = {
    "not a number": (with_quantity("NaN"), Reason.NON_FINITE, "positions[0].quantity"),
    "infinity": (with_quantity("Infinity"), Reason.NON_FINITE, "positions[0].quantity"),
    "minus infinity": (with_quantity("-Infinity"), Reason.NON_FINITE, "positions[0].quantity"),
    "1e400": (with_quantity("1e400"), Reason.OUT_OF_RANGE, "positions[0].quantity"),
    "5,000 digits": (with_quantity("9" * 5_000), Reason.OUT_OF_RANGE, "positions[0].quantity"),
    "2 to the 64": (with_quantity(str(2**64)), Reason.OUT_OF_RANGE, "positions[0].quantity"),
    "true as a number": (with_quantity("true"), Reason.SCHEMA, "positions[0].quantity"),
    "text as a number": (with_quantity('"10"'), Reason.SCHEMA, "positions[0].quantity"),
    "null as a number": (with_quantity("null"), Reason.SCHEMA, "positions[0].quantity"),
    "too many of one": (with_quantity("1e13"), Reason.OUT_OF_RANGE, "positions[0].quantity"),
    "too much cash": (portfolio(cash=1e16), Reason.OUT_OF_RANGE, "cash"),
    "arrays 100,000 deep": (b"[" * 100_000, Reason.TOO_DEEP, ""),
    "objects 100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Reason.TOO_DEEP, ""),
    "depth in a field nobody reads": (
        portfolio()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        Reason.TOO_DEEP,
        "",
    ),
    "bad UTF-8": (portfolio().replace(b"advisor-1", b"advisor-\xff"), Reason.INVALID_UTF8, ""),
    "a lone surrogate": (portfolio(advisor_id="\ud800"), Reason.INVALID_UTF8, ""),
    "empty bytes": (b"", Reason.MALFORMED_JSON, ""),
    "cut off": (portfolio()[:-1], Reason.MALFORMED_JSON, ""),
    "something behind it": (portfolio() + b"x", Reason.MALFORMED_JSON, ""),
    "null": (b"null", Reason.SCHEMA, ""),
    "a list": (b"[]", Reason.SCHEMA, ""),
    "a number": (b"3", Reason.SCHEMA, ""),
    "no id": (b'{"advisor_id": "advisor-1", "positions": []}', Reason.SCHEMA, ""),
    "an unknown tolerance": (portfolio(risk_tolerance="Reckless"), Reason.SCHEMA, "risk_tolerance"),
    "a negative version": (portfolio(version=-1), Reason.SCHEMA, "version"),
    "a symbol held twice": (
        portfolio(positions=[{"symbol": "AAPL", "quantity": 1}, {"symbol": "AAPL", "quantity": 2}]),
        Reason.DUPLICATE_SYMBOL,
        "positions[1].symbol",
    ),
    "euros": (portfolio(currency="EUR"), Reason.OUT_OF_RANGE, "currency"),
    "from the future": (portfolio(timestamp=NOW_NS / 1e9 + 61), Reason.FUTURE, "timestamp"),
    "in milliseconds": (portfolio(timestamp=NOW_NS / 1e6), Reason.FUTURE, "timestamp"),
    "from before 1970": (portfolio(timestamp=-1), Reason.OUT_OF_RANGE, "timestamp"),
    "no time at all": (portfolio(timestamp="yesterday"), Reason.SCHEMA, "timestamp"),
    "too many positions": (
        portfolio(positions=[{"symbol": f"S{n}", "quantity": 1} for n in range(POSITIONS_MAX + 1)]),
        Reason.TOO_LARGE,
        "positions",
    ),
    "more than a megabyte": (portfolio(note="x" * RECORD_SIZE_MAX), Reason.TOO_LARGE, ""),
}


@pytest.mark.parametrize(("value", "reason", "field"), POISON.values(), ids=POISON.keys())
def test_poison_is_refused_with_its_reason_and_the_field(value: bytes, reason: Reason, field: str) -> None:
    assert refusal(value) == (reason, field)


def test_where_a_number_is_none_is_found_without_writing_down_where_all_others_are() -> None:
    value = b'{"' + b"x" * 5_000 + b'": [' + b"0," * 5_000 + b"NaN]}"
    tracemalloc.start()
    try:
        assert refusal(value) == (Reason.NON_FINITE, f"{'x' * 5_000}[5000]")
        assert tracemalloc.get_traced_memory()[1] < 100 * len(value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", [None, b"", b"income", b"\xff"])
def test_a_record_under_another_key_is_refused(key: bytes | None) -> None:
    assert refusal(portfolio(), key=key) == (Reason.KEY_MISMATCH, "key")


NO_IDENTIFIERS = ["", "a\n", "a\r\n", "a/b", "a b", "x" * 65, "é", "a\x00", "*", "a{b}"]


@pytest.mark.parametrize("text", NO_IDENTIFIERS, ids=repr)
@pytest.mark.parametrize("field", ["id", "advisor_id", "client_id"])
def test_an_identifier_holds_nothing_that_could_break_out_of_a_key_or_a_log_line(field: str, text: str) -> None:
    assert refusal(portfolio(**{field: text}), key=text.encode()) == (Reason.SCHEMA, field)


@pytest.mark.parametrize("text", NO_IDENTIFIERS, ids=repr)
def test_a_symbol_is_an_identifier_too(text: str) -> None:
    value = portfolio(positions=[{"symbol": text, "quantity": 1}])
    assert refusal(value) == (Reason.SCHEMA, "positions[0].symbol")


@given(value=st.binary(max_size=300))
@example(b'{"id":"growth","advisor_id":"a","positions":[],"timestamp":1e308}')
@example(b'{"id":"growth","advisor_id":"a","positions":[],"timestamp":"9999-12-31T23:59:59-23:59"}')
@example(b'{"id":"growth","advisor_id":"a","positions":[],"timestamp":"0001-01-01T00:00:00+23:59"}')
def test_no_bytes_raise_anything_but_a_bad_message(value: bytes) -> None:
    reasons = [
        reason_of(lambda: decode_portfolio_update(b"growth", value, NOW_NS)),
        reason_of(lambda: decode_market_tick(b"AAPL", value, NOW_NS)),
        reason_of(lambda: decode_market_close(b"2020-02-19", value, NOW_NS)),
        reason_of(lambda: decode_closed_portfolio(value)),
    ]
    assert Reason.INTERNAL not in reasons


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(field=st.sampled_from(PortfolioUpdate.__struct_fields__), value=json_values)
def test_any_value_in_any_field_is_taken_or_refused(field: str, value: Any) -> None:
    record = portfolio(**{field: value})
    assert reason_of(lambda: decode_portfolio_update(b"growth", record, NOW_NS)) is not Reason.INTERNAL


def test_brackets_that_nest_deeper_than_ours_but_are_harmless_are_no_reason_to_refuse() -> None:
    deep = NESTING_MAX + 1
    value = portfolio()[:-1] + b',"note":' + b"[" * deep + b"]" * deep + b"}"
    assert decode_portfolio_update(b"growth", value, NOW_NS).id == "growth"


# --- the market -------------------------------------------------------------------------------------------------------

BAD_TICKS = [
    ("price", "0", Reason.OUT_OF_RANGE),
    ("price", "-0.01", Reason.OUT_OF_RANGE),
    ("price", "1e10", Reason.OUT_OF_RANGE),
    ("price", "1e400", Reason.OUT_OF_RANGE),
    ("price", "NaN", Reason.NON_FINITE),
    ("price", "true", Reason.SCHEMA),
    ("price", "null", Reason.SCHEMA),
    ("volatility", "-0.1", Reason.OUT_OF_RANGE),
    ("volatility", "Infinity", Reason.NON_FINITE),
    ("beta", "21", Reason.OUT_OF_RANGE),
    ("expected_return", "-11", Reason.OUT_OF_RANGE),
    ("average_daily_volume", "-1", Reason.OUT_OF_RANGE),
    ("average_daily_volume", "NaN", Reason.NON_FINITE),
    ("session_seconds", "0", Reason.OUT_OF_RANGE),
    ("session_seconds", "604801", Reason.OUT_OF_RANGE),
    ("session_seconds", "NaN", Reason.NON_FINITE),
    ("session_seconds", '"20"', Reason.SCHEMA),
    ("timestamp", str(NOW_NS // 10**9 + 3_600), Reason.FUTURE),
]


@pytest.mark.parametrize(("field", "literal", "reason"), BAD_TICKS)
def test_a_tick_that_cannot_be_is_refused(field: str, literal: str, reason: Reason) -> None:
    stated = {"symbol": '"AAPL"', "price": "1"} | {field: literal}
    value = "{" + ",".join(f'"{name}":{text}' for name, text in stated.items()) + "}"
    with pytest.raises(BadMessage) as refused:
        decode_market_tick(b"AAPL", value.encode(), NOW_NS)
    assert (refused.value.reason, refused.value.field) == (reason, field)


BAD_CLOSES = [
    (b'{"session":"2020-02-19","closes":{}}', Reason.SCHEMA, "closes"),
    (b'{"session":"20200219","closes":{"AAPL":1}}', Reason.SCHEMA, "session"),
    (b'{"session":"2020-02-30","closes":{"AAPL":1}}', Reason.SCHEMA, "session"),
    (b'{"session":"2020-02-19","closes":{"AAPL":0}}', Reason.OUT_OF_RANGE, "closes.AAPL"),
    (b'{"session":"2020-02-19","closes":{"AAPL":NaN}}', Reason.NON_FINITE, "closes.AAPL"),
    (b'{"session":"2020-02-19","closes":{"AA/PL":1}}', Reason.SCHEMA, "closes"),
    (b'{"session":"2020-02-19","closes":{"AAPL":1},"sectors":{"AA/PL":"Technology"}}', Reason.SCHEMA, "sectors"),
    (b'{"session":"2020-02-19","closes":{"AAPL":1},"sectors":{"AAPL":7}}', Reason.SCHEMA, "sectors[...]"),
]


@pytest.mark.parametrize(("value", "reason", "field"), BAD_CLOSES)
def test_a_close_that_cannot_be_is_refused(value: bytes, reason: Reason, field: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode_market_close(b"2020-02-19", value, NOW_NS)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize(("hour", "session"), [(9, "2023-11-14"), (11, "2023-11-15")])
def test_a_close_of_a_day_that_has_begun_nowhere_is_refused(hour: int, session: str) -> None:
    """At 10:00 UTC the day after begins on Kiritimati."""
    now_ns = int(datetime(2023, 11, 14, hour, tzinfo=UTC).timestamp()) * 10**9
    the_day_after = str(date.fromisoformat(session) + timedelta(days=1))

    def close(of: str) -> MarketClose:
        return decode_market_close(of.encode(), encode(MarketClose(of, {"AAPL": 1.0})), now_ns)

    assert close(session).session == session
    for later in (the_day_after, "9999-12-31"):
        with pytest.raises(BadMessage) as refused:
            close(later)
        assert (refused.value.reason, refused.value.field) == (Reason.FUTURE, "session")


def test_a_close_under_another_session_is_refused() -> None:
    with pytest.raises(BadMessage) as refused:
        decode_market_close(b"2020-02-20", b'{"session":"2020-02-19","closes":{"AAPL":1}}', NOW_NS)
    assert refused.value.reason is Reason.KEY_MISMATCH


# --- closing, time ----------------------------------------------------------------------------------------------------


@given(portfolio_id=identifiers)
def test_a_portfolio_is_closed_by_its_key_alone(portfolio_id: str) -> None:
    assert decode_closed_portfolio(portfolio_id.encode()) == portfolio_id


@pytest.mark.parametrize("key", [None, b"", b"a/b", b"\xff", b"growth\n"])
def test_what_is_no_portfolio_id_closes_nothing(key: bytes | None) -> None:
    with pytest.raises(BadMessage) as refused:
        decode_closed_portfolio(key)
    assert refused.value.reason is Reason.KEY_MISMATCH


def test_an_event_that_does_not_say_when_happens_now() -> None:
    assert event_time_ns(None, NOW_NS) == NOW_NS


def test_a_time_without_a_zone_is_utc() -> None:
    assert event_time_ns("2023-11-14T22:13:20", NOW_NS) == event_time_ns("2023-11-14T23:13:20+01:00", NOW_NS)


def test_a_clock_that_is_a_minute_ahead_is_forgiven() -> None:
    ahead = NOW_NS / 1e9 + FUTURE_MAX_SECONDS
    assert event_time_ns(ahead, NOW_NS) == int(ahead * 1e9)
    with pytest.raises(BadMessage) as refused:
        event_time_ns(ahead + 1, NOW_NS)
    assert refused.value.reason is Reason.FUTURE


# --- the text of a refusal --------------------------------------------------------------------------------------------


def test_a_refusal_reads_as_one_sentence_with_its_field() -> None:
    with pytest.raises(BadMessage, match=r"^positions\[0\]\.quantity: " + TOO_LARGE_FOR_A_FLOAT + "$"):
        decode_portfolio_update(b"growth", with_quantity("1e400"), NOW_NS)


def test_every_identifier_of_a_message_is_checked_as_one() -> None:
    """A field whose name says that it identifies something, and whose type does not, would let anything in."""
    for kind in (PortfolioUpdate, Position, MarketTick):
        for name, hint in kind.__annotations__.items():
            if name == "id" or name.endswith("_id") or name == "symbol":
                assert "Identifier" in hint, f"{kind.__name__}.{name}: {hint}"


@given(st.one_of(st.text(max_size=70), st.from_regex(IDENTIFIER_PATTERN)))
def test_the_quick_check_of_an_identifier_says_what_the_pattern_says(text: str) -> None:
    assert is_identifier(text) == (re.match(IDENTIFIER_PATTERN, text) is not None)
