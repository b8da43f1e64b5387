"""What is given away: the wheel is whole, the source distribution makes the same one, and pip alone makes it run.

It runs on the Python at hand, and with EVERY_PYTHON=1 on each that we support and that is found here, as it is before a
release. pip is the only installer.

One build serves all of these: the first stage of the Dockerfile, carried out once.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from replay import ROOT, Built, carry_out, environment, run

from embedded.child import Child
from embedded.store import free_port

pytestmark = pytest.mark.timeout(1800)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
DEMO_SECONDS = 120.0
"""What a demo that is to last three seconds may take, its start included."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What the first stage of the Dockerfile makes."""
    made = carry_out(tmp_path_factory.mktemp("image"))
    with zipfile.ZipFile(made.wheel) as wheel:
        has_pages = "plimsoll_web/index.html" in wheel.namelist()
    if not has_pages and os.environ.get("REQUIRE_NODE") != "1":
        pytest.skip("no npm registry answers here, so there is no whole wheel")
    return made


@pytest.fixture(scope="module")
def wheel(built: Built) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built.wheel) as opened:
        yield opened


@pytest.fixture(scope="module")
def installed(built: Built) -> dict[str, Path]:
    """By version of Python, an environment that pip alone made: the image's, and another with nothing but the wheel."""
    found = {HERE: built.environment}
    for version in PYTHONS if os.environ.get("EVERY_PYTHON") == "1" else ():
        if version != HERE and (python := find_python(version)):
            found[version] = built.root / f"python-{version}"
            install(built, python, found[version])
    return found


def find_python(version: str) -> Path | None:
    """Another Python of this machine that starts: from PATH, or from where pyenv keeps them."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    for python in [*candidates, *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))]:
        if subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def install(built: Built, python: Path, target: Path) -> None:
    """An empty environment, and the wheel by pip, which finds out by itself what the wheel needs."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    # The versions of the lock, so that a release of somebody else's changes no test; a wheel of ours has no hash there.
    constraints = built.root / "constraints.txt"
    constraints.write_text(
        "\n".join(line.rstrip("\\ ") for line in lock.splitlines() if not line.startswith(" ")), encoding="utf-8"
    )
    run(["uv", "venv", "--quiet", "--no-project", "--python", python, target])
    pip = built.programs / "pip"
    run([pip, "--python", target, "install", "--quiet", "-c", constraints, built.wheel], env=environment(pip.parent))


# --- the wheel --------------------------------------------------------------------------------------------------------


def test_the_wheel_has_the_packages_the_pages_the_prices_and_their_licences(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    info = f"plimsoll-{PROJECT['version']}.dist-info"
    assert {"plimsoll_web/index.html", "plimsoll_web/index.html.gz", "plimsoll_web/graphiql/index.html"} <= names
    assert {"plimsoll_web/THIRD-PARTY-LICENSES.txt", "producer/data/LICENSE", "plimsoll/py.typed"} <= names
    assert {f"{info}/licenses/{name}" for name in ("LICENSE", "THIRD-PARTY.md", "producer/data/LICENSE")} <= names
    sources = {path.relative_to(ROOT).as_posix() for package in ("plimsoll", "producer", "engine", "api", "embedded")
               for path in (ROOT / package).rglob("*.py")}  # fmt: skip
    assert sources <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {"plimsoll", "producer", "engine", "api", "embedded", "plimsoll_web", info}


def test_the_wheel_has_the_programs_of_the_project(wheel: zipfile.ZipFile) -> None:
    programs = configparser.ConfigParser()
    programs.read_string(wheel.read(f"plimsoll-{PROJECT['version']}.dist-info/entry_points.txt").decode())
    assert dict(programs["console_scripts"]) == PROJECT["scripts"]


def test_what_is_bundled_in_the_pages_is_named_among_the_third_parties(wheel: zipfile.ZipFile) -> None:
    notices = (ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8")
    told = wheel.read("plimsoll_web/THIRD-PARTY-LICENSES.txt").decode()
    bundled = re.findall(r"^(@?[\w./-]+) (\d+\.\d+\.\S+)\nLicence: ", told, re.MULTILINE)
    assert len(bundled) > 20
    for name, version in bundled:
        assert re.search(rf"^\| {re.escape(name)} \| .*{re.escape(version)}", notices, re.MULTILINE), name
    assert "lightningcss" not in told


def test_the_source_distribution_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    # Without the pages, which would be built a second time: that it holds all they are built from is asked below.
    environ = {**os.environ, "SKIP_WEB": "1"}
    run(["uv", "build", "--quiet", "--sdist", "--out-dir", tmp_path, ROOT], env=environ)
    (archive,) = tmp_path.glob("plimsoll-*.tar.gz")
    run(["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, archive], env=environ)
    (again,) = tmp_path.glob("plimsoll-*.whl")
    with zipfile.ZipFile(built.wheel) as first, zipfile.ZipFile(again) as second:
        ours = {each.filename: each.CRC for each in first.infolist() if not each.filename.startswith("plimsoll_web/")}
        theirs = {each.filename: each.CRC for each in second.infolist()}
    # The list of files itself differs by the pages.
    record = f"plimsoll-{PROJECT['version']}.dist-info/RECORD"
    assert ours.pop(record) != theirs.pop(record)
    assert ours == theirs
    with tarfile.open(archive) as packed:
        packed_names = {name.partition("/")[2] for name in packed.getnames()}
    # What the pages were built from, but for the file that their build writes.
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dashboard").rglob("*") if path.is_file()}
    written = {name for name in pages if "/node_modules/" in name or name == "dashboard/src/api/operations.ts"}
    assert pages - written <= packed_names


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_starts_by_saying_what_it_can_do(built: Built, tmp_path: Path) -> None:
    programs = built.environment / "bin"
    assert not (programs / "pip").exists()
    run([programs / "plimsoll", "--help"], env=environment(programs), cwd=tmp_path)


def test_the_image_holds_exactly_what_the_lock_names(built: Built) -> None:
    folders = built.environment.glob("lib/python*/site-packages/*.dist-info")
    names = {re.sub(r"[-_.]+", "-", path.name.partition("-")[0]).lower() for path in folders}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {name.lower() for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock, re.MULTILINE)}
    # On another system the lock names others: colorama is for Windows.
    assert names - {"plimsoll"} == locked - {"colorama"}


# --- pip, and nothing else --------------------------------------------------------------------------------------------


def test_the_installed_wheel_runs_the_demo(installed: dict[str, Path], tmp_path: Path) -> None:
    demos = []
    try:
        for version, target in installed.items():
            flags = ["--duration", "3", "--portfolios", "50", "--advisors", "5", "--port", str(free_port())]
            directory = tmp_path / version
            directory.mkdir()
            environ = environment(target / "bin")
            log = tmp_path / f"{version}.log"
            demos.append(
                Child.start(
                    version,
                    [target / "bin" / "plimsoll", "demo", *flags],
                    environ=environ,
                    log=log,
                    directory=directory,
                )
            )
        for demo in demos:
            assert demo.wait(DEMO_SECONDS), f"on Python {demo.name}:\n{demo.tail()}"
            assert demo.exit_code() == 0, f"on Python {demo.name}:\n{demo.tail()}"
            assert "ready http" in demo.log.read_text(encoding="utf-8")
    finally:
        for demo in demos:
            demo.stop(5.0)
