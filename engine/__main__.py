"""The `risk-calculator` command: reads the environment, then runs one worker or supervises several."""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from engine.drain import Drain
from engine.supervisor import supervise, worker_command
from plimsoll import logs, processes
from plimsoll.errors import BadSetting, PlimsollError
from plimsoll.settings import load

WORKERS_MAX = 12
"""As many as `portfolio-updates` has partitions: one more would have nothing to do."""


def calculate(
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, max=WORKERS_MAX, help="How many workers share the portfolios.")
    ] = 1,
    recovery_directory: Annotated[
        Path | None,
        typer.Option(
            "--recovery-directory",
            "-r",
            help="Where recovery state is kept, created when missing. Without it a start rebuilds from the log.",
        ),
    ] = None,
    epoch_interval: Annotated[
        float, typer.Option("--epoch-interval", "-s", min=0.1, max=600, help="Seconds between recovery states.")
    ] = 1.0,
    worker_index: Annotated[
        int | None,
        typer.Option("--worker-index", min=0, help="Run only this worker of --workers: the share of one machine."),
    ] = None,
) -> None:
    """Keep the risk of every portfolio current: Kafka in, Redis and Kafka out. Stop it with Ctrl-C or SIGTERM."""
    settings = load(os.environ, Path(".env"))
    logs.configure(settings.log_level)
    if worker_index is None:
        arguments = ["--workers", str(workers), "--epoch-interval", str(epoch_interval)]
        if recovery_directory is not None:
            arguments += ["--recovery-directory", str(recovery_directory)]
        drain = Drain()
        drain.listen()
        raise typer.Exit(supervise(worker_command(arguments), workers, drain))
    if worker_index >= workers:
        raise BadSetting("--worker-index", f"{worker_index} is none of {workers} workers: the last is {workers - 1}")
    # Imported late: only a worker needs Bytewax and the arrays, and the supervisor starts quicker without them.
    from engine.worker import run_worker  # noqa: PLC0415

    processes.end_with_parent()
    run_worker(settings, worker_index, workers, recovery_directory, timedelta(seconds=epoch_interval))


def main() -> None:
    """Run the command; an error we expect ends it with a sentence instead of a traceback."""
    try:
        typer.run(calculate)
    except BadSetting as error:
        sys.exit(_report(error, 2))
    except PlimsollError as error:
        sys.exit(_report(error, 1))


def _report(error: PlimsollError, code: int) -> int:
    if logging.getLogger().handlers:
        logging.getLogger("engine").error("%s", error)
    else:
        print(f"risk-calculator: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
