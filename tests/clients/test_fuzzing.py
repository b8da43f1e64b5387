"""Schemathesis asks what no person would: of REST by `/openapi.json`, of GraphQL by its introspection.

The same questions at every run: derandomised, bounded in number, put to the running system. Every check that
schemathesis has is made, but one for GraphQL: that what is valid is accepted. Its types cannot say what an identifier
looks like or how large a page may be, so a refusal may be right; that it is no failure of ours is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from live import LiveSystem
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

pytestmark = pytest.mark.timeout(180)

EXAMPLES = 12
"""Questions an operation and mode; there are about forty operations."""
WITHOUT_END = "/stream/risk-updates"
"""A stream: an answer is waited for to its end."""
BOUNDED = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module", params=["rest", "graphql"])
def schema(request: pytest.FixtureRequest, live: LiveSystem) -> BaseSchema:
    """What can be asked of one of the two."""
    if request.param == "rest":
        return schemathesis.openapi.from_url(f"{live.direct_url}/openapi.json").exclude(path=WITHOUT_END)
    return schemathesis.graphql.from_url(f"{live.direct_url}/graphql")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_asked_the_answer_is_what_was_promised(schema: BaseSchema, mode: GenerationMode) -> None:
    broken = list(promises_broken(schema, mode))
    assert not broken, "\n\n".join(broken)


def promises_broken(schema: BaseSchema, mode: GenerationMode) -> Iterator[str]:
    """What each operation answered wrongly, and to what."""
    unchecked = [] if isinstance(schema, OpenApiSchema) else [positive_data_acceptance]
    for found in schema.get_all_operations():
        operation = found.ok()

        @BOUNDED
        @given(case=operation.as_strategy(mode))
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=unchecked, timeout=10.0)

        try:
            ask()
        except FailureGroup as failures:
            yield f"{operation.label}\n{failures}"
        except Unsatisfiable:
            # Nothing can be asked wrongly of what takes no parameters.
            assert mode is GenerationMode.NEGATIVE, operation.label
