"""Whose work is in Plimsoll is said completely, and nothing comes in under a licence that asks for more."""

from __future__ import annotations

import json
import re
from email.message import Message
from pathlib import Path

import notices
import pytest
import sbom

ROOT = Path(__file__).parents[2]
WRITTEN = (ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8")


def test_the_file_is_the_one_that_the_locks_give() -> None:
    assert notices.notices() == WRITTEN, "`make notices` writes it anew"


def test_every_package_of_the_lock_is_named_with_its_licence() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", lock, re.MULTILINE))
    assert len(locked) > 40
    for name, version in locked - {each for each in locked if each[0] == "colorama"}:  # for Windows alone
        assert re.search(rf"^\| {re.escape(name)} \| .*{re.escape(version)}.* \| \S", WRITTEN, re.MULTILINE), name


def test_every_package_that_the_pages_are_built_with_is_named_with_its_licence() -> None:
    locked = json.loads((ROOT / "dashboard" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    names = {path.rpartition("node_modules/")[2] for path, each in locked.items() if path and not each.get("dev")}
    assert len(names) > 100
    assert [name for name in sorted(names) if f"| {name} |" not in WRITTEN] == []


def test_the_prices_are_named_with_their_licence() -> None:
    assert (ROOT / "producer" / "data" / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")
    assert "skfolio, under BSD-3-Clause" in WRITTEN


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND LGPL-2.1-only", "Proprietary", ""])
def test_a_licence_that_asks_for_more_is_refused_by_name(licence: str) -> None:
    with pytest.raises(notices.LicenceProblem, match=r"somebodys-package is under .*replace the package"):
        notices.judged("somebodys-package", licence)


@pytest.mark.parametrize("licence", ["MIT", "GPL-2.0-only OR MIT", "BSD-3-Clause AND 0BSD AND Zlib"])
def test_a_licence_that_can_be_read_as_permissive_is_taken(licence: str) -> None:
    assert notices.judged("somebodys-package", licence) == licence


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        (["MIT License"], "MIT"),
        (["BSD License"], None),
        (["MIT License", "Apache Software License"], None),
        ([], None),
    ],
)
def test_a_classifier_counts_where_it_means_one_licence(stated: list[str], licence: str | None) -> None:
    told = Message()
    for each in stated:
        told["Classifier"] = f"License :: OSI Approved :: {each}"
    assert notices.stated_licence(told) == licence  # type: ignore[arg-type]


def test_the_bill_of_the_pages_names_each_package_with_its_licence() -> None:
    bill = sbom.licensed(sbom.pages_bill("1.2.3"), {each.name: each.licence for each in notices.page_packages()})
    assert bill["metadata"]["component"]["name"] == "plimsoll-dashboard"
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    assert {each.name for each in notices.page_packages()} == {
        "/".join(filter(None, (each.get("group"), each["name"]))) for each in bill["components"]
    }
    assert all(each["licenses"] for each in bill["components"])


def test_the_bill_of_python_names_what_the_lock_names() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", lock, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in sbom.python_bill()["components"]} == locked
