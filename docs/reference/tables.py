"""Markdown, and what only the text of the code says: for every page of the reference."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
NOTE = "<!-- Written by `make reference` from the code. Mend the code, not this page. -->"


def opening(title: str, *paragraphs: str) -> Iterator[str]:
    """The head of a page."""
    yield f"# {title}"
    yield ""
    yield NOTE
    for each in paragraphs:
        yield ""
        yield each


def table(head: str, rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table with a blank line before it. `head` has its columns' names with `|` between them."""
    columns = head.split("|")
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join('---' for _ in columns)} |"
    for row in rows:
        yield f"| {' | '.join(map(cell, row))} |"


def cell(text: str) -> str:
    """A text that ends no cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """Code within a sentence; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def source(path: Path) -> str:
    """A link to a file of the code."""
    name = path.relative_to(ROOT).as_posix()
    return f"[{name}](../../{name})"


def said_of(module: ModuleType) -> dict[str, str]:
    """{`NAME` or `Class.name`: the docstring below it}, which Python itself forgets."""
    found: dict[str, str] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.ClassDef):
                walk(statement.body, f"{statement.name}.")
            match statement, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[prefix + name] = " ".join(text.split())

    walk(ast.parse(inspect.getsource(module)).body, "")
    return found


def exit_codes(module: ModuleType) -> str:
    """What a door says of its exit codes."""
    found = re.search(r"Exit codes: (.*?)(?:\n\n|\. An |$)", module.__doc__ or "", re.DOTALL)
    return " ".join(found[1].split()).rstrip(".") + "." if found else ""
