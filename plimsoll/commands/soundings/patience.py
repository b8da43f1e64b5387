"""Questions asked side by side, each in a thread of its own, all of them within one deadline.

A question that hangs is left behind: its thread is a daemon, and ends with the process. What a question raises is its
answer where it says that something is away; anything else is a fault of ours and is raised here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from plimsoll.errors import PlimsollError, Unavailable

T = TypeVar("T")


def side_by_side(questions: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | PlimsollError]:
    """The answer to each, by its name; an `Unavailable` in place of one that did not come in time."""
    answers: dict[str, T | PlimsollError] = {}
    failures: list[Exception] = []

    def ask(name: str, question: Callable[[], T]) -> None:
        try:
            answers[name] = question()
        except PlimsollError as error:
            answers[name] = error
        except Exception as error:  # a fault of ours: raised below, and not in a thread that nobody listens to
            failures.append(error)

    threads = [
        threading.Thread(target=ask, args=each, name=f"asks {each[0]}", daemon=True) for each in questions.items()
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    # Copied: whoever is late writes into a mapping that nobody reads any more.
    in_time = dict(answers)
    return {name: in_time.get(name, Unavailable(name, f"no answer within {seconds:g} s")) for name in questions}
