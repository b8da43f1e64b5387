"""Carrying out what a document asks for, the same for every way in: HTTP, sockets and event streams.

Answers leave as the bytes of the JSON that the caller is sent: `{"data": ..., "errors": [...]}`. What could not begin
is refused instead: `RefusedDocument`, with a code in each of its errors.

A query all of whose fields are plain is carried out here: its resolvers are called, side by side, and what they give is
written by compiled functions (`projection`). Where anything is not plain or not as expected, graphql-core carries out
the whole, whose answer is the same by definition. Resolvers of queries change nothing, so calling one again is no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, cast

import msgspec
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLID,
    GraphQLInt,
    GraphQLString,
    Node,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    get_nullable_type,
    is_non_null_type,
    located_error,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_argument_values, get_variable_values
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from api import limits
from api.audit import Decision
from api.documents import MESSAGE_SIZE_MAX, Prepared, RefusedDocument, prepare
from api.errors import BadInput, Forbidden, NotFound
from api.gather import Alike
from api.projection import Projections, Read
from api.roles import require_roles
from api.schema import schema
from api.schema.asked import asked_ids
from api.schema.execution import Executor, told_or_masked
from api.schema.operation import Operation, Session
from api.telemetry import Kind, Refusal, ToldOperation
from plimsoll.errors import Unavailable

QUERY_SECONDS = 5.0
"""What a query gets. What it waits for is cancelled then, and its caller told TIMEOUT."""
COERCION_ERRORS_MAX = 10
"""Errors of variables that are told of one request."""

SHARED_COST = 100
"""From this cost on, a question that several ask at the same time is answered once, for all of them: a list that every
dashboard shows. Below, sharing would cost as much as answering."""

_SCHEMA = schema._schema  # noqa: SLF001
_alike = Alike()
_EXPECTED = (NotFound, BadInput, Unavailable)
_KINDS: Mapping[OperationType, Kind] = {
    OperationType.QUERY: "query",
    OperationType.MUTATION: "mutation",
    OperationType.SUBSCRIPTION: "subscription",
}
_COUNTED_LIMITS: Mapping[str, Refusal] = {
    "aliases": "aliases", "cost": "cost", "depth": "depth", "directives": "directives", "tokens": "tokens",
}  # fmt: skip
_WITH_ERRORS = b'{"errors"'
Variables = Mapping[str, Any]


def read(session: Session, text: str) -> Prepared:
    """The document of a text, for whoever may have it. Raises `RefusedDocument`."""
    telemetry = session.backend.telemetry

    def looked_up(found: bool) -> None:
        telemetry.looked_up("documents", found=found)

    try:
        return prepare(text, is_production=_hides(session), looked_up=looked_up)
    except RefusedDocument as refused:
        telemetry.document_refused(session.transport, _reason(refused))
        raise


def _reason(refused: RefusedDocument) -> Refusal:
    limit = (refused.errors[0].extensions or {}).get("limit")
    return _COUNTED_LIMITS.get(str(limit), "document")


def told_of(session: Session, prepared: Prepared, operation_name: str | None) -> ToldOperation:
    """The operation as telemetry is told of it, for as long as it is carried out. Raises `RefusedDocument`."""
    return session.backend.telemetry.operation(
        _KINDS[prepared.kind(operation_name)],
        prepared.root_fields(operation_name),
        session.transport,
        name=operation_name,
        document=prepared.text,
    )


async def answer(session: Session, prepared: Prepared, variables: Variables, operation_name: str | None) -> bytes:
    """Carry out a query or a mutation. Raises `RefusedDocument` where it cannot begin."""
    with told_of(session, prepared, operation_name) as told_operation:
        body = await _answered(session, prepared, variables, operation_name)
        if body.startswith(_WITH_ERRORS):
            told_operation.outcome = "error"
        return body


async def _answered(session: Session, prepared: Prepared, variables: Variables, operation_name: str | None) -> bytes:
    operation = prepared.operation(operation_name)
    coerced = admit(session, prepared, variables, operation_name)
    context = Operation(session)
    if operation.operation is not OperationType.QUERY:
        # Whether a change was published is not left open because somebody waits: its own deadline says so.
        return payload(await _executed(session, prepared, context, variables, operation_name))

    async def carry_out() -> bytes:
        plan = _plan(prepared, operation, operation_name)
        if plan is not None and (written := await plan.carry_out(context, coerced)) is not None:
            return written
        return payload(await _executed(session, prepared, context, variables, operation_name))

    if prepared.costs[operation_name] < SHARED_COST:
        return await _in_time(carry_out)
    # All that an answer depends on. Whether a caller may ask at all was settled above, for each alone.
    seen = (session.backend.redis, session.caller.view, session.caller.roles)
    asked = (prepared, operation_name, _same_text(coerced), seen)
    # Both have the time of one query: who waits for the next of its kind, and the one that is carried out.
    return await _in_time(lambda: _alike.read(asked, lambda: _in_time(carry_out)))


async def _in_time(carry_out: Callable[[], Awaitable[bytes]]) -> bytes:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks here
    deadline = _Deadline(task)
    ending = task.get_loop().call_later(QUERY_SECONDS, deadline.end)
    try:
        return await carry_out()
    except asyncio.CancelledError:
        # Somebody else may want it ended too, and theirs goes on.
        if not deadline.is_over or task.uncancel() > deadline.cancelling:
            raise
        message = f"no answer within {QUERY_SECONDS:g} s; ask for less, or try again"
        return payload(ExecutionResult(None, [GraphQLError(message, extensions={"code": "TIMEOUT"})]))
    finally:
        ending.cancel()


class _Deadline:
    """As `asyncio.timeout`, at a fifth of its cost, which would be a tenth of an answer's."""

    __slots__ = ("_task", "cancelling", "is_over")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.cancelling = task.cancelling()
        self.is_over = False

    def end(self) -> None:
        """Cancel what runs."""
        self.is_over = True
        self._task.cancel()


