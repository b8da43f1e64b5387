"""The `plimsoll` command: the one place that knows every program.

Programs are imported inside the functions that need them, so that asking for help is quick and a part that is broken
breaks nothing else. Exit codes: 0 fine, 1 failed (a file is bad, a server away), 2 bad usage or setting, 3 the port is
in use. An error that can be expected is one sentence on standard error; a traceback is a bug.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plimsoll import __version__, settings
from plimsoll.errors import BadSetting, PlimsollError
from plimsoll.transport import Kafka

if TYPE_CHECKING:
    from rich.console import Console

    from plimsoll.reports.risk_report import Report

# `readable=False`: what cannot be read is a bad file, which its reader says, as of one that is not there.

# These two are spelt out, because the enums that they name live beside numpy, and help must not wait for it.
QuantileName = Literal["lower", "linear"]
HoldName = Literal["weights", "quantities"]

Prices = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE",
        readable=False,
        help="CSV or Parquet: a date, then a column of closes for each symbol. Repeatable: files are joined by date.",
    ),
]
PositionsFile = Annotated[
    Path, typer.Option(metavar="FILE", readable=False, help="CSV or Parquet with portfolio_id, symbol and quantity.")
]
Window = Annotated[int, typer.Option(min=60, max=5000, help="Scenarios: the newest returns.")]
Decay = Annotated[float, typer.Option("--lambda", help="Decay of exponentially weighted variances.")]
AgeDecay = Annotated[float, typer.Option("--decay", help="Decay of a scenario's weight with its age.")]
QuantileChoice = Annotated[
    QuantileName, typer.Option(help="Value at risk is a loss that occurred, or interpolated between two.")
]
Draws = Annotated[int, typer.Option(min=2, help="Draws of the Monte Carlo, an even number.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the Monte Carlo: the same seed, the same draws.")]
DegreesOfFreedom = Annotated[float, typer.Option(help="Of its Student's t, above 2; inf is the normal law.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def risk(
    *,
    prices: Prices,
    positions: PositionsFile,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Nothing after this day is looked at.", show_default="newest price"),
    ] = None,
    window: Window = 500,
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What beta is measured against.", show_default="SP500, if there is one"),
    ] = None,
    quantile: QuantileChoice = "lower",
    decay: Decay = 0.94,
    age_decay: AgeDecay = 0.99,
    risk_free: Annotated[float, typer.Option(help="Annual risk-free rate, a fraction.")] = 0.0,
    cash: Annotated[
        list[str] | None,
        typer.Option(metavar="AMOUNT", help="Of every portfolio, or PORTFOLIO=AMOUNT of one; may be repeated."),
    ] = None,
    volumes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", readable=False, help="Daily volumes, shaped as prices: adds days to trade out."),
    ] = None,
    draws: Draws = 20_000,
    seed: Seed = 7,
    degrees_of_freedom: DegreesOfFreedom = 5.0,
    as_json: Json = False,
) -> None:
    """Report the risk of portfolios in files: every measure, every method, every holding's part in it.

    Exits with 1 where a file is bad or no portfolio could be measured. What is left out is said on standard error.
    """
    from plimsoll.reports import flags, tables  # noqa: PLC0415
    from plimsoll.reports import positions as held  # noqa: PLC0415
    from plimsoll.reports import prices as priced  # noqa: PLC0415
    from plimsoll.reports.progress import Progress  # noqa: PLC0415
    from plimsoll.reports.risk_report import risk_report  # noqa: PLC0415
    from plimsoll.risk.measures import Choice  # noqa: PLC0415
    from plimsoll.risk.tails import Quantile  # noqa: PLC0415

    model = flags.model_of(
        decay=decay,
        age_decay=age_decay,
        quantile=Quantile(quantile),
        draws=draws,
        seed=seed,
        degrees_of_freedom=degrees_of_freedom,
    )
    terms = flags.RiskTerms(as_of, window, benchmark, Choice(model=model, risk_free=risk_free))
    owned = flags.cash_of(cash or [])
    history, book = priced.read_prices(prices), held.read_positions(positions)
    traded = None if volumes is None else priced.read_volumes(volumes)
    _ignored(book.path, book.ignored)
    with Progress("portfolios") as progress:
        report = risk_report(history, book, owned, terms, traded, progress)
    _tell(report, as_json, tables.show_risk)


def backtest(
    *,
    prices: Prices,
    positions: PositionsFile,
    window: Window = 500,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Judge this method, by its name in the JSON of `plimsoll risk`; may be repeated.",
            show_default="filtered_historical and historical",
        ),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First judged session.", show_default="first possible")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last judged session.", show_default="newest price")
    ] = None,
    hold: Annotated[
        HoldName, typer.Option(help="What was held in the past: the weights of the last close, or the same units.")
    ] = "weights",
    quantile: QuantileChoice = "lower",
    decay: Decay = 0.94,
    age_decay: AgeDecay = 0.99,
    draws: Draws = 20_000,
    seed: Seed = 7,
    degrees_of_freedom: DegreesOfFreedom = 5.0,
    as_json: Json = False,
) -> None:
    """Judge methods by the past: how often, how scattered and how deep losses were beyond value at risk.

    Each session is held against what was stated of it from the closes before. A star marks what is rejected at 5 %.
    Exits with 1 where a file is bad or no portfolio could be judged.
    """
    from plimsoll.reports import flags, tables  # noqa: PLC0415
    from plimsoll.reports import positions as held  # noqa: PLC0415
    from plimsoll.reports import prices as priced  # noqa: PLC0415
    from plimsoll.reports.backtest_report import backtest_report  # noqa: PLC0415
    from plimsoll.reports.progress import Progress  # noqa: PLC0415
    from plimsoll.risk.backtest import Hold  # noqa: PLC0415
    from plimsoll.risk.tails import Quantile  # noqa: PLC0415

    model = flags.model_of(
        decay=decay,
        age_decay=age_decay,
        quantile=Quantile(quantile),
        draws=draws,
        seed=seed,
        degrees_of_freedom=degrees_of_freedom,
    )
    judged = tuple(dict.fromkeys(map(flags.method_of, method))) if method else flags.BACKTESTED
    terms = flags.BacktestTerms(window, judged, first, last, Hold(hold), model)
    history, book = priced.read_prices(prices), held.read_positions(positions)
    _ignored(book.path, book.ignored)
    with Progress("sessions") as progress:
        report = backtest_report(history, book, terms, progress)
    _tell(report, as_json, tables.show_backtest)


def topics(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Create the Kafka topics that are missing on KAFKA_BROKERS, and list all five."""
    from engine.topics import describe, ensure_topics  # noqa: PLC0415

    told = _settings()
    kafka = Kafka.of(told)
    ensure_topics(kafka, told.replication_factor)
    found = describe(kafka)
    typer.echo(json.dumps(found, indent=2) if as_json else _table(found))


