"""Schemathesis asks what no person would: of REST by `/openapi.json`, of GraphQL by its introspection.

The same questions at every run: derandomised, bounded in number, put to the running system. Every check that
schemathesis has is made, but one for the queries of GraphQL that schemathesis.toml names, and says why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from live import LiveSystem
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.timeout(180)

EXAMPLES = 12
"""Questions an operation and mode; there are about forty operations."""
(LEFT_OUT,) = tomllib.loads((Path(__file__).parents[2] / "schemathesis.toml").read_text(encoding="utf-8"))["operations"]
"""For which operations the check `positive_data_acceptance` means nothing."""
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
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            ask(operation, mode)
        except FailureGroup as failures:
            yield f"{operation.label}\n{failures}"
        except Unsatisfiable:
            # Nothing can be asked wrongly of what takes no parameters.
            assert mode is GenerationMode.NEGATIVE, operation.label


def ask(operation: APIOperation[Any, Any, Any], mode: GenerationMode) -> None:
    """Put questions to an operation, and make every check of every answer. Raises `FailureGroup`."""
    unchecked = [positive_data_acceptance] if operation.label in LEFT_OUT["include-name"] else []

    @BOUNDED
    @given(case=operation.as_strategy(mode))
    def each(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=unchecked, timeout=10.0)

    each()
