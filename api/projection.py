"""Answers written without graphql-core's walk, where that comes to the same.

graphql-core asks of every value of every row which of its many cases it is: 3 microseconds, where a field of a
snapshot is one attribute. What a selection asks for is known before, so a function is compiled of it that reads
exactly that, once for each document, and checks of each value that it is what the schema says.

It is exact because it gives up. A selection with a directive, an argument, an interface or a resolver that may wait is
not compiled; a value that is not precisely of the expected type (a null where there may be none, a NaN, a resolver that
raises) raises, whatever was read is thrown away, and graphql-core does it all, errors included. A test compares the two
on hundreds of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import CoroutineType
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    SelectionNode,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from strawberry.types.field import StrawberryField

from api.schema.views import View

Read: TypeAlias = Callable[[Any, Any], Any]
"""(value, info) -> what JSON is made of. Raises anything where only graphql-core can tell; `info` has `context`."""

_CHECKS = {
    GraphQLString.name: "type({0}) is str",
    GraphQLID.name: "type({0}) is str",
    GraphQLBoolean.name: "type({0}) is bool",
    GraphQLInt.name: "type({0}) is int and -2147483648 <= {0} <= 2147483647",
    # Infinity less itself is NaN, as NaN is.
    GraphQLFloat.name: "type({0}) is float and {0} - {0} == 0.0",
}
"""That a value is its own serialized form."""


class Surprise(Exception):
    """A value that is not what the schema says. Let graphql-core say what it is."""


class NotPlain(Exception):
    """A selection for graphql-core."""


class Projections:
    """What was compiled of one document."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._made: dict[tuple[int, ...], Read | None] = {}

    def reader(self, kind: Any, nodes: list[FieldNode]) -> Read | None:  # noqa: ANN401 - graphql-core has no one name
        """What reads a value of this type as these nodes select; None where that is graphql-core's.

        The nodes are the document's own, which outlives this; so are types the schema's.
        """
        key = (id(kind), *map(id, nodes))
        if key not in self._made:
            try:
                self._made[key] = _Compiler(self._schema, self._fragments).read(kind, nodes)
            except NotPlain:
                self._made[key] = None
        return self._made[key]


