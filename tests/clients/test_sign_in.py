"""Who signs in is answered; what is refused for good is not asked for again, by graphql-ws or by the examples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import LiveSystem, token, until
from nodes import Project, environment, project

from embedded.child import Child

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = {"query": "{ __typename }"}
ANSWERED = re.compile(r"^[1-9]\d* of \d+ portfolios at 1 or more; healthy$", re.MULTILINE)


@pytest.fixture(scope="module")
def guarded(live: LiveSystem) -> Iterator[str]:
    """The address of an API where one has to sign in."""
    with live.guarded() as url:
        yield url


@pytest.fixture(scope="module", params=["python", "typescript"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """How each example is started, but for the address."""
    if request.param == "python":
        return [sys.executable, EXAMPLES / "python" / "at_risk.py"]
    return project(EXAMPLES / "typescript", tmp_path_factory.mktemp("signing-in") / "typescript").command("src/main.ts")


def test_an_example_with_a_token_is_answered(guarded: str, example: list[str | Path], tmp_path: Path) -> None:
    environ = environment({"PLIMSOLL_TOKEN": token("risk_manager")})
    running = Child.start("example", [*example, guarded, "1"], environ=environ, log=tmp_path / "log")
    try:
        told = running.log
        until(
            lambda: ANSWERED.search(told.read_text(encoding="utf-8")) or running.exit_code(), "table", 20, running.tail
        )
        assert running.exit_code() is None, running.tail()
    finally:
        running.stop(2.0)


def test_an_example_with_a_wrong_token_gives_up(guarded: str, example: list[str | Path]) -> None:
    command = [*example, guarded]
    environ = environment({"PLIMSOLL_TOKEN": "wrong"})
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("refused: ")


def refused(clients: Project, url: str, what: str) -> dict[str, object]:
    return json.loads(clients.run("refused.mjs", url, what))


def test_a_message_that_is_none_ends_the_socket_once(live: LiveSystem, clients: Project) -> None:
    told = refused(clients, live.direct_url, "a message that is none")
    assert told == {"kind": "refused", "ended": "error", "opened": 1, "codes": [4400]}


def test_a_wrong_token_ends_the_socket_once(guarded: str, clients: Project) -> None:
    told = refused(clients, guarded, "a wrong token")
    assert told == {"kind": "refused", "ended": "error", "opened": 1, "codes": [4403]}


def test_a_wrong_token_is_told_by_http(guarded: str) -> None:
    answer = httpx.post(f"{guarded}/graphql", json=QUESTION, headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
