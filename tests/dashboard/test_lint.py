"""Style and strict types of the web pages: Biome, and the TypeScript compiler over sources and generated types.

Their packages are installed once for each lock, as those of the client tests are.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from nodes import Project, environment, project

ROOT = Path(__file__).parents[2]
SCHEMA = "schema.graphql"


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the pages with their packages, and beside it the schema that their operations are typed from."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(ROOT / SCHEMA, folder)
    return project(ROOT / "dashboard", folder / "dashboard")


def test_the_style_is_one_and_nothing_is_suspicious(dashboard: Project) -> None:
    dashboard.run("node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings", "--colors=off")


def test_the_types_are_strict_and_every_operation_fits_the_schema(dashboard: Project) -> None:
    dashboard.run("codegen.ts")
    dashboard.run("node_modules/typescript/bin/tsc", "--noEmit")


def test_an_operation_that_does_not_fit_the_schema_is_named_with_its_line(dashboard: Project) -> None:
    broken = dashboard.directory / "src" / "operations" / "broken.graphql"
    broken.write_text("query Broken {\n  noSuchField\n}\n", encoding="utf-8")
    done = subprocess.run(
        dashboard.command("codegen.ts"), cwd=dashboard.directory, env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    broken.unlink()
    assert done.returncode != 0
    assert '"noSuchField"' in done.stderr
    assert "broken.graphql:2:3" in done.stderr


def test_types_that_stay_the_same_are_not_written_again(dashboard: Project) -> None:
    written = dashboard.directory / "src" / "api" / "operations.ts"
    dashboard.run("codegen.ts")
    before = written.stat().st_mtime_ns
    dashboard.run("codegen.ts")
    assert written.stat().st_mtime_ns == before
