"""`plimsoll schema`: the GraphQL contract as text, and whether the code still keeps it.

A change breaks somebody where an operation that was right under the contract no longer is, or gets an answer that its
reader did not expect. What is merely added breaks nobody; what lies between (a new enumeration value, another default)
is told and does not fail the check.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from graphql import GraphQLSchema

CONTRACT = Path("schema.graphql")

_BREAKS = {
    "TYPE_REMOVED": "whoever names the type in a fragment or a variable",
    "TYPE_CHANGED_KIND": "whoever uses the type",
    "TYPE_REMOVED_FROM_UNION": "whoever has a fragment on it",
    "VALUE_REMOVED_FROM_ENUM": "whoever sends the value",
    "REQUIRED_INPUT_FIELD_ADDED": "whoever sends the input without it",
    "IMPLEMENTED_INTERFACE_REMOVED": "whoever reads it through the interface",
    "FIELD_REMOVED": "whoever asks for the field, or sends it",
    "FIELD_CHANGED_KIND": "whoever reads or sends it as it was",
    "REQUIRED_ARG_ADDED": "whoever asks without the argument",
    "ARG_REMOVED": "whoever gives the argument",
    "ARG_CHANGED_KIND": "whoever gives the argument as it was",
}
_BREAKS_OTHERWISE = "whoever uses the directive"
_REMEDY = (
    "Keep what is named above and mark it deprecated, or break the contract on purpose: raise the version, say so in "
    "CHANGELOG.md, and write the new contract to the file with `plimsoll schema`."
)


class BadContract(PlimsollError):
    """A file that holds no GraphQL schema. Name one that does."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between a contract and the code, a sentence a change."""

    broken: list[str]
    """Each ends with whom it breaks."""
    notable: list[str]
    """Breaks nobody who follows the rules, and may surprise."""


def schema(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The contract to check against; schema.graphql without.")
    ] = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Print what the code breaks of a contract, instead of the schema.")
    ] = False,
) -> None:
    """Print the GraphQL schema: what `schema.graphql` holds. Or check that the code keeps a contract.

    With --check it exits with 1 where something that was promised is gone, and names what, and whom that breaks.
    """
    from api.schema import schema as served  # noqa: PLC0415
    from api.schema import sdl  # noqa: PLC0415

    if not check:
        if file is not None:
            raise typer.BadParameter("only --check reads a file; `plimsoll schema > FILE` writes one")
        typer.echo(sdl().rstrip("\n"))
        return
    path = file or CONTRACT
    found = compare(read(path), served._schema)  # noqa: SLF001
    for sentence in found.notable:
        typer.echo(f"note: {sentence}")
    for sentence in found.broken:
        typer.echo(f"broken: {sentence}")
    if found.broken:
        sys.stderr.write(f"plimsoll: the code breaks {path} in {len(found.broken)} places. {_REMEDY}\n")
        raise typer.Exit(1)
    typer.echo(f"the code keeps {path}")


def read(path: Path) -> GraphQLSchema:
    """The contract in a file. Raises `BadContract`."""
    from graphql import GraphQLError, build_schema  # noqa: PLC0415

    try:
        return build_schema(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadContract(f"{path} cannot be read ({error.strerror}): name the contract to check against") from None
    except (GraphQLError, TypeError, UnicodeDecodeError) as error:
        raise BadContract(f"{path} is no GraphQL schema: {str(error).splitlines()[0]}") from None


def compare(contract: GraphQLSchema, code: GraphQLSchema) -> Comparison:
    """What the code breaks of a contract."""
    from graphql import find_breaking_changes, find_dangerous_changes  # noqa: PLC0415

    broken = [
        f"{change.description} It breaks {_BREAKS.get(change.type.name, _BREAKS_OTHERWISE)}."
        for change in find_breaking_changes(contract, code)
    ]
    return Comparison(sorted(broken), sorted(change.description for change in find_dangerous_changes(contract, code)))
