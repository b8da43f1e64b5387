"""The unit tests of the web pages, run by Node itself: it takes TypeScript by leaving the types out.

They stand beside what they test, and so does the rule that makes this possible: what they import, imports no package
and nothing that is generated, other than as a type.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from nodes import NODE, environment

SOURCES = Path(__file__).parents[2] / "dashboard" / "src"
FILES = sorted(SOURCES.rglob("*.test.ts"))
SECONDS_MAX = 60.0


def named(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_unit_tests_pass(path: Path) -> None:
    done = subprocess.run(
        [NODE, "--test", path], cwd=SOURCES.parent, env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"{named(path)}:\n{done.stdout}{done.stderr}", pytrace=False)


def test_there_are_some() -> None:
    assert len(FILES) > 5
