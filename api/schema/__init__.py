"""The GraphQL contract: its names are relied on by others, and `schema.graphql` at the top says what they are."""

from __future__ import annotations

from graphql import Undefined
from strawberry.printer import print_schema
from strawberry.schema import Schema
from strawberry.schema.config import StrawberryConfig

from api.schema.descriptions import describe
from api.schema.execution import Executor
from api.schema.mutations import Mutation
from api.schema.queries import Query
from api.schema.scalars import SEQUENCE, Sequence
from api.schema.subscriptions import Subscription


def _leave_out_null_defaults(schema: Schema) -> None:
    """`after: String`, not `after: String = null`: what may be left out needs no default, and the contract has none."""
    for named in schema._schema.type_map.values():  # noqa: SLF001
        for field in getattr(named, "fields", {}).values():
            for default in (field, *getattr(field, "args", {}).values()):
                if getattr(default, "default_value", Undefined) is None:
                    default.default_value = Undefined


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    execution_context_class=Executor,
    config=StrawberryConfig(scalar_map={Sequence: SEQUENCE}),
)
_leave_out_null_defaults(schema)
DESCRIBED = describe(schema._schema)  # noqa: SLF001
"""Keys of the table of descriptions that were of use: all of them, or a test says which are not."""


def sdl() -> str:
    """The contract as text, as it stands in `schema.graphql`."""
    return print_schema(schema) + "\n"
