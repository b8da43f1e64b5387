"""Redis judged: what it is, whether it keeps what it is given, and whether we may write there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from plimsoll.commands.findings import Finding, fault, reason_of, refusal, warning, well
from plimsoll.commands.soundings.store import THE_USER_MAY_NOT, ServerReading
from plimsoll.errors import PlimsollError, Refused

VERSION_LEAST = {"redis": (6, 2), "valkey": (7, 2)}
"""The first that know all commands that are used. Of Valkey it is the first there is."""
MEMORY_WARNING, MEMORY_FAULT = 0.8, 0.95
"""Shares of its limit."""
SKEW_SECONDS_MAX = 2.0
"""Beyond this, ages of heartbeats and of prices mislead."""
_MIB = 1 << 20


def away(where: str, error: PlimsollError) -> Finding:
    """It does not answer, or does not let us in."""
    if isinstance(error, Refused):
        return refusal("redis", error)
    return fault(
        "redis",
        f"away: {reason_of(error)}",
        f"start the server at {where} (`docker compose up --detach redis`), or name the right one: "
        "`export REDIS_URL=redis://host:6379/0`",
    )


def judge_server(server: ServerReading, where: str) -> Iterator[Finding]:
    """The server by what it says of itself."""
    yield well("redis", f"{where} answers in {server.round_trip_seconds * 1e3:.1f} ms")
    yield _version(server)
    if server.is_cluster:
        yield fault("redis kind", "a Redis Cluster, whose keys lie apart", "name a single node or primary in REDIS_URL")
    elif server.role != "master":
        yield fault("redis kind", f"a read-only {server.role}", "name its primary in REDIS_URL")
    else:
        yield well("redis kind", "a single node or primary")
    yield _policy(server)
    yield _memory(server)
    yield _persistence(server)
    yield _clock(server)


def judge_rights(refused: Sequence[str]) -> Finding:
    """Whether engine and API can do what they do."""
    if not refused:
        return well("redis rights", "this user may do all that engine and API do")
    said = f"refused: {'; '.join(refused)}"
    if not any(THE_USER_MAY_NOT in each for each in refused):
        # The same for every user: more rights would mend nothing, and stay.
        return fault("redis rights", said, "mend what is said of its kind, memory or persistence; no right is lacking")
    return fault(
        "redis rights",
        said,
        "`redis-cli ACL SETUSER NAME on ~* &* +@all -@admin -@dangerous +info` for the user of REDIS_URL",
    )


def _version(server: ServerReading) -> Finding:
    least = VERSION_LEAST[server.name]
    numbers = tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit())
    if numbers < least:
        wanted = ".".join(map(str, least))
        said = f"{server.name} {server.version} is older than {wanted}, and lacks commands that are used"
        return fault("redis version", said, "install Redis 7 or 8, or Valkey 8, and point REDIS_URL at it")
    return well("redis version", f"{server.name} {server.version}")


def _policy(server: ServerReading) -> Finding:
    if server.policy != "noeviction":
        return fault(
            "redis eviction",
            f"maxmemory-policy is {server.policy}: portfolios would vanish without a word once memory is short",
            "`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf",
        )
    return well("redis eviction", "noeviction")


def _memory(server: ServerReading) -> Finding:
    used = f"{server.memory_used / _MIB:,.1f} MiB"
    if not server.memory_max:
        return well("redis memory", f"{used} used, no limit of its own")
    share = server.memory_used / server.memory_max
    said = f"{used} of {server.memory_max / _MIB:,.1f} MiB used ({share:.0%})"
    enough = math.ceil(2 * max(server.memory_max, server.memory_used) / _MIB)
    remedy = f"`redis-cli CONFIG SET maxmemory {enough}mb`, and the same in redis.conf"
    if share >= MEMORY_FAULT:
        return fault("redis memory", f"{said}: writes are refused when it is full", remedy)
    return warning("redis memory", said, remedy) if share >= MEMORY_WARNING else well("redis memory", said)


def _persistence(server: ServerReading) -> Finding:
    if "failed" in server.persistence:
        return warning(
            "redis persistence", server.persistence, "make room on the disk of Redis; its log says what failed"
        )
    return well("redis persistence", f"{server.persistence}; all but history is rebuilt from Kafka")


def _clock(server: ServerReading) -> Finding:
    ahead = server.clock_ahead_seconds
    if abs(ahead) - server.round_trip_seconds / 2 > SKEW_SECONDS_MAX:
        where = "ahead of" if ahead > 0 else "behind"
        said = f"the clock of Redis is {abs(ahead):.1f} s {where} ours"
        return warning("clock", said, "`timedatectl set-ntp true` on both machines")
    return well("clock", f"within {abs(ahead):.2f} s of Redis's")
