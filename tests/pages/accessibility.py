"""axe-core on a page: https://github.com/dequelabs/axe-core, every rule that it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

RUN = """async theirs => {
  const { violations } = await axe.run({ resultTypes: ['violations'] })
  const isOurs = (rule, node) => !theirs[rule] || !document.querySelector(node.target[0])?.matches(theirs[rule])
  const kept = violations.map(each => ({ ...each, nodes: each.nodes.filter(node => isOurs(each.id, node)) }))
  return kept.filter(each => each.nodes.length > 0)
}"""
SHOWN_MAX = 5
"""Elements of one rule that are named; the rest are counted."""


class Axe:
    """Looks at a page: `assert axe(page) == []`."""

    def __init__(self, source: Path) -> None:
        self._source = source.read_text(encoding="utf-8")

    def __call__(self, page: Page, *, theirs: Mapping[str, str] | None = None) -> list[str]:
        """Every violation with its rule and its elements.

        `theirs`: what a library does wrong and we cannot mend, as a rule's name and a selector of the elements.
        """
        if not page.evaluate("'axe' in window"):
            # By the debugger's way and not as an element of the page, where the page's own policy would forbid it.
            page.evaluate(f"() => {{ {self._source} }}")
        return [line for violation in page.evaluate(RUN, dict(theirs or {})) for line in _told(violation)]


def _told(violation: dict[str, Any]) -> list[str]:
    nodes = violation["nodes"]
    lines = [f"{violation['id']} ({violation['impact']}): {violation['help']}; {len(nodes)} elements"]
    for node in nodes[:SHOWN_MAX]:
        why = " ".join(node["failureSummary"].split())
        lines.append(f"  {' '.join(map(str, node['target']))}: {node['html'][:200]}: {why}")
    return lines
