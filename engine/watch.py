"""What a worker looks after beside its flow: that nothing beneath it is changed, and that a stop comes to an end.

Each check has a thread of its own, because any of them may wait: for Kafka, for a file system. One that finds
something that cannot pass tells the worker to stop and keeps the reason, which the worker then ends with.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping

from engine.drain import DRAIN_SECONDS_HARD, Drain
from engine.same_log import TopicChanged
from plimsoll.errors import EXIT_FAILED, PlimsollError

log = logging.getLogger(__name__)

STEP_SECONDS = 0.25


class Watch:
    """The checks of one worker."""

    def __init__(self, drain: Drain, end: Callable[[int], object] = os._exit) -> None:
        self._drain = drain
        self._end = end
        self.found: PlimsollError | None = None
        """Why the worker was told to stop; None where nothing was found."""

    def limit_the_drain(self) -> None:
        """From now on end the process where a stop takes longer than a worker may have, whatever it waits for."""
        threading.Thread(target=self._limit, name="watch-drain", daemon=True).start()

    def every(self, seconds: float, check: Callable[[], None]) -> None:
        """Run a check again and again until something is found or the worker stops."""
        name = f"watch-{getattr(check, '__qualname__', 'check')}"
        threading.Thread(target=self._repeat, args=(seconds, check), name=name, daemon=True).start()

    def look(self, check: Callable[[], None]) -> None:
        """Run a check once. What may pass by itself (a broker that is away) is somebody else's to say."""
        try:
            check()
        except PlimsollError as error:
            if error.lasting and self.found is None:
                self.found = error
                log.error("stopping: %s", error)
                self._drain.ask()

    def _repeat(self, seconds: float, check: Callable[[], None]) -> None:
        while not self._drain.asked:
            self.look(check)
            self._drain.wait(seconds)

    def _limit(self) -> None:
        while self._drain.asked_seconds < DRAIN_SECONDS_HARD:
            self._drain.wait(STEP_SECONDS)
        log.error("not drained after %.0f s: ended as it is; the next start repeats the rest", DRAIN_SECONDS_HARD)
        self._end(EXIT_FAILED if self.found is None else self.found.exit_code)


class SameTopics:
    """Whether the topics are still those that were there at the start."""

    def __init__(self, known: Mapping[str, str], ask: Callable[[], Mapping[str, str] | None]) -> None:
        self._known = known
        self._ask = ask
        self._missing_before: set[str] = set()

    def check(self) -> None:
        """Raises `TopicChanged`; `Unavailable` where nobody answers."""
        here = self._ask()
        if here is None:
            return
        changed = [name for name, id_ in self._known.items() if here.get(name, id_) != id_]
        if changed:
            raise TopicChanged(f"topic {' and '.join(changed)} was deleted and made anew while it was read. {_REMEDY}")
        missing = self._known.keys() - here.keys()
        # Twice, because a broker that has just started may not have heard of every topic yet.
        if gone := sorted(missing & self._missing_before):
            raise TopicChanged(f"topic {' and '.join(gone)} was deleted while it was read. {_REMEDY}")
        self._missing_before = set(missing)


_REMEDY = (
    "What was made of it cannot be continued: fill the new one, empty Redis (FLUSHDB), and start again with --rebuild"
)
