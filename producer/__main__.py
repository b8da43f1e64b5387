"""`data-generator`: the flags, the environment and the signals; what follows from them is in the other modules.

Exit codes: 0 done, or stopped by SIGINT, SIGTERM or `--duration`; 1 Kafka is away or did not take a record, or a batch
was stopped before its end; 2 a flag or setting is wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import os
import signal
import time
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll import logs, settings, topics
from plimsoll.commands.options import OwnPositions, OwnPrices, refuse_beside_positions
from plimsoll.errors import BadSetting, PlimsollError
from plimsoll.messages import SESSION_SECONDS_MAX
from plimsoll.reports import streamed
from plimsoll.transport import Kafka
from producer.chosen import Chosen, chosen
from producer.market import Replay
from producer.portfolios import Firm, Stated
from producer.progress import Progress
from producer.publish import Publisher, connect
from producer.stream import Pace, RealClock, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_log = logging.getLogger(__name__)

TOPICS = (topics.MARKET_CLOSES, topics.MARKET_DATA, topics.PORTFOLIO_UPDATES)
TICKS_PER_SECOND_MAX = 100_000.0


class Mode(StrEnum):
    """Whether the producer goes on for ever or sends so many messages and ends."""

    CONTINUOUS = "continuous"
    BATCH = "batch"


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What the flags ask for, checked. `first` is the number of the session that is played first."""

    mode: Mode
    firm: Firm | Stated
    replay: Replay
    first: int
    history: int
    pace: Pace
    updates_per_portfolio: int
    portfolio_interval: float
    duration: float | None


def _above_zero(most: float = math.inf) -> Callable[[float | None], float | None]:
    def check(value: float | None) -> float | None:
        if value is not None and not 0 < value <= most:
            bound = "" if math.isinf(most) else f" and at most {most:g}"
            raise typer.BadParameter(f"{value:g} is not above 0{bound}")
        if value is not None and math.isinf(value):
            raise typer.BadParameter("for ever is what the default says; give a number of seconds")
        return value

    return check


def _broker(value: str | None) -> str | None:
    try:
        return settings.load({"KAFKA_BROKERS": value}).kafka_brokers if value is not None else None
    except BadSetting as error:
        raise typer.BadParameter(error.detail) from None


def _date(value: str | None) -> str | None:
    if value is None or value == streamed.LATEST:
        return value
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{value!r} is neither a date written YYYY-MM-DD nor {streamed.LATEST}") from None


def generate(
    *,
    mode: Annotated[Mode, typer.Option(help="Go on for ever, or send so many messages and end.")] = Mode.CONTINUOUS,
    prices: OwnPrices = None,
    positions: OwnPositions = None,
    num_portfolios: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Portfolios of the invented firm.", show_default="100")
    ] = None,
    updates_per_portfolio: Annotated[
        int | None,
        typer.Option(min=1, help="Messages for each portfolio, its creation included (batch mode).", show_default="5"),
    ] = None,
    portfolio_interval: Annotated[
        float, typer.Option(callback=_above_zero(), help="Seconds between portfolio updates (continuous mode).")
    ] = 2.0,
    market_interval: Annotated[
        float, typer.Option(callback=_above_zero(), help="Seconds in which every symbol ticks once.")
    ] = 1.0,
    broker: Annotated[
        str | None,
        typer.Option(callback=_broker, help="Kafka brokers, host:port, comma separated.", show_default="KAFKA_BROKERS"),
    ] = None,
    advisors: Annotated[int, typer.Option(min=1, max=100_000, help="Advisors of the firm.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="What portfolios and ticks are drawn from.")] = 7,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            callback=_date,
            help="First session played, a date (or the next session); latest: none, prices stand at the newest close.",
            show_default="2020-02-19; of your own prices the newest 20 sessions, or none in batch mode",
        ),
    ] = None,
    session_seconds: Annotated[
        float, typer.Option(callback=_above_zero(SESSION_SECONDS_MAX), help="Seconds in which one session is played.")
    ] = 20.0,
    history: Annotated[
        int | None,
        typer.Option(min=1, help="Sessions of closes published before --from.", show_default="all there are"),
    ] = None,
    ticks_per_second: Annotated[
        float | None,
        typer.Option(
            callback=_above_zero(TICKS_PER_SECOND_MAX),
            help="Ticks a second over all symbols; overrides --market-interval.",
            show_default="by --market-interval",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            callback=_above_zero(),
            help="Seconds of streaming, then end (continuous mode).",
            show_default="for ever",
        ),
    ] = None,
) -> None:
    """Publish a replay of closing prices and portfolios to Kafka: bundled and invented ones, or those of your files."""
    if mode is Mode.BATCH and duration is not None:
        raise typer.BadParameter("a batch ends by itself; leave it out", param_hint="'--duration'")
    if positions is not None:
        refuse_beside_positions(num_portfolios=num_portfolios, updates_per_portfolio=updates_per_portfolio)
    told = _settings(broker)
    try:
        # A batch plays nothing, so of somebody's own prices it publishes all.
        start = from_ or (streamed.LATEST if prices and mode is Mode.BATCH else None)
        played = chosen(prices or [], positions, start, told)
        market, first = played.market, played.first
        task = Task(
            mode,
            played.stated or Firm(num_portfolios or 100, advisors, seed, market.marks(first - 1), played.universe),
            Replay(market, seed),
            first,
            first if history is None else min(history, first),
            _pace(session_seconds, market_interval, ticks_per_second, len(market.symbols)),
            1 if played.stated else updates_per_portfolio or 5,
            portfolio_interval,
            duration,
        )
        logs.configure(told.log_level)
        _warn(played, history)
        raise typer.Exit(asyncio.run(_until_stopped(task, told)))
    except BadSetting as error:
        raise typer.BadParameter(error.detail, param_hint=f"'{error.key}'") from None
    except PlimsollError as error:
        typer.echo(f"data-generator: {error}", err=True)
        raise typer.Exit(1) from None


