"""The few ways in which things go wrong, each named by what its reader should do.

`BadMessage` is the sender's fault: count it, set it aside, go on. `BadSetting` is the operator's: stop, and say
which key. `Unavailable` is nobody's: wait and try again. Everything else is ours, and ends the process.

Whoever starts a process again after its end has one question: can this pass by itself? `lasting` answers it, and the
exit code carries the answer over.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

EXIT_FAILED = 1
"""It failed; a new start may succeed."""
EXIT_USAGE = 2
"""It was called wrongly, or with a setting that cannot be read."""
EXIT_LASTING = 4
"""It cannot go on until a person has done what its last line says."""
EXIT_SUPERSEDED = 5
"""Another one has taken its place, and is the one to run."""


class PlimsollError(Exception):
    """Something we expect to meet. Its text says what is wrong and what to do about it."""

    lasting: ClassVar[bool] = False
    """Whether it stays until a person does something: then another start would only say the same again."""

    @property
    def exit_code(self) -> int:
        """What a process ends with that cannot go on because of it."""
        return EXIT_LASTING if self.lasting else EXIT_FAILED


class Reason(StrEnum):
    """Why a record could not be applied: the codes of the dead-letter topic."""

    MALFORMED_JSON = "MALFORMED_JSON"
    """Not JSON, or not to its end."""
    INVALID_UTF8 = "INVALID_UTF8"
    """Bytes that are no UTF-8, or half of a surrogate pair."""
    SCHEMA = "SCHEMA"
    """A field is missing, of another type, or of a form that it may not have."""
    NON_FINITE = "NON_FINITE"
    """A number that is infinite or none."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A number beyond its bounds, or a currency that is not held."""
    KEY_MISMATCH = "KEY_MISMATCH"
    """The record's key is not the id, symbol or session that it states."""
    DUPLICATE_SYMBOL = "DUPLICATE_SYMBOL"
    """A symbol is held twice in one portfolio."""
    TOO_LARGE = "TOO_LARGE"
    """More bytes than a record may have, or more positions than a portfolio may."""
    TOO_DEEP = "TOO_DEEP"
    """Values within one another, deeper than anything of ours."""
    FUTURE = "FUTURE"
    """It claims to have happened further ahead of our clock than clocks differ."""
    VERSION_CONFLICT = "VERSION_CONFLICT"
    """It states a version that the portfolio already has, and other positions."""
    INTERNAL = "INTERNAL"
    """An error of ours, which the log has in full."""


class BadMessage(PlimsollError):
    """Bytes that are none of our messages. Count them, set them aside in `dead-letters`, go on.

    `reason` is the stable code, `field` the path of what is wrong (`positions[3].quantity`; empty where the whole
    record is), `detail` a sentence for a person.
    """

    def __init__(self, reason: Reason, detail: str, field: str = "") -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.detail = detail
        self.field = field


class BadSetting(PlimsollError):
    """A setting that is unknown or cannot be read. Correct the key that the text names and start again."""

    lasting = True

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key}: {detail}")
        self.key = key
        self.detail = detail

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return EXIT_USAGE


class Unavailable(PlimsollError):
    """Kafka or Redis is away. Nothing is lost: try again when the dependency that the text names is back."""

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} is unavailable: {detail}")
        self.dependency = dependency
        self.detail = detail


class Refused(Unavailable):
    """Kafka or Redis answers and does not let us in: waiting does not help. Correct what the text names.

    `what` says so in a few words without any names, for those who only need to know that it is not their doing.
    """

    lasting = True

    def __init__(self, dependency: str, what: str, detail: str) -> None:
        super().__init__(dependency, detail)
        self.args = (f"{dependency} refuses us, {what}: {detail}",)
        self.what = what
