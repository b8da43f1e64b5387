"""The `risk-calculator` command: reads the environment, then runs one worker or supervises several.

Exit codes: 0 drained when asked; 1 it failed, and another start may succeed; 2 a flag or setting is wrong; 4 a person
has to do what the last line says; 5 another engine has taken its place. A supervisor ends with that of its worker.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from engine.drain import Drain
from engine.pulse import Pulse
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
    health_port: Annotated[
        int | None,
        typer.Option(
            "--health-port",
            min=1,
            max=65535,
            help="Of --worker-index: serve its health on this port, and not on PLIMSOLL_HEALTH_PORT + index.",
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Set the recovery state aside and build from what the log holds.")
    ] = False,
    pulse: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Keep the risk of every portfolio current: Kafka in, Redis and Kafka out. Stop it with Ctrl-C or SIGTERM."""
    settings = load(os.environ, Path(".env"))
    logs.configure(settings.log_level)
    if worker_index is None:
        if health_port is not None:
            raise BadSetting(
                "--health-port", "goes with --worker-index; the ports of several workers begin at PLIMSOLL_HEALTH_PORT"
            )
        arguments = ["--workers", str(workers), "--epoch-interval", str(epoch_interval)]
        if recovery_directory is not None:
            arguments += ["--recovery-directory", str(recovery_directory)]
        # What a crash interrupts is rebuilt already, and goes on; without a directory every start is from the log.
        once, always = (["--rebuild"], []) if recovery_directory is not None else ([], ["--rebuild"])
        if not rebuild:
            once, always = [], []
        drain = Drain()
        drain.listen()
        raise typer.Exit(supervise(worker_command(arguments + always, once), workers, drain))
    if worker_index >= workers:
        raise BadSetting("--worker-index", f"{worker_index}: the last of {workers} is {workers - 1}")
    processes.end_with_parent()
    # The products are small: threads for them would only take cores from other workers. numpy hears it at its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imported late: only a worker needs Bytewax and the arrays, and the supervisor starts quicker without them.
    from engine.worker import Start, run_worker  # noqa: PLC0415

    start = Start(
        worker_index,
        workers,
        recovery_directory,
        timedelta(seconds=epoch_interval),
        rebuild=rebuild,
        health_port=health_port or (settings.health_port and settings.health_port + worker_index),
    )
    run_worker(settings, start, None if pulse is None else Pulse(pulse))


def application() -> typer.Typer:
    """The command line."""
    # A failure we do not expect is one traceback in the log, not a frame drawn around it.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(calculate)
    return app


def main() -> None:
    """Run the command; an error we expect ends it with a sentence instead of a traceback."""
    try:
        application()()
    except PlimsollError as error:
        sys.exit(_report(error))


def _report(error: PlimsollError) -> int:
    if logging.getLogger().handlers:
        logging.getLogger("engine").error("%s", error)
    else:
        print(f"risk-calculator: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
