"""What an operation asks for, as far as it can be told from its text: the fields at its top, and the ids in it.

Fragments are looked into: a field is at the top whether it is written there or spread there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    ListValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from api.audit import IDS_MAX, ids_in, is_id_name
from api.schema.scalars import parse_global_id


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> frozenset[str]:
    """The names of the fields at the top of an operation of a document, however they got there."""
    return frozenset(
        node.name.value
        for node in _selected(document, operation.selection_set, deep=False)
        if isinstance(node, FieldNode)
    )


def asked_ids(document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, object]) -> list[str]:
    """The ids that an operation names in its text or in its variables, bare; the first of them."""
    found: dict[str, None] = {}
    for text in (*_stated_ids(document, operation, variables), *ids_in(variables)):
        parsed = parse_global_id(text)
        found[text if parsed is None else parsed[1]] = None
        if len(found) == IDS_MAX:
            break
    return list(found)


def _stated_ids(
    document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, object]
) -> Iterator[str]:
    """What arguments for ids are given, there and then or by a variable of whatever name."""
    for node in _selected(document, operation.selection_set, deep=True):
        for argument in node.arguments or ():
            yield from _texts(argument, variables)


def _texts(named: ArgumentNode | ObjectFieldNode, variables: Mapping[str, object]) -> Iterator[str]:
    values: list[ValueNode] = [named.value]
    while values:
        match values.pop():
            case StringValueNode(value=text) if is_id_name(named.name.value):
                yield text
            case VariableNode(name=variable) if is_id_name(named.name.value):
                yield from ids_in({named.name.value: variables.get(variable.value)})
            case ListValueNode(values=several):
                values += several
            case ObjectValueNode(fields=fields):
                for field in fields:
                    yield from _texts(field, variables)


def _selected(document: DocumentNode, selections: SelectionSetNode, *, deep: bool) -> Iterator[FieldNode]:
    """The fields of a selection, those of fragments among them, each fragment once; `deep`: and theirs."""
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    waiting = [selections]
    while waiting:
        for node in waiting.pop().selections:
            match node:
                case FieldNode():
                    yield node
                    if deep and node.selection_set is not None:
                        waiting.append(node.selection_set)
                case InlineFragmentNode():
                    waiting.append(node.selection_set)
                case FragmentSpreadNode():
                    # Taken out as it is met, so that neither a cycle nor a bomb makes us look twice.
                    fragment = fragments.pop(node.name.value, None)
                    if fragment is not None:
                        waiting.append(fragment.selection_set)
