"""What is shipped for Prometheus and Grafana, read as data, and the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from api.metrics import FAMILIES, PREFIX
from engine.vitals import Vitals

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
"""Of the client library, those that dashboards ask for."""
OF_PROMETHEUS = {"up", "ALERTS"}


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text("utf-8"))


def rules() -> list[dict[str, Any]]:
    """Every rule, in the order of the files."""
    return [rule for path in RULE_FILES for group in read(path)["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    """Names that recording rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel that shows something, with its dashboard's file and its title as a name."""
    for name, board in dashboards().items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def expressions() -> dict[str, str]:
    """Every expression of rules and dashboards, as Prometheus takes it, by where it stands."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for where, panel in panels():
        for target in panel["targets"]:
            stated = target["expr"].replace("$__rate_interval", "5m").replace("$worker", ".*")
            found[f"{where} {target['refId']}"] = stated
    return found


def names_in(expression: str) -> set[str]:
    """Metrics that an expression asks for."""
    return set(re.findall(r"\b(?:plimsoll[\w:]+|process_\w+|up(?=\{)|ALERTS)", expression))


def engine_families() -> set[str]:
    """Names of the engine's metrics, those that come with the first census and the first count among them."""
    document = (ROOT / "docs" / "OBSERVABILITY.md").read_text("utf-8")
    told = {name.decode() for name in re.findall(rb"^# TYPE (plimsoll_\w+)", Vitals("0/1").metrics(), re.MULTILINE)}
    return told | set(re.findall(r"^\| `(plimsoll_engine_\w+)` \|", document, re.MULTILINE))


def known() -> set[str]:
    """Every name that may be asked for, with what Prometheus makes of histograms."""
    families = {PREFIX + family.name for family in FAMILIES} | engine_families()
    ends = {name + end for name in families for end in ("", "_bucket", "_count", "_sum")}
    return ends | recorded() | PROCESS | OF_PROMETHEUS