def _warn(played: Chosen, history: int | None) -> None:
    """Say what the files leave out, and where there is less history than was asked for."""
    for sentence in played.warnings:
        _log.warning("%s", sentence)
    if history is not None and played.first < history:
        sessions = played.market.sessions
        opens_at = sessions[played.first] if played.first < len(sessions) else "the end"
        _log.warning("only %d sessions lie before %s, publishing those", played.first, opens_at)


def _pace(session_seconds: float, market_interval: float, ticks_per_second: float | None, symbols: int) -> Pace:
    rate = ticks_per_second or symbols / market_interval  # the benchmark ticks too
    if rate > TICKS_PER_SECOND_MAX:
        raise typer.BadParameter(
            f"that is {rate:,.0f} ticks a second, at most {TICKS_PER_SECOND_MAX:,.0f} are made",
            param_hint="'--market-interval'",
        )
    return Pace(session_seconds, rate)


def _settings(broker: str | None) -> settings.Settings:
    try:
        told = settings.load(os.environ, Path(".env"))
    except BadSetting as error:
        typer.echo(f"data-generator: {error}", err=True)
        raise typer.Exit(2) from None
    return dataclasses.replace(told, kafka_brokers=broker) if broker else told


async def _until_stopped(task: Task, told: settings.Settings) -> int:
    """Do the task until it ends or a signal says so; the exit code. Raises `PlimsollError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Said explicitly: a shell starts what it puts in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(_work(task, told))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
    stopped.cancel()
    try:
        await work
    except asyncio.CancelledError:
        return 1 if task.mode is Mode.BATCH else 0
    return 0


async def _work(task: Task, told: settings.Settings) -> None:
    """Connect, publish what the task says, and tell what was acknowledged, however it ends."""
    total = task.firm.count * task.updates_per_portfolio if task.mode is Mode.BATCH else None
    progress = Progress(topics.PORTFOLIO_UPDATES.name, total)
    publisher = await connect(
        Kafka.of(told),
        TOPICS,
        replication_factor=told.replication_factor,
        on_acknowledged=progress.acknowledged,
    )
    started_at = time.monotonic()
    try:
        stream = Stream(task.replay, task.first, task.firm, publisher, RealClock())
        await stream.open_market(task.history)
        if task.mode is Mode.BATCH:
            await publisher.settle()
            started_at = time.monotonic()
            with progress:
                await stream.batch(task.updates_per_portfolio)
                await publisher.settle()
        else:
            await stream.open_portfolios()
            await _for(task.duration, stream.run(task.pace, task.portfolio_interval))
            await publisher.settle()
    finally:
        seconds = time.monotonic() - started_at
        await publisher.close()
        _summary(publisher, seconds, total)


async def _for(seconds: float | None, work: Coroutine[object, object, None]) -> None:
    """Do work for so long at most, for ever with None."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise


def _summary(publisher: Publisher, seconds: float, total: int | None) -> None:
    """Tell what the broker acknowledged, by topic; in batch mode what became of the whole, how long it took."""
    counts = publisher.acknowledged
    for topic in TOPICS:
        typer.echo(f"acknowledged {topic.name}: {counts[topic.name]:,}")
    messages = counts[topics.PORTFOLIO_UPDATES.name] if total is not None else counts.total()
    whole = "" if total is None else f" of {total:,}"
    typer.echo(f"{messages:,}{whole} messages in {seconds:.2f} s, {messages / max(seconds, 1e-9):,.0f} a second")


def command() -> typer.Typer:
    """The command line."""
    # Plain help and errors: a box of 80 columns cuts the longer flags off.
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(generate)
    return app


def main() -> None:
    """Run `data-generator`."""
    command()()


if __name__ == "__main__":
    main()
