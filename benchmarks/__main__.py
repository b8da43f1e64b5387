"""`python -m benchmarks`: each claim of speed measured, beside its baseline, in one table.

From a checkout: `uv run python -m benchmarks all --quick`, or one of them at its full size, such as `updates`. Linux
only: CPU and memory are read from /proc.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.catalogue import FULL, QUICK, RUNS, Sizes
from benchmarks.measuring import progress
from benchmarks.report import Row
from plimsoll.errors import PlimsollError


def main(argv: Sequence[str]) -> int:
    """Run what was asked for; 0 when it ran, whatever the figures, 1 when something could not."""
    told = _options().parse_args(argv)
    told.what = [told.what] if isinstance(told.what, str) else told.what
    if not sys.platform.startswith("linux"):
        print("plimsoll bench: CPU and memory are read from /proc, which only Linux has", file=sys.stderr)
        return 1
    sizes, head = _sizes(told), report.header()
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    brokers: list[str] = []
    failed = False
    for name in RUNS if set(told.what) <= {"all"} else told.what:
        try:
            result = RUNS[name](sizes, told.broker, told.directory)
        except PlimsollError as error:
            progress("")
            print(f"plimsoll bench {name}: {error}", file=sys.stderr)
            failed = True
            continue
        rows += result.rows
        figures[name] = result.figures
        if result.broker and result.broker not in brokers:
            brokers.append(result.broker)
    if brokers:
        head.append(f"broker: {', '.join(brokers)}")
    report.show(head, rows)
    if told.json:
        report.save(told.json, head, rows, figures)
    return int(failed)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="plimsoll bench", description="Measure what is claimed of speed, each figure beside a baseline."
    )
    about = "; ".join(f"{name}: {(run.__doc__ or '').strip()}" for name, run in RUNS.items())
    # `all` is the default as a word, because argparse holds an empty list against the choices.
    options.add_argument("what", nargs="*", choices=[*RUNS, "all"], default="all", help=about)
    options.add_argument("--quick", action="store_true", help="small sizes: minutes for all of them, figures noisier")
    options.add_argument(
        "--broker", choices=["auto", "kafka", "embedded"], default="auto",
        help="auto: a real Apache Kafka where Java and Maven are, else the embedded one, which holds less",
    )  # fmt: skip
    options.add_argument("--directory", type=Path, help="where data lies meanwhile; on a real disk (default /var/tmp)")
    options.add_argument("--json", type=Path, help="write the table and the figures behind it to this file as well")
    options.add_argument("--rounds", type=int, help="how often each is run; medians are printed")
    options.add_argument("--updates", type=int, help="portfolio updates of `updates` and `poison`")
    options.add_argument(
        "--portfolios", type=_counts, help="sizes of `ticks`, `recovery` and `footprint`, such as 1000,10000"
    )
    options.add_argument("--ticks", type=float, help="ticks a second of `ticks` and `soak`")
    options.add_argument(
        "--seconds", type=float, help="how long each load of `ticks`, `recovery`, `queries` and sockets lasts"
    )
    options.add_argument("--minutes", type=float, help="how long `soak`, and the watch over memory of `fanout`, last")
    return options


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _sizes(told: argparse.Namespace) -> Sizes:
    """The sizes of the mode, and whatever was said otherwise."""
    said = {
        "rounds": told.rounds,
        "kernel_rounds": told.rounds,
        "updates": told.updates,
        "poison_updates": told.updates,
        "portfolios": told.portfolios,
        "ticks_per_second": told.ticks,
        "soak_ticks_per_second": told.ticks,
        "seconds": told.seconds,
        "query_seconds": told.seconds,
        "socket_seconds": told.seconds,
        "soak_minutes": told.minutes,
        "socket_minutes": told.minutes,
        "soak_portfolios": told.portfolios and told.portfolios[-1],
    }
    return replace(QUICK if told.quick else FULL, **{name: value for name, value in said.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
