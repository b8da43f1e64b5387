"""The console scripts: small, so that Ctrl-C while a program's modules load is no traceback either."""

from __future__ import annotations

import sys
from importlib import import_module

EXIT_INTERRUPTED = 130
"""As shells and typer have it."""


def start(module: str) -> None:
    """Load a program's module and call its `main`."""
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def plimsoll() -> None:
    """`plimsoll`."""
    start("plimsoll.cli")


def data_generator() -> None:
    """`data-generator`."""
    start("producer.__main__")


def risk_calculator() -> None:
    """`risk-calculator`."""
    start("engine.__main__")


def risk_api() -> None:
    """`risk-api`."""
    start("api.__main__")
