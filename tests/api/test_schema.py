from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import strawberry

from api.schema import sdl
from api.schema.execution import Executor

CONTRACT = Path(__file__).parents[2] / "schema.graphql"
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
