"""Prometheus: what is shipped is accepted and tested by its own tools, and explained where an alert sends one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from shipped import PROMETHEUS, ROOT, RULE_FILES, RULE_TESTS, alerts, read

from plimsoll.settings import Settings

ALERTS = alerts()
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
OBSERVABILITY = ROOT / "docs" / "OBSERVABILITY.md"


def run(*command: str | Path) -> str:
    done = subprocess.run([*command], capture_output=True, text=True, timeout=60, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


# --- Prometheus's own tools -------------------------------------------------------------------------------------------


def test_prometheus_accepts_the_configuration_and_every_rule(promtool: str) -> None:
    told = run(promtool, "check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert f"{len(RULE_FILES)} rule files found" in told


def test_every_alert_fires_when_it_should_and_not_just_below(promtool: str) -> None:
    run(promtool, "test", "rules", *RULE_TESTS)


def test_no_alert_is_without_a_test_of_both_sides() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in RULE_TESTS:
        for group in read(path)["tests"]:
            cases = group["alert_rule_test"]
            fires |= {case["alertname"] for case in cases if case.get("exp_alerts")}
            if not any(case.get("exp_alerts") for case in cases):
                silent |= {case["alertname"] for case in cases}
    assert fires == silent == ALERTS.keys()


def test_alertmanager_accepts_its_example() -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("no amtool here")
    run(amtool, "check-config", PROMETHEUS / "alertmanager.yml")


def test_what_inhibits_and_what_is_inhibited_are_alerts_that_there_are() -> None:
    config = read(PROMETHEUS / "alertmanager.yml")
    matchers = [each for rule in config["inhibit_rules"] for side in rule.values() for each in side]
    stated = [found[1] for each in matchers if (found := re.match(r'alertname=~?"(.+)"$', each))]
    named = {name for each in stated for name in each.split("|")}
    assert {"EngineDown", "ResultsStale"} <= named <= ALERTS.keys()


# --- what is scraped --------------------------------------------------------------------------------------------------


def test_what_is_scraped_is_where_the_programs_listen() -> None:
    jobs = {job["job_name"]: job for job in read(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    compose = read(ROOT / "docker-compose.yml")["services"]
    workers = int(compose["engine"]["command"][compose["engine"]["command"].index("--workers") + 1])
    first = Settings().health_port
    assert targets(jobs["plimsoll-engine"]) == [f"127.0.0.1:{first + index}" for index in range(workers)]
    assert compose["engine"]["ports"] == [f"127.0.0.1:{first + index}:{first + index}" for index in range(workers)]
    port = compose["api"]["command"][compose["api"]["command"].index("--port") + 1]
    assert targets(jobs["plimsoll-api"]) == [f"127.0.0.1:{port}"]


def targets(job: dict[str, list[dict[str, list[str]]]]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


def test_the_example_of_a_key_becomes_a_configuration_by_taking_out_its_signs(promtool: str, tmp_path: Path) -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    key = tmp_path / "key"
    key.write_text("secret")
    signed_in = re.sub(
        r"^    # (?=authorization:|  type:|  credentials_file:|scheme:)", "    ", text, flags=re.MULTILINE
    )
    signed_in = signed_in.replace("/etc/prometheus/plimsoll.key", str(key)).replace("rules/*", f"{PROMETHEUS}/rules/*")
    (tmp_path / "prometheus.yml").write_text(signed_in)
    run(promtool, "check", "config", tmp_path / "prometheus.yml")
    (api,) = [job for job in read(tmp_path / "prometheus.yml")["scrape_configs"] if job["job_name"] == "plimsoll-api"]
    assert api["authorization"] == {"type": "ApiKey", "credentials_file": str(key)}


# --- what an alert says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    told = alert["annotations"]
    assert told["summary"].endswith(".")
    assert told["description"].endswith(".")
    path, _, anchor = told["runbook_url"].partition("#")
    assert ROOT / path == RUNBOOK
    assert anchor == name.lower()


@pytest.mark.parametrize("name", ALERTS)
def test_the_runbook_says_what_an_alert_means_where_to_look_and_what_to_do(name: str) -> None:
    section = re.search(rf"^### {name}\n(.+?)(?=^#|\Z)", RUNBOOK.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert re.findall(r"^\*\*(\w+)\.\*\* ", section[1], re.MULTILINE) == ["Means", "Look", "Do"]


def test_the_table_of_alerts_is_that_of_the_rules() -> None:
    rows = [
        f"| [{name}](RUNBOOK.md#{name.lower()}) | {alert['labels']['severity']} | {alert.get('for', 'at once')} |"
        f" {alert['annotations']['summary']} |"
        for name, alert in ALERTS.items()
    ]
    table = "\n".join(["| alert | severity | for | |", "| --- | --- | --- | --- |", *rows])
    found = re.search(r"<!-- alerts -->\n(.*?)\n<!-- end of alerts -->", OBSERVABILITY.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == table