def payload(result: ExecutionResult) -> bytes:
    """A result as JSON."""
    # Errors first, as the specification advises: who reads the beginning knows.
    errors = {"errors": [told(error) for error in result.errors]} if result.errors else {}
    return msgspec.json.encode({**errors, "data": result.data})


def told(error: GraphQLError) -> Mapping[str, Any]:
    """An error as its caller is told of it: with a code where it can be expected, as an id in our log where not."""
    return told_or_masked(error).formatted


# --- before anything is done ------------------------------------------------------------------------------------------


def _authorise(session: Session, prepared: Prepared, variables: Variables, operation_name: str | None) -> None:
    """Whether this caller may do this, here; whoever asked is in the audit log. Raises `RefusedDocument`."""
    decision = Decision.ALLOWED
    operation, audit = prepared.operation(operation_name), session.backend.audit
    try:
        require_roles(session.caller, operation.operation, prepared.root_fields(operation_name))
    except Forbidden as error:
        decision = Decision.FORBIDDEN
        session.backend.telemetry.refused("forbidden")
        raise RefusedDocument([GraphQLError(str(error), extensions={"code": "FORBIDDEN"})]) from None
    finally:
        if audit.on:
            name = "" if operation.name is None else f" {operation.name.value}"
            ids = asked_ids(prepared.document, operation, variables)
            fields = sorted(prepared.root_fields(operation_name))
            audit.record(session.caller, session.transport, operation.operation.value + name, fields, ids, decision)
    if session.backend.settings.profile == "production" and prepared.asks_schema(operation_name):
        message = "this server does not tell its schema (PLIMSOLL_PROFILE=production); read schema.graphql instead"
        raise RefusedDocument([GraphQLError(message, extensions={"code": "FORBIDDEN"})])


def admit(session: Session, prepared: Prepared, variables: Variables, operation_name: str | None) -> VariableValues:
    """The variables as the operation takes them, where it may be carried out. Raises `RefusedDocument`."""
    operation = prepared.operation(operation_name)
    _authorise(session, prepared, variables, operation_name)
    if not operation.variable_definitions:
        stated: dict[str, Any] = {}
    else:
        names = [each.variable.name.value for each in operation.variable_definitions]
        stated = {name: variables[name] for name in names if name in variables}
    if stated and (too_large := limits.refuse_variables(stated)):
        raise RefusedDocument([too_large])
    if prepared.costs[operation_name] > limits.COST_MAX:
        found = limits.cost(_SCHEMA, prepared.document, operation, stated)
        if found > limits.COST_MAX:
            raise RefusedDocument([limits.too_complex("cost", found, limits.COST_MAX)])
    plain = _declared(prepared, operation, operation_name).values(stated)
    if plain is not None:
        return plain
    try:
        coerced = get_variable_values(
            _SCHEMA, operation.variable_definitions or (), stated, COERCION_ERRORS_MAX, _hides(session)
        )
    except (RecursionError, ValueError, OverflowError) as error:
        # A number of more digits than Python converts.
        coerced = [GraphQLError(f"the variables cannot be read: {error}")]
    if isinstance(coerced, list):
        raise RefusedDocument([_bad_variables(error) for error in coerced])
    return coerced


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    GraphQLID.name: lambda value: type(value) is str,
    GraphQLString.name: lambda value: type(value) is str,
    GraphQLInt.name: lambda value: type(value) is int and -(2**31) <= value < 2**31,
    GraphQLBoolean.name: lambda value: type(value) is bool,
}
"""Values that are their own coerced form. `Any`: of JSON."""


