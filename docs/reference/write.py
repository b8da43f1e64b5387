"""The reference, written from the code that it is of: `make reference`, or `uv run python docs/reference/write.py`.

A page is a function from the code to lines, and nothing in it is told twice: what a setting takes is the docstring of
its reader, what a field means is the line below it. So a page that reads badly is mended in the code. The same code
writes the same bytes; with `--check` it writes nothing, prints what differs, and exits with 1 where something does.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from contracts import graphql_page, rest_page, topics_page
from programs import cli_page, metrics_page, settings_page

HERE = Path(__file__).parent
PAGES: Mapping[str, Callable[[], Iterable[str]]] = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "metrics.md": metrics_page,
    "graphql.md": graphql_page,
    "rest.md": rest_page,
    "topics-and-keys.md": topics_page,
}


def main() -> None:
    """Write the pages that differ and name them, or show how they differ."""
    check = sys.argv[1:] == ["--check"]
    differ = False
    for name, page in PAGES.items():
        path, text = HERE / name, "\n".join([*page(), ""])
        held = path.read_text(encoding="utf-8") if path.exists() else ""
        if held == text:
            continue
        differ = True
        if check:
            print(
                "\n".join(
                    difflib.unified_diff(held.splitlines(), text.splitlines(), name, f"{name} by the code", "", "", 1)
                )
            )
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if check and differ:
        sys.exit("the reference differs from the code: `make reference` writes it")


if __name__ == "__main__":
    main()
