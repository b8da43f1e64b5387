"""What a subscription asks for: which events, and how one of them is written, without graphql-core where that can be.

A subscription's selection is read once. Where it holds nothing but plain fields of a snapshot, its events go from the
message that Redis sent to the bytes of the answer in one step: no object of the schema is made, no resolver is called.
Anything else (a field with a resolver or an argument, `@defer`, a number that the schema cannot hold) is written by
graphql-core itself, event by event, so that the answer is always the one it would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from inspect import isawaitable
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
from graphql import FieldNode, GraphQLError, GraphQLInt, get_named_type
from graphql.execution.collect_fields import FieldDetails, collect_fields
from graphql.execution.values import get_argument_values

from api import execution
from api.documents import KEPT_MAX, Prepared, RefusedDocument
from api.frames import Event
from api.schema import schema
from api.schema.execution import Executor
from api.schema.operation import Operation, Session
from api.schema.risk_types import Alignment, band_of
from api.schema.scalars import at
from api.schema.subscriptions import payload_of
from plimsoll import messages

_SCHEMA = schema._schema  # noqa: SLF001
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


BATCHES = "riskBatches"
"""The subscription whose events are of many portfolios."""


class Moment(NamedTuple):
    """When an event is written, and what is known of the engine then."""

    now_ns: int
    stale: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """One subscription, read: the field at its top, the arguments of it, and how events are written."""

    field: str
    arguments: Mapping[str, Any]
    response_key: str
    node: FieldNode
    """Where the field stands, for errors."""
    write: Callable[[Event, Moment], bytes] | None
    """Event to the JSON of an answer; None where only `write_slowly` can."""
    write_slowly: Callable[[Event, Moment], Any]
    """The same by graphql-core, perhaps as an awaitable."""


class _Unfit(Exception):
    """Not for the short way."""


_Reader: TypeAlias = Callable[[Event, Moment], dict[str, Any]]
_readers: dict[tuple[str, str | None], _Reader | None] = {}
"""By document and operation, of documents that are the same whatever the variables are."""


def read(prepared: Prepared, variables: Mapping[str, Any], operation_name: str | None, session: Session) -> Asked:
    """Read a subscription. Raises `RefusedDocument` where its variables or arguments do not fit."""
    executor = _executor(prepared, variables, operation_name, session)
    root = _SCHEMA.subscription_type
    assert root is not None  # noqa: S101  # the schema has subscriptions
    collected = collect_fields(_SCHEMA, executor.fragments, executor.variable_values, root, executor.operation)
    if len(collected.grouped_field_set) != 1:
        raise RefusedDocument([GraphQLError("a subscription asks for exactly one field", executor.operation)])
    ((response_key, details),) = collected.grouped_field_set.items()
    node = details[0].node
    definition = root.fields[node.name.value]
    try:
        arguments = get_argument_values(definition, node, executor.variable_values, details[0].fragment_variable_values)
    except GraphQLError as error:
        raise RefusedDocument([error]) from None
    reader = _event_reader(prepared, operation_name, executor, get_named_type(definition.type), details)

    def slowly(event: Event, moment: Moment) -> Any:  # noqa: ANN401 - bytes, or an awaitable of them
        # Made when it is needed, which is hardly ever: it is large, and there is a stream for each portfolio.
        return _write_exactly(_executor(prepared, variables, operation_name, session), event, moment)

    if reader is not None:
        write: Callable[[Event, Moment], bytes] | None = partial(_write, reader, response_key, slowly)
    else:
        # Nothing in a batch waits for anything. Which ones a slow reader is told as one is known too late to wait.
        write = slowly if node.name.value == BATCHES else None
    return Asked(node.name.value, arguments, response_key, node, write, slowly)


def _executor(
    prepared: Prepared, variables: Mapping[str, Any], operation_name: str | None, session: Session
) -> Executor:
    executor: Any = Executor.build(
        _SCHEMA,
        prepared.document,
        context_value=Operation(session),
        raw_variable_values=dict(variables),
        operation_name=operation_name,
    )
    if isinstance(executor, list):
        raise RefusedDocument(executor)
    made: Executor = executor
    return made


def _write(
    read_event: _Reader, response_key: str, slowly: Callable[[Event, Moment], Any], event: Event, moment: Moment
) -> bytes:
    try:
        return msgspec.json.encode({"data": {response_key: read_event(event, moment)}})
    except _Unfit:
        exact: bytes = slowly(event, moment)
        return exact


def _write_exactly(executor: Executor, event: Event, moment: Moment) -> Any:  # noqa: ANN401
    of_event = executor.build_per_event_executor(payload_of(event, *moment))
    result: Any = of_event.execute_operation(serially=False)

    async def later() -> bytes:
        return execution.payload(await result)

    return later() if isawaitable(result) else execution.payload(result)


# --- reading a selection ----------------------------------------------------------------------------------------------

_Details: TypeAlias = list[FieldDetails]
_Finish: TypeAlias = Callable[[Any, messages.RiskSnapshot, Moment], Any]
_RiskReader: TypeAlias = Callable[[messages.RiskSnapshot, Moment], dict[str, Any]]


def _selected(executor: Executor, kind: Any, details: _Details) -> dict[str, _Details]:  # noqa: ANN401
    """Response key -> where its field stands. Raises `_Unfit` where one is not plain."""
    collected = executor.collect_subfields(kind, details)
    if collected.new_defer_usages:
        raise _Unfit
    for each in collected.grouped_field_set.values():
        name = each[0].node.name.value
        if name != "__typename" and (name not in _plain_fields(kind) or kind.fields[name].args):
            raise _Unfit
    grouped: dict[str, _Details] = collected.grouped_field_set
    return grouped


@cache
def _plain_fields(kind: Any) -> dict[str, str]:  # noqa: ANN401
    """Name in the schema -> attribute, of fields that no resolver stands behind."""
    definition = kind.extensions["strawberry-definition"]
    name_of = schema.config.name_converter.from_field
    return {name_of(each): each.python_name for each in definition.fields if each.is_basic_field}


def _event_reader(
    prepared: Prepared,
    operation_name: str | None,
    executor: Executor,
    kind: Any,  # noqa: ANN401
    details: _Details,
) -> _Reader | None:
    """What reads an event; None where graphql-core has to."""
    key = (prepared.text, operation_name)
    if key in _readers:
        return _readers[key]
    try:
        reader: _Reader | None = _read_selection(executor, kind, details)
    except _Unfit:
        reader = None
    # Nothing but a directive makes the selection depend on variables.
    if "@" not in prepared.text:
        if len(_readers) >= KEPT_MAX:
            _readers.clear()
        _readers[key] = reader
    return reader


def _read_selection(executor: Executor, kind: Any, details: _Details) -> _Reader:  # noqa: ANN401
    parts: list[tuple[str, Callable[[Any, Moment], Any]]] = []
    for key, each in _selected(executor, kind, details).items():
        name = each[0].node.name.value
        if name == "risk":
            parts.append((key, _of_one(_risk_reader(executor, each))))
        elif name == "risks":
            parts.append((key, _of_many(_risk_reader(executor, each))))
        elif name == "__typename":
            parts.append((key, _always(kind.name)))
        elif name in _OF_EVENT:
            parts.append((key, _OF_EVENT[name]))
        else:
            raise _Unfit
    return lambda event, moment: {key: part(event, moment) for key, part in parts}


_OF_EVENT: Mapping[str, Callable[[Any, Moment], Any]] = {
    "reason": lambda event, _: event.reason.name,
    "previousSequence": lambda event, _: event.previous_sequence,
    "change": lambda event, _: event.change.name,
    "closed": lambda event, _: event.closed,
    "stale": lambda _, moment: moment.stale,
}


def _always(value: object) -> Callable[[Any, Moment], Any]:
    return lambda _event, _moment: value


def _of_one(read_risk: _RiskReader) -> Callable[[Any, Moment], Any]:
    return lambda event, moment: read_risk(event.risk, moment)


def _of_many(read_risk: _RiskReader) -> Callable[[Any, Moment], Any]:
    return lambda event, moment: [read_risk(risk, moment) for risk in event.risks.values()]


def _risk_reader(executor: Executor, details: _Details) -> _RiskReader:
    """All plain values in one call of C, and then the few that have to be looked at."""
    kind = _SCHEMA.type_map["RiskSnapshot"]
    plain = _plain_fields(kind)
    keys: list[str] = []
    attributes: list[str] = []
    finishing: list[tuple[int, _Finish]] = []
    for key, each in _selected(executor, kind, details).items():
        attribute, finish = _column(executor, kind, plain, each)
        if finish is not None:
            finishing.append((len(keys), finish))
        keys.append(key)
        attributes.append(attribute)
    # One more than there are keys: of a single attribute `attrgetter` would give no tuple.
    values_of = attrgetter(*attributes, "sequence")

    def read_risk(risk: messages.RiskSnapshot, moment: Moment) -> dict[str, Any]:
        values = [*values_of(risk)]
        for index, finish in finishing:
            values[index] = finish(values[index], risk, moment)
        return dict(zip(keys, values, strict=False))

    return read_risk


def _column(executor: Executor, kind: Any, plain: dict[str, str], details: _Details) -> tuple[str, _Finish | None]:  # noqa: ANN401
    """The attribute of the message that a field is read from, and what is done to its value."""
    name = details[0].node.name.value
    if name == "__typename":
        return "sequence", lambda _value, _risk, _moment: kind.name
    if name == "alignment":
        return "sequence", _alignment_finish(executor, details)
    attribute = plain[name]
    if attribute in _DERIVED:
        return _DERIVED[attribute]
    if attribute not in messages.RiskSnapshot.__struct_fields__:
        raise _Unfit
    return attribute, _integer if get_named_type(kind.fields[name].type) is GraphQLInt else None


def _integer(value: int | None, _risk: messages.RiskSnapshot, _moment: Moment) -> int | None:
    if value is not None and not _INT_MIN <= value <= _INT_MAX:
        raise _Unfit
    return value


def _time(time_ns: int, _risk: messages.RiskSnapshot, _moment: Moment) -> str:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    microseconds = nanoseconds // 1000
    return f"{_second(seconds)}.{microseconds:06d}+00:00" if microseconds else f"{_second(seconds)}+00:00"


@lru_cache(1024)
def _second(seconds: int) -> str:
    """A whole second as ISO 8601 without its zone: thousands of events name the same few."""
    return at(seconds * 1_000_000_000).replace(tzinfo=None).isoformat()


def _band(number: int | None, _risk: messages.RiskSnapshot, _moment: Moment) -> str | None:
    band = band_of(number)
    return None if band is None else band.name


def _price_age(oldest_ns: int | None, _risk: messages.RiskSnapshot, moment: Moment) -> float | None:
    return None if oldest_ns is None else (moment.now_ns - oldest_ns) / 1e6


_DERIVED: Mapping[str, tuple[str, _Finish]] = {
    "as_of": ("as_of_ns", _time),
    "calculated_at": ("calculated_at_ns", _time),
    "risk_tolerance": ("risk_tolerance", lambda value, _risk, _moment: value.name),
    "risk_band": ("risk_number", _band),
    "stale": ("sequence", lambda _value, _risk, moment: moment.stale),
    "price_age_ms": ("oldest_price_ns", _price_age),
}
"""As `RiskSnapshot.of` makes them. A test holds the two together, field by field."""


def _alignment_finish(executor: Executor, details: _Details) -> _Finish:
    kind = _SCHEMA.type_map["Alignment"]
    plain = _plain_fields(kind)
    names = {key: each[0].node.name.value for key, each in _selected(executor, kind, details).items()}

    def finish(_value: object, risk: messages.RiskSnapshot, _moment: Moment) -> dict[str, Any] | None:
        beside = Alignment.of(risk)
        if beside is None:
            return None
        told = {"__typename": kind.name, **{name: getattr(beside, attribute) for name, attribute in plain.items()}}
        told["verdict"] = beside.verdict.name
        return {key: told[name] for key, name in names.items()}

    return finish
