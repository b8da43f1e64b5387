"""The console scripts: what they load, and what Ctrl-C does meanwhile."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["plimsoll.cli", "producer.__main__", "engine.__main__", "api.__main__"])
def test_every_program_has_a_main(module: str) -> None:
    assert callable(import_module(module).main)


@pytest.mark.parametrize("where", ["import", "main"])
def test_ctrl_c_says_nothing_whether_modules_load_or_main_runs(tmp_path: Path, where: str) -> None:
    waiting = "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(20)\n"
    beginning = "if True:\n" if where == "import" else "def main():\n"
    (tmp_path / "loading.py").write_text(f"import os, signal, time\n{beginning}{waiting}")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from plimsoll.programs import start; start('loading')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=25)
    assert (ended.returncode, ended.stderr) == (130, "")
