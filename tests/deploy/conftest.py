"""Fixtures of the tests of what is deployed beside the programs: Prometheus, and a running system for it to scrape.

Prometheus and promtool are the machine's own (Debian: `apt install prometheus`).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
# `live` is that of the client tests, and wants the proxy of the fault tests.
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "faults")]


@pytest.fixture(scope="session")
def promtool() -> str:
    """Where it is. Skips, or fails, where there is none."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """Where it is. Skips, or fails, where there is none."""
    return _program("prometheus")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        _lacking(f"no {name} here")
    return found


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_PROMETHEUS") == "1":
        pytest.fail(f"REQUIRE_PROMETHEUS=1, but {reason}", pytrace=False)
    pytest.skip(reason)
