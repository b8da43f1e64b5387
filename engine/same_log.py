"""Is what we remember about the log that we read? Kafka names its cluster; Redis and the recovery store write it down.

Offsets mean nothing in another cluster's log. Redis would refuse every new snapshot for being older than what it
holds, and a recovery state would be continued in the middle of something else: both healthy to look at, and wrong.
"""

from __future__ import annotations

from pathlib import Path

import redis

from plimsoll import keys
from plimsoll.errors import PlimsollError


class AnotherLog(PlimsollError):
    """Redis or the recovery store comes from another Kafka cluster. Use what belongs to this one, or an empty one."""


def claim_redis(client: redis.Redis, cluster_id: str) -> str:
    """Write down in Redis which cluster its contents come from, and return its id.

    Raises `AnotherLog` where they come from another.
    """
    client.set(keys.KAFKA_CLUSTER, cluster_id, nx=True)
    stored = client.get(keys.KAFKA_CLUSTER)
    found = stored.decode() if isinstance(stored, bytes) else cluster_id
    if found != cluster_id:
        raise AnotherLog(
            f"Redis holds the results of Kafka cluster {found}, and this is {cluster_id}, whose offsets start anew: "
            "its results could never replace what is there. Name an empty Redis database in REDIS_URL, or empty "
            "this one (FLUSHDB)"
        )
    return found


def claim_directory(directory: Path, cluster_id: str) -> None:
    """The same for a recovery directory, which exists."""
    note = directory / "kafka-cluster"
    if not note.exists():
        note.write_text(cluster_id, encoding="utf-8")
    found = note.read_text(encoding="utf-8")
    if found != cluster_id:
        raise AnotherLog(
            f"{directory} continues Kafka cluster {found}, and this is {cluster_id}. Start with an empty "
            "--recovery-directory: the worker then rebuilds from the log"
        )