class _Declared:
    """The variables of an operation, where each is a plain one: those that nearly every request has."""

    def __init__(self, operation: OperationDefinitionNode) -> None:
        self._checks: list[tuple[str, GraphQLVariableSignature, Callable[[Any], bool]]] | None = []
        for each in operation.variable_definitions or ():
            signature: Any = get_variable_signature(_SCHEMA, each)
            check = _PLAIN.get(getattr(get_nullable_type(signature.type), "name", ""))
            if check is None:
                self._checks = None
                return
            self._checks.append((signature.name, signature, check))

    def values(self, stated: Mapping[str, Any]) -> VariableValues | None:
        """As graphql-core coerces them; None where that has to be asked, and may have something to say."""
        if self._checks is None:
            return None
        sources, coerced = {}, {}
        for name, signature, check in self._checks:
            value = stated.get(name)
            if not check(value):
                return None
            sources[name] = VariableValueSource(signature, value)
            coerced[name] = value
        return VariableValues(sources, coerced)


def _declared(prepared: Prepared, operation: OperationDefinitionNode, operation_name: str | None) -> _Declared:
    key = ("declared", operation_name)
    if key not in prepared.made:
        prepared.made[key] = _Declared(operation)
    found: _Declared = prepared.made[key]
    return found


def _same_text(variables: VariableValues) -> str:
    """The same for the same variables."""
    return repr({name: source.value for name, source in variables.sources.items()})


def _bad_variables(error: GraphQLError) -> GraphQLError:
    short = error.message if len(error.message) <= MESSAGE_SIZE_MAX else error.message[:MESSAGE_SIZE_MAX] + "..."
    return GraphQLError(short, error.nodes, extensions={"code": "BAD_VARIABLES"})


def _hides(session: Session) -> bool:
    """Whether errors keep to themselves what else there is."""
    return session.backend.settings.profile == "production"


# --- by graphql-core --------------------------------------------------------------------------------------------------


def _executor(
    session: Session, prepared: Prepared, context: Operation, variables: Variables, operation_name: str | None
) -> Executor:
    built: Any = Executor.build(
        _SCHEMA,
        prepared.document,
        context_value=context,
        raw_variable_values=dict(variables),
        operation_name=operation_name,
        max_coercion_errors=COERCION_ERRORS_MAX,
        hide_suggestions=_hides(session),
    )
    if isinstance(built, list):
        raise RefusedDocument([_bad_variables(error) for error in built])
    executor: Executor = built
    executor.projections = _projections(prepared)
    return executor


async def _executed(
    session: Session, prepared: Prepared, context: Operation, variables: Variables, operation_name: str | None
) -> ExecutionResult:
    result: Any = _executor(session, prepared, context, variables, operation_name).execute_operation()
    done: ExecutionResult = await result if isawaitable(result) else result
    return done


# --- the short way ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Info:
    """What our resolvers ask of Strawberry's `Info`, and nothing else."""

    context: Operation


