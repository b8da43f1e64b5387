"""Dead letters as people and machines read them: tables for a screen, rows of JSON, numbers with their nouns."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from plimsoll.errors import Reason
from plimsoll.messages import DeadLetter

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDTH_MAX = 120
"""Of a line that goes to a file, which has no width of its own."""
KEY_SHOWN_MAX = 24
DETAIL_SHOWN_MIN = 12
"""Of letters in a list, in characters; `show` and --json have all of it."""


def counted(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def utc(time_ns: int) -> str:
    """A moment to the second, in UTC."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"


def row(letter: DeadLetter) -> dict[str, Any]:
    """A letter as an object of JSON, without the bytes. A key that is not UTF-8 is null, and in base64 all the same."""
    from engine.dead_letters import Source, text_of  # noqa: PLC0415

    return {
        "source": str(Source.of(letter)),
        "reason": letter.reason.value,
        "field": letter.field,
        "detail": letter.detail,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": None if letter.key is None else text_of(letter.key),
        "key_base64": None if letter.key is None else base64.b64encode(letter.key).decode(),
        "raw_size": letter.raw_size,
        "raw_truncated": letter.raw_truncated,
        "sha256": letter.sha256,
        "dead_at": f"{datetime.fromtimestamp(letter.dead_at_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "dead_at_ns": str(letter.dead_at_ns),
    }


def _width() -> int | None:
    """Of a line; None leaves it to the terminal."""
    return None if sys.stdout.isatty() else WIDTH_MAX


def print_all(*parts: RenderableType) -> None:
    """Print to standard output, as wide as the terminal is."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(width=_width())
    for part in parts:
        console.print(part, highlight=False, markup=False)


def plain_table() -> Table:
    """An empty table in the one look that tables have here."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)


def letters_table(letters: Sequence[DeadLetter]) -> Table:
    """One line for each, whatever the width: sources are whole, to be copied, and the detail is what gives way."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from engine.dead_letters import Source, shown  # noqa: PLC0415

    rows = [
        (
            utc(letter.dead_at_ns),
            str(Source.of(letter)),
            letter.reason.value,
            "-" if letter.key is None else shown(letter.key)[:KEY_SHOWN_MAX],
        )
        for letter in letters
    ]
    taken = sum(max(len(cell) for cell in column) + 2 for column in zip(*rows, strict=True))
    room = max(Console(width=_width()).width - taken, DETAIL_SHOWN_MIN)
    table = plain_table()
    for name in ("set aside (UTC)", "source", "reason", "key", "what"):
        table.add_column(name, no_wrap=True)
    for letter, row in zip(letters, rows, strict=True):
        what = Text(shown((f"{letter.field}: {letter.detail}" if letter.field else letter.detail).encode()))
        what.truncate(room, overflow="ellipsis")
        table.add_row(*map(Text, row), what)
    return table


def summary_table(counts: Sequence[tuple[Reason, str, int]]) -> Table:
    """How many letters there are by reason and topic, and altogether."""
    table = plain_table()
    table.add_column("reason", no_wrap=True)
    table.add_column("topic", no_wrap=True)
    table.add_column("letters", justify="right", no_wrap=True)
    for reason, topic, count in counts:
        table.add_row(reason, topic, f"{count:,}")
    if len(counts) > 1:
        table.add_row("all", "", f"{sum(count for _, _, count in counts):,}", style="bold")
    return table


def properties(letter: DeadLetter) -> Table:
    """Everything about one letter but its bytes."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from engine.dead_letters import Source, harmless, is_what_arrived, shown  # noqa: PLC0415

    if letter.raw_truncated:
        hashed = f"cannot be checked: {len(letter.raw):,} of {letter.raw_size:,} bytes are here"
    else:
        hashed = "matches the bytes below" if is_what_arrived(letter, letter.raw) else "IS NOT that of the bytes below"
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (
        ("source", str(Source.of(letter))),
        ("set aside", f"{utc(letter.dead_at_ns)} UTC"),
        ("reason", letter.reason.value),
        ("field", letter.field or "the whole record"),
        ("detail", letter.detail),
        ("key", "null" if letter.key is None else shown(letter.key)),
        ("size", counted(letter.raw_size, "byte")),
        ("kept", f"the first {len(letter.raw):,} bytes" if letter.raw_truncated else "whole"),
        ("sha256", letter.sha256),
        ("", hashed),
    ):
        table.add_row(name, Text(harmless(text)))
    return table
