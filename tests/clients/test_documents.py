"""What docs/CLIENTS.md shows is what the tests run; and the locks of the Node projects say no address."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "CLIENTS.md"
PROJECTS = ("tests/clients/node", "examples/typescript", "tests/pages/node")
LINK_OR_BLOCK = re.compile(r"\]\((\.\./[^)]+)\)|^```(?:js|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown() -> list[tuple[Path, str]]:
    """Each piece of code of the guide, and the file that was named last before it."""
    pieces, path = [], GUIDE
    for found in LINK_OR_BLOCK.finditer(GUIDE.read_text(encoding="utf-8")):
        if found[1]:
            path = (GUIDE.parent / found[1]).resolve()
        else:
            pieces.append((path, found[2]))
    return pieces


def test_every_piece_of_code_stands_in_the_file_that_is_named_before_it() -> None:
    assert len(shown()) > 7
    for path, code in shown():
        assert path.is_file()
        assert code in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("project", PROJECTS)
def test_a_lock_says_what_every_package_must_hash_to_and_never_where_it_comes_from(project: str) -> None:
    packages = json.loads((ROOT / project / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    locked = {path: package for path, package in packages.items() if path}
    assert locked
    for path, package in locked.items():
        assert package["integrity"].startswith("sha512-"), path
        assert "resolved" not in package, path


@pytest.mark.parametrize("project", PROJECTS)
def test_every_version_is_exact(project: str) -> None:
    manifest = json.loads((ROOT / project / "package.json").read_text(encoding="utf-8"))
    stated = manifest["dependencies"] | manifest.get("devDependencies", {})
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in stated.values())
