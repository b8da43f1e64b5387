"""One table: what was measured, what it has to reach, and what it stands beside."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.servers import ROOT
from embedded.store import find_server

VERSIONS = ("bytewax", "confluent-kafka", "msgspec", "numpy", "redis", "scipy")


@dataclass(frozen=True, slots=True)
class Row:
    """One claim. `reached` is None where there is nothing to reach."""

    what: str
    measured: str
    target: str = ""
    baseline: str = ""
    ratio: float | None = None
    reached: bool | None = None


def row(
    what: str,
    measured: str,
    *,
    ratio: float | None = None,
    at_least: float | None = None,
    value: float | None = None,
    at_most: float | None = None,
    unit: str = "",
    baseline: str = "",
) -> Row:
    """A row judged by its ratio (`at_least`), or by its value in `unit` (`at_most`)."""
    if at_least is not None and ratio is not None:
        return Row(what, measured, f"≥ {at_least:g}", baseline, ratio, ratio >= at_least)
    if at_most is not None and value is not None:
        return Row(what, measured, f"≤ {at_most:g}{unit}", baseline, ratio, value <= at_most)
    return Row(what, measured, "", baseline, ratio)


def header() -> list[str]:
    """What this ran on: a figure of another machine, commit or broker is another figure."""
    return [
        f"commit {_commit()}, Python {platform.python_version()}, {_processor()}, {os.cpu_count()} cores",
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS),
        f"store: {_store()}; load of the machine before the start: {os.getloadavg()[0]:.2f}",
    ]


def show(head: Sequence[str], rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in ("what", "target", "measured", "baseline", "ratio", ""):
        table.add_column(name, justify="right" if name == "ratio" else "left", no_wrap=name == "what")
    for each in rows:
        ratio = "" if each.ratio is None else f"{each.ratio:.3g}"
        verdict = "" if each.reached is None else ("reached" if each.reached else "missed")
        table.add_row(each.what, each.target, each.measured, each.baseline, ratio, verdict)
    # As wide as it needs to be where nobody looks at it: a file or a pipe has no width.
    console = Console(width=None if Console().is_terminal else 200, highlight=False)
    console.print(*head, sep="\n", markup=False)
    console.print(table)


def save(path: Path, head: Sequence[str], rows: Sequence[Row], figures: object) -> None:
    """Write the table, and the figures it was made from, as JSON."""
    told = {"header": list(head), "rows": rows, "figures": _by_name(figures)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def _by_name(figures: Any) -> Any:  # noqa: ANN401 - whatever a benchmark returns
    """Named tuples as objects: msgspec would write them as lists, and nobody could read those."""
    if hasattr(figures, "_asdict"):
        return _by_name(figures._asdict())
    if isinstance(figures, dict):
        return {name: _by_name(value) for name, value in figures.items()}
    return [_by_name(value) for value in figures] if isinstance(figures, list) else figures


def _commit() -> str:
    def git(*arguments: str) -> str:
        asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return asked.stdout.strip()

    changed = " with changes" if git("status", "--porcelain") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _store() -> str:
    server = find_server()
    if server is None:
        return "none"
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    version = next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "of unknown version")
    return f"{server.name} {version}"
