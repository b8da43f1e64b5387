"""What the demo is made of: its flags, what has to be true before it starts, and the programs it runs.

Nothing is started here. A check that fails raises an error whose text is the remedy: `BadSetting` for what the caller
wrote, `PortTaken` for a port that is in use, `Unavailable` for a server that was named and does not answer.
"""

from __future__ import annotations

import gzip
import importlib.util
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from embedded.own_files import settled
from embedded.store import connect
from plimsoll import keys, settings, transport
from plimsoll.errors import BadSetting, PlimsollError, Unavailable

EMBEDDED_PORTFOLIOS_MAX = 20_000
"""At about 2 KB each they take two thirds of the 12 partitions of 5 MB: their first records outlive 10,000 updates."""
REACH_SECONDS = 4.0
"""How long a server that was named has to answer; two of them stay below ten seconds."""
BUNDLED_START = "2020-02-19"
"""The first session of the bundled prices that is played where nobody says otherwise."""
LATEST = "latest"
"""As a first session: none is played, prices stand at the newest close."""
_WINDOW_MS = 250
"""Wider than in production: a viewer's eye is no quicker, and broker, engine and pages share the machine."""


class PortTaken(PlimsollError):
    """Somebody listens on the port the API was to have. Choose another."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use: choose another with --port, or --port 0 for any free one")


@dataclass(frozen=True, slots=True)
class Demo:
    """The flags of `plimsoll demo`, and what `check` makes of them.

    kafka, redis      None: the embedded ones
    duration          None: until stopped
    first_session     a date, `LATEST`, or None for what suits the prices
    prices            files; none: the bundled ones
    positions         a file; None: an invented firm of `portfolios` and `advisors`
    benchmark         a column of the files, or "none"; None: what the settings say
    history           sessions before the first that is played; None: all there are
    notices           sentences that `check` has for whoever started it
    """

    portfolios: int = 1000
    advisors: int = 50
    seed: int = 7
    port: int = 6066
    first_session: str | None = None
    session_seconds: float = 20.0
    workers: int = 1
    duration: float | None = None
    kafka: str | None = None
    redis: str | None = None
    prices: tuple[Path, ...] = ()
    positions: Path | None = None
    benchmark: str | None = None
    history: int | None = None
    ticks_per_second: float = 40.0
    notices: tuple[str, ...] = ()


def check(demo: Demo, environ: Mapping[str, str], dotenv: Path | None = None) -> Demo:
    """The demo with all that its files leave open settled. Raises `PlimsollError` for what cannot work."""
    for flag, key, value in (("--kafka", "KAFKA_BROKERS", demo.kafka), ("--redis", "REDIS_URL", demo.redis)):
        if value is not None:
            _check_setting(flag, key, value)
    told = settings.load({**environ, **servers(demo, demo.kafka, demo.redis)}, dotenv)
    demo = settled(demo, told, _symbols() if demo.positions is not None and not demo.prices else ())
    if demo.kafka is None and not 1 <= demo.portfolios <= EMBEDDED_PORTFOLIOS_MAX:
        raise BadSetting(
            "--portfolios" if demo.positions is None else "--positions",
            f"{demo.portfolios} is not between 1 and {EMBEDDED_PORTFOLIOS_MAX}, which is what the embedded broker "
            "keeps; for more point --kafka at a real one",
        )
    if not demo.prices:
        demo = replace(demo, first_session=demo.first_session or BUNDLED_START)
        _check_session(demo.first_session or BUNDLED_START)
    _check_port(demo.port)
    if demo.kafka is not None:
        _check_kafka(transport.Kafka.of(told))
    if demo.redis is not None:
        _check_redis(transport.Redis.of(told), log_is_empty=demo.kafka is None)
    return demo


def programs(demo: Demo, port: int, recovery: Path) -> dict[str, list[str]]:
    """The three programs by name, clients first: how each is started. `recovery` is the engine's directory."""
    arguments = {
        "producer": [
            *("--mode", "continuous"),
            *(part for file in demo.prices for part in ("--prices", str(file.absolute()))),
            *_portfolios(demo),
            *("--seed", str(demo.seed)),
            *(() if demo.first_session is None else ("--from", demo.first_session)),
            *(() if demo.history is None else ("--history", str(demo.history))),
            *("--session-seconds", str(demo.session_seconds)),
            *("--ticks-per-second", str(demo.ticks_per_second)),
        ],
        "api": ["--host", "127.0.0.1", "--port", str(port)],
        "engine": [
            *("--workers", str(demo.workers)),
            *("--recovery-directory", str(recovery)),
            *("--epoch-interval", "1"),
        ],
    }
    return {name: [sys.executable, "-m", name, *options] for name, options in arguments.items()}


def _portfolios(demo: Demo) -> list[str]:
    if demo.positions is not None:
        return ["--positions", str(demo.positions.absolute())]
    return ["--num-portfolios", str(demo.portfolios), "--advisors", str(demo.advisors), "--portfolio-interval", "1"]


