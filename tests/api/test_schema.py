from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLSchema, build_schema, is_introspection_type, is_specified_scalar_type
from typer.testing import CliRunner

from api.schema import DESCRIBED, sdl
from api.schema import schema as served
from api.schema.descriptions import EVERYWHERE, HERE, describe, places
from api.schema.execution import Executor
from plimsoll.cli import application
from plimsoll.commands.schema import BadContract, compare, read

CONTRACT = Path(__file__).parents[2] / "schema.graphql"
OLDEST_PROMISE = Path(__file__).parent / "contract.graphql"
SERVED: GraphQLSchema = served._schema
EVENTS = 50


@strawberry.type
class Point:
    x: int


@strawberry.type
class Query:
    x: int = 0


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def points(self) -> AsyncGenerator[Point, None]:
        for x in range(EVENTS):
            yield Point(x=x)


def test_the_exported_schema_is_the_one_we_serve() -> None:
    assert CONTRACT.read_text(encoding="utf-8") == sdl(), "run: make schema"


def test_arguments_that_may_be_left_out_have_no_null_default() -> None:
    assert "= null" not in sdl()


# --- descriptions -----------------------------------------------------------------------------------------------------


def test_everything_in_the_schema_is_described() -> None:
    undescribed = [place.name for place in places(SERVED) if not (place.element.description or "").strip()]
    assert not undescribed, "describe it beside the field, or in api/schema/descriptions.py"


def test_the_table_of_descriptions_holds_nothing_that_nobody_needs() -> None:
    assert (EVERYWHERE.keys() | HERE.keys()) - DESCRIBED == set()


def test_what_is_written_beside_a_field_comes_before_the_table() -> None:
    schema = build_schema('scalar DateTime type T { "Its own." var95: Float  var99: Float }')
    assert describe(schema) == {"DateTime", "var99"}
    fields = schema.type_map["T"].fields
    assert (fields["var95"].description, fields["var99"].description) == ("Its own.", EVERYWHERE["var99"])


def test_a_scalar_says_where_it_is_specified_or_what_it_is() -> None:
    ours = {name: kind for name, kind in SERVED.type_map.items() if hasattr(kind, "specified_by_url")}
    ours = {name: kind for name, kind in ours.items() if not is_specified_scalar_type(kind)}
    assert ours.keys() == {"DateTime", "Sequence"}
    assert ours["DateTime"].specified_by_url == "https://scalars.graphql.org/andimarek/date-time"
    assert "decimal digits" in ours["Sequence"].description
    assert not [name for name in ours if is_introspection_type(ours[name])]


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", [CONTRACT, OLDEST_PROMISE], ids=["committed", "oldest"])
def test_the_code_keeps_what_was_promised(contract: Path) -> None:
    assert compare(read(contract), SERVED).broken == []


def breaks(contract: str, code: str) -> list[str]:
    return compare(build_schema(contract), build_schema(code)).broken


BASE = """
type Query { risk(id: ID, n: Int): Float!  band: Band  put(value: Put): Int  count: Int }
enum Band { LOW HIGH }
input Put { x: Int }
"""


@pytest.mark.parametrize(
    ("before", "after", "whom"),
    [
        ("count: Int", "", "whoever asks for the field"),
        ("Float!", "Float", "whoever reads or sends it as it was"),
        ("n: Int", "", "whoever gives the argument"),
        ("n: Int", "n: Int!", "whoever gives the argument as it was"),
        ("n: Int", "n: Int, must: Int!", "whoever asks without the argument"),
        ("HIGH", "", "whoever sends the value"),
        ("x: Int", "x: Int must: Int!", "whoever sends the input without it"),
    ],
)
def test_a_change_that_breaks_somebody_says_whom(before: str, after: str, whom: str) -> None:
    (sentence,) = breaks(BASE, BASE.replace(before, after))
    assert whom in sentence


@pytest.mark.parametrize(
    ("before", "after"), [("Int }", "Int more: Int }"), ("HIGH", "HIGH HIGHER"), ("n: Int", "n: Int, m: Int")]
)
def test_what_is_added_breaks_nobody(before: str, after: str) -> None:
    assert breaks(BASE, BASE.replace(before, after)) == []


def test_the_command_fails_where_a_promise_is_broken_and_names_the_remedy(tmp_path: Path) -> None:
    promised = tmp_path / "promised.graphql"
    promised.write_text(sdl().replace("type PageInfo {", "type PageInfo {\n  pageCount: Int"), encoding="utf-8")
    done = CliRunner().invoke(application(), ["schema", "--check", str(promised)])
    assert done.exit_code == 1
    assert "broken: Field PageInfo.pageCount was removed." in done.stdout
    assert "deprecated" in done.stderr
    assert "CHANGELOG.md" in done.stderr


def test_the_command_is_content_with_the_committed_contract() -> None:
    done = CliRunner().invoke(application(), ["schema", "--check", str(CONTRACT)])
    assert (done.exit_code, done.stdout) == (0, f"the code keeps {CONTRACT}\n")


def test_a_file_that_is_no_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadContract, match=r"nowhere\.graphql cannot be read"):
        read(tmp_path / "nowhere.graphql")
    for number, text in enumerate(("type Query {", "type Query { x: Nothing }", "\xff")):
        path = tmp_path / f"{number}.graphql"
        path.write_text(text, encoding="latin-1")
        with pytest.raises(BadContract, match=f"{number}.graphql is no GraphQL schema"):
            read(path)


def test_a_file_without_the_check_is_refused() -> None:
    assert CliRunner().invoke(application(), ["schema", "some.graphql"]).exit_code == 2


# --- the executor -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_long_subscription_leaves_nothing_behind_in_the_executor() -> None:
    shared = []

    class Watched(Executor):
        def build_per_event_executor(self, payload: object) -> Executor:
            shared.append(self._relevant_sub_fields)
            return super().build_per_event_executor(payload)

    schema = strawberry.Schema(Query, subscription=Subscription, execution_context_class=Watched)
    results = [result.data async for result in await schema.subscribe("subscription { points { x } }")]

    assert results[-1] == {"points": {"x": EVENTS - 1}}
    assert len(shared) == EVENTS
    assert all(cache is shared[0] for cache in shared)
    # Without our executor it holds an entry for each event.
    assert len(shared[0]) <= 1
