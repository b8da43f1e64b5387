"""What a request's headers say of forms: which it takes, which it brings, and how one header is read.

Media types are compared as RFC 9110 §12.5.1 has it: by weight first, then a named type before a wildcard, then in the
order in which they are listed. Streams are never meant by a wildcard: who wants one says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from starlette.types import Scope

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed"

_KNOWN = "plimsoll.headers"
_REMEMBERED_MAX = 256
"""Headers whose meaning is kept. Clients send the same few; the one met the longest ago gives way."""
_HEADER_SIZE_MAX = 1_024
"""Characters of an Accept header that are read. Browsers send some 150."""


class Accepted(NamedTuple):
    """What an answer may be."""

    json: str | None
    """`JSON` or `GRAPHQL_JSON`, where either will do."""
    stream: str | None
    """`EVENT_STREAM` or `MULTIPART`, where either was named."""


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Headers by their lower-case names; one that came several times as one list, as RFC 9110 §5.3 has it."""
    known: Mapping[bytes, bytes] | None = scope.get(_KNOWN)
    if known is not None:
        return known
    listed = scope["headers"]
    headers: dict[bytes, bytes] = dict(listed)
    if len(headers) != len(listed):
        headers = {}
        for name, value in listed:
            headers[name] = headers[name] + b", " + value if name in headers else value
    scope[_KNOWN] = headers
    return headers


@lru_cache(_REMEMBERED_MAX)
def accepted(accept: bytes | None) -> Accepted:
    """What an Accept header allows; without one, `application/json`."""
    if accept is None or not accept.strip():
        return Accepted(JSON, None)
    weights: dict[str, tuple[float, int]] = {}
    for place, item in enumerate(accept.decode("latin-1")[:_HEADER_SIZE_MAX].lower().split(",")):
        name, _, parameters = item.partition(";")
        weights.setdefault(name.strip(), (_weight(parameters), -place))
    return Accepted(_best_json(weights), _best(weights, (EVENT_STREAM, MULTIPART)))


def _best_json(weights: Mapping[str, tuple[float, int]]) -> str | None:
    named = _best(weights, (JSON, GRAPHQL_JSON))
    wildcard = max((weights.get(each, (0.0, 0))[0] for each in ("application/*", "*/*")), default=0.0)
    if named is not None and weights[named][0] >= wildcard:
        return named
    # A wildcard means the form that everyone knows, unless that was ruled out by name.
    others = [each for each in (JSON, GRAPHQL_JSON) if each not in weights]
    return others[0] if wildcard > 0.0 and others else named


def _best(weights: Mapping[str, tuple[float, int]], offered: tuple[str, ...]) -> str | None:
    wanted = [each for each in offered if weights.get(each, (0.0, 0))[0] > 0.0]
    return max(wanted, key=lambda each: weights[each], default=None)


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0


@lru_cache(_REMEMBERED_MAX)
def refused_content_type(content_type: bytes | None) -> str | None:
    """Why a body of this type is not read; None for JSON in UTF-8, which is the only one that is."""
    if content_type is None:
        return "the request has no content-type; send application/json"
    name, *parameters = content_type.decode("latin-1").lower().split(";")
    if name.strip() != JSON:
        return f"bodies of type {name.strip()[:80]!r} are not read; send application/json"
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            return f"JSON in {value.strip()[:40]!r} is not read; send it in UTF-8"
    return None


def accepts_html(accept: bytes | None) -> bool:
    """Whether a browser asks for a page."""
    return accept is not None and b"text/html" in accept
