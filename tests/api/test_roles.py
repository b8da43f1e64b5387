"""Who may ask for what: every field and every route has a row, and what has none is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from graphql import GraphQLObjectType, OperationType, parse
from starlette.routing import Route, WebSocketRoute

from api import pages, rest, roles
from api.errors import Forbidden
from api.identity import ANYONE, NOBODY, STRANGER, Caller, Role
from api.roles import FIELDS, require_roles
from api.schema import schema
from api.schema.asked import asked_ids, root_fields
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from tests.api.conftest import Client, Issuer

ADVISOR = Caller("ada", frozenset({Role.ADVISOR}), "advisor-1")
MANAGER = Caller("max", frozenset({Role.RISK_MANAGER}))
OPERATOR = Caller("ole", frozenset({Role.OPERATOR}))
ROOTS = {
    OperationType.QUERY: schema._schema.query_type,
    OperationType.MUTATION: schema._schema.mutation_type,
    OperationType.SUBSCRIPTION: schema._schema.subscription_type,
}


def fields_of(kind: OperationType) -> set[str]:
    root = ROOTS[kind]
    assert isinstance(root, GraphQLObjectType)
    return set(root.fields)


@pytest.mark.parametrize("kind", OperationType)
def test_every_field_at_the_top_has_a_row_and_every_row_a_field(kind: OperationType) -> None:
    rows = {name for name in FIELDS[kind] if not name.startswith("__")}
    assert rows == fields_of(kind)
    assert all(FIELDS[kind].values())


def test_every_route_is_for_somebody_or_known_to_be_open(app: Starlette) -> None:
    stated = {path: each for each in rest.ENDPOINTS for path in (each.path, *each.aliases)}
    assert all(each.roles for each in rest.ENDPOINTS)
    for route in app.routes:
        assert isinstance(route, Route | WebSocketRoute)
        if route.path == "/graphql":
            continue  # Its fields have rows of their own.
        known = route.path in stated or route.path in roles.OPEN_PATHS | roles.PEER_PATHS
        assert known or route.path.startswith(pages.BASE_PATH + "/"), f"{route.path} has no row"
    assert f"{pages.BASE_PATH}/" in roles.OPEN_BELOW
    assert not roles.OPEN_PATHS & stated.keys()


@pytest.mark.parametrize("kind", OperationType)
def test_what_has_no_row_is_refused_to_everybody(kind: OperationType) -> None:
    for caller in (ADVISOR, MANAGER, OPERATOR, ANYONE):
        with pytest.raises(Forbidden, match="newField"):
            require_roles(caller, kind, {"__typename", "newField"})


def may(caller: Caller, kind: OperationType) -> set[str]:
    allowed = set()
    for name in fields_of(kind):
        try:
            require_roles(caller, kind, {name})
        except Forbidden:
            continue
        allowed.add(name)
    return allowed


def test_advisors_and_risk_managers_read_everything_and_change_nothing() -> None:
    for caller in (ADVISOR, MANAGER):
        assert may(caller, OperationType.QUERY) == fields_of(OperationType.QUERY)
        assert may(caller, OperationType.SUBSCRIPTION) == fields_of(OperationType.SUBSCRIPTION)
        assert not may(caller, OperationType.MUTATION)


def test_an_operator_changes_things_and_sees_neither_positions_nor_risk() -> None:
    assert may(OPERATOR, OperationType.MUTATION) == fields_of(OperationType.MUTATION)
    assert may(OPERATOR, OperationType.QUERY) == {"systemStatus"}
    assert not may(OPERATOR, OperationType.SUBSCRIPTION)


def test_whoever_has_two_roles_may_do_what_either_allows() -> None:
    require_roles(Caller("amy", frozenset({Role.OPERATOR, Role.ADVISOR}), "a"), OperationType.QUERY, {"portfolio"})
    assert may(ANYONE, OperationType.MUTATION) == fields_of(OperationType.MUTATION)


@pytest.mark.parametrize("fields", [set(), {"__typename"}, {"__schema"}, {"systemStatus"}])
def test_whoever_has_no_role_may_nothing(fields: set[str]) -> None:
    with pytest.raises(Forbidden):
        require_roles(STRANGER, OperationType.QUERY, fields)


def test_a_view_is_as_narrow_as_the_roles() -> None:
    assert (ADVISOR.view, MANAGER.view, ANYONE.view) == ("advisor-1", None, None)
    # Nobody's is not everybody's.
    assert OPERATOR.view == STRANGER.view == NOBODY
    assert Caller("amy", frozenset({Role.OPERATOR}), "advisor-1").view == NOBODY
    assert Caller("eve", frozenset({Role.ADVISOR})).view == NOBODY


DOCUMENT = """
query Some($mine: ID!, $few: [ID!]) { __typename ...Outer ... on Query { alias: firmRisk { scope } } }
fragment Outer on Query { ...Inner whatIf(portfolioId: $mine, trades: [{symbol: "AAPL", quantity: 1}]) { __typename } }
fragment Inner on Query {
  ...Outer
  portfolios(filter: {advisorId: "advisor-7"}) { nodes { stress(scenarios: ["covid"]) { pnl } } }
  node(id: "UG9ydGZvbGlvOnAtOQ==") { id }
}
query Other { systemStatus { status } }
"""


def test_fragments_hide_no_field_at_the_top_and_no_id() -> None:
    document = parse(DOCUMENT)
    operation: object = document.definitions[0]
    assert root_fields(document, operation) == {"__typename", "firmRisk", "whatIf", "portfolios", "node"}  # type: ignore[arg-type]
    asked = asked_ids(document, operation, {"mine": "p-1", "few": ["x"], "input": {"advisorId": "advisor-8"}})  # type: ignore[arg-type]
    assert set(asked) == {"advisor-7", "p-9", "p-1", "advisor-8"}


class TestOverHttp:
    """The table at work."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def settings(self, redis_url: str, issuer: Issuer) -> Settings:
        return Settings(redis_url=redis_url, kafka_brokers="127.0.0.1:1", auth="on", jwks=str(issuer.path))

    @pytest.mark.parametrize(
        "query",
        [
            "{ firmRisk { scope } }",
            "{ ...Hidden } fragment Hidden on Query { firmRisk { scope } }",
            "{ __typename ... { x: firmRisk { scope } } }",
            "mutation { ... @include(if: true) { simulateMarketShock(input: {shockFraction: 0.1}) { __typename } } }",
        ],
    )
    async def test_an_operation_with_one_field_too_many_does_nothing(
        self, client: Client, issuer: Issuer, query: str
    ) -> None:
        role = "advisor" if query.startswith("mutation") else "operator"
        response = await client.http.post("/graphql", json={"query": query}, headers=issuer.bearer(roles=[role]))
        assert "data" not in response.json()
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"

    async def test_an_operator_watches_the_system(self, client: Client, issuer: Issuer) -> None:
        query = {"query": "{ __typename systemStatus { status workers { portfolios } } }"}
        response = await client.http.post("/graphql", json=query, headers=issuer.bearer(roles=["operator"]))
        assert response.json()["data"]["systemStatus"]["status"] == "degraded"
