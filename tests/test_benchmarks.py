"""The benchmarks run as their README says; what they measure is theirs to print, and no test's to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_kernel_benchmark_prints_each_universe_beside_the_loop(tmp_path: Path) -> None:
    figures = tmp_path / "kernel.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kernel.py", "--rounds", "1", "--json", figures],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(figures.read_text(encoding="utf-8"))
    for row in told["kernel"]:
        assert row["universe"] in done.stdout
        assert f"{row['kernel_per_second']:,}" in done.stdout
        # The same answers, or there is nothing to compare: the benchmark itself refuses to print otherwise.
        assert 0.0 <= row["largest_difference"] < 1e-5
    # What memory a portfolio takes is no matter of speed.
    assert told["memory"]["bytes_per_portfolio"] <= 1024
