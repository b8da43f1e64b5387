"""The short way to an event's bytes says what graphql-core would say, whatever is selected."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import pytest
from graphql import GraphQLObjectType, is_leaf_type, is_object_type
from hypothesis import given
from hypothesis import strategies as st

from api import event_projection
from api.batches import Batch, BatchReason
from api.documents import RefusedDocument, prepare
from api.event_projection import Asked, Moment, read
from api.follow import AtRiskChange, AtRiskMove, RiskEvent, RiskEventReason
from api.frames import Event
from api.identity import ANYONE
from api.schema import schema
from api.schema.operation import Session
from api.schema.subscriptions import STREAMS
from plimsoll.messages import RiskTolerance

if TYPE_CHECKING:
    from tests.api.conftest import Make

ROOT = schema._schema.subscription_type
TYPES = schema._schema.type_map
ARGUMENTS = {
    "portfolioRisk": '(portfolioId: "p-1")',
    "advisorRisk": '(advisorId: "a-1")',
    "atRisk": "",
    "riskBatches": "",
}


class Store:
    risk = record = None


class Backend:
    store = Store()


SESSION = Session(cast("Any", Backend()), ANYONE)


def asked(text: str, **variables: Any) -> Asked:
    return read(prepare(text), variables, None, SESSION)


def selections(kind: GraphQLObjectType) -> st.SearchStrategy[str]:
    """Fields of a type in any order, some twice, some renamed, some in fragments or behind a directive."""
    leaves = [name for name, field in kind.fields.items() if is_leaf_type(bare(field.type))]
    nested = {name: bare(field.type) for name, field in kind.fields.items() if is_object_type(bare(field.type))}
    field = st.sampled_from([*leaves, "__typename"])
    renamed = st.builds(lambda number, name: f"n{number}_{name}: {name}", st.integers(0, 3), field)
    parts = [field, renamed]
    parts += [
        st.sampled_from(["", "other: "]).flatmap(
            lambda alias, name=name, inner=inner: selections(inner).map(lambda chosen: f"{alias}{name} {{ {chosen} }}")
        )
        for name, inner in nested.items()
    ]
    plain = st.one_of(parts)
    directed = st.builds(
        lambda part, which: part if "{" in part else f"{part} @{which}(if: $yes)",
        plain,
        st.sampled_from(["skip", "include"]),
    )
    fragment = st.builds(lambda part: f"... on {kind.name} {{ {part} }}", plain)
    return st.lists(st.one_of(plain, plain, directed, fragment), min_size=1, max_size=12).map(" ".join)


def bare(kind: Any) -> Any:
    while hasattr(kind, "of_type"):
        kind = kind.of_type
    return kind


@cache
def of_field(name: str) -> st.SearchStrategy[str]:
    assert ROOT is not None
    chosen = selections(bare(ROOT.fields[name].type))
    return chosen.map(
        lambda each: f"subscription($yes: Boolean! = true) {{ top: {name}{ARGUMENTS[name]} {{ {each} }} }}"
    )


documents = st.sampled_from(sorted(ARGUMENTS)).flatmap(of_field)
optional = st.none() | st.floats(-1e12, 1e12)
changed = st.fixed_dictionaries(
    {
        "risk_number": st.none() | st.integers(1, 99) | st.just(2**31),
        "risk_tolerance": st.sampled_from(RiskTolerance),
        "client_id": st.none() | st.text(max_size=5),
        "oldest_price_ns": st.none() | st.integers(0, 2**60),
        "as_of_ns": st.integers(0, 2**60),
        "market_value": st.floats(-1e15, 1e15),
        "beta": optional,
        "var_95_fraction": optional,
        "incomplete_symbols": st.lists(st.text(max_size=3), max_size=2),
        "sequence": st.integers(0, 2**80).map(str),
    }
)


@given(
    documents,
    changed,
    st.booleans(),
    st.sampled_from(RiskEventReason),
    st.sampled_from(AtRiskMove),
    st.tuples(st.sampled_from(BatchReason), st.integers(0, 2)),
)
def test_an_event_is_written_as_graphql_core_writes_it(
    make: Make,
    text: str,
    values: dict[str, Any],
    stale: bool,
    reason: RiskEventReason,
    change: AtRiskMove,
    batched: tuple[BatchReason, int],
) -> None:
    batch_reason, closed = batched
    try:
        asks = asked(text)
    except RefusedDocument:
        return  # Two fields under one name that cannot be merged, say.
    risk = make.snapshot(**values)
    if asks.field == "riskBatches":
        event: Event = Batch(batch_reason, {"p-1": risk, "p-2": make.snapshot("p-2")}, ("p-3", "p-4")[:closed])
    else:
        event = AtRiskChange(change, risk) if asks.field == "atRisk" else RiskEvent(reason, "5", risk)
    moment = Moment(1_700_000_000_123_456_789, stale)
    assert asks.write is not None
    assert json.loads(asks.write(event, moment)) == json.loads(asks.write_slowly(event, moment))


def test_every_subscription_has_its_stream_and_takes_the_short_way() -> None:
    assert ROOT is not None
    assert set(STREAMS) == set(ROOT.fields) == set(ARGUMENTS)

    def everything(kind: GraphQLObjectType) -> str:
        inner = {name: bare(field.type) for name, field in kind.fields.items()}
        return " ".join(
            f"{name} {{ {everything(each)} }}" if is_object_type(each) else name for name, each in inner.items()
        )

    for name, field in ROOT.fields.items():
        text = f"subscription {{ {name}{ARGUMENTS[name]} {{ {everything(bare(field.type))} }} }}"
        assert asked(text).write is not None


def test_nothing_in_a_batch_waits_for_anything(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    def unfit(*_: Any) -> None:
        raise event_projection._Unfit

    monkeypatch.setattr(event_projection, "_read_selection", unfit)
    met: set[str] = set()

    def everything(kind: GraphQLObjectType) -> str:
        met.add(kind.name)
        inner = {name: bare(field.type) for name, field in kind.fields.items()}
        return " ".join(
            f"{name} {{ {everything(each)} }}" if is_object_type(each) else name for name, each in inner.items()
        )

    text = f"subscription Everything {{ riskBatches {{ {everything(cast('Any', TYPES['RiskBatch']))} }} }}"
    write = asked(text).write
    assert write is not None
    batch = Batch(BatchReason.UPDATE, {"p-1": make.snapshot()}, ("p-2",))
    told = json.loads(write(batch, Moment(0, True)))["data"]["riskBatches"]
    assert (told["closed"], told["stale"], told["risks"][0]["portfolioId"]) == (["p-2"], True, "p-1")
    assert met == {"RiskBatch", "RiskSnapshot", "Alignment"}
    assert event_projection._readers.pop((text, None)) is None


def test_the_selection_may_depend_on_variables(make: Make) -> None:
    text = """subscription($more: Boolean!) { portfolioRisk(portfolioId: "p") {
      reason risk { sequence beta @include(if: $more) } } }"""
    event = RiskEvent(RiskEventReason.SNAPSHOT, None, make.snapshot())
    for more in (True, False, True):
        write = asked(text, more=more).write
        assert write is not None
        told = json.loads(write(event, Moment(0, False)))["data"]["portfolioRisk"]["risk"]
        assert ("beta" in told) is more


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("subscription($id: ID!) { portfolioRisk(portfolioId: $id) { reason } }", {}),
        ("subscription($id: ID!) { portfolioRisk(portfolioId: $id) { reason } }", {"id": [1]}),
        ("subscription($t: Int!) { atRisk(riskThreshold: $t) { change } }", {"t": 2**40}),
    ],
)
def test_variables_that_do_not_fit_are_refused(text: str, variables: dict[str, Any]) -> None:
    with pytest.raises(RefusedDocument):
        asked(text, **variables)


def test_readers_of_selections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_projection, "KEPT_MAX", 3)
    for number in range(10):
        asked(f'subscription {{ a{number}: portfolioRisk(portfolioId: "p") {{ reason }} }}')
    assert len(event_projection._readers) <= 3
