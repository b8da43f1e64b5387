"""How values that GraphQL has no word for are written, and the global ids of nodes."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import NewType

import strawberry

from plimsoll.refusals import is_identifier

Sequence = NewType("Sequence", str)

SEQUENCE = strawberry.scalar(
    name="Sequence",
    description=(
        "A whole number of any size as decimal digits, because JSON numbers are exact to 53 bits only. Compare as "
        "numbers: the larger of two sequences of one portfolio is the newer."
    ),
    serialize=str,
    parse_value=str,
)
_NANOSECONDS = 1_000_000_000


def at(time_ns: int) -> datetime:
    """UTC nanoseconds as the DateTime of answers, to the microsecond."""
    return datetime.fromtimestamp(time_ns // _NANOSECONDS, UTC).replace(microsecond=time_ns % _NANOSECONDS // 1000)


def nanoseconds(moment: datetime) -> int:
    """A DateTime of an argument as UTC nanoseconds; one without a zone is meant in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - datetime.fromtimestamp(0, UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def global_id(kind: str, own_id: str) -> strawberry.ID:
    """The id of a node among all nodes: base64 of `Portfolio:portfolio_123`."""
    return strawberry.ID(base64.b64encode(f"{kind}:{own_id}".encode()).decode())


def parse_global_id(node_id: str) -> tuple[str, str] | None:
    """Kind and own id of a global id; None where it is none."""
    try:
        kind, colon, own_id = base64.b64decode(node_id, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (kind, own_id) if colon and is_identifier(own_id) else None


def own_id(kind: str, either_id: str) -> str | None:
    """The own id from a global id of this kind, or from the own id itself; None where it can be neither."""
    parsed = parse_global_id(either_id)
    if parsed is not None and parsed[0] == kind:
        return parsed[1]
    return either_id if is_identifier(either_id) else None
