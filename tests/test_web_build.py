"""What an install builds the web pages from, and what it says when it cannot. No test here reaches a network."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "dashboard" / "package-lock.json"


class _Hook:
    """Stands in for hatchling's base class: it exists while a wheel is built, and at no other time."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)


@pytest.fixture
def web_build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build hook as a module."""
    name = "hatchling.builders.hooks.plugin.interface"
    interface = ModuleType(name)
    interface.BuildHookInterface = _Hook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _locked_packages() -> dict[str, dict[str, Any]]:
    packages = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    assert isinstance(packages, dict)
    return {path: package for path, package in packages.items() if path}


def test_the_lock_says_what_every_package_must_hash_to_and_never_where_it_comes_from() -> None:
    assert len(_locked_packages()) > 50
    for path, package in _locked_packages().items():
        assert package["integrity"].startswith("sha512-"), path
        assert "resolved" not in package, path
    assert "registry" not in LOCK.read_text(encoding="utf-8")
    assert ".tgz" not in LOCK.read_text(encoding="utf-8")


def test_every_version_is_exact_and_the_lock_agrees() -> None:
    manifest = json.loads((ROOT / "dashboard" / "package.json").read_text(encoding="utf-8"))
    locked = _locked_packages()
    stated = manifest["dependencies"] | manifest["devDependencies"] | manifest["overrides"]
    for name, version in stated.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert locked[f"node_modules/{name}"]["version"] == version


def test_no_script_calls_npm_which_the_wheel_of_node_brings_as_no_program() -> None:
    scripts = json.loads((ROOT / "dashboard" / "package.json").read_text(encoding="utf-8"))["scripts"]
    assert [name for name, command in scripts.items() if re.search(r"\bnp[mx]\b", command)] == []


def test_what_a_build_needs_is_in_the_source_distribution_and_in_the_images_context() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]
    needed = {*targets["wheel"]["packages"], "dashboard", "schema.graphql", "hatch_build.py", "README.md", "LICENSE"}
    assert needed <= set(targets["sdist"]["only-include"])
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in needed} <= set(context)


def test_the_pages_ask_no_other_host_for_anything() -> None:
    pages = [path for path in (ROOT / "dashboard").rglob("*") if path.suffix in {".html", ".tsx", ".css", ".svg"}]
    sources = [page for page in pages if "node_modules" not in page.parts]
    assert sources
    for page in sources:
        addresses = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+[^\s\"')]*", page.read_text(encoding="utf-8"))
        assert [address for address in addresses if not address.startswith("http://www.w3.org/")] == [], page


def test_skip_web_leaves_the_build_as_it_was_and_asks_for_no_node(
    web_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SKIP_WEB", "1")
    # There is no dashboard in this root: touching it would fail.
    hook = web_build.WebPages(tmp_path)
    build_data: dict[str, Any] = {"force_include": {}, "force_include_editable": {}}
    hook.initialize("editable", build_data)
    hook.finalize("editable", build_data, "plimsoll.whl")

    assert hook.dependencies() == []
    assert build_data == {"force_include": {}, "force_include_editable": {}}


@pytest.mark.parametrize(
    ("version", "included"), [("editable", "force_include_editable"), ("standard", "force_include")]
)
def test_the_built_pages_become_a_package_of_the_wheel(
    web_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, included: str
) -> None:
    def built(_sources: Path, work: Path, _node: Path) -> Path:
        (work / "dist").mkdir(parents=True)
        return work / "dist"

    monkeypatch.delenv("SKIP_WEB", raising=False)
    monkeypatch.setattr(web_build, "build_pages", built)
    monkeypatch.setattr(web_build, "node_home", lambda: tmp_path / "node")
    hook = web_build.WebPages(tmp_path)
    build_data: dict[str, Any] = {"force_include": {}, "force_include_editable": {}}
    hook.initialize(version, build_data)

    ((folder, package),) = build_data[included].items()
    assert package == "plimsoll_web"
    assert (Path(folder) / "__init__.py").is_file()
    assert hook.dependencies() == [web_build.NODE]

    hook.finalize(version, build_data, "plimsoll.whl")
    assert not Path(folder).exists()


def test_without_a_registry_the_rest_is_installed_and_the_installer_is_told(
    web_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(command: list[str], *_: object, **__: object) -> None:
        raise SystemExit(web_build.refusal("npm " + command[2], "ended with 1", "ENOTFOUND"))

    warned: list[str] = []
    monkeypatch.delenv("SKIP_WEB", raising=False)
    monkeypatch.setattr(web_build, "run_step", nobody)
    monkeypatch.setattr(web_build, "node_home", lambda: tmp_path / "node")
    (tmp_path / "dashboard").mkdir()
    (tmp_path / "schema.graphql").touch()
    hook = web_build.WebPages(tmp_path)
    hook.app = SimpleNamespace(display_warning=warned.append)
    build_data: dict[str, Any] = {"force_include": {}, "force_include_editable": {}}
    hook.initialize("editable", build_data)
    hook.finalize("editable", build_data, "plimsoll.whl")

    assert build_data == {"force_include": {}, "force_include_editable": {}}
    assert "without web pages" in warned[0]
    assert "ENOTFOUND" in warned[0]


def _script(text: str) -> list[str]:
    return [sys.executable, "-c", text, "--ignore-scripts"]


def test_a_failed_step_ends_the_build_with_npms_words_the_remedy_and_the_switch(
    web_build: ModuleType, tmp_path: Path
) -> None:
    command = _script("import sys; print('ENOTFOUND no such host', file=sys.stderr); sys.exit(7)")
    with pytest.raises(SystemExit) as ended:
        web_build.run_step(command, tmp_path, dict(os.environ))

    said = str(ended.value)
    assert "ended with 7" in said
    assert "ENOTFOUND no such host" in said
    assert "npm_config_registry" in said
    assert "SKIP_WEB=1" in said


def test_a_step_that_never_ends_is_ended(web_build: ModuleType, tmp_path: Path) -> None:
    command = _script("import time; print('waiting', flush=True); time.sleep(600)")
    with pytest.raises(SystemExit, match=r"(?s)had not ended after 5 s.*waiting.*SKIP_WEB=1"):
        web_build.run_step(command, tmp_path, dict(os.environ), seconds_max=5)


def test_compressed_files_hold_the_same_and_come_out_the_same_twice(web_build: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "assets" / "page-1a2b.js"
    script.parent.mkdir()
    script.write_text("let x = 1;\n" * 100, encoding="utf-8")
    picture = script.with_name("icon.png")
    picture.write_bytes(b"already small")

    web_build.compress(tmp_path)
    first = script.with_name("page-1a2b.js.gz").read_bytes()
    os.utime(script, (0, 0))
    web_build.compress(tmp_path)

    assert gzip.decompress(first) == script.read_bytes()
    assert script.with_name("page-1a2b.js.gz").read_bytes() == first
    assert not picture.with_name("icon.png.gz").exists()


def test_a_registry_is_asked_for_one_package_of_the_lock_before_all_of_them(
    web_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[tuple[str, float]] = []

    def step(command: list[str], work: Path, _environ: dict[str, str], seconds_max: float = 600) -> None:
        steps.append((command[2], seconds_max))
        (work / "dist").mkdir(exist_ok=True)

    monkeypatch.setattr(web_build, "run_step", step)
    web_build.build_pages(ROOT / "dashboard", tmp_path / "work", tmp_path / "node")

    assert f"node_modules/{web_build.REACH[1]}" in _locked_packages()
    assert [name for name, _ in steps] == ["view", "ci", "run"]
    assert steps[0][1] <= 60


def test_node_is_found_first_on_the_path_of_every_step(
    web_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths: list[str] = []

    def step(_command: list[str], work: Path, environ: dict[str, str], _seconds_max: float = 600) -> None:
        paths.append(environ["PATH"].split(os.pathsep)[0])
        (work / "dist").mkdir(exist_ok=True)

    monkeypatch.setattr(web_build, "run_step", step)
    web_build.build_pages(ROOT / "dashboard", tmp_path / "work", tmp_path / "node")

    assert set(paths) == {str(tmp_path / "node" / "bin")}
