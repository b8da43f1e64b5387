"""`plimsoll bench`: the benchmarks of the checkout, which an installed package does not carry."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import plimsoll
from plimsoll.errors import PlimsollError


class NoBenchmarks(PlimsollError):
    """This is no checkout. Clone the repository and run the command there."""


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Of kernel, updates, ticks, poison, recovery, soak and queries, which ones; all without.",
        ),
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller and shorter: whether it runs, not how fast.")] = False,
    rounds: Annotated[int | None, typer.Option(help="How often each is run; medians are printed.")] = None,
    updates: Annotated[int | None, typer.Option(help="Portfolio updates of `updates` and `poison`.")] = None,
    portfolios: Annotated[
        str | None, typer.Option(metavar="N,N", help="Sizes of `ticks` and `recovery`, such as 1000,10000.")
    ] = None,
    ticks: Annotated[float | None, typer.Option(help="Ticks a second of `ticks` and `soak`.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long each load of `ticks`, `recovery` and `queries` lasts.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long `soak` lasts.")] = None,
    broker: Annotated[
        Literal["auto", "kafka", "embedded"] | None,
        typer.Option(help="A real Apache Kafka, where Java and Maven are, or the embedded one, which holds less."),
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Where data lies meanwhile, on a real disk.")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures there, as JSON.")
    ] = None,
) -> None:
    """Measure what is claimed of speed, each figure beside a baseline of the same run.

    Benchmarks come with the checkout and not with an installed package: there this exits with 1.
    """
    options = {
        "--rounds": rounds,
        "--updates": updates,
        "--portfolios": portfolios,
        "--ticks": ticks,
        "--seconds": seconds,
        "--minutes": minutes,
        "--broker": broker,
        "--directory": directory,
        "--json": json,
    }
    told = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    arguments = [*(names or ()), *(["--quick"] if quick else []), *told]
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
