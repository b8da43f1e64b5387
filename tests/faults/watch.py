"""A subscriber that writes down what it is told, and a reader that samples Redis beside it: a transcript.

    python tests/faults/watch.py --redis URL --transcript FILE

An entry a line: `announced` (a snapshot on a channel), `closed`, `resumed` (read after subscribing, as every client
should: subscribe, then read), `read` (a sample), `break` (the connection was lost, or a test emptied Redis: what comes
next may repeat what came last). Entries are in the order of this process; the two threads share one lock.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import redis
from invariants import digest_of, sequence_in
from redis.backoff import NoBackoff
from redis.retry import Retry

from plimsoll import keys

SAMPLE_SECONDS = 0.1
RETRY_SECONDS = 0.05
POLL_SECONDS = 0.1


class _Batch(msgspec.Struct):
    """A `RiskBatch` whose snapshots stay bytes, so that they can be compared with those in Redis."""

    snapshots: list[msgspec.Raw] = []
    closed: list[str] = []


class _Named(msgspec.Struct):
    portfolio_id: str


class Watcher:
    """Both threads. `with Watcher(url, path) as watcher`; returns once it has subscribed."""

    def __init__(self, url: str, path: Path) -> None:
        self._url = url
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._subscribed = threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._listen, self._sample)]
        self.path = path
        self.announced = 0
        """Snapshots heard so far: what tells that the engine publishes."""
        self.last_announced_at = 0.0
        """By the monotonic clock."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        if not self._subscribed.wait(10.0):
            self.stop()
            raise TimeoutError(f"no subscription at {self._url} within 10 s")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Hear nothing more. May be called again."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(5.0)
        with self._lock:
            if not self._file.closed:
                self._file.close()

    def flush(self) -> Path:
        """The transcript so far, readable."""
        with self._lock:
            self._file.flush()
        return self.path

    def note_break(self, why: str) -> None:
        """Redis has just lost what it held, or is about to."""
        self._write([{"kind": "break", "why": why}])

    # --- within --------------------------------------------------------------------------------------------------

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(
            self._url, socket_timeout=2.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )

    def _write(self, entries: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps({"at": round(time.monotonic(), 4), **entry}) + "\n" for entry in entries)
        with self._lock:
            if not self._file.closed:
                self._file.write(lines)

    def _listen(self) -> None:
        first = True
        while not self._stopped.is_set():
            try:
                if not first:
                    self.note_break("the subscription was lost")
                first = False
                self._follow()
            except redis.RedisError:
                self._stopped.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with self._client() as client, client.pubsub(ignore_subscribe_messages=False) as channel:
            channel.psubscribe(keys.ALL_RISK_CHANNELS)
            asked_at = time.monotonic()
            while not self._stopped.is_set():
                message = channel.get_message(timeout=POLL_SECONDS)
                if message is None:
                    if not self._subscribed.is_set() and time.monotonic() - asked_at > 5.0:
                        raise redis.ConnectionError("no answer to the subscription")
                elif message["type"] == "psubscribe":
                    self._resume(client)
                    self._subscribed.set()
                elif message["type"] == "pmessage":
                    self._hear(message["data"])

    def _resume(self, client: redis.Redis) -> None:
        found = list(client.scan_iter(match=f"{keys.risk('')}*", count=1_000))
        snapshots = [raw for raw in (client.mget(found) if found else []) if raw]  # type: ignore[union-attr]
        self._write([self._entry("resumed", raw) for raw in snapshots])

    def _hear(self, data: bytes) -> None:
        batch = msgspec.json.decode(data, type=_Batch)
        snapshots = [bytes(raw) for raw in batch.snapshots]
        self._write(
            [
                *(self._entry("announced", raw) for raw in snapshots),
                *({"kind": "closed", "portfolio_id": portfolio_id} for portfolio_id in batch.closed),
            ]
        )
        if snapshots:
            self.last_announced_at = time.monotonic()
            self.announced += len(snapshots)

    def _sample(self) -> None:
        client = self._client()
        while not self._stopped.wait(SAMPLE_SECONDS):
            try:
                found = list(client.scan_iter(match=f"{keys.risk('')}*", count=1_000))
                snapshots = client.mget(found) if found else []
            except redis.RedisError:
                continue
            self._write([self._entry("read", raw) for raw in snapshots if raw])  # type: ignore[union-attr]
        client.close()

    @staticmethod
    def _entry(kind: str, snapshot: bytes) -> dict[str, Any]:
        portfolio_id = msgspec.json.decode(snapshot, type=_Named).portfolio_id
        entry = {"kind": kind, "portfolio_id": portfolio_id, "sequence": str(sequence_in(snapshot))}
        return entry if kind == "read" else entry | {"digest": digest_of(snapshot)}


def main() -> None:
    """Record until told to stop."""
    parser = argparse.ArgumentParser(description="Write down what a subscriber is told.")
    parser.add_argument("--redis", required=True, metavar="URL")
    parser.add_argument("--transcript", required=True, type=Path, metavar="FILE")
    chosen = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with Watcher(chosen.redis, chosen.transcript) as watcher:
        stopped.wait()
    print(f"{watcher.announced} snapshots in {chosen.transcript}", file=sys.stderr)


if __name__ == "__main__":
    main()
