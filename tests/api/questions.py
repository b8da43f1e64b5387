"""Questions at random to any schema: every field, aliases, fragments, directives. The same seed asks the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema, get_named_type, is_composite_type, is_leaf_type, is_object_type

DEPTH_MAX = 5


class Questions:
    """`arguments` has literals to choose from, by the name of the argument; `fields` are those at the top."""

    def __init__(
        self, schema: GraphQLSchema, rng: random.Random, arguments: Mapping[str, Sequence[str]], fields: Sequence[str]
    ) -> None:
        self._schema = schema
        self._rng = rng
        self._arguments = arguments
        self._fields = fields
        self._fragments: list[str] = []
        self._count = 0

    def one(self) -> str:
        """A document. Not all of them are valid: two fields may want the same name."""
        self._fragments = []
        root: Any = self._schema.query_type
        fields = [
            self._field(root, name, 0) for name in self._rng.choices(self._fields, k=self._rng.choice([1, 1, 1, 2]))
        ]
        return " ".join(["{", *fields, "}", *self._fragments])

    def _selection(self, kind: GraphQLObjectType, depth: int) -> str:
        chance = self._rng.random
        chosen = []
        for _ in range(self._rng.randint(1, 6)):
            names = [
                name
                for name, field in kind.fields.items()
                if is_leaf_type(get_named_type(field.type)) or depth < DEPTH_MAX
            ]
            chosen.append(
                "__typename" if chance() < 0.1 or not names else self._field(kind, self._rng.choice(names), depth)
            )
        text = " ".join(chosen)
        if chance() < 0.15:
            text = f"{text} ... on {kind.name} {{ {self._selection(kind, DEPTH_MAX)} }}"
        if chance() < 0.15:
            self._count += 1
            self._fragments.append(f"fragment f{self._count} on {kind.name} {{ {text} }}")
            text = f"...f{self._count}{self._directive()}"
        return text

    def _field(self, kind: GraphQLObjectType, name: str, depth: int) -> str:
        field = kind.fields[name]
        self._count += 1
        alias = f"a{self._count}: " if self._rng.random() < 0.3 or field.args else ""
        stated = [
            f"{each}: {self._rng.choice(self._arguments[each])}" for each in field.args if each in self._arguments
        ]
        text = f"{alias}{name}{'(' + ', '.join(stated) + ')' if stated else ''}{self._directive()}"
        inner: Any = get_named_type(field.type)
        if not is_composite_type(inner):
            return text
        body = self._selection(inner, depth + 1) if is_object_type(inner) else "__typename"
        return f"{text} {{ {body} }}"

    def _directive(self) -> str:
        return self._rng.choice([""] * 12 + [" @include(if: true)", " @skip(if: true)", " @include(if: false)"])
