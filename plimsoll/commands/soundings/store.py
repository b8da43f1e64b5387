"""What Redis says: of itself, and of what the engine left in it.

Nothing is changed by looking. Whether the user may do what engine and API do is found out by doing it to keys that do
not exist: each trial leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.connection import parse_url
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError

from api.listing import Selection
from plimsoll import keys
from plimsoll.errors import BadMessage, Unavailable
from plimsoll.messages import AdvisorPnl, Heartbeat, RiskBatch, RiskSnapshot, decode, encode
from plimsoll.risk.score import AT_RISK_NUMBER
from plimsoll.transport import Redis

ANSWER_SECONDS = 2.0
"""What Redis gets for one answer."""
ADVISORS_MAX = 500
"""Beyond so many, the sums of all advisors (20 KB each) are not read for a look at the whole firm."""
THE_USER_MAY_NOT = "(the user may not)"
_NOBODY = "plimsoll.doctor"
"""A portfolio, advisor and worker that does not exist."""


@dataclass(frozen=True, slots=True)
class ServerReading:
    """The server. Sizes in bytes; a `memory_max` of 0 is none."""

    name: str
    """`redis` or `valkey`."""
    version: str
    is_cluster: bool
    role: str
    memory_used: int
    memory_max: int
    policy: str
    persistence: str
    """What is written to disk, in words."""
    clock_ahead_seconds: float
    """Its clock before ours, as well as can be told: to half of `round_trip_seconds`."""
    round_trip_seconds: float


@dataclass(frozen=True, slots=True)
class Contents:
    """What the engine left there."""

    heartbeats: list[Heartbeat]
    unreadable: list[str]
    """Fields of heartbeats that this program does not understand."""
    scenario_set_id: str | None
    """The current one's id; None where there is none."""
    has_scenario_set: bool
    """Whether the set of that id is there."""
    portfolios: int
    at_risk: int
    log: bytes | None
    """Which log all this is made of, as `engine.same_log.Log` in JSON."""


