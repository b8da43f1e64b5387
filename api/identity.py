"""Who asks, and what that lets them see: decided once for a request or a socket, and carried to the data from there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do. One who has several may do what any of them allows."""

    ADVISOR = "advisor"
    """Reads the portfolios of one advisor, and nothing that says anything of others'."""
    RISK_MANAGER = "risk_manager"
    """Reads everything."""
    OPERATOR = "operator"
    """Changes portfolios and watches the system; sees no positions and no risk."""


NOBODY = ""
"""The view of a caller to whom no portfolio is shown. No advisor is called so: an id has a letter at least."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has been let in."""

    subject: str
    """For the audit log and for limits; never a secret."""
    roles: frozenset[Role]
    advisor_id: str | None = None
    """Of an advisor."""
    expires_at: float | None = None
    """Seconds since 1970 (UTC) at which this ends; None where it does not."""
    credential: str = field(default="", repr=False, compare=False)
    """What let them in, as `Admission` names it to ask later whether it still would. A name, never the secret."""

    @property
    def view(self) -> str | None:
        """The advisor to whose portfolios everything this caller is told is confined; None where it is not.

        `NOBODY` for whoever neither looks after portfolios nor reads all of them.
        """
        if Role.RISK_MANAGER in self.roles:
            return None
        return (self.advisor_id if Role.ADVISOR in self.roles else None) or NOBODY


ANYONE = Caller("anyone", frozenset(Role))
"""Everyone, where there is no sign-in."""
STRANGER = Caller("stranger", frozenset())
"""Whoever has not signed in, where one has to: may see the pages that are open to all, and nothing behind them."""
