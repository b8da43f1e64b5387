"""Pages of what runs: settings, commands, metrics."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from tables import ROOT, code, exit_codes, opening, said_of, source, table

PROGRAMS = ("plimsoll", "producer", "engine", "api", "embedded")


# --- settings ---------------------------------------------------------------------------------------------------------


def readers() -> dict[str, list[Path]]:
    """{attribute of `Settings`: the files that read it}."""
    found: dict[str, list[Path]] = {}
    for program in PROGRAMS:
        for path in sorted((ROOT / program).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _holds_settings(node.value)]
            for name in {node.attr for node in nodes}:
                found.setdefault(name, []).append(path)
    return found


def _holds_settings(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=held):
            return _holds_settings(held)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("settings", "_settings", "told")
    return False


def settings_page() -> Iterator[str]:
    """Every setting."""
    from plimsoll.settings import documented  # noqa: PLC0415

    yield from opening(
        "Settings",
        "Read from the environment, and beneath it from a file `.env` in the working directory, when a program starts. "
        "A key that is unknown, or a value that cannot be taken, stops it with exit code 2 and is named. A secret is "
        "in no log and in no error. The table is [plimsoll/settings.py](../../plimsoll/settings.py).",
    )
    read = readers()
    rows = [
        [
            f'<a id="{each.key.lower().replace("_", "-")}"></a>{code(each.key)}',
            code(each.default) or "nothing",
            each.takes + (" **Secret.**" if each.secret else ""),
            each.about,
            ", ".join(map(source, read.get(each.name, []))),
        ]
        for each in documented()
    ]
    yield from table("key|default|takes|what it is|read in", rows)


# --- commands ---------------------------------------------------------------------------------------------------------


def cli_page() -> Iterator[str]:
    """Every command, its options and its exit codes."""
    import api.__main__ as api  # noqa: PLC0415
    import engine.__main__ as engine  # noqa: PLC0415
    import producer.__main__ as producer  # noqa: PLC0415
    from plimsoll import cli, errors  # noqa: PLC0415

    yield from opening(
        "Commands",
        "Each is run as `uv run plimsoll risk`; `--help` says the same. How they are used is in "
        "[COMMANDS.md](../COMMANDS.md), what they read from the environment in [settings.md](settings.md).",
    )
    serve = typer.Typer(add_completion=False)
    serve.command()(api.serve)
    programs = (
        ("plimsoll", cli.application(), cli),
        ("data-generator", producer.command(), producer),
        ("risk-calculator", engine.application(), engine),
        ("risk-api", serve, api),
    )
    for name, application, door in programs:
        yield ""
        yield f"## {name}"
        yield ""
        yield f"Exit codes: {exit_codes(door)}"
        yield from _command(name, typer.main.get_command(application))
    said = said_of(errors)
    yield ""
    yield "## Exit codes"
    yield ""
    yield "What a supervisor or an orchestrator may go by; `risk-api` has 3 for a port that is taken."
    codes = [(str(getattr(errors, name)), about) for name, about in said.items() if name.startswith("EXIT_")]
    yield from table("code|means", [("0", "It did what was asked, or stopped when asked."), *codes])


def _command(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401  # typer's own kind of command has no public name
    if hasattr(command, "commands"):
        for each, below in sorted(command.commands.items()):
            yield from _command(f"{name} {each}", below)
        return
    if " " in name:
        yield ""
        yield f"### {name}"
    yield ""
    # One line a paragraph.
    yield re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))
    shown = [each for each in command.params if not each.hidden and each.name != "help"]
    if shown:
        yield from table("option|takes|default|", map(_option, shown))


def _option(parameter: Any) -> list[str]:  # noqa: ANN401  # as above
    is_argument = not parameter.opts[0].startswith("-")
    names = [parameter.metavar] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    return [", ".join(map(code, names)), _takes(parameter), _default(parameter), parameter.help or ""]


def _takes(parameter: Any) -> str:  # noqa: ANN401
    kind = parameter.type_descriptor.annotation
    if getattr(parameter, "is_flag", False):
        return "a switch"
    several = ", repeatable" if get_origin(kind) is list else ""
    kind = get_args(kind)[0] if several else kind
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind))) + several
    if issubclass(kind, Enum):
        return ", ".join(code(each.value) for each in kind) + several
    least, most = parameter.min, parameter.max
    bounds = "" if least is None else f" from {least:,}"
    bounds += "" if most is None else f" to {most:,}"
    return f"{_WORDS[kind]}{bounds}{several}"


_WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


def _default(parameter: Any) -> str:  # noqa: ANN401
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default is None:
        return "none"
    if getattr(parameter, "is_flag", False):
        return "on" if parameter.default else "off"
    return code(getattr(parameter.default, "value", parameter.default))


# --- metrics ----------------------------------------------------------------------------------------------------------


def metrics_page() -> Iterator[str]:
    """What Prometheus is shown by the engine's workers and by the API."""
    from api.metrics import FAMILIES, PREFIX  # noqa: PLC0415

    yield from opening(
        "Metrics",
        "Prometheus's text format at `/metrics`: of each engine worker on its own port (`PLIMSOLL_HEALTH_PORT`), of "
        "the API on its one. What to watch and what to do about it: [OBSERVABILITY.md](../OBSERVABILITY.md).",
    )
    yield ""
    yield "## Engine"
    yield from table("name|kind|labels|", _engine_families())
    yield ""
    yield "## API"
    yield ""
    yield "With several processes each series has a label `worker` as well."
    rows = [(code(PREFIX + each.name), each.kind, " ".join(map(code, each.labels)), each.about) for each in FAMILIES]
    yield from table("name|kind|labels|", rows)
    yield ""
    yield "`process_*` are the client library's own, of both; `python_gc_*` of the API."


def _engine_families() -> Iterator[list[str]]:
    """Those of a worker that has counted one of everything, which is when each series is there to be read."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    from engine.vitals import Vitals  # noqa: PLC0415

    vitals = Vitals("0/1", monotonic=lambda: 0.0)
    one = {"one": 1}
    vitals.lag({("one", 0): 1})
    vitals.retried("Redis")
    vitals.counted(
        applied=one, stale=one, dead=one, reasons=one, calculations=1, published=1, portfolios=1, positions=1, symbols=1
    )
    for family in text_string_to_metric_families(vitals.metrics().decode()):
        if family.name.startswith("plimsoll_") and not family.name.endswith("_created"):
            labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
            name = family.name + ("_total" if family.type == "counter" else "")
            yield [code(name), family.type, " ".join(map(code, labels)), family.documentation]
