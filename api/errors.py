"""The ways in which a caller can be wrong. `Unavailable` (nobody's fault) is in the shared language.

They are raised where the rule is known and turned into an answer at one place a protocol: `schema/execution.py` for
GraphQL, `openapi.py` for REST. Nothing in between catches them.
"""

from __future__ import annotations

from plimsoll.errors import PlimsollError
from plimsoll.refusals import IDENTIFIER_RULE, is_identifier

_SHOWN_MAX = 80


class NotFound(PlimsollError):
    """There is no such thing, or not for this caller. Check the id in the text; nothing will appear by waiting."""


class BadInput(PlimsollError):
    """An argument that cannot be used. Correct `field` as `detail` says and send it again."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class NotAdmitted(PlimsollError):
    """We do not know who asks. Sign in again and come back; the text tells nothing of our keys.

    `presented`: something was shown that we do not take, rather than nothing at all.
    """

    def __init__(self, reason: str, *, presented: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.presented = presented

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says (RFC 6750 section 3)."""
        error = f', error="invalid_token", error_description="{self.reason}"' if self.presented else ""
        return f'Bearer realm="plimsoll"{error}'


class Forbidden(PlimsollError):
    """We know who asks, and that is not theirs to do. Ask with another role; trying again changes nothing."""


class Contradiction(BadInput):
    """A statement that reads well and contradicts itself, or our clock. Correct it, or send it again later."""


def require_identifier(text: str, field: str) -> str:
    """The text itself where it is an identifier. Raises `BadInput` naming `field`."""
    if not is_identifier(text):
        raise BadInput(
            field,
            f"{text[:_SHOWN_MAX]!r} is {IDENTIFIER_RULE}",
        )
    return text
