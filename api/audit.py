"""Who asked for what, and whether they got it: one line of the logger `plimsoll.audit` for each request and stream.

A line holds names and identifiers and nothing else: no token, no payload, no variable beside the ids that were asked
for. All of it is bounded, and whatever could end a line or steer a terminal is escaped, because part of it comes from
callers. It goes where every other line of the process goes, as a JSON object (`plimsoll.logs`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import islice

from api.identity import Caller, Role
from plimsoll.refusals import is_identifier
from plimsoll.settings import Settings

IDS_MAX = 20
FIELDS_MAX = 20
TEXT_SIZE_MAX = 128
SCANNED_MAX = 1_000
"""Values of variables that are looked at for ids."""

_log = logging.getLogger("plimsoll.audit")


class Decision(StrEnum):
    """What became of a request. A stream is allowed when it starts and ended when it is over."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    ENDED = "ended"


class Audit:
    """The log. `on` says whether there is one."""

    def __init__(self, *, on: bool) -> None:
        self.on = on
        if on:
            # Who wants fewer lines of everything else has not asked for gaps in this.
            _log.setLevel(logging.INFO)

    @classmethod
    def of(cls, settings: Settings) -> Audit:
        """The log that the settings ask for."""
        return cls(on=settings.audit == "on" or (settings.audit == "auto" and settings.auth != "off"))

    def record(
        self,
        caller: Caller | None,
        transport: str,
        operation: str,
        fields: Iterable[str] = (),
        ids: Iterable[str] = (),
        decision: Decision = Decision.ALLOWED,
    ) -> None:
        """Say that somebody asked.

        caller     None where nobody knows who it was
        transport  as telemetry names it: http, sse, multipart, or the protocol of a socket
        operation  `query`, `mutation` or `subscription` with its name, or a method and its route
        fields     those at the top of the operation
        ids        what was asked for; what is no identifier is left out
        """
        if not self.on:
            return
        stated = {
            "subject": None if caller is None else _shown(caller.subject),
            "roles": [] if caller is None else _roles(caller.roles),
            "transport": transport,
            "operation": _shown(operation),
            "fields": [_shown(each) for each in islice(fields, FIELDS_MAX)],
            "ids": list(islice(dict.fromkeys(each for each in ids if is_identifier(each)), IDS_MAX)),
            "decision": decision.value,
        }
        _log.info("asked", extra=stated)


def ids_in(variables: Mapping[str, object]) -> list[str]:
    """The ids among the variables of an operation: texts under a name that ends in `id` or `ids`."""
    found: list[str] = []
    waiting: list[tuple[str, object]] = list(islice(variables.items(), SCANNED_MAX))
    for _ in range(SCANNED_MAX):
        if not waiting or len(found) == IDS_MAX:
            break
        name, value = waiting.pop()
        room = SCANNED_MAX - len(waiting)
        if isinstance(value, dict):
            waiting += [(str(inner), each) for inner, each in islice(value.items(), room)]
        elif isinstance(value, list):
            waiting += [(name, each) for each in islice(value, room)]
        elif isinstance(value, str) and is_id_name(name):
            found.append(value)
    return found


def is_id_name(name: str) -> bool:
    """Whether ids stand under a name."""
    return name.lower().endswith(("id", "ids"))


def _roles(roles: Iterable[Role]) -> list[str]:
    return sorted(role.value for role in roles)


def _shown(text: str) -> str:
    """A bounded text of printable ASCII; anything else is spelt as an escape."""
    return text[:TEXT_SIZE_MAX].encode("ascii", "backslashreplace").decode().translate(_CONTROL)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
