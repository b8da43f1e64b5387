"""A real Prometheus with the shipped rules, quick enough to be waited for, and what it knows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from shipped import PROMETHEUS, RULE_FILES, read

from embedded.child import Child
from embedded.store import free_port

READY_SECONDS = 30.0


def hurried(directory: Path, targets: Mapping[str, str], also: list[dict[str, Any]]) -> Path:
    """The shipped configuration, changed in nothing but this: where to scrape, every second, and what waits.

    Scrapes and evaluations come every second in place of every five, each `for` is a second, and nobody is told.
    Expressions, labels and annotations are those that are shipped. `targets` is job to address; `also` are jobs beside.
    """
    config = read(PROMETHEUS / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    del config["alerting"]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    config["scrape_configs"] += also
    config["rule_files"] = [f"{directory}/*.rules.yml"]
    for path in RULE_FILES:
        groups = read(path)
        for group in groups["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"
        (directory / f"{path.stem}.rules.yml").write_text(yaml.safe_dump(groups))
    written = directory / "prometheus.yml"
    written.write_text(yaml.safe_dump(config))
    return written


class Scraper:
    """What a running Prometheus answers."""

    def __init__(self, address: str, child: Child) -> None:
        # One for all: each would read the machine's certificates anew, a hundred times over.
        self._client = httpx.Client(base_url=f"http://{address}/api/v1/", timeout=10.0)
        self._child = child

    def ask(self, path: str, **params: str) -> Any:
        """The data of an answer. Fails where it is an error, with what Prometheus says of it."""
        answer = self._client.get(path, params=params).json()
        assert answer["status"] == "success", f"{params}: {answer['error']}"
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def names(self) -> set[str]:
        """Every metric that has a series now."""
        counted = self.query('count by (__name__) ({__name__=~".+"})')
        return {series["metric"]["__name__"] for series in counted}

    def firing(self) -> set[str]:
        """Alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}

    def troubles(self) -> list[str]:
        """Scrapes and rules that failed last."""
        targets = [f"{each['labels']}: {each['lastError']}" for each in self.ask("targets")["activeTargets"]]
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return [each for each in targets if not each.endswith(": ")] + [
            f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")
        ]

    def close(self) -> None:
        """Ask no more."""
        self._client.close()

    def wait(self, condition: Any, what: str, seconds: float = 40.0) -> Any:
        """Ask until it is true and return what it said; fail with what Prometheus knows if it never is."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                told = {"firing": self.firing(), "troubles": self.troubles()}
                pytest.fail(f"no {what} within {seconds:g} s\n{told}\n{self._child.tail()}", pytrace=False)
            time.sleep(0.2)
        return answer


@contextmanager
def scraping(
    program: str, directory: Path, targets: Mapping[str, str], also: list[dict[str, Any]]
) -> Iterator[Scraper]:
    """A Prometheus that scrapes these, ended afterwards."""
    address = f"127.0.0.1:{free_port()}"
    config = hurried(directory, {**targets, "prometheus": address}, also)
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    child = Child.start("prometheus", command, environ={}, log=directory / "prometheus.log", directory=directory)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_ready(address):
            assert child.exit_code() is None, child.tail()
            assert time.monotonic() < deadline, child.tail()
            time.sleep(0.1)
        with closing(Scraper(address, child)) as scraper:
            yield scraper
    finally:
        child.stop(5.0)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False
