"""Is what we remember about the log that we read? Kafka names its cluster and its topics; Redis writes them down.

Offsets mean nothing in another cluster's log, nor in a topic that was deleted and made again under its old name. Redis
would refuse every new snapshot for being older than what it holds, and a recovery state would be continued in the
middle of something else: both healthy to look at, and wrong.

Not every broker names its topics (the embedded one does not): what is unknown on either side is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import redis

from plimsoll import keys, topics
from plimsoll.errors import PlimsollError

READ = (topics.PORTFOLIO_UPDATES.name, topics.MARKET_DATA.name, topics.MARKET_CLOSES.name)
"""The topics whose offsets and records everything is made of. What we only write may be made anew at any time."""


class AnotherLog(PlimsollError):
    """Redis holds the results of another log. Use the one that belongs to this, or an empty one."""

    lasting = True


class TopicChanged(PlimsollError):
    """A topic was deleted or made anew while it was being read. Find out who did it; the text says how to go on."""

    lasting = True


class Log(msgspec.Struct, frozen=True):
    """Which log: the cluster's id, and those of the topics that are read, by name (none where not told)."""

    cluster: str
    topics: Mapping[str, str] = {}


def differences(told: Log, here: Log) -> str:
    """What is not the same, as part of a sentence; empty where nothing is known to differ."""
    if told.cluster != here.cluster:
        return f"that of Kafka cluster {told.cluster}, and this is {here.cluster}"
    changed = [name for name, id_ in told.topics.items() if here.topics.get(name, id_) != id_]
    return f"topic {' and '.join(changed)} was deleted and made anew since" if changed else ""


def claim_redis(client: redis.Redis, here: Log) -> bool:
    """Write down in Redis which log its contents come from; whether it said so already.

    Raises `AnotherLog` where they come from another.
    """
    claimed = _claim_of_old(client) or _claim(client)
    if claimed is None:
        # Several workers may do this at once; they write the same.
        client.set(keys.KAFKA_LOG, msgspec.json.encode(here), nx=True)
        return False
    if reason := differences(claimed, here):
        raise AnotherLog(
            f"Redis holds the results of another log: {reason}. Its offsets start anew, so new results could never "
            "replace what is there. Name an empty Redis database in REDIS_URL, or empty this one (FLUSHDB)"
        )
    known = Log(here.cluster, {**claimed.topics, **here.topics})
    if known != claimed:
        client.set(keys.KAFKA_LOG, msgspec.json.encode(known))
    return True


def _claim(client: redis.Redis) -> Log | None:
    found = client.get(keys.KAFKA_LOG)
    return msgspec.json.decode(found, type=Log) if isinstance(found, bytes) else None


def _claim_of_old(client: redis.Redis) -> Log | None:
    """The claim as version 0.1 wrote it, put where it belongs now."""
    found = client.get(keys.KAFKA_CLUSTER)
    if not isinstance(found, bytes):
        return None
    client.set(keys.KAFKA_LOG, msgspec.json.encode(Log(found.decode())), nx=True)
    client.delete(keys.KAFKA_CLUSTER)
    return _claim(client)
