"""Three counters that add up: every record ends as applied, stale or dead-lettered, and here is how many did.

They are kept by topic and saved with the recovery state, so they count from the first record of the log whatever
crashed since. Beside them stands the guard against a flood: where more than a set share of the newest records of a
topic ends as dead letters, something upstream (or we ourselves) has gone wrong as a whole, and draining the topic into
the dead letters would help nobody.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from plimsoll.errors import PlimsollError


class DeadLetterBurst(PlimsollError):
    """Most of what a topic brings cannot be applied. Mend the sender, or let it pass on purpose; then start again."""

    lasting = True


@dataclass(slots=True)
class Tally:
    """How the records of each topic ended, and how many were set aside for which reason."""

    applied: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def recovery_state(self) -> dict[str, dict[str, int]]:
        """A copy of the counters."""
        return {name: dict(getattr(self, name)) for name in ("applied", "stale", "dead", "reasons")}

    @classmethod
    def recovered(cls, state: dict[str, Any]) -> Tally:
        """The tally that `recovery_state` copied."""
        return cls(**{name: Counter(counts) for name, counts in state.items()})


class Flood:
    """Watches the share of dead letters among the newest records of each topic.

    share   above which it is a flood; 1 never is
    newest  records of a topic over which the share is taken, at least; none is judged on fewer
    """

    def __init__(self, share: float, newest: int) -> None:
        self._share = share
        self._newest = newest
        self._earlier: dict[str, tuple[int, int]] = {}
        self._seen: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()

    def note(self, topic: str, records: int, dead: int) -> None:
        """Take a batch of a topic into account. Raises `DeadLetterBurst` where there are too many dead ones."""
        self._seen[topic] += records
        self._dead[topic] += dead
        seen_before, dead_before = self._earlier.get(topic, (0, 0))
        seen, dead_of_them = self._seen[topic] + seen_before, self._dead[topic] + dead_before
        if seen >= self._newest and dead_of_them > self._share * seen:
            raise DeadLetterBurst(
                f"{dead_of_them:,} of the newest {seen:,} records of {topic} cannot be applied, more than the share of"
                f" {self._share:g} that PLIMSOLL_DEAD_LETTER_SHARE allows: stopped, so that the topic is not drained"
                " into the dead letters. `plimsoll dead-letters list` shows them; mend the sender, or set the share to"
                " 1 to let them pass"
            )
        if self._seen[topic] >= self._newest:
            self._earlier[topic] = self._seen[topic], self._dead[topic]
            self._seen[topic] = self._dead[topic] = 0
