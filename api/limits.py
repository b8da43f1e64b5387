"""What one document may ask for, measured before anything is done about it.

A document is small and what it asks for is not: fragments that spread one another twice double with each level, and a
page in a page multiplies. So everything is measured as if fragments were written out, in one pass that looks at each
fragment once, and a document that is too large is refused before it is validated: several rules of validation compare
pairs of fields, and would take seconds over what this refuses in a millisecond.

**Cost** is how much work an answer is: 1 a field, about a microsecond; what is computed on demand counts as many. Below
a page it counts once for each row, and a page whose size is a variable counts as the largest one there is until the
variable is known.

The limits are constants, since they follow from what this schema and this code can do and not from where they run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_list_type,
    is_non_null_type,
)

from api.listing import PAGE_MAX

CODE = "TOO_COMPLEX"
BAD_DOCUMENT = "GRAPHQL_VALIDATION_FAILED"
UNREADABLE = "GRAPHQL_PARSE_FAILED"
"""What other servers and their clients call these two."""

SIZE_MAX = 65_536
"""Characters of a document. They are read one by one, 5 ms for these; as many as a message of a socket may hold."""
TOKENS_MAX = 1_000
"""Of a document: three times GraphiQL's introspection. Reading them takes some 25 ms."""
OPERATIONS_MAX = 20
ROOT_FIELDS_MAX = 50
"""Fields at the top of an operation: they are carried out side by side."""
DEPTH_MAX = 16
"""GraphiQL's introspection has 15; the deepest question worth asking of portfolios has 9."""
FIELDS_MAX = 500
"""Of all operations together. A snapshot has 45."""
ALIASES_MAX = 100
DIRECTIVES_MAX = 50
SAME_NAME_MAX = 60
"""Fields answered under one name, in all of a document: validation compares each two of them."""
COST_MAX = 20_000
"""200 portfolios, the largest page, with every field of their risk are 10,000: two milliseconds of this process."""
VALUES_MAX = 10_000
"""Values in the variables of one request, those within lists and objects counted. Each takes some microseconds."""
VALUES_DEPTH_MAX = 16
"""Objects and lists within one another. The inputs of this schema have 4."""

LIST_ROWS = 10
"""What a list without a page is counted as: holdings, sectors, stresses."""
ROWS: Mapping[tuple[str, str], int] = {("RiskBatch", "risks"): PAGE_MAX}
"""Lists that are longer: a batch is as much work as the largest page."""

WEIGHTS: Mapping[str, int] = {
    "__schema": 2_000,
    "__type": 500,
    "alternatives": 2_000,
    "backtest": 2_000,
    "contributions": 1_000,
    "exposures": 100,
    "firmRisk": 1_000,
    "history": 200,
    "holdings": 20,
    "metricsSummary": 20,
    "riskHistory": 200,
    "shock": 500,
    "stress": 1_000,
    "systemStatus": 20,
    "totalCount": 5,
    "whatIf": 2_000,
}
"""Cost of fields that are more work than reading a value. On demand they take milliseconds, most of them of the loop:
ten what-ifs or twenty contributions are what one request may hold everybody up by."""


