"""`plimsoll top`: the system as it goes, in a terminal, refreshed until somebody has seen enough.

Readings are taken in a thread, so that a key is heard at once even while Redis hangs. What a frame says is decided in
`figures` and `frame`; here are the flags, the keyboard, the screen and the rhythm.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from plimsoll.commands.figures import Figures
    from plimsoll.commands.soundings.live import Reading, Watch
    from plimsoll.settings import Settings

PORTFOLIOS_MAX = 200
"""Taller than any terminal that is read."""
KEY_SECONDS = 0.1
"""How long a key may wait to be heard."""


def command(settings: Callable[[], Settings]) -> Callable[..., None]:
    """The command; `settings` reads them when it runs."""

    def top(
        *,
        interval: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds between two frames.")] = 2.0,
        portfolios: Annotated[
            int, typer.Option(min=1, max=PORTFOLIOS_MAX, help="How many of the riskiest portfolios, at most.")
        ] = 20,
        api: Annotated[
            str, typer.Option("--api", metavar="URL", help="Where the API is, whose sockets are counted.")
        ] = "http://127.0.0.1:6066",
        once: Annotated[bool, typer.Option("--once", help="Print one frame and end, as without a terminal.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the figures of one frame as JSON and end.")
        ] = False,
    ) -> None:
        """Watch the system live: rates, lag, latency, dead letters, sockets, the firm, and the riskiest portfolios.

        q or Ctrl-C ends it, with 0. It waits for what is away, and goes on when
        that is back. Rates are differences between two readings, so --once takes
        as long as --interval; it exits with 1 where Redis is away.
        """
        from rich.console import Console  # noqa: PLC0415

        from plimsoll.commands.figures import figures  # noqa: PLC0415
        from plimsoll.commands.letter_tables import print_all  # noqa: PLC0415
        from plimsoll.commands.soundings.live import Watch  # noqa: PLC0415
        from plimsoll.commands.soundings.ports import require_url  # noqa: PLC0415

        watch = Watch(settings(), require_url("--api", api), portfolios)
        console = Console()
        if once or as_json or not console.is_terminal or console.is_dumb_terminal:
            before, now = _two(watch, interval)
            told = figures(before, now)
            if as_json:
                typer.echo(json.dumps(_described(now, told), ensure_ascii=False))
            else:
                print_all(*_drawn(watch, now, told, console))
            if isinstance(now.held, PlimsollError):
                raise typer.Exit(1)
            return
        # Ctrl-C is how it is meant to end; a kill, too, has to leave the terminal as it was.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _follow(watch, console, interval)
        except KeyboardInterrupt:
            return

    return top


def _two(watch: Watch, interval: float) -> tuple[Reading, Reading]:
    before = watch.look()
    time.sleep(interval)
    return before, watch.look()


def _drawn(watch: Watch, now: Reading, told: Figures, console: Console) -> list[Text]:
    """The frame for this console: as large as its terminal, or as long as it gets where there is none."""
    from plimsoll.commands.frame import Screen, frame  # noqa: PLC0415
    from plimsoll.commands.letter_tables import WIDTH_MAX  # noqa: PLC0415

    width, height = (console.width, console.height) if console.is_terminal else (WIDTH_MAX, None)
    ascii_only = not console.encoding.lower().startswith("utf")
    return frame(now, told, watch.place, watch.api, Screen(width, height, ascii_only))


def _described(now: Reading, told: Figures) -> dict[str, Any]:
    """The figures and what they are of, as JSON: rates a second, latencies in seconds, null where not known."""
    from plimsoll.commands.findings import reason_of  # noqa: PLC0415

    figures = {name: "inf" if value == float("inf") else value for name, value in asdict(told).items()}
    if isinstance(now.held, PlimsollError):
        return {"redis": reason_of(now.held), "engine": None, **figures, "firm": None, "portfolios": []}
    return {
        "redis": "answers",
        "engine": now.held.crew.state,
        "workers": now.held.crew.workers,
        "absent": now.held.crew.absent,
        **figures,
        "firm": None if now.firm is None else asdict(now.firm),
        "at_risk": now.held.contents.at_risk,
        "portfolios": [
            {
                "portfolio_id": each.portfolio_id,
                "advisor_id": each.advisor_id,
                "risk_number": each.risk_number,
                "var_95": each.var_95,
                "market_value": each.market_value,
            }
            for each in now.held.riskiest
        ],
    }


# --- live -------------------------------------------------------------------------------------------------------------


def _follow(watch: Watch, console: Console, interval: float) -> None:
    """Draw a frame after each reading, until q is pressed."""
    from rich.console import Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from plimsoll.commands.figures import figures  # noqa: PLC0415

    before: Reading | None = None
    with _keys() as pressed, Live("asking ...", console=console, screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            asked = _Asked(watch)
            while (now := asked.answer) is None:
                if pressed(KEY_SECONDS):
                    return
            live.update(Group(*_drawn(watch, now, figures(before, now), console)), refresh=True)
            before = now
            while time.monotonic() - began < interval:
                if pressed(KEY_SECONDS):
                    return


class _Asked:
    """A reading under way, in a thread that ends with the process. What it raises is raised where it is asked for."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._answer: Reading | None = None
        self._failure: Exception | None = None
        threading.Thread(target=self._look, name="reading", daemon=True).start()

    def _look(self) -> None:
        try:
            self._answer = self._watch.look()
        except Exception as error:  # whatever it is, it is raised where the reading is asked for
            self._failure = error

    @property
    def answer(self) -> Reading | None:
        """The reading; None while it is not there."""
        if self._failure is not None:
            raise self._failure
        return self._answer


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Waits so many seconds for a key, and says whether it means the end. The terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> bool:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        # Nothing at all is read where the terminal has gone.
        return bool(ready) and os.read(keyboard, 1) in (b"q", b"Q", b"")

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> bool:
    time.sleep(seconds)
    return False