@dataclass(frozen=True, slots=True)
class _Root:
    """A field at the top: what resolves it, and what writes its value."""

    response_name: str
    definition: GraphQLField
    node: FieldNode
    arguments: Mapping[str, Any] | None
    """None where they depend on variables."""
    direct: Mapping[str, str] | None
    """Argument -> variable, where all that is stated is a variable of a plain type, which is passed on as it is."""
    resolve: Callable[..., Awaitable[Any]]
    read: Read

    async def written(self, info: _Info, variables: VariableValues) -> Any:  # noqa: ANN401 - what JSON is made of
        """The field's value. Raises what its resolver does, and anything where it is not as the schema says."""
        arguments = self.arguments
        if arguments is None and self.direct is not None:
            arguments = {name: variables.coerced.get(variable) for name, variable in self.direct.items()}
        # A null may be none of the argument's, and what is left out has a default: graphql-core knows.
        if arguments is None or None in arguments.values():
            arguments = _arguments(self.definition, self.node, variables)
        return self.read(await self.resolve(None, info=info, **arguments), info)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A query whose fields are all plain."""

    roots: Sequence[_Root]

    async def carry_out(self, context: Operation, variables: VariableValues) -> bytes | None:
        """The answer; None where only graphql-core can give it."""
        info = _Info(context)
        if len(self.roots) == 1:
            return await self._carry_out_one(info, variables)
        done = await asyncio.gather(*(root.written(info, variables) for root in self.roots), return_exceptions=True)
        if any(isinstance(each, BaseException) for each in done):
            return None
        names = (root.response_name for root in self.roots)
        return msgspec.json.encode({"data": dict(zip(names, done, strict=True))})

    async def _carry_out_one(self, info: _Info, variables: VariableValues) -> bytes | None:
        root = self.roots[0]
        try:
            return msgspec.json.encode({"data": {root.response_name: await root.written(info, variables)}})
        except _EXPECTED as error:
            # The whole answer, and asking again might mean to wait for a dependency again.
            failed = located_error(error, [root.node], [root.response_name])
            is_null = is_non_null_type(root.definition.type)
            return payload(ExecutionResult(None if is_null else {root.response_name: None}, [failed]))
        except Exception:
            # Whatever it is: graphql-core carries out the whole, and says exactly what is wrong.
            return None


def _plan(prepared: Prepared, operation: OperationDefinitionNode, operation_name: str | None) -> _Plan | None:
    key = ("plan", operation_name)
    if key not in prepared.made:
        prepared.made[key] = _planned(prepared, operation)
    found: _Plan | None = prepared.made[key]
    return found


def _planned(prepared: Prepared, operation: OperationDefinitionNode) -> _Plan | None:
    roots: dict[str, _Root] = {}
    for node in operation.selection_set.selections:
        if not isinstance(node, FieldNode) or node.directives or operation.directives:
            return None
        response_name = (node.alias or node.name).value
        definition = _SCHEMA.query_type.fields.get(node.name.value) if _SCHEMA.query_type else None
        if response_name in roots or definition is None:
            return None
        stated: StrawberryField = definition.extensions["strawberry-definition"]
        resolver = stated.base_resolver
        if resolver is None or not resolver.is_async or stated.extensions:
            return None
        read = _projections(prepared).reader(definition.type, [node])
        if read is None:
            return None
        try:
            fixed = None if _names_variables(node) else _arguments(definition, node, VariableValues({}, {}))
        except GraphQLError:
            return None
        resolve = cast("Callable[..., Awaitable[Any]]", resolver.wrapped_func)
        roots[response_name] = _Root(response_name, definition, node, fixed, _direct(definition, node), resolve, read)
    return _Plan(list(roots.values()))


def _arguments(definition: GraphQLField, node: FieldNode, variables: VariableValues) -> dict[str, Any]:
    """What a resolver is called with. Raises `GraphQLError`."""
    stated: StrawberryField = definition.extensions["strawberry-definition"]
    values = get_argument_values(definition, node, variables)
    converter = schema.schema_converter
    return convert_arguments(values, stated.arguments, converter.scalar_registry, converter.config)


def _direct(definition: GraphQLField, node: FieldNode) -> dict[str, str] | None:
    stated: StrawberryField = definition.extensions["strawberry-definition"]
    python_names = dict(zip(definition.args, (each.python_name for each in stated.arguments), strict=True))
    found: dict[str, str] = {}
    for each in node.arguments or ():
        kind = getattr(get_nullable_type(definition.args[each.name.value].type), "name", "")
        if not isinstance(each.value, VariableNode) or kind not in _PLAIN:
            return None
        found[python_names[each.name.value]] = each.value.name.value
    return found


def _names_variables(node: Node) -> bool:
    return isinstance(node, VariableNode) or any(
        _names_variables(each)
        for key in node.keys
        for value in (getattr(node, key, None),)
        for each in (value if isinstance(value, tuple | list) else (value,))
        if isinstance(each, Node)
    )


def _projections(prepared: Prepared) -> Projections:
    if "projections" not in prepared.made:
        prepared.made["projections"] = Projections(_SCHEMA, prepared.fragments)
    found: Projections = prepared.made["projections"]
    return found
