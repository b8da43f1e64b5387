"""How operations run: errors told or masked, a short way for what is plain, and a leak of graphql-core stopped.

An error that a caller can expect carries `extensions.code`: NOT_FOUND, BAD_INPUT (and `field`), FORBIDDEN or
UNAVAILABLE; `classification` says in the words of graphql-java, which other tools know, where the caller is to blame.
Any other is ours: it is logged in full under an id, and the caller is told that id and nothing else.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from graphql import GraphQLError
from graphql.pyutils import RefMap
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.errors import BadInput, Forbidden, NotFound
from api.projection import Projections
from api.schema.inputs import camel_case
from plimsoll import logs
from plimsoll.errors import Unavailable

_log = logging.getLogger(__name__)
_NOTHING = object()
_CALLERS = {"classification": "ValidationError"}


def told_or_masked(error: GraphQLError) -> GraphQLError:
    """An error as its caller may see it, one that is told already as it is. One of ours is logged here, once."""
    if not _is_ours(error):
        return error
    message, extensions = _told(error.original_error)
    return GraphQLError(message, error.nodes, error.source, error.positions, error.path, extensions=extensions)


class Executor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor without its leak, and with a short way for what is plain.

    `projections` are those of the document; without them everything goes the long way.
    """

    projections: Projections | None = None

    def complete_object_value(self, return_type: Any, field_details_list: Any, info: Any, *rest: Any) -> Any:  # noqa: ANN401  # graphql-core's own signature
        """An object as it was selected. `rest` is path, result and position."""
        if (written := self._projected(return_type, field_details_list, info, rest[1])) is not _NOTHING:
            return written
        return super().complete_object_value(return_type, field_details_list, info, *rest)

    def complete_list_value(self, return_type: Any, field_details_list: Any, info: Any, *rest: Any) -> Any:  # noqa: ANN401  # graphql-core's own signature
        """A list of what was selected. `rest` is path, result and position."""
        if (written := self._projected(return_type, field_details_list, info, rest[1])) is not _NOTHING:
            return written
        return super().complete_list_value(return_type, field_details_list, info, *rest)

    def _projected(self, kind: Any, details: Any, info: Any, value: Any) -> Any:  # noqa: ANN401
        if self.projections is None:
            return _NOTHING
        read = self.projections.reader(kind, [each.node for each in details])
        if read is None:
            return _NOTHING
        try:
            return read(value, info)
        except Exception:
            # Not as the schema says: the long way finds what is wrong, and tells of it.
            return _NOTHING

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
    """Whether an error comes from our code, and not from the document."""
    return error.original_error is not None and not isinstance(error.original_error, GraphQLError)


def _told(error: Exception | None) -> tuple[str, dict[str, Any]]:
    match error:
        case NotFound():
            return str(error), {"code": "NOT_FOUND", **_CALLERS}
        case Forbidden():
            return str(error), {"code": "FORBIDDEN", **_CALLERS}
        case BadInput():
            return str(error), {"code": "BAD_INPUT", "field": camel_case(error.field), **_CALLERS}
        case Unavailable():
            return str(error), {"code": "UNAVAILABLE", "dependency": error.dependency}
    error_id = secrets.token_hex(8)
    _log.error("internal error %s", error_id, exc_info=error, extra={"error_id": error_id})
    request_id = {"requestId": logs.CONTEXT.get()["request_id"]} if "request_id" in logs.CONTEXT.get() else {}
    return f"internal error {error_id}; the log knows more", {"code": "INTERNAL", "errorId": error_id, **request_id}
