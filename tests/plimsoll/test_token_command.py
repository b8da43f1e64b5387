"""`plimsoll token`: what it prints is what the API takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner, Result

from api.admission import Admission
from api.identity import Role
from plimsoll.cli import application
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(application(), ["token", *arguments])


def admitted(settings: Settings, headers: dict[str, str]) -> Any:
    return anyio.run(Admission.of(settings, time.time_ns).request, headers)


def test_a_token_is_what_standard_output_has_and_lets_its_bearer_in() -> None:
    result = run("--role", "advisor", "--advisor", "advisor-1", PLIMSOLL_TOKEN_SECRET=SECRET)
    assert result.exit_code == 0
    (token,) = result.stdout.splitlines()
    caller = admitted(Settings(auth="on", token_secret=SECRET), {"authorization": f"Bearer {token}"})
    assert (caller.subject, caller.view) == ("advisor-1", "advisor-1")
    assert caller.expires_at == pytest.approx(time.time() + 15 * 60, abs=30)
    assert SECRET not in result.output


def test_it_says_all_of_it_as_json() -> None:
    result = run(
        "--role", "operator", "--role", "risk_manager", "--minutes", "5", "--subject", "ole", "--json",
        PLIMSOLL_TOKEN_SECRET=SECRET,
    )  # fmt: skip
    stated = json.loads(result.stdout)
    assert (stated["subject"], stated["roles"], stated["advisor_id"]) == ("ole", ["operator", "risk_manager"], None)
    caller = admitted(Settings(auth="on", token_secret=SECRET), {"authorization": f"Bearer {stated['token']}"})
    assert caller.roles == {Role.OPERATOR, Role.RISK_MANAGER}


def test_a_key_and_its_line_belong_together(tmp_path: Path) -> None:
    result = run("--api-key", "--name", "desk", "--role", "risk_manager")
    key, line = result.stdout.splitlines()
    assert key not in line
    path = tmp_path / "keys.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    caller = admitted(Settings(auth="on", api_keys=str(path)), {"x-api-key": key})
    assert (caller.subject, caller.roles) == ("desk", {Role.RISK_MANAGER})
    stated = json.loads(run("--api-key", "--role", "operator", "--json").stdout)
    assert stated["key"] != key
    assert json.loads(stated["line"])["roles"] == ["operator"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--role", "operator"), "PLIMSOLL_TOKEN_SECRET: is not set"),
        (("--role", "advisor"), "--advisor: goes with the role advisor"),
        (("--role", "operator", "--advisor", "advisor-1"), "--advisor: goes with the role advisor"),
        (("--role", "advisor", "--advisor", "two words"), "--advisor: 'two words' is no identifier"),
        (("--api-key", "--role", "operator", "--name", "two words"), "--name: 'two words' is no identifier"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(arguments: tuple[str, ...], reason: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, BadSetting)
    assert str(error).startswith(reason)


def test_a_subject_that_could_end_a_line_is_refused() -> None:
    error = run("--role", "operator", "--subject", "a\nb", PLIMSOLL_TOKEN_SECRET=SECRET).exception
    assert isinstance(error, BadSetting)


@pytest.mark.parametrize("arguments", [(), ("--role", "astronaut"), ("--role", "operator", "--minutes", "0")])
def test_what_cannot_be_asked_for_is_bad_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments, PLIMSOLL_TOKEN_SECRET=SECRET).exit_code == 2