def servers(demo: Demo, kafka: str | None, redis_url: str | None) -> dict[str, str]:
    """The settings that lead to the demo's servers, and nowhere else. An embedded one knows neither TLS nor users."""
    embedded = [] if demo.kafka else ["PLIMSOLL_KAFKA_"]
    embedded += [] if demo.redis else ["PLIMSOLL_REDIS_"]
    defaults = {each.key: each.default for each in settings.documented()}
    plain = {key: text for key, text in defaults.items() if key.startswith(tuple(embedded))}
    return {
        **plain,
        # An empty one names no file; what it would name is stated here.
        **{file: "" for file, key in settings.secret_files().items() if key in (*plain, "REDIS_URL")},
        "KAFKA_BROKERS": kafka or defaults["KAFKA_BROKERS"],
        "REDIS_URL": redis_url or defaults["REDIS_URL"],
    }


def environment(
    environ: Mapping[str, str],
    reached: Mapping[str, str],
    dotenv: Path | None = None,
    *,
    benchmark: str | None = None,
    health_port: int = 0,
) -> dict[str, str]:
    """What the programs find in their environment: `reached`, the demo's window, and whatever the caller set.

    benchmark    that of somebody's own prices; None: what the caller set
    health_port  of the first engine worker, where the caller set none; the heartbeats tell it to who asks; 0: none
    """
    stated = settings.load({**environ, **reached}, dotenv)
    # The environment outdoes `.env`, so a window stated there must not be overruled by ours.
    window_ms = _WINDOW_MS if stated.window_ms == settings.Settings().window_ms else stated.window_ms
    # The usual one may belong to an engine beside this demo, and a port that is taken would be an error for nothing.
    if stated.health_port != settings.Settings().health_port:
        health_port = stated.health_port
    return {
        "PLIMSOLL_WINDOW_MS": str(window_ms),
        "PLIMSOLL_HEALTH_PORT": str(health_port),
        **environ,
        **reached,
        **({} if benchmark is None else {"PLIMSOLL_BENCHMARK": benchmark}),
        "PYTHONUNBUFFERED": "1",
        # A folder named `engine` where the caller stands is not our engine.
        "PYTHONSAFEPATH": "1",
    }


def _check_session(date: str) -> None:
    if date == LATEST:
        return
    sessions = _sessions()
    if date in sessions:
        return
    later = min((session for session in sessions if session > date), default=None)
    hint = f"the next one is {later}" if later and date >= sessions[0] else f"there are {sessions[0]} to {sessions[-1]}"
    raise BadSetting("--from", f"{date!r} is no session of the data; {hint}")


def _sessions() -> list[str]:
    """The dates with closes, oldest first, from the data that the producer carries."""
    with _bundled("sp500_dataset.csv.gz") as closes:
        next(closes)
        return [line.partition(",")[0] for line in closes]


def _symbols() -> list[str]:
    """What those data have prices of."""
    symbols: list[str] = []
    for name in ("sp500_dataset.csv.gz", "sp500_index.csv.gz"):
        with _bundled(name) as closes:
            symbols += next(closes).rstrip().split(",")[1:]
    return symbols


def _bundled(name: str) -> TextIO:
    # Found, not imported: the programs know nothing of one another.
    found = importlib.util.find_spec("producer")
    if found is None or found.origin is None:
        raise Unavailable("the producer", "it is not installed; reinstall plimsoll")
    return gzip.open(Path(found.origin).parent / "data" / name, "rt", encoding="utf-8")


def _check_setting(flag: str, key: str, value: str) -> None:
    try:
        settings.load({key: value})
    except BadSetting as error:
        raise BadSetting(flag, error.detail) from None


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        # As the API's server will: a port on which old connections are still dying is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise BadSetting("--port", f"{port} may only be opened by root; choose one above 1023") from None
        except OSError:
            raise PortTaken(port) from None


def _check_kafka(kafka: transport.Kafka) -> None:
    heard = transport.Heard(kafka)
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": heard}
    client = AdminClient({**kafka.librdkafka(), **quiet})
    try:
        client.list_topics(timeout=REACH_SECONDS)
    except KafkaException as error:
        client.poll(0)
        why = heard.why(error)
        if why.lasting:
            raise why from None
        raise Unavailable(f"Kafka at {kafka}", f"{error.args[0].str()}; start it or correct --kafka") from None


def _check_redis(store: transport.Redis, *, log_is_empty: bool) -> None:
    try:
        with connect(store, REACH_SECONDS) as client:
            held = client.zcard(keys.by_risk())
    except (redis.RedisError, OSError) as error:
        if refused := store.refusal(error):
            raise refused from None
        raise Unavailable(f"Redis at {store}", f"{store.said(error)}; start it or correct --redis") from None
    if held and log_is_empty:
        raise BadSetting(
            "--redis",
            f"{store} holds the risk of {held} portfolios, which the embedded broker's empty log cannot continue; "
            "name an empty database (such as redis://host:6379/1), or add --kafka",
        )
