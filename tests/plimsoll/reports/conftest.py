"""Files to read, and a small market that is the same every time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from plimsoll.reports.prices import Series

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts text into a file of this name."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="session")
def market() -> Series:
    """900 sessions of five stocks and an index, without gaps, seeded."""
    rng = np.random.default_rng(3)
    symbols = ("AAA", "BBB", "CCC", "DDD", "EEE", "SP500")
    index = 0.01 * rng.standard_normal((899, 1))
    returns = np.hstack([0.8 * index + 0.012 * rng.standard_normal((899, 5)), index])
    value = 100.0 * np.vstack([np.ones(6), np.cumprod(1.0 + returns, axis=0)])
    sessions = tuple((date(2020, 1, 1) + timedelta(days=day)).isoformat() for day in range(900))
    return Series(("prices.csv",), sessions, symbols, value)
