"""A reader of risk updates, in a process of its own: `python -m benchmarks.subscriber REDIS_URL FILE ADVISOR...`.

It follows the channels of some advisors and notes of each snapshot when its message reached this process, when it had
been decoded, the newest tick it was calculated with (`as_of_ns`), and the newest one of the snapshot before. SIGTERM
ends it; then it writes what it noted into FILE (int64, see `NOTED`).

Some advisors and not all: ten thousand portfolios at twenty snapshots a second are 250 MB/s of JSON, and whoever
decodes all of it measures a reader that has no second core to itself. The advisors are spread over the book, so each
Lua call of the engine is met.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import numpy as np
import redis

from plimsoll import keys, messages, processes
from plimsoll.messages import RiskBatch

NOTED = ("received_ns", "decoded_ns", "before_ns", "as_of_ns")


def follow(redis_url: str, advisors: list[str], path: Path) -> None:
    """Note every snapshot until told to stop."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    noted: list[tuple[int, int, int, int]] = []
    newest: dict[str, int] = {}
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(*(keys.risk_channel(advisor) for advisor in advisors))
        print("following", flush=True)
        while not stopping:
            message = channel.get_message(timeout=0.2)
            if message is None:
                continue
            received_ns = time.time_ns()
            batch = messages.decode(message["data"], RiskBatch)
            decoded_ns = time.time_ns()
            for snapshot in batch.snapshots:
                before_ns = newest.get(snapshot.portfolio_id)
                newest[snapshot.portfolio_id] = snapshot.as_of_ns
                if before_ns is not None and snapshot.as_of_ns > before_ns:
                    noted.append((received_ns, decoded_ns, before_ns, snapshot.as_of_ns))
    np.save(path, np.array(noted, np.int64).reshape(-1, len(NOTED)))


def main() -> None:
    """Follow."""
    processes.end_with_parent()
    redis_url, path, *advisors = sys.argv[1:]
    follow(redis_url, advisors, Path(path))


if __name__ == "__main__":
    main()
