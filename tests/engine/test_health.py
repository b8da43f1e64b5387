"""The health server, asked over a real socket."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus

import httpx
import pytest

from engine.health import HealthServer, answer
from engine.vitals import Vitals

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def vitals() -> Vitals:
    return Vitals("0/1")


@pytest.fixture
def server(vitals: Vitals) -> Iterator[HealthServer]:
    one = HealthServer(vitals, "127.0.0.1", 0, ready_lag=10, retry_seconds=0.05)
    one.start()
    yield one
    one.close()


def ask(server: HealthServer, path: str) -> httpx.Response:
    deadline = time.monotonic() + 10
    while server.port is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=5)


def test_a_worker_is_alive_before_it_is_ready(server: HealthServer, vitals: Vitals) -> None:
    assert ask(server, "/live").status_code == 200
    unready = ask(server, "/ready")
    assert unready.status_code == 503
    body = unready.json()
    assert body["ready"] is False
    assert {check["check"]: check["ok"] for check in body["checks"]} == {"flow": True, "market": False, "lag": False}
    vitals.has("market")
    vitals.lag({("market-data", 0): 3})
    assert ask(server, "/ready?verbose").json()["ready"] is True
    assert ask(server, "/ready").status_code == 200


def test_metrics_are_in_the_format_of_prometheus(server: HealthServer) -> None:
    told = ask(server, "/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    assert 'plimsoll_engine_turn_age_seconds{worker="0/1"}' in told.text


def test_where_it_is_served_is_known_once_it_is(server: HealthServer, vitals: Vitals) -> None:
    assert ask(server, "/live").status_code == 200
    assert vitals.health_address == f"127.0.0.1:{server.port}"


def test_nothing_else_is_there(server: HealthServer) -> None:
    assert ask(server, "/").status_code == 404


def test_a_flow_that_hangs_is_said_to_with_its_age_and_since_when() -> None:
    clock = Clock()
    vitals = Vitals("0/1", monotonic=clock)
    vitals.turned()
    clock.now += 12
    status, _, body = answer("/live", vitals, 10, NOW)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b'"live": false' in body
    assert b"not turned for 12.0 s" in body
    assert b'"since": "2026-01-02T03:03:53.000+00:00"' in body


def test_a_port_that_is_taken_is_said_once_and_had_as_soon_as_it_is_free(
    vitals: Vitals, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HealthServer(vitals, "127.0.0.1", port, ready_lag=10, retry_seconds=0.02)
        with caplog.at_level(logging.ERROR):
            server.start()
            deadline = time.monotonic() + 10
            while not caplog.records and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)  # some more attempts, of which none may speak
        assert server.port is None
    assert [f"port {port}" in each.getMessage() and "PLIMSOLL_HEALTH_PORT" in each.getMessage()
            for each in caplog.records] == [True]  # fmt: skip
    assert ask(server, "/live").status_code == 200
    server.close()


def test_a_server_that_never_had_its_port_can_be_closed(vitals: Vitals) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = HealthServer(vitals, "127.0.0.1", taken.getsockname()[1], ready_lag=10, retry_seconds=30)
        server.start()
        began = time.monotonic()
        server.close()
    assert time.monotonic() - began < 5
