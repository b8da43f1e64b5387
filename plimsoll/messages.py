"""What travels between the programs: on Kafka, in Redis, through pub/sub.

Messages that come from outside (`PortfolioUpdate`, `MarketTick`, `MarketClose`) are decoded by the `decode_*`
functions below and by nothing else. They are total: bytes in, and out comes a valid message or a `BadMessage` that
names the field and the reason. Nothing else is raised, because one stray exception ends a dataflow.

Messages of our own making are whole and frozen: each states the new value rather than a difference, so losing one or
meeting one twice does no harm. Units: money in the reporting currency, fractions of market value end in `_fraction`,
times are UTC nanoseconds and end in `_ns`. Value at risk and expected shortfall are positive for a loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from plimsoll.errors import BadMessage, Reason
from plimsoll.refusals import (
    IDENTIFIER_BYTES,
    IDENTIFIER_PATTERN,
    IDENTIFIER_RULE,
    IDENTIFIER_SIZE_MAX,
    is_identifier,
    refuse,
)

Identifier = Annotated[str, Meta(pattern=IDENTIFIER_PATTERN)]
"""A portfolio, advisor, client or symbol. It becomes a key, a channel and a log field, so nothing else is let in."""
CheckedIdentifier = Annotated[str, Meta(extra_json_schema={"pattern": IDENTIFIER_PATTERN})]
"""The same, checked by `decode_portfolio_update` instead of by its type: a regular expression for each symbol of an
update would take longer than all the rest of decoding it."""

REPORTING_CURRENCY = "USD"
RECORD_SIZE_MAX = 1_000_000
"""Bytes of one record. Kafka's own default limit, so nothing larger arrives by accident."""
POSITIONS_MAX = 10_000
QUANTITY_MAX = 1e12
PRICE_MAX = 1e9
CASH_MAX = 1e15
SESSION_SECONDS_MAX = 604_800.0
"""How slowly a session may be replayed: a week for a day."""
FUTURE_MAX_SECONDS = 60.0
"""How far ahead of our clock an event may claim to be before it is called a mistake."""
EARLIEST_ZONE_HOURS = 14
"""How far the first time zone to begin a day is ahead of UTC."""


class RiskTolerance(StrEnum):
    """How much risk the client asked for."""

    CONSERVATIVE = "Conservative"
    MODERATE = "Moderate"
    AGGRESSIVE = "Aggressive"


_DAY = r"((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"  # of every year
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
Iso8601 = Annotated[
    str, Meta(extra_json_schema={"pattern": rf"^(197[1-9]|19[89][0-9]|[2-9][0-9]{{3}})-{_DAY}T{_TIME}$"})
]
"""A time as text. The pattern is for readers of our documents, and one of several forms that `event_time_ns` reads."""


# --- from outside -----------------------------------------------------------------------------------------------------


class Position(Struct, frozen=True, gc=False):
    """Signed quantity of one symbol; negative is a short position. The rest is the sender's opinion, unused."""

    symbol: CheckedIdentifier
    quantity: Annotated[float, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX)]
    price: float | None = None
    market_value: float | None = None
    weight: float | None = None
    sector: Annotated[str, Meta(max_length=64)] | None = None


class PortfolioUpdate(Struct, frozen=True, gc=False):
    """A portfolio as a whole, as its owner last stated it."""

    id: CheckedIdentifier
    advisor_id: CheckedIdentifier
    positions: list[Position]
    client_id: CheckedIdentifier | None = None
    risk_tolerance: RiskTolerance = RiskTolerance.MODERATE
    account_type: Annotated[str, Meta(max_length=64)] | None = None
    cash: Annotated[float, Meta(ge=-CASH_MAX, le=CASH_MAX)] = 0.0
    currency: Annotated[str, Meta(extra_json_schema={"const": REPORTING_CURRENCY})] | None = None
    version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    total_value: float | None = None
    timestamp: Annotated[float, Meta(extra_json_schema={"minimum": 0})] | Iso8601 | None = None


