"""The few ways in which things go wrong, each named by what its reader should do.

`BadMessage` is the sender's fault: count it, set it aside, go on. `BadSetting` is the operator's: stop, and say
which key. `Unavailable` is nobody's: wait and try again. Everything else is ours, and ends the process.
"""

from __future__ import annotations

from enum import StrEnum


class PlimsollError(Exception):
    """Something we expect to meet. Its text says what is wrong and what to do about it."""


class Reason(StrEnum):
    """Why a record could not be applied: the codes of the dead-letter topic."""

    MALFORMED_JSON = "MALFORMED_JSON"
    INVALID_UTF8 = "INVALID_UTF8"
    SCHEMA = "SCHEMA"
    NON_FINITE = "NON_FINITE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    KEY_MISMATCH = "KEY_MISMATCH"
    DUPLICATE_SYMBOL = "DUPLICATE_SYMBOL"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    FUTURE = "FUTURE"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    INTERNAL = "INTERNAL"


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

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key}: {detail}")
        self.key = key
        self.detail = detail


class Unavailable(PlimsollError):
    """Kafka or Redis is away. Nothing is lost: try again when the dependency that the text names is back."""

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} is unavailable: {detail}")
        self.dependency = dependency
        self.detail = detail
