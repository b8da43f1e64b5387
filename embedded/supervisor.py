"""Everything in one process tree: broker and store, then producer, engine and API; watched, and stopped together.

The broker lives in this process, the rest are children with sessions of their own. So Ctrl-C in a terminal and the
SIGINT that a shell's background job ignores are both ours to deal with: one signal stops everything in order (clients
before the servers they talk to), a second one does not wait. Nothing is kept: logs, recovery state and the store lie in
one temporary directory, which is removed.

After a SIGKILL of this process Linux ends the children; elsewhere they have to be stopped by hand. The temporary
directory then stays.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import FrameType

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from embedded import demo as demo_module
from embedded.broker import EmbeddedBroker
from embedded.child import Child, stop_all
from embedded.demo import Demo, PortTaken
from embedded.store import EmbeddedStore, connect, free_port, free_ports
from plimsoll import keys, settings, topics, transport
from plimsoll.errors import BadSetting, PlimsollError

READY_SECONDS = 60.0
"""Within this the first risk has to be queryable; it takes a few seconds."""
OWN_READY_SECONDS = 240.0
"""The same with prices of one's own, which may be of hundreds of symbols."""
SETTLE_SECONDS = 2.0
"""After the first portfolio has a risk, how long the others may take before we say ready."""
STOP_SECONDS = 3.0
"""What producer, API and engine have together to finish; the whole stop stays below five."""
_POLL_SECONDS = 0.05

Programs = Callable[[Demo, int, Path], Mapping[str, list[str]]]


class StationFailed(PlimsollError):
    """A program of the demo died or never did its part. The text ends with its last log lines."""


