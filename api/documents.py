"""Documents, read once: a text that comes again is neither parsed nor validated again.

What a document asks for is known before anything is done about it: a `Prepared` has passed every rule and limit that
does not depend on who asks or on variables. Refusals carry `extensions.code`: BAD_DOCUMENT where the text is no
document of this schema, TOO_COMPLEX where it asks for too much.

A text is kept when it comes for the second time. So neither texts that are refused nor a stream of ever new ones (ids
written into the text where variables belong) drive out those that clients send all day.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)

from api import limits
from api.limits import BAD_DOCUMENT, UNREADABLE
from api.schema import schema
from api.schema.asked import root_fields
from plimsoll.errors import PlimsollError

KEPT_MAX = 512
"""Documents kept at once; the one asked for the longest ago gives way."""
KEPT_SIZE_MAX = 500_000
"""Characters of all kept documents together. A read document takes some eighty times its text: 40 MB at the most."""
SEEN_MAX = 4_096
"""Texts of which it is remembered that they came once; the oldest gives way."""
ERRORS_MAX = 10
"""Errors of validation that are told of one document; the rest would say no more."""
MESSAGE_SIZE_MAX = 500
"""Characters of one error: a text of 60 KB is not sent back."""

_SCHEMA = schema._schema  # noqa: SLF001
_INTROSPECTION = frozenset(("__schema", "__type"))


class RefusedDocument(PlimsollError):
    """A document that cannot be carried out, for each of these reasons."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A document that passed. `made` is where whoever carries it out keeps what it makes of it."""

    text: str
    document: DocumentNode
    operations: Mapping[str | None, OperationDefinitionNode]
    """By name; None is the only one there is, whatever its name."""
    costs: Mapping[str | None, int]
    """Of each operation by name, with the largest pages that variables could ask for."""
    fragments: Mapping[str, FragmentDefinitionNode]
    roots: Mapping[str | None, frozenset[str]]
    """Of each operation by name, the fields at its top."""
    made: dict[Any, Any] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of this name, or the only one. Raises `RefusedDocument`."""
        found = self.operations.get(name)
        if found is None:
            names = ", ".join(str(each) for each in self.operations if each is not None) or "the only one has no name"
            raise RefusedDocument([bad_document(f"operationName has to be one of the document's operations: {names}")])
        return found

    def kind(self, name: str | None) -> OperationType:
        """Query, mutation or subscription. Raises `RefusedDocument`."""
        return self.operation(name).operation

    def root_fields(self, name: str | None) -> frozenset[str]:
        """The names of the fields asked for at the top, those of fragments included. Raises `RefusedDocument`."""
        self.operation(name)
        return self.roots[name]

    def asks_schema(self, name: str | None) -> bool:
        """Whether an operation asks for the schema itself. Raises `RefusedDocument`."""
        return not _INTROSPECTION.isdisjoint(self.root_fields(name))


class Kept:
    """Documents by their text, bounded in number and in size, and which texts came once."""

    def __init__(self, kept_max: int = KEPT_MAX, size_max: int = KEPT_SIZE_MAX, seen_max: int = SEEN_MAX) -> None:
        self._kept_max, self._size_max, self._seen_max = kept_max, size_max, seen_max
        self._kept: OrderedDict[tuple[str, bool], Prepared] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self.size = 0
        """Characters of what is kept."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, is_production: bool) -> Prepared | None:
        """The document of this text, where it is kept."""
        found = self._kept.get((text, is_production))
        if found is not None:
            self._kept.move_to_end((text, is_production))
        return found

    def put(self, prepared: Prepared, is_production: bool) -> None:
        """Keep a document if its text came before, and remember that it came if not."""
        key = (prepared.text, is_production)
        seen = hash(key)
        if seen not in self._seen:
            self._seen[seen] = None
            if len(self._seen) > self._seen_max:
                self._seen.popitem(last=False)
            return
        if key not in self._kept:
            self.size += len(prepared.text)
        self._kept[key] = prepared
        while len(self._kept) > self._kept_max or self.size > self._size_max:
            (text, _), _ = self._kept.popitem(last=False)
            self.size -= len(text)


_kept = Kept()


def prepare(text: str, *, is_production: bool = False, looked_up: Callable[[bool], object] = bool) -> Prepared:
    """Read a document. In production, errors do not suggest what else there is. Raises `RefusedDocument`.

    `looked_up` is told whether it was kept.
    """
    found = _kept.get(text, is_production)
    looked_up(found is not None)
    if found is None:
        found = _read(text, is_production)
        _kept.put(found, is_production)
    return found


def _read(text: str, is_production: bool) -> Prepared:
    document = _parsed(text)
    if too_large := limits.refuse_large(document):
        raise RefusedDocument([too_large])
    try:
        errors = validate(_SCHEMA, document, specified_rules, ERRORS_MAX, hide_suggestions=is_production)
    except (RecursionError, ValueError) as error:
        # A number of more digits than Python converts, or fragments nested beyond its stack.
        raise RefusedDocument([bad_document(f"the document cannot be checked: {error}")]) from None
    if errors:
        raise RefusedDocument([bad_document(each.message, each) for each in errors])
    named = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    operations: dict[str | None, OperationDefinitionNode] = {each.name.value: each for each in named if each.name}
    if len(named) == 1:
        operations[None] = named[0]
    costs = {name: limits.cost(_SCHEMA, document, each) for name, each in operations.items()}
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    roots = {name: root_fields(document, each) for name, each in operations.items()}
    return Prepared(text, document, operations, costs, fragments, roots)


def _parsed(text: str) -> DocumentNode:
    if len(text) > limits.SIZE_MAX:
        raise RefusedDocument([limits.too_complex("characters", len(text), limits.SIZE_MAX)])
    try:
        return parse(text, max_tokens=limits.TOKENS_MAX)
    except RecursionError:
        raise RefusedDocument([bad_document("the document is nested too deeply")]) from None
    except GraphQLError as error:
        # The parser stops at the first token too many, and says so in words only.
        if f"more than {limits.TOKENS_MAX} tokens" in error.message:
            raise RefusedDocument([limits.too_complex("tokens", limits.TOKENS_MAX + 1, limits.TOKENS_MAX)]) from None
        raise RefusedDocument([bad_document(error.message, error)]) from None


def bad_document(message: str, error: GraphQLError | None = None) -> GraphQLError:
    """A refusal of the text itself, with where in it `error` was."""
    short = message if len(message) <= MESSAGE_SIZE_MAX else message[:MESSAGE_SIZE_MAX] + "..."
    extensions = {"code": UNREADABLE if isinstance(error, GraphQLSyntaxError) else BAD_DOCUMENT}
    if error is None:
        return GraphQLError(short, extensions=extensions)
    return GraphQLError(short, error.nodes, error.source, error.positions, error.path, extensions=extensions)