class MarketTick(Struct, frozen=True, gc=False):
    """One price of one symbol. Volatility, return (annual) and beta are a vendor's opinion."""

    symbol: Identifier
    price: Annotated[float, Meta(gt=0.0, le=PRICE_MAX)]
    volatility: Annotated[float, Meta(ge=0.0, le=10.0)] | None = None
    expected_return: Annotated[float, Meta(ge=-10.0, le=10.0)] | None = None
    beta: Annotated[float, Meta(ge=-20.0, le=20.0)] | None = None
    timestamp: float | str | None = None
    source: Annotated[str, Meta(max_length=32)] | None = None
    """`replay` for historical prices; absent for a live feed."""
    session: Annotated[str, Meta(max_length=10)] | None = None
    """The historical session that a replayed price belongs to."""
    average_daily_volume: Annotated[float, Meta(ge=0.0, le=QUANTITY_MAX)] | None = None
    """Units traded on a usual day: how quickly a position could be sold."""
    session_seconds: Annotated[float, Meta(gt=0.0, le=SESSION_SECONDS_MAX)] | None = None
    """Of a replay: in how many seconds the session is played. Absent where prices stand at its close, and for a live
    feed."""


class MarketClose(Struct, frozen=True, gc=False):
    """The official closes of one session."""

    session: str
    closes: dict[Identifier, float]
    source: Annotated[str, Meta(max_length=32)] | None = None
    sectors: dict[Identifier, Annotated[str, Meta(max_length=64)]] | None = None
    """Whose sector is whose, as far as this session says so; the newest session that names a symbol wins."""


# --- of our own making ------------------------------------------------------------------------------------------------


class RiskSnapshot(Struct, frozen=True, gc=False):
    """All we say about one portfolio at one sequence.

    The Redis script reads the first four fields out of the stored text, and makes a point of history of the first ten
    (`RiskPoint`); they stay first. Fractions and ratios are null where the market value is not positive, or where they
    are not defined (the Sharpe ratio of cash).
    """

    sequence: str
    """Decimal digits, compared as a number: grows for each portfolio for ever."""
    advisor_id: str
    source_partition: int
    """Of `portfolio-updates`: where the update stands that stated its positions; with `source_offset`."""
    portfolio_id: str
    as_of_ns: int
    """Event time of the newest update or price in it."""
    market_value: float
    var_95: float
    es_975: float
    volatility: float | None
    risk_number: int | None
    """Current: swinging as the scenarios do, filtered to the volatility of now."""
    client_id: str | None
    risk_tolerance: RiskTolerance
    calculated_at_ns: int
    gross_exposure: float
    net_exposure: float
    long_exposure: float
    short_exposure: float
    """Negative, so that long and short add up to net."""
    cash: float
    var_99: float
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    expected_return: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    beta: float | None
    tracking_error: float | None
    max_drawdown: float | None
    effective_names: float | None
    risk_number_structural: int | None
    """Swinging as the long run did, five years where history allows."""
    day_pnl: float
    method: str
    horizon_days: int
    observations: int
    scenario_set_id: str
    var_95_scenario_date: str
    coverage: float
    """Share of gross exposure that has its own price history; the rest is proxied. 0 where nothing held is priced."""
    incomplete_symbols: list[str]
    """Held, but without a price: in no number above."""
    proxied_symbols: list[str]
    """Priced, but without a history of their own: valued as beta times the benchmark, and a residual."""
    oldest_price_ns: int | None
    """Event time of the oldest mark that values it; null where nothing is marked."""
    calculation_time_ms: float
    average_calculation_time_ms: float
    calculations: int
    source_offset: int


class PortfolioRecord(Struct, frozen=True, gc=False):
    """A portfolio's positions as applied, and the offset of the update that stated them."""

    portfolio_id: str
    advisor_id: str
    client_id: str | None
    risk_tolerance: RiskTolerance
    account_type: str | None
    cash: float
    symbols: list[str]
    quantities: list[float]
    sectors: list[str | None]
    event_time_ns: int
    version: int | None
    source_partition: int
    source_offset: int


class Mark(Struct, frozen=True, gc=False):
    """The price a symbol is valued with, and when it was taken."""

    price: float
    event_time_ns: int
    previous_close: float | None = None
    volatility: float | None = None
    beta: float | None = None
    source: str | None = None
    session: str | None = None
    average_daily_volume: float | None = None
    session_seconds: float | None = None