def version() -> None:
    """Print the version."""
    typer.echo(f"plimsoll {__version__}")


def application() -> typer.Typer:
    """The commands, assembled."""
    from embedded.__main__ import demo  # noqa: PLC0415
    from plimsoll.commands import dead_letters, doctor, status, token, top  # noqa: PLC0415
    from plimsoll.commands.bench import bench  # noqa: PLC0415
    from plimsoll.commands.schema import schema  # noqa: PLC0415

    commands = typer.Typer(
        name="plimsoll",
        help="Live portfolio risk: everything you can run, in one command.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in (demo, risk, backtest, schema, topics, bench, version):
        commands.command()(command)
    commands.command()(status.command(_settings))
    commands.command()(doctor.command(lambda: doctor.readable(os.environ, Path(".env"))))
    commands.command()(top.command(_settings))
    commands.command()(token.command(_settings))
    commands.add_typer(dead_letters.group(_settings))
    return commands


def main() -> None:
    """Run one command; an error we expect ends it with a sentence instead of a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error has it: what the terminal's encoding lacks is spelt out, and is no traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        application()()
    except PlimsollError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadSetting) else 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # What is still in the buffer would fail once more at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("plimsoll: the disk is full, and what was written is not whole: make room, ask again", file=sys.stderr)
        sys.exit(1)


def _settings() -> settings.Settings:
    return settings.load(os.environ, Path(".env"))


def _ignored(path: str, columns: list[str]) -> None:
    if columns:
        print(f"plimsoll: {path}: ignored {', '.join(columns)}", file=sys.stderr)


def _tell(report: Report, as_json: bool, show: Callable[[list[dict[str, Any]], Console], None]) -> None:
    """Print a report, and its warnings beside it; exit with 1 where there is nothing in it."""
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    for sentence in report.warnings:
        print(f"plimsoll: {sentence}", file=sys.stderr)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report.rows)).decode())
    else:
        show(report.rows, Console())
    if not report.any_measured:
        raise typer.Exit(1)


def _table(rows: list[dict[str, object]]) -> str:
    """Rows with the same keys as aligned columns under their names."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    main()
