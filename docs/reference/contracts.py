"""Pages of what is agreed with others: GraphQL, REST, Kafka and Redis."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    ast_from_value,
    print_ast,
)
from tables import ROOT, code, opening, said_of, source, table

from plimsoll.messages import Iso8601
from plimsoll.refusals import IDENTIFIER_PATTERN, IDENTIFIER_SIZE_MAX

# --- GraphQL ----------------------------------------------------------------------------------------------------------

ROOTS = ("Query", "Mutation", "Subscription")


def graphql_page() -> Iterator[str]:
    """Every type with its fields and arguments, then the codes of errors."""
    from api.schema import schema as served  # noqa: PLC0415

    schema: GraphQLSchema = served._schema  # noqa: SLF001
    yield from opening(
        "GraphQL",
        "At `/graphql`; the same as text is [schema.graphql](../../schema.graphql). A `!` is never null. Examples are "
        "in the [README](../../README.md#graphql), subscriptions in [SUBSCRIPTIONS.md](../SUBSCRIPTIONS.md).",
    )
    names = [name for name in schema.type_map if not name.startswith("__")]
    for name in (*ROOTS, *sorted(name for name in names if name not in ROOTS)):
        yield from _type(name, schema)
    yield from _error_codes()
    yield from _close_codes()


def _type(name: str, schema: GraphQLSchema) -> Iterator[str]:
    kind = schema.type_map[name]
    yield ""
    yield f"## {name}"
    yield ""
    yield (kind.description or "").strip()
    match kind:
        case GraphQLEnumType():
            yield from table("value|", [(code(each), value.description or "") for each, value in kind.values.items()])
        case GraphQLUnionType():
            yield ""
            yield "One of " + ", ".join(_linked(str(each)) for each in kind.types) + "."
        case GraphQLInputObjectType():
            yield from table(
                "field|type|default|",
                [
                    (code(each), _linked(str(field.type)), _default_value(field), field.description or "")
                    for each, field in kind.fields.items()
                ],
            )
        case GraphQLObjectType() | GraphQLInterfaceType():
            if kind.interfaces:
                yield ""
                yield "It is a " + ", ".join(_linked(str(each)) for each in kind.interfaces) + "."
            yield from table("field|type|", _fields(kind))
        case GraphQLScalarType():
            pass


def _fields(kind: GraphQLObjectType | GraphQLInterfaceType) -> Iterator[list[str]]:
    for name, field in kind.fields.items():
        about = field.description or ""
        if field.deprecation_reason:
            about += f" Deprecated: {field.deprecation_reason}"
        yield [code(name), _linked(str(field.type)), about]
        for argument, given in field.args.items():
            yield [f"&nbsp;&nbsp;{code(argument)}", _argument_type(given), given.description or ""]


def _argument_type(argument: GraphQLArgument) -> str:
    told, default = _linked(str(argument.type)), _default_value(argument)
    return f"{told} = {default}" if default else told


def _default_value(given: GraphQLArgument | GraphQLInputField) -> str:
    value = given.default_value
    if value is None or value is Undefined or (written := ast_from_value(value, given.type)) is None:
        return ""
    return code(print_ast(written))


def _linked(name: str) -> str:
    """A type as it is written, its name a link to its section."""
    bare = name.strip("[]!")
    before, after = name.split(bare, 1)
    before, after = before.replace("[", "\\["), after.replace("]", "\\]")
    return f"{before}[{bare}](#{bare.lower()}){after}"


def _error_codes() -> Iterator[str]:
    """Every code that is written anywhere in the API, with the file that says it."""
    yield ""
    yield "## Error codes"
    yield ""
    yield (
        "In `extensions.code` of an error. A code stays when its sentence changes, and every one is told where it is "
        "raised, with what to do about it."
    )
    found: dict[str, set[Path]] = {}
    for path in sorted((ROOT / "api").rglob("*.py")):
        for each in re.findall(_CODE_IS_STATED, path.read_text(encoding="utf-8")):
            found.setdefault(each, set()).add(path)
    rows = [(code(each), ", ".join(map(source, sorted(paths)))) for each, paths in sorted(found.items())]
    yield from table("code|raised in", rows)


_CODE_IS_STATED = (
    r'(?:"code": |401: |403: |RefusedRequest\(\s*|refusal\(\s*scope, \d+, |\bCODE = |\bBAD_DOCUMENT = |\bUNREADABLE = |'
    r'code = |NOT_TRUSTED = |else )"([A-Z]+(?:_[A-Z]+)*)"'
)


def _close_codes() -> Iterator[str]:
    from api.sockets import codes  # noqa: PLC0415

    said = said_of(codes)
    yield ""
    yield "## Close codes of sockets"
    yield ""
    yield "What a client should do about each class: " + source(ROOT / "api" / "sockets" / "codes.py") + "."
    yield from table(
        "code|name|", [(str(int(each)), each.name, said.get(f"Code.{each.name}", "")) for each in codes.Code]
    )


# --- REST -------------------------------------------------------------------------------------------------------------


def rest_page() -> Iterator[str]:
    """Every route, its parameters and its bodies."""
    from api import openapi, rest  # noqa: PLC0415
    from plimsoll import messages  # noqa: PLC0415

    document = openapi.document(rest.ENDPOINTS, sign_in=True)
    yield from opening(
        "REST",
        "The document is at `/openapi.json`, and as a page at `/docs`. With sign-in each route is for the roles named; "
        "without it 401 is never answered. `/live`, `/ready` and `/metrics` are in "
        "[OBSERVABILITY.md](../OBSERVABILITY.md).",
    )
    said = said_of(messages) | said_of(rest)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation)
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _body(name, schema, said)


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield operation["description"]
    if operation["parameters"]:
        rows = [
            (code(each["name"]), each["in"], "required" if each["required"] else "optional", _schema(each["schema"]))
            for each in operation["parameters"]
        ]
        yield from table("parameter|in||takes", rows)
    for content_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield ""
        yield f"Body, `{content_type}`: {_schema(body['schema'])}"
    for status, answer in operation["responses"].items():
        if status == "200":
            for content_type, body in answer["content"].items():
                yield ""
                yield f"Answer, `{content_type}`" + (
                    f": {_schema(body['schema'])}" if body else ", one event a change."
                )
    others = [f"{status} {each['description']}" for status, each in operation["responses"].items() if status != "200"]
    yield ""
    yield f"Otherwise: {', '.join(others)}."


def _body(name: str, schema: Mapping[str, Any], said: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    if "description" in schema:
        yield ""
        yield " ".join(schema["description"].split())
    if "enum" in schema:
        yield ""
        yield "One of " + ", ".join(map(code, schema["enum"])) + "."
    if "properties" in schema:
        yield from table("field|takes||", _properties(name, schema, said))


def _properties(name: str, schema: Mapping[str, Any], said: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    required = set(schema.get("required", ()))
    for each, kind in schema["properties"].items():
        yield code(each), _schema(kind), "" if each in required else "optional", said.get(f"{name}.{each}", "")


def _schema(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": alternatives}:
            return " or ".join(map(_schema, alternatives)) + _default_of(schema)
        case {"type": "array", "items": items}:
            return f"array of {_schema(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_schema(values)}"
    if "pattern" in schema:
        return _PATTERNS.get(schema["pattern"], f"text like {code(schema['pattern'])}")
    kind = "base64" if "contentEncoding" in schema else schema.get("format") or schema.get("type", "anything")
    bounds = [f"{word} {schema[key]:,.10g}" for key, word in _BOUNDS.items() if key in schema]
    bounds += [f"always {code(schema['const'])}"] if "const" in schema else []
    return " ".join([kind, *bounds]) + _default_of(schema)


_PATTERNS = {
    IDENTIFIER_PATTERN: "identifier",
    get_args(Iso8601)[1].extra_json_schema["pattern"]: "ISO 8601 time",
}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "maximum": "to",
    "maxLength": "of at most",
}


def _default_of(schema: Mapping[str, Any]) -> str:
    if schema.get("default") in (None, [], {}):
        return ""
    return f"; without it {code(msgspec.json.encode(schema['default']).decode().strip(chr(34)))}"


# --- Kafka and Redis --------------------------------------------------------------------------------------------------


def topics_page() -> Iterator[str]:
    """Topics, the messages on them, Redis keys and channels, and the reasons of dead letters."""
    from plimsoll import errors, keys, messages, topics  # noqa: PLC0415

    yield from opening(
        "Topics and keys",
        "All messages are JSON in UTF-8, at most a megabyte. Money is in US dollars, fractions end in `_fraction`, "
        "times are nanoseconds since 1970 in UTC and end in `_ns`. Unknown fields are passed over. An "
        f"identifier is 1 to {IDENTIFIER_SIZE_MAX} of `A` to `Z`, `a` to `z`, `0` to `9` and `_.:-`. "
        "[plimsoll/topics.py](../../plimsoll/topics.py), [plimsoll/messages.py](../../plimsoll/messages.py) and "
        "[plimsoll/keys.py](../../plimsoll/keys.py) are the contract.",
    )
    said = said_of(topics)
    yield ""
    yield "## Topics"
    rows = [
        (code(topic.name), str(topic.partitions), topic.cleanup, said[name])
        for name, topic in vars(topics).items()
        if isinstance(topic, topics.Topic)
    ]
    yield from table("topic|partitions|cleanup|key and value", rows)
    yield ""
    yield "## Messages"
    kinds = [each for each in vars(messages).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    yield from _messages([each for each in kinds if each.__module__ == messages.__name__], said_of(messages))
    yield ""
    yield "## Redis"
    yield ""
    yield from _keys(keys)
    yield ""
    yield "## Reasons of dead letters"
    yield ""
    yield "In `reason` of a `DeadLetter`, and in the label of its counter."
    said = said_of(errors)
    yield from table("reason|means", [(code(each), said.get(f"Reason.{each.name}", "")) for each in errors.Reason])


def _messages(kinds: list[type[msgspec.Struct]], said: Mapping[str, str]) -> Iterator[str]:
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/{name}")
    assert len(schemas) == len(kinds)  # noqa: S101
    for kind in kinds:
        schema = components[kind.__name__]
        yield from _head(kind)
        yield from table("field|takes||", _properties(kind.__name__, schema, said))
    for name, schema in sorted(components.items()):
        if "enum" in schema:
            yield ""
            yield f"### {name}"
            yield ""
            yield "One of " + ", ".join(map(code, schema["enum"])) + "."


def _head(kind: type[msgspec.Struct]) -> Iterator[str]:
    yield ""
    yield f"### {kind.__name__}"
    yield ""
    yield re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(kind) or "")


def _keys(keys: ModuleType) -> Iterator[str]:
    """Constants and functions in the order of the file; a function is shown by what it makes of its parameters."""
    said = said_of(keys)
    yield " ".join((keys.__doc__ or "").split("\n\n")[1].split())
    rows = []
    for name, value in vars(keys).items():
        if isinstance(value, str) and name in said:
            rows.append((code(value), said[name]))
        elif inspect.isfunction(value):
            parameters = inspect.signature(value).parameters
            made = value(**{each: f"<{each}>" for each in parameters})
            forms = [value(), made] if all(each.default is None for each in parameters.values()) else [made]
            rows.append((" ".join(map(code, forms)), " ".join((inspect.getdoc(value) or "").split())))
    yield from table("key|holds", rows)
