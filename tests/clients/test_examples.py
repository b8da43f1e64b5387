"""The examples run as they are pasted, through a cut connection and a restart of the API."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from live import LiveSystem, until
from nodes import Project, environment, project

from embedded.child import Child

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EVERYONE = "1"
"""A threshold that every portfolio has reached."""
SEEN = re.compile(r"^(\d+) of (\S+) portfolios at 1 or more; (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project(EXAMPLES / "typescript", tmp_path_factory.mktemp("examples") / "typescript")


def test_the_types_of_the_typescript_example_agree(typescript: Project) -> None:
    assert typescript.run("node_modules/typescript/bin/tsc", "--noEmit") == ""


def test_the_typescript_example_shows_all_and_comes_back_after_a_cut_and_a_restart(
    live: LiveSystem, typescript: Project, tmp_path: Path
) -> None:
    command = typescript.command("src/main.ts", live.url, EVERYONE)
    shows_all_and_comes_back(live, Child.start("typescript", command, environ=environment(), log=tmp_path / "log"))


def test_the_python_example_shows_all_and_comes_back_after_a_cut_and_a_restart(
    live: LiveSystem, tmp_path: Path
) -> None:
    command = [sys.executable, EXAMPLES / "python" / "at_risk.py", live.url, EVERYONE]
    shows_all_and_comes_back(live, Child.start("python", command, environ=os.environ, log=tmp_path / "log"))


def shows_all_and_comes_back(live: LiveSystem, example: Child) -> None:
    def shown_all(since: int) -> bool:
        """Whether the table began with one row, was filled, and the system is well."""
        assert example.exit_code() is None, example.tail()
        heads = SEEN.findall(example.log.read_text(encoding="utf-8")[since:])
        shown = [count for count, _, _ in heads]
        since_begun = heads[shown.index("1") :] if "1" in shown else []
        return any(count == of and health == "healthy" for count, of, health in since_begun)

    try:
        until(lambda: shown_all(0), "table of all portfolios", show=example.tail)
        for happening in (live.cut, live.stop_api):
            told = len(example.log.read_text(encoding="utf-8"))
            happening()
            if live.api.exit_code() is not None:
                live.start_api()
            until(lambda since=told: shown_all(since), "table of all portfolios once more", show=example.tail)
    finally:
        example.stop(2.0)
