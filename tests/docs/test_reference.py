"""The reference says what the code says, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api.refusal import _REASONS
from api.schema.problems import ProblemCode
from plimsoll.settings import documented

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, "docs/reference/write.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_setting_says_what_it_takes_and_is_read_by_somebody() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    for each in documented():
        row = next(line for line in page.splitlines() if f"`{each.key}`" in line)
        takes, _, read_in = row.strip("| ").split(" | ")[2:5]
        assert each.takes
        assert takes.startswith(each.takes)
        assert read_in.startswith("["), f"nobody reads {each.key}"


def test_every_code_of_a_refusal_is_in_the_list_of_codes() -> None:
    page = (REFERENCE / "graphql.md").read_text(encoding="utf-8")
    codes = {*_REASONS, *(each.value for each in ProblemCode), "UNAUTHENTICATED"}
    assert not [each for each in codes if f"| `{each}` |" not in page]


def test_no_reason_key_or_exit_code_is_left_without_a_word() -> None:
    for name in ("topics-and-keys.md", "cli.md"):
        text = (REFERENCE / name).read_text(encoding="utf-8")
        for title in ("## Reasons of dead letters", "## Redis", "## Exit codes"):
            section = text.partition(title)[2].partition("\n## ")[0]
            assert not [line for line in section.splitlines() if line.endswith("|  |")]
    assert (REFERENCE / "cli.md").read_text(encoding="utf-8").count("Exit codes: 0") == 4
