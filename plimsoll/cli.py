"""The `plimsoll` command: the one place that knows every program.

Programs are imported inside the functions that need them, so that asking for help is quick and a part that is broken
breaks nothing else. Exit codes: 0 fine, 1 failed, 2 bad usage or setting, 3 the port is in use. An error that can be
expected is one sentence on standard error; a traceback is a bug.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from plimsoll import __version__, settings
from plimsoll.errors import BadSetting, PlimsollError


def schema() -> None:
    """Print the GraphQL schema: what `schema.graphql` holds."""
    from api.schema import sdl  # noqa: PLC0415

    typer.echo(sdl().rstrip("\n"))


def topics(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Create the Kafka topics that are missing on KAFKA_BROKERS, and list all five."""
    from engine.topics import describe, ensure_topics  # noqa: PLC0415

    told = settings.load(os.environ, Path(".env"))
    ensure_topics(told.kafka_brokers, told.replication_factor)
    found = describe(told.kafka_brokers)
    typer.echo(json.dumps(found, indent=2) if as_json else _table(found))


def version() -> None:
    """Print the version."""
    typer.echo(f"plimsoll {__version__}")


def application() -> typer.Typer:
    """The commands, assembled."""
    from embedded.__main__ import demo  # noqa: PLC0415

    commands = typer.Typer(
        name="plimsoll",
        help="Live portfolio risk: everything you can run, in one command.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in (demo, schema, topics, version):
        commands.command()(command)
    return commands


def main() -> None:
    """Run one command; an error we expect ends it with a sentence instead of a traceback."""
    try:
        application()()
    except PlimsollError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadSetting) else 1)


def _table(rows: list[dict[str, object]]) -> str:
    """Rows with the same keys as aligned columns under their names."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    main()
