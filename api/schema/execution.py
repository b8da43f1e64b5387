"""How operations run: a context for each, errors told or masked, and a leak of graphql-core stopped.

An error that a caller can expect carries `extensions.code`: NOT_FOUND, BAD_INPUT (and `field`) or UNAVAILABLE. Any
other is ours: it is logged in full under an id, and the caller is told that id and nothing else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from typing import Any

from graphql import GraphQLError
from graphql.pyutils import RefMap
from strawberry.extensions import MaskErrors, SchemaExtension
from strawberry.schema import Schema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.execution import ExecutionContext

from api.errors import BadInput, NotFound
from api.schema.inputs import camel_case
from api.schema.operation import Operation
from plimsoll.errors import Unavailable

_log = logging.getLogger(__name__)
_EXPECTED = (NotFound, BadInput, Unavailable)
_TOLD_AS_IS = (GraphQLError, CannotGetOperationTypeError, InvalidOperationTypeError)


class PlimsollSchema(Schema):
    """A schema whose errors are logged by `ToldOrMasked`, once."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Nothing: what a caller did wrong is no line in our log, and what we did wrong is logged with its id."""


class FreshOperation(SchemaExtension):
    """Gives each operation its own context. Strawberry makes one for a whole socket, and puts our backend in it."""

    def on_operation(self) -> Iterator[None]:
        """Before anything of the operation is read."""
        self.execution_context.context = Operation(self.execution_context.context)
        yield


class ToldOrMasked(MaskErrors):
    """Expected errors with their code; unexpected ones as an id that is in the log."""

    def __init__(self) -> None:
        super().__init__(should_mask_error=_is_ours)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        """The error as the caller may see it."""
        message, extensions = _told(error.original_error)
        return GraphQLError(message, nodes=error.nodes, source=error.source, path=error.path, extensions=extensions)


class Executor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor without its leak."""

    def build_per_event_executor(self, payload: Any) -> Any:  # noqa: ANN401  # graphql-core's own signature
        """The executor of one event of a subscription.

        graphql-core 3.3.2 makes a shallow copy. It shares two caches that are keyed by the identity of lists which
        are new for each event, so they grow by about 6 KB an event, for as long as the subscription lives.
        """
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}  # noqa: SLF001
        executor._stream_usages = RefMap()  # noqa: SLF001
        return executor


def _is_ours(error: GraphQLError) -> bool:
    return error.original_error is not None and not isinstance(error.original_error, _TOLD_AS_IS)


def _told(error: Exception | None) -> tuple[str, dict[str, Any]]:
    match error:
        case NotFound():
            return str(error), {"code": "NOT_FOUND"}
        case BadInput():
            return str(error), {"code": "BAD_INPUT", "field": camel_case(error.field)}
        case Unavailable():
            return str(error), {"code": "UNAVAILABLE", "dependency": error.dependency}
    error_id = secrets.token_hex(8)
    _log.error("internal error %s", error_id, exc_info=error, extra={"error_id": error_id})
    return f"internal error {error_id}; the log knows more", {"code": "INTERNAL", "errorId": error_id}