class Size(NamedTuple):
    """How much something asks for, fragments written out."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0

    def beside(self, other: Size) -> Size:
        """Both together, in one selection."""
        return Size(max(self[0], other[0]), *(mine + theirs for mine, theirs in zip(self[1:], other[1:], strict=True)))


_WRITTEN_MAX = {"operations": OPERATIONS_MAX, "fields of one name": SAME_NAME_MAX}
_ASKED_MAX = {
    "fields at the top": ROOT_FIELDS_MAX,
    "depth": DEPTH_MAX,
    "fields": FIELDS_MAX,
    "aliases": ALIASES_MAX,
    "directives": DIRECTIVES_MAX,
}


def too_complex(what: str, found: int, allowed: int) -> GraphQLError:
    """The refusal of something that is over a limit."""
    told = f"{found:,}" if found <= 10**9 else "more than 1,000,000,000"
    message = f"{what}: {told} where {allowed:,} are allowed; ask for less at a time"
    return GraphQLError(
        message, extensions={"code": CODE, "limit": what, "found": min(found, 2**53), "allowed": allowed}
    )


def refuse_large(document: DocumentNode) -> GraphQLError | None:
    """What is wrong with the size of a document; None where nothing is. It need not be valid."""
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    measure = Measure(None, document, {})
    found = {"operations": len(operations), "fields of one name": _most_of_one_name(document)}
    for what, allowed in _WRITTEN_MAX.items():
        if found[what] > allowed:
            return too_complex(what, found[what], allowed)
    try:
        top = max((measure.root_fields(each) for each in operations), default=0)
        total = measure.everything(operations)
    except RecursionError:
        return too_complex("depth", 1_000, DEPTH_MAX)
    if measure.cyclic:
        # Known here already, and the rule that would say so looks at every way round.
        message = f"fragment {measure.cyclic[:80]!r} spreads itself; a fragment must not"
        return GraphQLError(message, extensions={"code": BAD_DOCUMENT})
    found = {"fields at the top": top, **total._asdict()}
    over = next((what for what, allowed in _ASKED_MAX.items() if found[what] > allowed), None)
    return None if over is None else too_complex(over, found[over], _ASKED_MAX[over])


def cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any] | None = None,
) -> int:
    """What an operation of a valid document costs with these variables, or at the most where they are not known."""
    known = None if variables is None else _with_defaults(operation, variables)
    return Measure(schema, document, known).operation(operation).cost


def refuse_variables(variables: Mapping[str, Any]) -> GraphQLError | None:
    """What is wrong with the size of variables; None where nothing is. Takes no longer for deeper ones."""
    count, level = 0, [value for value in variables.values() if isinstance(value, dict | list)]
    count += len(variables)
    for _ in range(VALUES_DEPTH_MAX):
        if not level:
            return None
        inner: list[Any] = []
        for each in level:
            count += len(each)
            if count > VALUES_MAX:
                return too_complex("values in variables", count, VALUES_MAX)
            inner += [value for value in _values(each) if isinstance(value, dict | list)]
        level = inner
    return too_complex("depth of variables", VALUES_DEPTH_MAX + 1, VALUES_DEPTH_MAX) if level else None


def _values(each: dict[str, Any] | list[Any]) -> Any:  # noqa: ANN401 - JSON
    return each.values() if isinstance(each, dict) else each


def _most_of_one_name(document: DocumentNode) -> int:
    """How often the commonest response name is written: fragments once, which is how validation compares them."""
    counts: dict[str, int] = {}
    waiting = [each.selection_set for each in document.definitions if hasattr(each, "selection_set")]
    while waiting:
        for each in waiting.pop().selections:
            if isinstance(each, FieldNode):
                name = (each.alias or each.name).value
                counts[name] = counts.get(name, 0) + 1
            elif isinstance(each, FragmentSpreadNode):
                name = f"...{each.name.value}"
                counts[name] = counts.get(name, 0) + 1
            if nested := getattr(each, "selection_set", None):
                waiting.append(nested)
    return max(counts.values(), default=0)


def _with_defaults(operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    stated = {
        each.variable.name.value: int(each.default_value.value)
        for each in operation.variable_definitions or ()
        if isinstance(each.default_value, IntValueNode)
    }
    return stated | dict(variables)


class Measure:
    """One pass over a document. Without a schema every row counts once, which is all that sizes other than cost need.

    variables  of the request, by name; None where they are not known
    """

    def __init__(
        self, schema: GraphQLSchema | None, document: DocumentNode, variables: Mapping[str, Any] | None
    ) -> None:
        self._schema = schema
        self._variables = variables
        self._measured: dict[str, Size | None] = {}
        self.fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self.cyclic: str | None = None
        """One that spreads itself, where there is one: no size is right then."""

    def everything(self, operations: Iterable[OperationDefinitionNode]) -> Size:
        """All operations, and the fragments that none of them spreads: those are validated too."""
        total = Size()
        for each in operations:
            total = total.beside(self.operation(each))
        for name in self.fragments.keys() - self._measured.keys():
            total = total.beside(self.fragment(name)._replace(depth=0))
        return total

    def operation(self, operation: OperationDefinitionNode) -> Size:
        """All of an operation. Raises `RecursionError`."""
        root = None if self._schema is None else self._schema.get_root_type(operation.operation)
        size = self._selections(operation.selection_set, root)
        written = len(operation.directives or ()) + sum(
            len(each.directives or ()) for each in operation.variable_definitions or ()
        )
        return size._replace(directives=size.directives + written)

    def root_fields(self, operation: OperationDefinitionNode) -> int:
        """Fields at the top, those of fragments that are spread there included."""
        return self._top(operation.selection_set, {})

    def _top(self, selections: SelectionSetNode, known: dict[str, int]) -> int:
        count = 0
        for each in selections.selections:
            match each:
                case FieldNode():
                    count += 1
                case InlineFragmentNode():
                    count += self._top(each.selection_set, known)
                case FragmentSpreadNode(name=name) if name.value in self.fragments:
                    if name.value not in known:
                        known[name.value] = 0  # what a cycle adds; validation refuses it
                        known[name.value] = self._top(self.fragments[name.value].selection_set, known)
                    count += known[name.value]
        return count

    def fragment(self, name: str) -> Size:
        """A fragment written out; nothing for one that does not exist, or that we are in already."""
        if name not in self._measured:
            self._measured[name] = None
            if (found := self.fragments.get(name)) is not None:
                condition = found.type_condition.name.value
                size = self._selections(found.selection_set, self._named(condition))
                self._measured[name] = size._replace(directives=size.directives + len(found.directives or ()))
        elif self._measured[name] is None and name in self.fragments:
            self.cyclic = name
        return self._measured[name] or Size()

    def _selections(self, selections: SelectionSetNode, parent: GraphQLNamedType | None) -> Size:
        depth = fields = aliases = directives = cost = 0
        for each in self._each(selections, parent):
            depth = max(depth, each.depth)
            fields += each.fields
            aliases += each.aliases
            directives += each.directives
            cost += each.cost
        return Size(depth, fields, aliases, directives, cost)

    def _each(self, selections: SelectionSetNode, parent: GraphQLNamedType | None) -> Iterator[Size]:
        for each in selections.selections:
            match each:
                case FieldNode():
                    size = self._field(each, parent)
                case InlineFragmentNode(type_condition=None):
                    size = self._selections(each.selection_set, parent)
                case InlineFragmentNode():
                    condition: Any = each.type_condition
                    size = self._selections(each.selection_set, self._named(condition.name.value))
                case FragmentSpreadNode():
                    size = self.fragment(each.name.value)
                case _:
                    continue
            yield size._replace(directives=size.directives + len(each.directives)) if each.directives else size

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Size:
        is_aliased = node.alias is not None
        weight = WEIGHTS.get(node.name.value, 1)
        field: GraphQLField | None = getattr(parent, "fields", {}).get(node.name.value)
        if node.selection_set is None:
            return Size(1, 1, is_aliased, 0, weight)
        below = self._selections(node.selection_set, None if field is None else get_named_type(field.type))
        rows = 1 if field is None or parent is None else self._rows(node, field, parent)
        return Size(
            below.depth + 1, below.fields + 1, below.aliases + is_aliased, below.directives, weight + rows * below.cost
        )

    def _rows(self, node: FieldNode, field: GraphQLField, parent: GraphQLNamedType) -> int:
        """How often what is selected below is answered, at the most."""
        if "first" in field.args:
            return self._page(node, field)
        if (rows := ROWS.get((parent.name, node.name.value))) is not None:
            return rows
        # The rows of a connection were counted where its page was asked for.
        is_list = is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type)
        return LIST_ROWS if is_list and not parent.name.endswith("Connection") else 1

    def _page(self, node: FieldNode, field: GraphQLField) -> int:
        stated = next((each.value for each in node.arguments or () if each.name.value == "first"), None)
        size: Any = PAGE_MAX
        if stated is None:
            size = field.args["first"].default_value
        elif isinstance(stated, IntValueNode):
            # Longer than any page: the digits of one may be too many for int().
            size = int(stated.value) if len(stated.value) < 10 else PAGE_MAX
        elif isinstance(stated, VariableNode) and self._variables is not None:
            size = self._variables.get(stated.name.value, field.args["first"].default_value)
        # What is no page is refused by whoever reads it, before any row is read.
        # Of an empty page the count beside its rows is work all the same.
        return max(1, min(size, PAGE_MAX)) if isinstance(size, int) else PAGE_MAX

    def _named(self, name: str) -> GraphQLNamedType | None:
        return None if self._schema is None else self._schema.get_type(name)