class ScenarioSetRecord(Struct, frozen=True):
    """One immutable scenario set, as what it is made from: whoever builds it again arrives at the same id.

    `closes` is float64, C order, (session, symbol), NaN where there is none, in base64 on the wire.
    """

    scenario_set_id: str
    benchmark: str
    window: int
    decay: float
    symbols: list[str]
    sessions: list[str]
    closes: bytes
    sectors: dict[str, str]
    stress_returns: dict[str, dict[str, float]]
    """What each symbol did through a named stress, of those that traded through it."""


class AdvisorPnl(Struct, frozen=True):
    """One worker's portfolios of one advisor, summed. Both P&L vectors are float64, in base64 on the wire."""

    scenario_set_id: str
    portfolios: int
    market_value: float
    gross_exposure: float
    net_exposure: float
    cash: float
    day_pnl: float
    covered_exposure: float
    """Gross exposure that has its own price history."""
    as_of_ns: int
    calculated_at_ns: int
    pnl: bytes
    """By scenario, filtered to the volatility of now."""
    long_run_pnl: bytes
    """By session of the long run, returns as they were; its newest are those of the scenarios."""


class BacktestRecord(Struct, frozen=True, gc=False):
    """How often a portfolio lost more than its value at risk had said, counted at each session's close.

    `recent_95` and `recent_99` hold a character a session, the newest last, `1` for an exception, `0` for none.
    """

    portfolio_id: str
    first_session: str
    last_session: str
    sessions: int
    """Judged since the engine first saw the portfolio at a close."""
    exceptions_95: int
    exceptions_99: int
    recent_95: str
    recent_99: str


class RiskPoint(Struct, frozen=True, gc=False):
    """One minute of a portfolio's history: the beginning of a `RiskSnapshot`, of whose fields these are wanted."""

    sequence: str
    as_of_ns: int
    market_value: float
    var_95: float
    es_975: float
    volatility: float | None
    risk_number: int | None


class Moved(Struct, frozen=True, gc=False):
    """A portfolio that now belongs to another advisor: follow it on that advisor's channel."""

    portfolio_id: str
    advisor_id: str


class RiskBatch(Struct, frozen=True):
    """What one pub/sub message carries: the changes of one advisor's portfolios."""

    snapshots: list[RiskSnapshot] = []
    moved: list[Moved] = []
    closed: list[str] = []


class Replay(Struct, frozen=True, gc=False):
    """The historical session that prices are of, and in how many seconds it is played; 0 where they stand still."""

    session: str
    session_seconds: float


class Heartbeat(Struct, frozen=True):
    """What an engine worker says about itself, once a second."""

    worker_index: int
    workers: int
    started_at_ns: int
    beat_at_ns: int
    state: str
    """`catching-up`, `running` or `draining`."""
    portfolios: int
    applied: int
    stale: int
    dead_lettered: int
    calculations: int
    average_calculation_time_ms: float
    published: int
    scenario_set_id: str | None
    last_session: str | None
    market_source: str | None
    corrections: int = 0
    """How often proxies changed between market records: what a market watermark may be above their number."""
    replay: Replay | None = None
    """None where the newest price is not one of a replay."""
    version: str | None = None
    """Of the program that beats; with the three below, None where it is older than they are."""
    host: str | None = None
    """The machine, as it calls itself."""
    health: str | None = None
    """address:port of its /live, /ready and /metrics, as it listens; None where it serves none."""
    lag: int | None = None
    """Records of its partitions that it has not read yet; None before they were first counted."""


class DeadLetter(Struct, frozen=True):
    """What could not be applied. `raw` is at most 64 KiB of the record, in base64 on the wire; `key` 1 KiB."""

    reason: Reason
    field: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    raw: bytes
    raw_size: int
    raw_truncated: bool
    sha256: str
    dead_at_ns: int


# --- encode -----------------------------------------------------------------------------------------------------------

_ENCODER = msgspec.json.Encoder()


def encode(message: Struct) -> bytes:
    """Any message as JSON in UTF-8."""
    return _ENCODER.encode(message)


def encode_all(messages: Iterable[Struct]) -> list[bytes]:
    """Many messages, one text each."""
    return list(map(_ENCODER.encode, messages))


_Message = TypeVar("_Message", bound=Struct)
_DECODERS: dict[type[Struct], msgspec.json.Decoder[Struct]] = {}


