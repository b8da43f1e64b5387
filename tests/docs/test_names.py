"""Whatever a document names is there: headings that links point at, files, tests, and symbols of the code."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest
from graphql import parse, validate

from api.schema import schema

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("README.md"),
                 *(ROOT / "benchmarks").glob("*.md"), ROOT / "dashboard" / "README.md")
    if "node_modules" not in path.parts
)  # fmt: skip
GUIDES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
FOLDERS = "plimsoll|producer|engine|api|embedded|tests|docs|dashboard|benchmarks|examples"
FENCED = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    return FENCED.sub("", text_of(path))


@cache
def anchors(path: Path) -> frozenset[str]:
    """What a link may point at: headings as GitHub spells them, those that come twice with a number, and `<a id>`."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", prose_of(path), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    numbered = {f"{slug}-{number}" for slug, count in found.items() for number in range(1, count)}
    return frozenset({*found, *numbered, *re.findall(r'<a id="([^"]+)"', text_of(path))})


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_anchor_is_a_heading(path: Path) -> None:
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", prose_of(path)):
        aim = path if not target else (path.parent / target).resolve()
        if "://" not in target and aim.suffix == ".md" and anchor not in anchors(aim):
            broken.append(f"{target}#{anchor}")
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_file_that_is_named_is_there(path: Path) -> None:
    told = re.findall(rf"`((?:{FOLDERS})/[\w./-]*\w)(?:::\w+)?`", prose_of(path))
    places = (ROOT, path.parent)
    assert not [each for each in told if not any((place / each).exists() for place in places)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_test_that_is_named_is_there(path: Path) -> None:
    missing = []
    for file, name in re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", text_of(path)):
        if not re.search(rf"^(?:async )?def {name}\(", text_of(ROOT / file), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert not missing


@pytest.mark.parametrize("path", GUIDES, ids=named)
def test_every_symbol_of_a_guide_is_in_a_file_that_it_links_to(path: Path) -> None:
    links = re.findall(r"\]\((\.\./\.\./[^)#\s]+)\)", text_of(path))
    files = [file for link in links if (file := (path.parent / link).resolve()).is_file()]
    # What a guide's own blocks make may be spoken of as well.
    code = "\n".join([*map(text_of, files), *(body for _, _, body in FENCED.findall(text_of(path)))])
    told = set(re.findall(r"`(_?[A-Za-z]\w*(?:\.\w+)?)`", prose_of(path)))
    unknown = [each for each in told if not re.search(rf"\b{each.rpartition('.')[2]}\b", code)]
    assert not unknown


def blocks(*languages: str) -> list[object]:
    return [
        pytest.param(body, id=f"{named(path)}-{number}")
        for path in DOCUMENTS
        for number, (_, language, body) in enumerate(FENCED.findall(text_of(path)))
        if language in languages
    ]


@pytest.mark.parametrize("body", blocks("python", "py"))
def test_python_can_be_read(body: str) -> None:
    ast.parse(dedent(body))


@pytest.mark.parametrize("body", blocks("json"))
def test_json_can_be_read(body: str) -> None:
    json.loads(body)


@pytest.mark.parametrize("body", blocks("graphql"))
def test_graphql_asks_for_what_there_is(body: str) -> None:
    assert not validate(schema._schema, parse(body))
