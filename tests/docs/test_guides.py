"""The how-to guides, followed: their changes are made in a copy of the tree, and what they promise is tried there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "how-to"


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def followed(name: str, packages: list[str], where: Path) -> Path:
    """A copy of some packages, changed as a guide says; its Python blocks are files of tests beside them."""
    for package in packages:
        shutil.copytree(ROOT / package, where / package, ignore=shutil.ignore_patterns("__pycache__", "pages"))
    change = "".join(blocks(GUIDES / name, "diff"))
    # Outside of any repository, so that the patch is of plain files.
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    apart = os.environ | {"GIT_CEILING_DIRECTORIES": str(where.parent)}
    done = subprocess.run(command, cwd=where, input=change, capture_output=True, text=True, check=False, env=apart)
    assert done.returncode == 0, f"the change in {name} no longer fits the code: {done.stderr}"
    for number, block in enumerate(blocks(GUIDES / name, "python")):
        (where / f"test_guide_{number}.py").write_text(block, encoding="utf-8")
    return where


def tried(where: Path, *words: str) -> str:
    """What a Python command says that sees the copy before the checkout."""
    environ = os.environ | {"PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=where, capture_output=True, text=True, timeout=110, check=False, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here to apply the guide's change")
def test_an_eighth_method_is_one_file_and_a_test(tmp_path: Path) -> None:
    where = followed("add-a-var-method.md", ["plimsoll"], tmp_path)
    told = tried(where, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", ".")
    assert "4 passed" in told
    prices, positions = ROOT / "producer/data/sp500_dataset.csv.gz", ROOT / "examples/portfolios.csv"
    report = ["-m", "plimsoll.cli", "risk", "--draws", "200", "--json"]
    assert '"ewma_student": {' in tried(where, *report, "--prices", str(prices), "--positions", str(positions))


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here to apply the guide's change")
def test_a_measure_is_four_files_and_a_test(tmp_path: Path) -> None:
    where = followed("add-a-measure.md", ["plimsoll", "engine", "api"], tmp_path)
    shutil.copy(ROOT / "tests" / "engine" / "conftest.py", where / "conftest.py")
    told = tried(where, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", ".")
    assert "3 passed" in told


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here to apply the guide's change")
def test_a_topic_is_a_name_a_message_and_a_decoder(tmp_path: Path) -> None:
    where = followed("add-a-topic.md", ["plimsoll"], tmp_path)
    assert "3 passed" in tried(where, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", ".")