def decode(raw: bytes | str, kind: type[_Message]) -> _Message:
    """One of our own messages back from JSON. Raises `BadMessage` where the bytes are not one."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(raw)  # type: ignore[return-value]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse(error, raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)


# --- decode and validate ----------------------------------------------------------------------------------------------


def decode_portfolio_update(key: bytes | None, value: bytes, now_ns: int) -> PortfolioUpdate:
    """A record of `portfolio-updates` as a valid update; `now_ns` is the reader's clock. Raises `BadMessage`.

    A null value (the portfolio is closed) is not decoded but handled by `decode_closed_portfolio`.
    """
    update, _ = decode_timed_update(key, value, now_ns)
    require_symbols(update)
    return update


def decode_timed_update(key: bytes | None, value: bytes, now_ns: int) -> tuple[PortfolioUpdate, int]:
    """The same and its event time; but its symbols are left unchecked, for whoever has met most of them before."""
    update = _decode_outside(value, PortfolioUpdate)
    names = update.id + update.advisor_id + (update.client_id or "")
    if names.encode("utf-8", "replace").translate(None, IDENTIFIER_BYTES) or not (
        0 < len(update.id) <= IDENTIFIER_SIZE_MAX
        and 0 < len(update.advisor_id) <= IDENTIFIER_SIZE_MAX
        and (update.client_id is None or 0 < len(update.client_id) <= IDENTIFIER_SIZE_MAX)
    ):
        _require_identifiers(update)
    if key != update.id.encode():
        _require_key(key, update.id, "id")
    return update, _check(update, now_ns)


def decode_closed_portfolio(key: bytes | None) -> str:
    """The portfolio id of a null record. Raises `BadMessage` where the key is none."""
    try:
        return msgspec.convert((key or b"").decode(), Identifier)
    except (msgspec.ValidationError, UnicodeDecodeError):
        raise BadMessage(
            Reason.KEY_MISMATCH, f"{key!r} is not a portfolio id, so nothing can be closed", "key"
        ) from None


def decode_market_tick(key: bytes | None, value: bytes, now_ns: int) -> MarketTick:
    """A record of `market-data` as a valid tick. Raises `BadMessage`."""
    return decode_timed_tick(key, value, now_ns)[0]


def decode_timed_tick(key: bytes | None, value: bytes, now_ns: int) -> tuple[MarketTick, int]:
    """The same, and its event time."""
    tick = _decode_outside(value, MarketTick)
    if key != tick.symbol.encode():
        _require_key(key, tick.symbol, "symbol")
    return tick, event_time_ns(tick.timestamp, now_ns)


def decode_market_close(key: bytes | None, value: bytes, now_ns: int) -> MarketClose:
    """A record of `market-closes` as a valid session; `now_ns` is the reader's clock. Raises `BadMessage`."""
    close = _decode_outside(value, MarketClose)
    if not is_session(close.session):
        raise BadMessage(Reason.SCHEMA, f"{close.session!r} is not a date written YYYY-MM-DD", "session")
    # It would be the newest session until its day comes: all that is measured from the last close would be from it.
    if close.session > newest_day(now_ns):
        raise BadMessage(Reason.FUTURE, f"{close.session} has begun nowhere on Earth yet by our clock", "session")
    _require_key(key, close.session, "session")
    if not close.closes:
        raise BadMessage(Reason.SCHEMA, "a session without any close", "closes")
    for symbol, price in close.closes.items():
        _require_range(price, f"closes.{symbol}", above=0.0, most=PRICE_MAX)
    return close


