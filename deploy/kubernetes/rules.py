"""Prometheus's rules as a resource of the Prometheus Operator: `make rules` writes what this prints.

The rules are kept once, in deploy/prometheus/rules, where promtool tests them. Kustomize reads no file from outside the
folder it builds, so the resource is derived, kept beside the component, and compared by a test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
HEAD = "# Derived from deploy/prometheus/rules: `make rules` writes it.\n"


def resource(folder: Path) -> dict[str, Any]:
    """The PrometheusRule that holds every group of every file in a folder."""
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no *.yml: it is where the rules are kept")
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "plimsoll"},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    sys.stdout.write(HEAD)
    yaml.safe_dump(resource(RULES), sys.stdout, sort_keys=False, width=1_000, allow_unicode=True)
