from collections.abc import Callable

import pytest
from graphql import GraphQLError, OperationDefinitionNode, parse

from api import limits
from api.schema import schema

SCHEMA = schema._schema


def refused(text: str) -> GraphQLError | None:
    return limits.refuse_large(parse(text))


def limit_of(error: GraphQLError | None) -> object:
    assert error is not None
    assert error.extensions is not None
    return error.extensions.get("limit")


def cost_of(text: str, **variables: object) -> int:
    document = parse(text)
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    return limits.cost(SCHEMA, document, operation, variables or None)


def doubling(levels: int, innermost: str = "var95") -> str:
    """A text that grows with `levels`, and asks for 2 to their power."""
    chain = "".join(f"fragment f{n} on RiskSnapshot {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels))
    last = f"fragment f{levels} on RiskSnapshot {{ {innermost} }}"
    return f'{{ portfolioRisk(portfolioId: "p") {{ ...f0 }} }} {chain} {last}'


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "allowed", "text"),
    [
        ("operations", 20, lambda n: " ".join(f"query q{k} {{ __typename }}" for k in range(n))),
        ("fields at the top", 50, lambda n: "{" + " ".join(f"a{k}: b" for k in range(n)) + "}"),
        ("depth", 16, lambda n: "".join(f"{{ a{k} " for k in range(n)) + "}" * n),
        ("fields", 500, lambda n: "{ a {" + " ".join(f"b{k}" for k in range(n - 1)) + "} }"),
        ("aliases", 100, lambda n: "{ a {" + " ".join(f"b{k}: c" for k in range(n)) + "} }"),
        ("directives", 50, lambda n: "{ a " + "@skip(if: false) " * n + "}"),
        ("fields of one name", 60, lambda n: "{ b {" + "a " * n + "} }"),
    ],
)
def test_as_much_as_is_allowed_passes_and_one_more_is_refused_by_name(
    limit: str, allowed: int, text: Callable[[int], str]
) -> None:
    assert refused(text(allowed)) is None
    error = refused(text(allowed + 1))
    assert limit_of(error) == limit
    assert error is not None
    assert error.extensions == {"code": "TOO_COMPLEX", "limit": limit, "found": allowed + 1, "allowed": allowed}
    assert error.message == f"{limit}: {allowed + 1} where {allowed} are allowed; ask for less at a time"


@pytest.mark.parametrize("levels", [9, 20, 90])
def test_fragments_that_double_are_measured_as_if_written_out(levels: int) -> None:
    assert limit_of(refused(doubling(levels))) == "fields"


def test_fragments_that_double_a_little_are_no_attack() -> None:
    assert refused(doubling(5)) is None


def test_a_fragment_that_nobody_spreads_is_measured_too() -> None:
    unused = "fragment f on RiskSnapshot {" + " ".join(f"a{k}: var95" for k in range(101)) + "}"
    assert limit_of(refused("{ __typename } " + unused)) == "aliases"


@pytest.mark.parametrize("text", ["{ ...a } fragment a on Query { ...a }", doubling(3, "...f0")])
def test_a_fragment_that_spreads_itself_is_refused_without_going_round(text: str) -> None:
    error = refused(text)
    assert error is not None
    assert error.extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert "spreads itself" in error.message


# --- cost -------------------------------------------------------------------------------------------------------------


def test_what_is_below_a_page_counts_once_a_row() -> None:
    # edges, node and its id, for each of 100; and the connection.
    assert cost_of("{ portfolios(first: 100) { edges { node { portfolioId } } } }") == 1 + 100 * 3


def test_a_page_that_is_not_stated_has_the_size_the_schema_says() -> None:
    assert cost_of("{ portfolios { nodes { portfolioId } } }") == 1 + 50 * 2


def test_pages_multiply() -> None:
    text = "{ advisors(first: 10) { nodes { portfolios(first: 20) { nodes { portfolioId } } } } }"
    assert cost_of(text) == 1 + 10 * (1 + (1 + 20 * 2))


def test_a_page_whose_size_is_a_variable_is_the_largest_until_the_variable_is_known() -> None:
    text = "query($n: Int! = 5) { portfolios(first: $n) { nodes { portfolioId } } }"
    assert cost_of(text) == 1 + 200 * 2
    assert cost_of(text, n=7) == 1 + 7 * 2
    assert cost_of(text, other=1) == 1 + 5 * 2


def test_a_page_that_cannot_be_is_no_way_round_the_cost() -> None:
    for size in ("999999", "-5", "9" * 5_000):
        assert 0 < cost_of(f"{{ portfolios(first: {size}) {{ nodes {{ portfolioId }} }} }}") <= 1 + 200 * 2
    text = "query($n: Int!) { portfolios(first: $n) { nodes { portfolioId } } }"
    for odd in (10**5_000, -1, True, "7", None, [3]):
        assert 0 < cost_of(text, n=odd) <= 1 + 200 * 2


def test_an_empty_page_costs_what_is_beside_its_rows() -> None:
    assert cost_of("{ portfolios(first: 0) { totalCount } }") == cost_of("{ portfolios(first: 1) { totalCount } }")


def test_a_batch_counts_as_the_largest_page() -> None:
    assert cost_of("subscription { riskBatches { closed risks { portfolioId riskNumber } } }") == 2 + 1 + 200 * 2


def test_the_cost_of_a_fragment_is_that_of_the_type_it_is_on() -> None:
    spread = '{ node(id: "a") { ...f } } fragment f on Advisor { portfolios(first: 100) { nodes { portfolioId } } }'
    assert cost_of(spread) == 1 + 1 + 100 * 2


def test_what_is_computed_on_demand_counts_as_many_fields() -> None:
    light = cost_of("{ portfolios(first: 10) { nodes { portfolioId } } }")
    heavy = cost_of("{ portfolios(first: 10) { nodes { contributions { holdings { symbol } } } } }")
    assert heavy > light + 10 * 100


# --- variables --------------------------------------------------------------------------------------------------------


def test_variables_are_counted_with_all_that_is_in_them() -> None:
    assert limits.refuse_variables({"a": [0] * 9_999}) is None
    assert limit_of(limits.refuse_variables({"a": [0] * 10_000})) == "values in variables"
    assert limit_of(limits.refuse_variables({"a": [[0] * 10] * 1_000})) == "values in variables"


def test_variables_may_not_be_nested_without_end() -> None:
    nested: object = 1
    for _ in range(16):
        nested = {"a": nested}
    assert limits.refuse_variables({"a": nested}) is None
    assert limit_of(limits.refuse_variables({"a": {"a": nested}})) == "depth of variables"
    for _ in range(100_000):
        nested = [nested]
    assert limit_of(limits.refuse_variables({"a": nested})) == "depth of variables"