def is_session(text: str) -> bool:
    """Whether a text is a date written YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def newest_day(now_ns: int) -> str:
    """The newest date that has begun somewhere on Earth: no session of a later one can have closed."""
    return (datetime.fromtimestamp(now_ns / 1e9, UTC) + timedelta(hours=EARLIEST_ZONE_HOURS)).date().isoformat()


def validate_portfolio_update(update: PortfolioUpdate, now_ns: int) -> None:
    """What the types alone do not say. Raises `BadMessage` naming the first field that is wrong."""
    for index, position in enumerate(update.positions):
        _require_range(position.quantity, f"positions[{index}].quantity", least=-QUANTITY_MAX, most=QUANTITY_MAX)
    _require_range(update.cash, "cash", least=-CASH_MAX, most=CASH_MAX)
    _require_identifiers(update)
    _check(update, now_ns)
    require_symbols(update)


def require_symbols(update: PortfolioUpdate) -> None:
    """Raise `BadMessage` for the first symbol that is no identifier, or is held twice."""
    met: set[str] = set()
    for index, position in enumerate(update.positions):
        _require_identifier(position.symbol, f"positions[{index}].symbol")
        if position.symbol in met:
            raise BadMessage(
                Reason.DUPLICATE_SYMBOL,
                f"{position.symbol} is held twice; send one position for each symbol",
                f"positions[{index}].symbol",
            )
        met.add(position.symbol)


def _require_identifiers(update: PortfolioUpdate) -> None:
    _require_identifier(update.id, "id")
    _require_identifier(update.advisor_id, "advisor_id")
    if update.client_id is not None:
        _require_identifier(update.client_id, "client_id")


def _check(update: PortfolioUpdate, now_ns: int) -> int:
    """All that is asked of a decoded update beyond its identifiers; when it says it happened."""
    positions = update.positions
    if len(positions) > POSITIONS_MAX:
        raise BadMessage(
            Reason.TOO_LARGE, f"{len(positions)} positions, at most {POSITIONS_MAX} are taken", "positions"
        )
    if update.currency is not None and update.currency != REPORTING_CURRENCY:
        raise BadMessage(
            Reason.OUT_OF_RANGE,
            f"{update.currency!r} is not the reporting currency {REPORTING_CURRENCY}, and no FX rates are held",
            "currency",
        )
    return event_time_ns(update.timestamp, now_ns)


def event_time_ns(timestamp: float | str | None, now_ns: int) -> int:
    """When an event says it happened, in UTC nanoseconds; `now_ns` where it does not say.

    A number is seconds since 1970, a text ISO 8601 (UTC where no zone is given). Raises `BadMessage`: FUTURE where it
    lies more than a minute ahead of the reader's clock, OUT_OF_RANGE before 1970, SCHEMA where it is no time at all.
    """
    if timestamp is None:
        return now_ns
    if isinstance(timestamp, str):
        try:
            stated = datetime.fromisoformat(timestamp)
        except ValueError:
            raise BadMessage(Reason.SCHEMA, f"{timestamp[:40]!r} is not an ISO 8601 time", "timestamp") from None
        seconds = (stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp()
    else:
        seconds = float(timestamp)
    if not math.isfinite(seconds):
        raise BadMessage(Reason.NON_FINITE, f"{seconds} is not a time", "timestamp")
    if seconds < 0:
        raise BadMessage(Reason.OUT_OF_RANGE, f"{timestamp} lies before 1970", "timestamp")
    ahead = seconds - now_ns / 1e9
    if ahead > FUTURE_MAX_SECONDS:
        raise BadMessage(
            Reason.FUTURE,
            f"{timestamp} is {ahead:.6g} s ahead of our clock; numbers are seconds since 1970",
            "timestamp",
        )
    return int(seconds * 1e9)


def _decode_outside(value: bytes, kind: type[_Message]) -> _Message:
    if len(value) > RECORD_SIZE_MAX:
        raise BadMessage(Reason.TOO_LARGE, f"{len(value):,} bytes, at most {RECORD_SIZE_MAX:,} are taken")
    if not value.isascii():
        # The decoder passes over what it does not keep without looking at its encoding.
        try:
            value.decode()
        except UnicodeDecodeError as undecodable:
            refuse(undecodable, value)
    return decode(value, kind)


def _require_identifier(text: str, field: str) -> None:
    if not is_identifier(text):
        raise BadMessage(Reason.SCHEMA, IDENTIFIER_RULE, field)


def _require_key(key: bytes | None, expected: str, field: str) -> None:
    if key != expected.encode():
        shown = "null" if key is None else repr(key[:80].decode("utf-8", "replace"))
        raise BadMessage(Reason.KEY_MISMATCH, f"the record's key is {shown}, its {field} is {expected!r}", "key")


def _require_range(
    value: float | None, field: str, *, above: float | None = None, least: float | None = None, most: float
) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise BadMessage(Reason.NON_FINITE, f"{value} is not a number", field)
    if above is not None and value <= above:
        raise BadMessage(Reason.OUT_OF_RANGE, f"{value} is not above {above:g}", field)
    if least is not None and value < least:
        raise BadMessage(Reason.OUT_OF_RANGE, f"{value} is below {least:g}", field)
    if value > most:
        raise BadMessage(Reason.OUT_OF_RANGE, f"{value} is above {most:g}", field)
