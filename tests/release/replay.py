"""The first stage of the Dockerfile, carried out without Docker, below a directory in place of the root.

Its COPY and RUN are the Dockerfile's own; only the three directories that it writes to lie elsewhere. The second stage
makes a user and removes programs, which is nothing to try on the machine of whoever runs the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 900.0
"""What a step may take: the pages are fetched and built, and every dependency is fetched."""
OURS = ("/opt/plimsoll", "/src", "/wheel")
"""The directories of the image that the first stage writes to."""


@dataclass(frozen=True)
class Built:
    """What the first stage left."""

    root: Path

    @property
    def programs(self) -> Path:
        """Where the base image's `python` and `pip` are."""
        return self.root / "tools" / "bin"

    @property
    def environment(self) -> Path:
        return self.root / "opt" / "plimsoll"

    @property
    def wheel(self) -> Path:
        (wheel,) = (self.root / "wheel").glob("plimsoll-*.whl")
        return wheel


def instructions(stage: str) -> list[tuple[str, str]]:
    """The instructions of one stage of a Dockerfile, each as its word and the rest."""
    text = re.sub(r"^\s*#.*\n", "", stage, flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def stages() -> list[str]:
    """The stages of our Dockerfile, without their FROM."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return [each.partition("\n")[2] for each in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]]


def copy_context(target: Path) -> None:
    """What `COPY . /src` copies, by .dockerignore: nothing at first, then what is let in, then not all of that."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    left_out = [line.removeprefix("**/") for line in patterns if line.startswith("**/")]
    let_in = [line.removeprefix("!") for line in patterns if line.startswith("!")]
    assert len(left_out) + len(let_in) + 1 == len(patterns), "a pattern of a kind that this test does not know"
    for name in let_in:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns(*left_out))
        else:
            shutil.copy(ROOT / name, target / name)


def in_place(text: str, root: Path) -> str:
    """A path of the image, below `root`."""
    return re.sub(rf"(?<![\w/])({'|'.join(OURS)})(?=[/\s\"]|$)", lambda found: f"{root}{found[1]}", text)


def environment(programs: Path) -> Mapping[str, str]:
    """Nothing but where programs and packages are found.

    The image's PIP_NO_CACHE_DIR stays out: here caches spare time and the network, and nobody waits for bytecode.
    """
    handed_on = ("PIP_", "UV_", "npm_config_", "HTTP", "SSL_", "NODE_EXTRA_")
    found = {key: value for key, value in os.environ.items() if key.startswith(handed_on)}
    quicker = {"PIP_NO_COMPILE": "1", "npm_config_prefer_offline": "true"}
    return found | quicker | {"PATH": f"{programs}:{os.defpath}", "HOME": str(Path.home())}


def run(command: list[str | Path], **options: Any) -> None:
    """Run a step to its end; fail with all it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def carry_out(root: Path) -> Built:
    """The first stage, step by step, below `root`."""
    built = Built(root)
    (root / "src").mkdir()
    # A Python with pip, as the base image has: the one that runs this, in an environment of its own.
    run(["uv", "venv", "--quiet", "--seed", "--no-project", "--python", sys.executable, built.programs.parent])
    environ = environment(built.programs)
    for word, rest in instructions(stages()[0]):
        match word:
            case "COPY" if rest == ". /src":
                copy_context(root / "src")
            case "COPY":
                source, target = rest.split()
                shutil.copy(ROOT / source, in_place(target, root))
            case "RUN":
                run(["/bin/sh", "-ec", in_place(rest, root)], cwd=root, env=environ)
            case _:
                assert word == "ENV", f"a {word} in the first stage, which is not known here"
    return built
