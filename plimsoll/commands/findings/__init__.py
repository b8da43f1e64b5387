"""What readings mean: for each condition of a healthy system whether it holds, what was found, and what mends it.

Everything here is pure: readings go in, findings come out, and the time is an argument. A remedy is something that can
be pasted, a command or a setting, or a sentence where no command can do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.errors import PlimsollError, Refused, Unavailable


class Verdict(StrEnum):
    """A fault is wrong now and keeps the system from its work, or will; a warning may be as it was meant."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition. `remedy` is empty where there is nothing to mend."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def well(check: str, found: str) -> Finding:
    """The condition holds."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """It may be meant, and may bite."""
    return Finding(check, Verdict.WARNING, found, remedy)


def fault(check: str, found: str, remedy: str) -> Finding:
    """It is wrong."""
    return Finding(check, Verdict.FAULT, found, remedy)


def refusal(check: str, error: Refused) -> Finding:
    """A server is there and does not let us in: its last words are the remedy, and starting it would mend nothing."""
    at, _, remedy = error.detail.rpartition(": ")
    return fault(check, f"refuses us, {error.what}: {at}", remedy)


def reason_of(error: PlimsollError) -> str:
    """Why something is away, without saying again what."""
    return error.detail if isinstance(error, Unavailable) else str(error)