class _Compiler:
    """Writes the functions of one selection, the innermost first."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._names: dict[str, Any] = {"Surprise": Surprise, "still": _still}
        self._source: list[str] = []

    def read(self, kind: Any, nodes: list[FieldNode]) -> Read:  # noqa: ANN401
        """The function for values of a type. Raises `NotPlain`."""
        body: list[str] = []
        written = self._value(kind, nodes, "value", body)
        top = self._function("value", [*body, f"return {written}"])
        # Nothing in the source comes from the document but names, which are letters and digits by GraphQL's grammar.
        exec(compile("\n".join(self._source), "<projection>", "exec"), self._names)  # noqa: S102
        read: Read = self._names[top]
        return read

    def _name(self, thing: object) -> str:
        name = f"n{len(self._names)}"
        self._names[name] = thing
        return name

    def _function(self, argument: str, body: Iterable[str]) -> str:
        name = self._name(None)
        self._source += [f"def {name}({argument}, info):", *(f"    {line}" for line in body)]
        return name

    def _value(self, kind: Any, nodes: list[FieldNode], value: str, body: list[str]) -> str:  # noqa: ANN401
        """Append the checks of a value to a body; the expression of what it is written as."""
        if is_non_null_type(kind):
            kind, may_be_null = kind.of_type, False
        else:
            may_be_null = True
        if is_leaf_type(kind) and kind.name in _CHECKS:
            check = _CHECKS[kind.name].format(value)
            body.append(f"if not ({f'{value} is None or ({check})' if may_be_null else check}): raise Surprise")
            return value
        if is_leaf_type(kind):
            written = f"{self._serializer(kind)}({value})"
        elif is_object_type(kind):
            written = f"{self._object(kind, nodes)}({value}, info)"
        elif is_list_type(kind):
            written = f"{self._list(kind.of_type, nodes)}({value}, info)"
        else:
            raise NotPlain
        if may_be_null:
            return f"None if {value} is None else {written}"
        body.append(f"if {value} is None: raise Surprise")
        return written

    def _serializer(self, kind: Any) -> str:  # noqa: ANN401
        if isinstance(kind, GraphQLEnumType):
            members = [each.value for each in kind.values.values()]
            wrapped = getattr(kind, "wrapped_cls", None)
            if wrapped is None:
                raise NotPlain
            written = {wrapped(member): kind.coerce_output_value(wrapped(member)) for member in members}
            return f"{self._name(written)}.__getitem__"
        coerce = kind.coerce_output_value

        def coerced(value: object) -> Any:  # noqa: ANN401
            found = coerce(value)
            if found is None:
                raise Surprise
            return found

        return self._name(coerced)

    def _list(self, item: Any, nodes: list[FieldNode]) -> str:  # noqa: ANN401
        body: list[str] = []
        written = self._value(item, nodes, "each", body)
        lines = ["if type(values) is not list: raise Surprise", "found = []", "for each in values:"]
        lines += [f"    {line}" for line in [*body, f"found.append({written})"]]
        return self._function("values", [*lines, "return found"])

    def _object(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> str:
        definition = kind.extensions.get("strawberry-definition")
        if definition is None:
            raise NotPlain
        is_view = issubclass(definition.origin, View)
        # Also what an interface asks of its types, whose predicate looks at the class.
        body = [f"if type(it) is not {self._name(definition.origin)}: raise Surprise"]
        if is_view:
            body.append("message = it.message")
        written: list[str] = []
        for response_name, each in self._selected(kind, nodes).items():
            name = each[0].name.value
            if name == "__typename":
                written.append(f"{response_name!r}: {kind.name!r}")
                continue
            field = kind.fields[name]
            if field.args:
                raise NotPlain
            value = f"v{len(written)}"
            body.append(f"{value} = {self._attribute(definition.origin, field, is_view)}")
            written.append(f"{response_name!r}: {self._value(field.type, each, value, body)}")
        return self._function("it", [*body, "return {" + ", ".join(written) + "}"])

    def _attribute(self, origin: type[View], field: GraphQLField, is_view: bool) -> str:
        """How a field is read of `it`."""
        stated: StrawberryField = field.extensions["strawberry-definition"]
        if stated.extensions:
            raise NotPlain
        if (resolver := stated.base_resolver) is not None:
            if resolver.is_async or resolver.arguments or resolver.self_parameter is None:
                raise NotPlain
            info = f", {resolver.info_parameter.name}=info" if resolver.info_parameter else ""
            return f"still({self._name(resolver.wrapped_func)}(it{info}))"
        if is_view and stated.python_name in origin.derived:
            return f"{self._name(origin.derived[stated.python_name])}(it)"
        return f"message.{stated.python_name}" if is_view else f"it.{stated.python_name}"

    def _selected(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> dict[str, list[FieldNode]]:
        """What is selected of a type, fragments written out, in the order of the answer."""
        found: dict[str, list[FieldNode]] = {}
        met: set[str] = set()
        for node in nodes:
            if node.selection_set is None:
                raise NotPlain
            self._collect(kind, node.selection_set.selections, found, met)
        return found

    def _collect(
        self,
        kind: GraphQLObjectType,
        selections: Iterable[SelectionNode],
        found: dict[str, list[FieldNode]],
        met: set[str],
    ) -> None:
        for each in selections:
            if each.directives:
                raise NotPlain
            match each:
                case FieldNode():
                    found.setdefault((each.alias or each.name).value, []).append(each)
                case InlineFragmentNode():
                    if each.type_condition is None or self._applies(each.type_condition.name.value, kind):
                        self._collect(kind, each.selection_set.selections, found, met)
                case FragmentSpreadNode() if each.name.value not in met:
                    met.add(each.name.value)
                    fragment = self._fragments[each.name.value]
                    if fragment.directives:
                        raise NotPlain
                    if self._applies(fragment.type_condition.name.value, kind):
                        self._collect(kind, fragment.selection_set.selections, found, met)

    def _applies(self, condition: str, kind: GraphQLObjectType) -> bool:
        if condition == kind.name:
            return True
        named: Any = self._schema.get_type(condition)
        return not is_object_type(named) and self._schema.is_sub_type(named, kind)


def _still(value: Any) -> Any:  # noqa: ANN401 - whatever a resolver gives
    """A value that is there already. What else can be awaited fails the check of its type."""
    if type(value) is CoroutineType:
        value.close()
        raise Surprise
    return value
