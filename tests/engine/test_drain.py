"""A stop is heard at once, wherever it is asked for and whoever waits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

from engine.drain import Drain


def test_a_wait_ends_when_a_stop_is_asked_for() -> None:
    drain = Drain()
    threading.Timer(0.1, drain.ask).start()
    began = time.monotonic()
    drain.wait(20)
    assert drain.asked
    assert time.monotonic() - began < 5


def test_everybody_who_waits_hears_it() -> None:
    drain = Drain()
    waiting = [threading.Thread(target=drain.wait, args=(20,)) for _ in range(4)]
    for each in waiting:
        each.start()
    drain.ask()
    for each in waiting:
        each.join(5)
    assert not any(each.is_alive() for each in waiting)


def test_a_wait_that_nobody_interrupts_ends_by_itself() -> None:
    drain = Drain()
    drain.wait(0.01)
    assert (drain.asked, drain.asked_seconds, drain.overdue) == (False, 0.0, False)


BUSY_WAITER = """
import sys
from engine.drain import Drain
drain = Drain(); drain.listen()
print("listening", flush=True)
while not drain.asked:
    drain.wait(0.00001)
"""


def test_a_signal_in_the_middle_of_any_wait_is_heard() -> None:
    """Waits so short that most of the time is spent entering and leaving one, where a lock would be held."""
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", BUSY_WAITER], stdout=subprocess.PIPE, text=True) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "listening\n"
            waiter.send_signal(signal.SIGTERM)
            try:
                assert waiter.wait(10) == 0
            finally:
                waiter.kill()
