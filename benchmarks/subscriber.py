"""A reader of all risk updates, in a process of its own: `python -m benchmarks.subscriber REDIS_URL FILE`.

It notes two things. `seen`: each message that knows of newer ticks than every message before it, with when it reached
this process, when it had been decoded, the newest tick known before, and the newest tick it was calculated with
(`as_of_ns`). `renewed`: for each snapshot, how long after the one before it of the same portfolio it came. SIGTERM ends
it; then it writes both into FILE (npz, int64).
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

SEEN = ("received_ns", "decoded_ns", "before_ns", "as_of_ns")
RENEWED = ("received_ns", "after_ns")


def follow(redis_url: str, path: Path) -> None:
    """Note every snapshot until told to stop."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    seen: list[tuple[int, int, int, int]] = []
    renewed: list[tuple[int, int]] = []
    newest_ns = 0
    last: dict[str, int] = {}
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.psubscribe(keys.ALL_RISK_CHANNELS)
        print("following", flush=True)
        while not stopping:
            message = channel.get_message(timeout=0.2)
            if message is None:
                continue
            received_ns = time.time_ns()
            batch = messages.decode(message["data"], RiskBatch)
            decoded_ns = time.time_ns()
            as_of_ns = max((snapshot.as_of_ns for snapshot in batch.snapshots), default=0)
            if as_of_ns > newest_ns:
                if newest_ns:
                    seen.append((received_ns, decoded_ns, newest_ns, as_of_ns))
                newest_ns = as_of_ns
            for snapshot in batch.snapshots:
                before_ns = last.get(snapshot.portfolio_id)
                last[snapshot.portfolio_id] = received_ns
                if before_ns is not None:
                    renewed.append((received_ns, received_ns - before_ns))
    np.savez(
        path,
        seen=np.array(seen, np.int64).reshape(-1, len(SEEN)),
        renewed=np.array(renewed, np.int64).reshape(-1, len(RENEWED)),
    )


def main() -> None:
    """Follow."""
    processes.end_with_parent()
    redis_url, path = sys.argv[1:]
    follow(redis_url, Path(path))


if __name__ == "__main__":
    main()
