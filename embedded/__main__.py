"""The flags of `plimsoll demo`, which is also `python -m embedded`. Everything else is in `demo` and `supervisor`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from plimsoll.commands.options import OwnPositions, OwnPrices, refuse_beside_positions
from plimsoll.messages import SESSION_SECONDS_MAX


def demo(
    *,
    prices: OwnPrices = None,
    positions: OwnPositions = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What beta of your own prices is measured against; none: nothing.",
            show_default="PLIMSOLL_BENCHMARK, if there is such a column",
        ),
    ] = None,
    portfolios: Annotated[
        int | None,
        typer.Option(min=1, help="Portfolios of an invented firm; at most 20000 without --kafka.", show_default="1000"),
    ] = None,
    advisors: Annotated[int | None, typer.Option(min=1, help="Advisors who share them.", show_default="50")] = None,
    seed: Annotated[int, typer.Option(min=0, help="What portfolios and ticks are drawn from.")] = 7,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the web pages and the API; 0: any.")] = 6066,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First session that is replayed; latest: none, prices stand at the newest close.",
            show_default="2020-02-19; of your own prices the newest 20 sessions",
        ),
    ] = None,
    session_seconds: Annotated[
        float, typer.Option(min=0.1, max=SESSION_SECONDS_MAX, help="How long one session lasts.")
    ] = 20.0,
    workers: Annotated[int, typer.Option(min=1, max=12, help="Engine workers.")] = 1,
    duration: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Stop this many seconds after the start, but not before ready.", show_default="never"
        ),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Real Kafka brokers, host:port, comma separated.", show_default="embedded")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="A real Redis or Valkey, redis://host:port/db.", show_default="embedded")
    ] = None,
) -> None:
    """Replay closing prices through everything at once: broker, store, producer, engine, API and web pages.

    They are real ones that are bundled, or with --prices and --positions your own.

    Nothing has to be installed and nothing is kept. It is up when the line `ready http://127.0.0.1:6066` appears;
    Ctrl-C stops it. KAFKA_BROKERS and REDIS_URL are not looked at: only --kafka and --redis lead to real servers.
    """
    # Imported late: whoever asks for help, or for another command, need not wait for it.
    from embedded import supervisor  # noqa: PLC0415
    from embedded.demo import Demo  # noqa: PLC0415

    if positions is not None:
        refuse_beside_positions(portfolios=portfolios, advisors=advisors)
    chosen = Demo(
        portfolios=portfolios or 1000,
        advisors=advisors or 50,
        seed=seed,
        port=port,
        first_session=from_,
        session_seconds=session_seconds,
        workers=workers,
        duration=duration,
        kafka=kafka,
        redis=redis,
        prices=tuple(prices or ()),
        positions=positions,
        benchmark=benchmark,
    )
    # What is in force again once all is stopped: a third Ctrl-C finds nothing left to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise typer.Exit(supervisor.run(chosen, os.environ, dotenv=Path(".env")))


def main() -> None:
    """Run the demo."""
    typer.run(demo)


if __name__ == "__main__":
    main()
