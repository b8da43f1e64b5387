"""A GraphQL request as it came, read strictly: what is not as the specification has it is refused with the reason.

JSON is the standard's: no NaN, no number too large for a float, no name twice in an object (two readers would see two
requests), nothing but UTF-8. Nothing here knows HTTP; a status is only the one that HTTP would give the refusal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

QUERY_SIZE_MAX = 65_536
"""Bytes of a document. What is large is data, and belongs in variables."""
OBJECTS_MAX = 20_000
"""Objects in one body. A portfolio of the most positions there may be has half as many."""
PARAMETERS_MAX = 16
"""Parameters of a GET."""

_SHA256_SIZE = 64
_DOCUMENT_IDS = ("documentId", "doc_id", "id")
"""How clients name a document that the server holds: the specification's draft, Relay, and others."""


class RefusedRequest(Exception):
    """A request that is none, or is not served. Correct it as the message says."""

    def __init__(self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = headers or {}


class Asked(msgspec.Struct, frozen=True):
    """One request."""

    text: str | None
    """The document; None where it is named and not stated."""
    variables: Mapping[str, Any]
    operation_name: str | None
    document_id: str | None
    sha256: str | None
    """Of the document, in hexadecimal: the request takes part in automatic persisted queries."""


def read_json(raw: bytes) -> object:
    """JSON, strictly. Raises `RefusedRequest`."""
    if raw.count(b"{") > OBJECTS_MAX:
        raise RefusedRequest("BODY_TOO_LARGE", f"the JSON holds more than {OBJECTS_MAX:,} objects; send less at a time")
    try:
        parsed: object = msgspec.json.decode(raw)
        if type(parsed) in (dict, list):
            # Only now: this reader finds names that are there twice, and is safe for what the other one let through.
            _find_repeated(raw.decode())
    except (ValueError, RecursionError) as error:
        raise RefusedRequest("BAD_REQUEST", f"the JSON cannot be read: {str(error)[:200]}") from None
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {repeated[:80]!r} is there twice in one object")
    return found


_find_repeated = json.JSONDecoder(object_pairs_hook=_once).decode


def of_json(parsed: object) -> Asked:
    """A request from a body, or from one place in a batch. Raises `RefusedRequest`."""
    if type(parsed) is not dict:
        raise RefusedRequest("BAD_REQUEST", 'the request must be a JSON object, such as {"query": "{ __typename }"}')
    return _asked(parsed)


def of_query(query_string: bytes) -> Asked:
    """A request from the parameters of a GET. Raises `RefusedRequest`."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except ValueError as error:
        raise RefusedRequest("BAD_REQUEST", f"the parameters cannot be read: {str(error)[:200]}") from None
    parameters: dict[str, Any] = {}
    for name, value in pairs:
        if name in parameters:
            raise RefusedRequest("BAD_REQUEST", f"the parameter {name[:80]!r} is there twice; state it once")
        parameters[name] = value
    for name in ("variables", "extensions"):
        if name in parameters:
            try:
                parameters[name] = read_json(parameters[name].encode())
            except RefusedRequest as refused:
                raise RefusedRequest(refused.code, f"{name}: {refused}") from None
    if not parameters.get("operationName"):
        # A form that leaves a field empty says that there is none.
        parameters["operationName"] = None
    return _asked(parameters)


def _asked(stated: dict[str, Any]) -> Asked:
    get = stated.get
    text, variables, operation_name, extensions = (
        get("query"),
        get("variables"),
        get("operationName"),
        get("extensions"),
    )
    if text is not None:
        if type(text) is not str:
            raise _wrong("query", "a string", text)
        # A character is four bytes at most, so most documents need no second look.
        if len(text) * 4 > QUERY_SIZE_MAX and len(text.encode()) > QUERY_SIZE_MAX:
            raise RefusedRequest(
                "DOCUMENT_TOO_LARGE", f"query: larger than {QUERY_SIZE_MAX:,} bytes; put data into variables"
            )
    if variables is not None and type(variables) is not dict:
        raise _wrong("variables", "an object", variables)
    if operation_name is not None and type(operation_name) is not str:
        raise _wrong("operationName", "a string", operation_name)
    sha256 = None if extensions is None else _sha256(extensions)
    document_id = None if text is not None else _document_id(stated)
    if text is None and document_id is None and sha256 is None:
        raise RefusedRequest("BAD_REQUEST", 'query: is missing; send the document, such as "{ __typename }"')
    return Asked(text, variables or {}, operation_name, document_id, sha256)


def _document_id(stated: Mapping[str, Any]) -> str | None:
    for name in _DOCUMENT_IDS:
        found = stated.get(name)
        if found is not None:
            if type(found) is not str:
                raise _wrong(name, "a string", found)
            return found
    return None


def _sha256(extensions: object) -> str | None:
    """What Apollo's protocol of automatic persisted queries says in `extensions`, if it is spoken."""
    if type(extensions) is not dict:
        raise _wrong("extensions", "an object", extensions)
    stated = extensions.get("persistedQuery")
    if stated is None:
        return None
    if type(stated) is not dict:
        raise _wrong("extensions.persistedQuery", "an object", stated)
    if stated.get("version", 1) != 1:
        raise RefusedRequest("BAD_REQUEST", "extensions.persistedQuery.version: only version 1 is spoken; send 1")
    found = stated.get("sha256Hash")
    if type(found) is not str or len(found) > 2 * _SHA256_SIZE:
        raise RefusedRequest(
            "BAD_REQUEST", "extensions.persistedQuery.sha256Hash: must be the document's SHA-256 in hexadecimal"
        )
    return found.lower()


def _wrong(field: str, expected: str, found: object) -> RefusedRequest:
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return RefusedRequest("BAD_REQUEST", f"{field}: must be {expected}, not {kinds.get(type(found), 'null')}")
