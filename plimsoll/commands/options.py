"""Options that more than one program has, so that they are called, explained and refused alike.

Nothing but typer is imported: whoever asks a program for help need not wait for its mathematics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OwnPrices = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        readable=False,  # as of one that is not there, it is its reader who says so
        help="Your own closes, CSV or Parquet as `plimsoll risk` reads them. Repeatable.",
        show_default="20 US stocks and the S&P 500",
    ),
]
OwnPositions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,  # as of one that is not there, it is its reader who says so
        help="Your own portfolios, as `plimsoll risk` reads them: stated once and not traded.",
        show_default="invented ones",
    ),
]


def refuse_beside_positions(**given: float | None) -> None:
    """Raises `typer.BadParameter` for an option about invented portfolios that is stated beside one's own."""
    for name, value in given.items():
        if value is not None:
            flag = f"'--{name.replace('_', '-')}'"
            raise typer.BadParameter("the portfolios are those of --positions; leave it out", param_hint=flag)
