"""An error in the shape of the protocol that was spoken: GraphQL's `errors` at /graphql, `ErrorBody` elsewhere.

For whatever refuses a request before a handler has seen it. Handlers raise the errors of `api.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from api.openapi import error_response
from api.telemetry import Refusal, Telemetry

GRAPHQL_PATH = "/graphql"

_REASONS: Mapping[str, Refusal] = {
    "BAD_BATCH": "batch",
    "BODY_TOO_LARGE": "body",
    "CROSS_SITE": "csrf",
    "DOCUMENT_NOT_FOUND": "persisted",
    "DOCUMENT_NOT_TRUSTED": "trusted",
    "DOCUMENT_TOO_LARGE": "body",
    "METHOD_NOT_ALLOWED": "method",
    "NOT_ACCEPTABLE": "encoding",
    "PERSISTED_QUERY_HASH_MISMATCH": "persisted",
    "PERSISTED_QUERY_NOT_FOUND": "persisted",
    "RATE_LIMITED": "rate",
    "SUBSCRIPTION_IN_BATCH": "batch",
    "UNKNOWN_HOST": "origin",
    "UNSUPPORTED_MEDIA_TYPE": "encoding",
}
"""What is counted under which name; everything else is a bad request."""


def refusal(scope: Scope, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is refused. `code` is GraphQL's `extensions.code`."""
    count(scope, code)
    if scope["path"] == GRAPHQL_PATH:
        return Response(graphql_errors(detail, code), status, headers, media_type="application/json; charset=utf-8")
    return error_response(status, detail, headers)


def count(scope: Scope, code: str) -> None:
    """Tell telemetry of a request that is refused with a code."""
    app = scope.get("app")
    if app is not None:  # What stands before an application of somebody else has nobody to tell.
        telemetry: Telemetry = app.state.backend.telemetry
        telemetry.refused(_REASONS.get(code, "request"))


def graphql_errors(message: str, code: str) -> bytes:
    """The body of a GraphQL answer that is this one error."""
    return msgspec.json.encode({"errors": [{"message": message, "extensions": {"code": code}}]})