class StopRequest:
    """How often we were asked to stop, by SIGINT, SIGTERM or SIGHUP."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count signals instead of dying of them. Said explicitly: a background job starts with SIGINT ignored."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.count > 0

    def hurry(self) -> bool:
        """Whether to stop waiting for anybody."""
        return self.count > 1

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


def run(
    demo: Demo,
    environ: Mapping[str, str],
    *,
    dotenv: Path | None = None,
    programs: Programs = demo_module.programs,
    ready_seconds: float | None = None,
) -> int:
    """Run the demo until it is stopped; returns the exit code. Call it from the main thread.

    0 stopped when asked, or after `duration`; 1 something failed; 2 a flag or setting is wrong; 3 the port is in use.
    """
    stop, say = StopRequest(), _Progress()
    try:
        with stop.listening():
            demo = demo_module.check(demo, environ, dotenv)
            for sentence in demo.notices:
                say(sentence)
            if stop.asked:
                return 0
            with contextlib.ExitStack() as stack:
                running = _start(demo, environ, dotenv, programs, stack=stack, stop=stop, say=say)
                running.wait_until_ready(ready_seconds or (OWN_READY_SECONDS if demo.prices else READY_SECONDS))
                if not stop.asked:
                    running.announce()
                    running.watch()
        say("stopped, nothing is left running")
    except PlimsollError as error:
        print(f"plimsoll demo: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, BadSetting) else 3 if isinstance(error, PortTaken) else 1
    return 0


def _start(
    demo: Demo,
    environ: Mapping[str, str],
    dotenv: Path | None,
    programs: Programs,
    *,
    stack: contextlib.ExitStack,
    stop: StopRequest,
    say: _Progress,
) -> _Running:
    """Start broker, store and programs. `stack` undoes it all in reverse, however far we came."""
    port, kafka, redis_url = demo.port or free_port(), demo.kafka, demo.redis
    # Whatever a killed child was writing as it died is no reason to fail.
    temporary = tempfile.TemporaryDirectory(prefix="plimsoll-demo-", ignore_cleanup_errors=True)
    directory = Path(stack.enter_context(temporary))
    children: list[Child] = []
    if kafka is None:
        kafka = stack.enter_context(EmbeddedBroker.start()).address
        say(f"broker on {kafka} (embedded: demo only, nothing is kept)")
    if redis_url is None:
        store = stack.enter_context(EmbeddedStore.start(directory))
        children.append(store.child)
        redis_url = store.url
        say(f"store on {redis_url} (embedded: nothing is kept)")
    health_port = free_ports(demo.workers)
    servers = demo_module.servers(demo, kafka, redis_url)
    environment = demo_module.environment(environ, servers, dotenv, benchmark=demo.benchmark, health_port=health_port)
    clients: list[Child] = []
    stack.callback(_stop_clients, clients, stop, say)
    for name, command in programs(demo, port, directory / "recovery").items():
        # Without us there is no broker: nothing is left for it to finish or to save.
        dies = signal.SIGKILL
        log = directory / f"{name}.log"
        clients.append(Child.start(name, command, environ=environment, log=log, when_parent_dies=dies))
        say(f"{name} started")
    told = settings.load(environment, dotenv)
    reached = transport.Kafka.of(told), transport.Redis.of(told)
    return _Running(demo, port, *reached, [*children, *clients], stop, say)


def _stop_clients(clients: list[Child], stop: StopRequest, say: _Progress) -> None:
    say("stopping")
    for name in stop_all(clients, STOP_SECONDS, stop.hurry):
        say(f"{name} had to be killed")


@dataclass(frozen=True, slots=True)
class _Running:
    """All that was started, and where it is reached. `children` holds the store too where it is ours."""

    demo: Demo
    port: int
    kafka: transport.Kafka
    store: transport.Redis
    children: list[Child]
    stop: StopRequest
    say: _Progress

    def wait_until_ready(self, seconds: float) -> None:
        """Return when every portfolio's risk can be asked for, or some can and the others take their time."""
        deadline = time.monotonic() + seconds
        answered, settled = False, float("inf")
        while not self.stop.asked:
            _fail_if_dead(self.children)
            portfolios, now = _active_portfolios(self.port, self.store), time.monotonic()
            if portfolios is not None and not answered:
                answered = True
                self.say("api answers")
            if portfolios:
                settled = min(settled, now + SETTLE_SECONDS)
                if portfolios >= self.demo.portfolios or now >= settled:
                    self.say(f"the risk of {portfolios} portfolios can be asked for")
                    return
            if now > deadline:
                raise self._silent(seconds)
            time.sleep(_POLL_SECONDS)

    def announce(self) -> None:
        """The line that scripts wait for, then what a person wants to know."""
        here = f"http://127.0.0.1:{self.port}"
        self.say.line(f"ready {here}")
        self.say.line(f"{self._prices()}, not live data. GraphiQL: {here}/graphql  REST: {here}/docs  Stop: Ctrl-C")

    def _prices(self) -> str:
        whose = " and ".join(file.name for file in self.demo.prices) or "real closing prices"
        if self.demo.first_session == demo_module.LATEST:
            return f"These are the newest closes of {whose}"
        return f"This is a replay of {whose} from {self.demo.first_session} on"

    def watch(self) -> None:
        """Return when asked to stop or when `duration` is over; raises `StationFailed` when a child dies."""
        duration = float("inf") if self.demo.duration is None else self.demo.duration
        while not self.stop.asked and self.say.seconds() < duration:
            _fail_if_dead(self.children)
            time.sleep(_POLL_SECONDS)

    def _silent(self, seconds: float) -> StationFailed:
        """Find the first station that has not done its part: producer, then engine, then API."""
        if not _has_portfolios(self.kafka):
            name, lacking = "producer", "has published no portfolio"
        elif not _with_risk(self.store):
            name, lacking = "engine", "has written no risk"
        else:
            name, lacking = "api", "does not tell the risk that is in the store"
        tail = next(child.tail() for child in self.children if child.name == name)
        return StationFailed(f"after {seconds:g} s the {name} {lacking}; its last lines:\n{tail}")


def _fail_if_dead(children: list[Child]) -> None:
    for child in children:
        if (code := child.exit_code()) is not None:
            raise StationFailed(f"{child.name} ended with exit code {code}; its last lines:\n{child.tail()}")


def _active_portfolios(port: int, store: transport.Redis) -> int | None:
    """How many portfolios the API knows the risk of; None while it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        if answer.status == HTTPStatus.UNAUTHORIZED:
            # It has sign-in and we have nothing to sign in with. It answers, and reads what we can count ourselves.
            return _with_risk(store)
        health = json.loads(answer.read())
        return int(health["active_portfolios"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()


def _has_portfolios(kafka: transport.Kafka) -> bool:
    consumer = Consumer({**kafka.librdkafka(), "group.id": "plimsoll-demo", "log_level": 2})
    topic = topics.PORTFOLIO_UPDATES
    try:
        return any(
            consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=5.0)[1] > 0
            for partition in range(topic.partitions)
        )
    except KafkaException:
        return False
    finally:
        consumer.close()


def _with_risk(store: transport.Redis) -> int:
    try:
        with connect(store, seconds=1.0) as client:
            return int(client.zcard(keys.by_risk()))
    except redis.RedisError:
        return 0


class _Progress:
    """Tells how far we are, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    def __call__(self, text: str) -> None:
        self.line(f"[{self.seconds():5.1f}s] {text}")

    def line(self, text: str) -> None:
        """Say one line. Where nobody listens any more (`| head`) the demo goes on in silence."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
