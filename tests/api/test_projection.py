"""Whatever is written the short way is what graphql-core would have written: values, order, errors and all."""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import strawberry
from graphql import FieldNode, FragmentDefinitionNode, OperationDefinitionNode, parse, validate

from api.projection import Projections, Surprise
from api.schema.execution import Executor
from api.schema.views import View

QUESTIONS = 400


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Questions = _beside("questions").Questions


# --- a schema where everything that can be wrong is -------------------------------------------------------------------


@strawberry.enum
class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@strawberry.type
class Leaf:
    text: str
    number: float
    count: int | None
    colour: Colour | None
    texts: list[str | None]
    flag: bool


@strawberry.type
class Branch(View):
    name: str
    size: float | None
    leaf: Leaf
    perhaps: Leaf | None
    leaves: list[Leaf | None]
    sure: list[Leaf] | None

    derived: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"size": lambda view: view.message.length * 2}

    @strawberry.field
    def quick(self) -> int:
        return int(self.name == "b")

    @strawberry.field
    def failing(self) -> str | None:
        raise ValueError(self.name)

    @strawberry.field
    async def slow(self) -> Leaf | None:
        return self.leaf


class Message:
    def __init__(self, rng: random.Random) -> None:
        self.name = rng.choice(["b", "b", "c", 7, None])
        self.length = rng.choice([1.5, 2.5, math.nan, "x"])
        self.leaf = rng.choice([a_leaf(rng), a_leaf(rng), a_leaf(rng), None, 3])
        self.perhaps = rng.choice([a_leaf(rng), None])
        self.leaves = rng.choice([[a_leaf(rng), None], [], (a_leaf(rng),), None, [a_leaf(rng), "no leaf"]])
        self.sure = rng.choice([[a_leaf(rng)], [a_leaf(rng), a_leaf(rng)], None, [None]])


def a_leaf(rng: random.Random) -> Leaf:
    usually = rng.random() < 0.8
    return Leaf(
        text="t" if usually else rng.choice([None, 5, True, Colour.RED]),  # type: ignore[arg-type]
        number=1.25 if usually else rng.choice([3, math.inf, math.nan, "1.5", "x", True]),  # type: ignore[arg-type]
        count=rng.choice([1, None, 2]) if usually else rng.choice([2**31, 1.0, 1.5, "7", True]),  # type: ignore[arg-type]
        colour=rng.choice([Colour.RED, Colour.BLUE, None]) if usually else rng.choice(["red", "GREEN", 1]),  # type: ignore[arg-type]
        texts=["a", None] if usually else rng.choice([["a", 3], "ab", None, ("a",)]),  # type: ignore[arg-type]
        flag=True if usually else rng.choice([0, "true", None]),  # type: ignore[arg-type]
    )


@strawberry.type
class Query:
    @strawberry.field
    def branch(self, info: strawberry.Info) -> Branch | None:
        return Branch.over(info.context) if info.context is not None else None

    @strawberry.field
    def branches(self, info: strawberry.Info) -> list[Branch | None] | None:
        return [Branch.over(info.context), None, Branch.over(info.context)]


SCHEMA = strawberry.Schema(Query)._schema


async def outcome(text: str, message: Message, *, is_short: bool) -> tuple[object, list[dict[str, Any]]]:
    document = parse(text)
    executor: Any = Executor.build(SCHEMA, document, context_value=message)
    if is_short:
        fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        executor.projections = Projections(SCHEMA, fragments)
    result = executor.execute_operation()
    result = await result if hasattr(result, "__await__") else result
    return ordered(result.data), [dict(error.formatted) for error in result.errors or ()]


def ordered(data: Any) -> Any:
    """With the order of fields, and NaN equal to itself."""
    if isinstance(data, dict):
        return [(name, ordered(value)) for name, value in data.items()]
    return [ordered(each) for each in data] if isinstance(data, list) else repr(data)


@pytest.mark.anyio
async def test_hundreds_of_questions_over_values_that_are_wrong_are_answered_as_graphql_core_does() -> None:
    rng = random.Random(20_251_125)
    questions = Questions(SCHEMA, rng, {}, ["branch", "branches"])
    asked = failed = 0
    while asked < QUESTIONS:
        text = questions.one()
        if validate(SCHEMA, parse(text)):
            continue
        message = Message(rng)
        short, exact = [await outcome(text, message, is_short=each) for each in (True, False)]
        assert short == exact, text
        asked += 1
        failed += bool(exact[1])
    # Both kinds were met, or the comparison says little.
    assert 80 < failed < QUESTIONS - 80


# --- what is compiled, and what is not --------------------------------------------------------------------------------


def reader_of(text: str) -> Any:
    document = parse(text)
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    (node,) = operation.selection_set.selections
    assert isinstance(node, FieldNode)
    assert SCHEMA.query_type is not None
    return Projections(SCHEMA, fragments).reader(SCHEMA.query_type.fields[node.name.value].type, [node])


def a_branch() -> Branch:
    message = Message(random.Random(1))
    message.name, message.length = "b", 1.5
    message.leaf = Leaf(text="t", number=1.25, count=1, colour=Colour.BLUE, texts=["a"], flag=True)
    return Branch.over(message)


def test_plain_fields_are_read_in_the_order_they_were_asked_for() -> None:
    read = reader_of(
        "{ branch { size other: name ...f leaf { colour } } } fragment f on Branch { leaf { number } quick }"
    )
    written = read(a_branch(), None)
    assert written == {"size": 3.0, "other": "b", "leaf": {"number": 1.25, "colour": "BLUE"}, "quick": 1}
    assert list(written) == ["size", "other", "leaf", "quick"]


@pytest.mark.parametrize(
    "text",
    [
        "{ branch { slow { text } } }",
        "{ branch { name @include(if: true) } }",
        "{ branch { ...f @skip(if: false) } } fragment f on Branch { name }",
    ],
)
def test_what_has_to_wait_or_to_decide_is_left_to_graphql_core(text: str) -> None:
    assert reader_of(text) is None


def test_a_value_that_is_not_of_its_type_is_left_to_graphql_core() -> None:
    read = reader_of("{ branch { size } }")
    branch = a_branch()
    branch.message.length = math.nan
    with pytest.raises(Surprise):
        read(branch, None)
    with pytest.raises(Surprise):
        read("no branch", None)