def place(redis_url: str) -> str:
    """Where the server is, without the name and password that lead in."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return parts.path
    try:
        return f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path.rstrip('/')}"
    except ValueError:
        return "REDIS_URL"


def redis_cli(redis_url: str) -> str:
    """How `redis-cli` is called for the server and database of the URL; as whom is for its operator to say."""
    told = parse_url(redis_url)  # type: ignore[no-untyped-call]
    words = ["redis-cli"]
    for flag, name, usual in (("-s", "path", None), ("-h", "host", "127.0.0.1"), ("-p", "port", 6379), ("-n", "db", 0)):
        if (value := told.get(name, usual)) != usual:
            words += [flag, shlex.quote(str(value))]
    return " ".join(words + (["--tls"] if urlsplit(redis_url).scheme == "rediss" else []))


@contextlib.contextmanager
def reaching(store: Redis) -> Iterator[None]:
    """Turn what a client raises into `Unavailable`, without any secret of the URL."""
    try:
        yield
    except ValueError:
        # Its text may quote what was taken for the port, and that may be a piece of a password.
        raise Unavailable("Redis", "REDIS_URL is not of the form redis://user:password@host:6379/0") from None
    except (redis.RedisError, OSError) as error:
        slow = f"no answer within {ANSWER_SECONDS:g} s: " if isinstance(error, redis.TimeoutError) else ""
        why = f"{place(store.url)}: {slow}{store.said(error).rstrip('.')}"
        raise store.refusal(error) or Unavailable("Redis", why) from None


def server(client: redis.Redis) -> ServerReading:
    """The server as it describes itself. Errors of `redis` pass through."""
    told: dict[str, Any] = {}
    for section in ("server", "memory", "persistence", "replication"):
        told |= client.info(section)
    asked = time.time()
    seconds, microseconds = client.time()
    answered = time.time()
    return ServerReading(
        name="valkey" if "valkey_version" in told else "redis",
        version=str(told.get("valkey_version") or told["redis_version"]),
        is_cluster=told.get("redis_mode") == "cluster",
        role=str(told.get("role", "master")),
        memory_used=int(told["used_memory"]),
        memory_max=int(told.get("maxmemory", 0)),
        policy=str(told.get("maxmemory_policy", "unknown")),
        persistence=_persistence(client, told),
        clock_ahead_seconds=seconds + microseconds / 1e6 - (asked + answered) / 2,
        round_trip_seconds=answered - asked,
    )


def _persistence(client: redis.Redis, told: dict[str, Any]) -> str:
    kinds = ["append-only file"] if told.get("aof_enabled") else []
    # Hosted servers often keep their configuration to themselves.
    with contextlib.suppress(redis.ResponseError):
        if client.config_get("save").get("save"):
            kinds.append("RDB file")
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if told.get(name, "ok") != "ok"]
    return (" and ".join(kinds) or "none") + (f", but the last write failed ({', '.join(failed)})" if failed else "")


def contents(client: redis.Redis) -> Contents:
    """What the engine left there, in two round trips. Errors of `redis` pass through."""
    at_risk = Selection(min_risk_number=AT_RISK_NUMBER)
    asking = client.pipeline(transaction=False)
    asking.hgetall(keys.ENGINE)
    asking.get(keys.CURRENT_SCENARIO_SET)
    asking.zcard(keys.by_id())
    asking.zcount(keys.by_risk(), at_risk.low, f"({at_risk.high}")
    asking.get(keys.KAFKA_LOG)
    beats, current, portfolios, risky, log = asking.execute()
    heartbeats: list[Heartbeat] = []
    unreadable: list[str] = []
    for field, raw in beats.items():
        try:
            heartbeats.append(decode(raw, Heartbeat))
        except BadMessage:
            unreadable.append(field.decode(errors="replace"))
    scenario_set_id = None if current is None else current.decode(errors="replace")
    return Contents(
        heartbeats=heartbeats,
        unreadable=unreadable,
        scenario_set_id=scenario_set_id,
        has_scenario_set=bool(scenario_set_id and client.exists(keys.scenario_set(scenario_set_id))),
        portfolios=int(portfolios),
        at_risk=int(risky),
        log=log,
    )


def riskiest(client: redis.Redis, count: int) -> list[RiskSnapshot]:
    """The newest snapshots of the portfolios with the highest risk numbers. Errors of `redis` pass through."""
    names: Any = client.zrange(keys.by_risk(), 0, count - 1, desc=True)
    found: Any = client.mget([keys.risk(name.decode()) for name in names]) if names else []
    # One that was closed in between is in no string any more.
    return [decode(raw, RiskSnapshot) for raw in found if raw is not None]


def advisor_sums(client: redis.Redis, crew: Sequence[Heartbeat]) -> list[AdvisorPnl] | None:
    """What the present workers summed for every advisor; None where there are too many to read."""
    if int(client.zcard(keys.ADVISORS)) > ADVISORS_MAX:
        return None
    fields = [f"{beat.worker_index}/{beat.workers}" for beat in crew]
    advisors: Any = client.zrange(keys.ADVISORS, 0, -1)
    asking = client.pipeline(transaction=False)
    for advisor in advisors if fields else ():
        asking.hmget(keys.advisor_pnl(advisor.decode()), fields)
    return [decode(raw, AdvisorPnl) for each in asking.execute() for raw in each if raw is not None]


def refused(client: redis.Redis) -> list[str]:
    """Commands of engine and API that this user, or the state of the server, does not allow: `SET (reason)`.

    Raises what says that the server is away.
    """
    found = []
    for command, trial in _TRIALS.items():
        try:
            trial(client)
        except NoPermissionError:
            found.append(f"{command} {THE_USER_MAY_NOT}")
        except ReadOnlyError:
            found.append(f"{command} (it is a read-only replica)")
        except OutOfMemoryError:
            found.append(f"{command} (its memory is full)")
        except redis.ResponseError as error:
            found.append(f"{command} ({error})")
    return found


def _listen(client: redis.Redis) -> None:
    with client.pubsub() as heard:  # type: ignore[no-untyped-call]
        heard.psubscribe(keys.ALL_RISK_CHANNELS)
        heard.get_message(timeout=ANSWER_SECONDS)


_TRIALS: dict[str, Callable[[redis.Redis], object]] = {
    "EVAL": lambda client: client.eval("return 1", 0),
    "SET": lambda client: client.set(keys.risk(_NOBODY), b"", xx=True),
    "HDEL": lambda client: client.hdel(keys.ENGINE, _NOBODY),
    "ZREM": lambda client: client.zrem(keys.by_risk(), _NOBODY),
    "XTRIM": lambda client: client.xtrim(keys.history(_NOBODY), maxlen=0),
    "PUBLISH": lambda client: client.publish(keys.risk_channel(_NOBODY), encode(RiskBatch())),
    "PSUBSCRIBE": _listen,
}
"""One command of each kind that is used, on what does not exist; an empty batch tells its readers nothing."""
