"""The workflows, as far as they can be judged from here: well formed, confined, pinned, and what they call exists."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from plimsoll import __version__

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.name: path for path in sorted((GITHUB / "workflows").glob("*.yml"))}
ALLOWED = {
    ("release.yml", "attest"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("release.yml", "publish"): {"id-token": "write"},
    ("release.yml", "announce"): {"contents": "write"},
}
"""The jobs that may do more than read, and what."""
RUNNERS_OWN = {"curl", "docker", "gh", "test", "uv"}


def read(name: str) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return workflow


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in read(name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize(
    ("schema", "files"), [("github-workflows", sorted(WORKFLOWS.values())), ("dependabot", [GITHUB / "dependabot.yml"])]
)
def test_they_are_what_their_schema_says(schema: str, files: list[Path]) -> None:
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_job_may_do_what_it_is_for_and_no_more(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for job, what in workflow["jobs"].items():
        assert what.get("permissions") == ALLOWED.get((name, job))
        assert what["timeout-minutes"] <= 60
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_commit_with_its_version_beside_it(name: str) -> None:
    used = re.findall(r"uses: (.*)", WORKFLOWS[name].read_text(encoding="utf-8"))
    assert used
    for each in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_step_runs_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for step in steps(name):
        for command in re.split(r"&&|\n", step.get("run", "")):
            words = command.split()
            if not words:
                continue
            if words[0] == "make":
                assert set(words[1:]) <= targets, command
            elif "/" in words[0]:
                assert words[0].startswith("fresh/bin/") or (ROOT / words[0]).exists(), command
            else:
                assert words[0] in RUNNERS_OWN, command


def test_the_paths_that_are_left_out_and_the_image_that_is_tried_exist() -> None:
    text = WORKFLOWS["ci.yml"].read_text(encoding="utf-8")
    ignored = re.findall(r"--ignore (\S+)", text)
    assert ignored
    assert all((ROOT / path).is_dir() for path in ignored)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f" plimsoll:{project['project']['version']}\n" in text
    markers = [each.partition(":")[0] for each in project["tool"]["pytest"]["ini_options"]["markers"]]
    left_out = re.findall(r'-m "(.*)"', text)
    assert left_out
    assert set(re.findall(r"not (\w+)", left_out[0])) <= set(markers)


def test_the_program_says_the_version_that_is_released() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert __version__ == project["version"]


def test_both_pythons_that_we_support_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    for name, job in (("ci.yml", "python"), ("release.yml", "try")):
        assert read(name)["jobs"][job]["strategy"]["matrix"]["python"] == supported


def test_nothing_is_published_that_was_not_tried_and_attested() -> None:
    needs = {job: what.get("needs") for job, what in read("release.yml")["jobs"].items()}
    assert needs == {"build": None, "try": "build", "attest": "try", "publish": "attest", "announce": "publish"}


def test_no_step_pastes_what_a_stranger_may_have_written() -> None:
    for name in WORKFLOWS:
        for step in steps(name):
            assert "${{" not in step.get("run", ""), "an expression in a shell is code: hand it on by `env`"
