"""`plimsoll bench`: the benchmarks of the checkout, which an installed package does not carry."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

import plimsoll
from plimsoll.errors import PlimsollError


class NoBenchmarks(PlimsollError):
    """This is no checkout. Clone the repository and run the command there."""


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which ones; all without.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller and shorter: whether it runs, not how fast.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures there, as JSON.")
    ] = None,
) -> None:
    """Measure what is claimed of speed, each figure beside a baseline of the same run.

    Benchmarks come with the checkout and not with an installed package: there this exits with 1.
    """
    arguments = [*(names or ()), *(["--quick"] if quick else []), *([] if json is None else ["--json", str(json)])]
    raise typer.Exit(run(Path(plimsoll.__file__).parents[1], arguments))


def run(checkout: Path, arguments: list[str]) -> int:
    """Run `benchmarks` of a checkout, and return its exit code. Raises `NoBenchmarks`."""
    if not (checkout / "benchmarks" / "__main__.py").is_file():
        raise NoBenchmarks(
            f"benchmarks come with the checkout, not with the installed package, and there are none in {checkout}: "
            "clone the repository and run `uv run plimsoll bench` there"
        )
    sys.path.insert(0, str(checkout))
    code: int = importlib.import_module("benchmarks.__main__").main(arguments)
    return code
