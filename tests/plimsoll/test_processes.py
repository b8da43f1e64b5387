"""A child ends with its parent, however its parent ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LINUX = sys.platform.startswith("linux")

CHILD = """
import time
from plimsoll.processes import end_with_parent
end_with_parent()
print("ready", flush=True)
time.sleep(60)
"""

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not LINUX, reason="only Linux tells a child of its parent's end")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        # Two writers share the pipe, so the lines may come in either order; the child's says that it listens.
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        child = int((lines - {"ready"}).pop())
        assert "ready" in lines
        assert is_running(child)
        parent.kill()
    try:
        deadline = time.monotonic() + 10
        while is_running(child):
            assert time.monotonic() < deadline, "the child outlived its parent"
            time.sleep(0.01)
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)


def test_a_child_whose_parent_lives_goes_on() -> None:
    code = "from plimsoll.processes import end_with_parent; end_with_parent(); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "still here"
