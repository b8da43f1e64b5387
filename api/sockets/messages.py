"""What is said over a socket, in both protocols, and nothing about how: text in, meaning out, and back.

`graphql-transport-ws` is the one to use. `graphql-ws` is what subscriptions-transport-ws spoke (and, confusingly, not
what the library named graphql-ws speaks); old clients still do. They differ in words and little else, so one meaning
serves both. In both nothing is carried out before the socket is initialised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from api.telemetry import Transport

ID_SIZE_MAX = 256
"""Characters of an operation's id: it stands in every message of the operation."""
_SHOWN_MAX = 40
_NAMED_ELSEWHERE = ("extensions", "documentId", "doc_id")
"""Where a document can be named that is not stated."""


class BadFrame(Exception):
    """A message that is none of the protocol's. Its text says why, for the close frame."""


@dataclass(frozen=True, slots=True)
class Init:
    """The client says who it is."""

    params: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks whether we are there."""

    payload: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The client is there."""


@dataclass(frozen=True, slots=True)
class Start:
    """The client asks for an operation. `request` is as a GraphQL request over HTTP."""

    id: str
    request: Mapping[str, Any]

    @property
    def variables(self) -> Mapping[str, Any]:
        """By name."""
        return self.request.get("variables") or {}

    @property
    def operation_name(self) -> str | None:
        """Which operation of the document is meant."""
        return self.request.get("operationName")


@dataclass(frozen=True, slots=True)
class Stop:
    """The client wants no more of an operation."""

    id: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """The client leaves."""


Meaning: TypeAlias = Init | Ping | Pong | Start | Stop | Terminate


@dataclass(frozen=True, slots=True)
class Protocol:
    """The words of one protocol."""

    name: Transport
    start: str
    stop: str
    next: str
    heartbeat: bytes
    """What we say when all is quiet."""
    is_answered: bool
    """Whether the client has to answer that."""
    one_error: bool
    """Whether `error` carries one error, and not a list."""

    def read(self, text: str) -> Meaning:
        """What a message means. Raises `BadFrame`."""
        message = _object(text)
        kind = message.get("type")
        if kind == "connection_init":
            return Init(_mapping(message, "payload"))
        if kind == self.start:
            return Start(_id(message), _request(message))
        if kind == self.stop:
            return Stop(_id(message))
        if self.is_answered and kind == "ping":
            return Ping(_mapping(message, "payload"))
        if self.is_answered and kind == "pong":
            _mapping(message, "payload")
            return Pong()
        if not self.is_answered and kind == "connection_terminate":
            return Terminate()
        raise BadFrame(f"type: {str(kind)[:_SHOWN_MAX]!r} is no message of {self.name}")

    def prefix(self, operation_id: str) -> bytes:
        """The beginning of a message with an answer, up to the answer; a brace ends it."""
        return b'{"id":' + msgspec.json.encode(operation_id) + f',"type":"{self.next}","payload":'.encode()

    def complete(self, operation_id: str) -> bytes:
        """Nothing follows."""
        return msgspec.json.encode({"id": operation_id, "type": "complete"})

    def error(self, operation_id: str, errors: list[Mapping[str, Any]]) -> bytes:
        """The operation could not be carried out, or on."""
        payload: object = errors[0] if self.one_error else errors
        return msgspec.json.encode({"id": operation_id, "type": "error", "payload": payload})

    def pong(self, payload: Mapping[str, Any] | None) -> bytes:
        """We are there."""
        echoed = {} if payload is None else {"payload": payload}
        return msgspec.json.encode({"type": "pong", **echoed})


TRANSPORT = Protocol(
    "graphql-transport-ws", "subscribe", "complete", "next", b'{"type":"ping"}', is_answered=True, one_error=False
)
LEGACY = Protocol("graphql-ws", "start", "stop", "data", b'{"type":"ka"}', is_answered=False, one_error=True)
PROTOCOLS: Mapping[str, Protocol] = {each.name: each for each in (TRANSPORT, LEGACY)}
"""In the order in which we prefer them."""
ACK = b'{"type":"connection_ack"}'


def refused(detail: str) -> bytes:
    """What the older protocol says before it closes on one who is not let in."""
    return msgspec.json.encode({"type": "connection_error", "payload": {"message": detail}})


def _object(text: str) -> Mapping[str, Any]:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise BadFrame("the message is not JSON") from None
    if not isinstance(message, dict):
        raise BadFrame("the message is not a JSON object")
    return message


def _mapping(message: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    value = message.get(field)
    if value is not None and not isinstance(value, dict):
        raise BadFrame(f"{field}: is not an object")
    return value


def _id(message: Mapping[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= ID_SIZE_MAX:
        raise BadFrame(f"id: is not a text of 1 to {ID_SIZE_MAX} characters")
    return operation_id


def _request(message: Mapping[str, Any]) -> Mapping[str, Any]:
    request = message.get("payload")
    if not isinstance(request, dict):
        raise BadFrame("payload: is not an object")
    for field in ("variables", "extensions"):
        if not isinstance(request.get(field), dict | None):
            raise BadFrame(f"payload.{field}: is not an object")
    for field in ("query", "operationName"):
        if not isinstance(request.get(field), str | None):
            raise BadFrame(f"payload.{field}: is not a text")
    if request.get("query") is None and not any(request.get(name) for name in _NAMED_ELSEWHERE):
        raise BadFrame("payload.query: is missing")
    return request
