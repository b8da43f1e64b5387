from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.sync.client import connect

from api.__main__ import is_loopback
from benchmarks.crowd import masked
from embedded.child import Child
from embedded.store import free_port

if TYPE_CHECKING:
    from tests.conftest import Processes


UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
EVERYTHING = "{ __schema { types { name description fields { name description } } } }"


def ended(child: Child) -> bool:
    return child.exit_code() is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_without_sign_in_only_this_machine_is_served(processes: Processes, host: str) -> None:
    child = processes.python("-m", "api", "--host", host, "--port", str(free_port()))
    processes_end(child)
    assert child.exit_code() == 2
    assert "PLIMSOLL_AUTH=off" in child.tail()


SECRET = "0123456789abcdef0123456789abcdef"


def test_tokens_of_demonstrations_are_for_this_machine_too(processes: Processes) -> None:
    environ = {"PLIMSOLL_AUTH": "on", "PLIMSOLL_TOKEN_SECRET": SECRET}
    child = processes.python("-m", "api", "--host", "0.0.0.0", "--port", str(free_port()), environ=environ)
    processes_end(child)
    assert child.exit_code() == 2
    assert "PLIMSOLL_TOKEN_SECRET" in child.tail()
    assert SECRET not in child.tail()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PLIMSOLL_JWKS": "no-such-file.json"},
        {"PLIMSOLL_API_KEYS": "no-such-file.jsonl"},
    ],
)
def test_sign_in_that_cannot_work_stops_the_start(processes: Processes, environ: dict[str, str]) -> None:
    child = processes.python(
        "-m", "api", "--port", str(free_port()), environ={"PLIMSOLL_AUTH": "on", "LOG_LEVEL": "INFO", **environ}
    )
    processes_end(child)
    assert child.exit_code() == 2
    assert next(iter(environ), "PLIMSOLL_AUTH") in child.tail()
    assert "Traceback" not in child.tail(200)


def test_a_setting_that_is_unknown_is_named(processes: Processes) -> None:
    child = processes.python("-m", "api", environ={"PLIMSOLL_NONSENSE": "1"})
    processes_end(child)
    assert child.exit_code() == 2
    assert "PLIMSOLL_NONSENSE" in child.tail()


def test_a_port_that_is_taken_is_named(processes: Processes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        child = processes.python("-m", "api", "--port", str(port))
        processes_end(child)
    assert child.exit_code() == 3
    assert str(port) in child.tail()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_it_in_time_even_with_open_sockets(processes: Processes, redis_url: str, workers: int) -> None:
    port = free_port()
    child = processes.python(
        "-m",
        "api",
        "--port",
        str(port),
        "--workers",
        str(workers),
        environ={"REDIS_URL": redis_url, "KAFKA_BROKERS": "127.0.0.1:1"},
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200
        except httpx.TransportError:
            return False

    processes.wait_for(answers, "an answer", 30)
    with (
        connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as open_socket,
        httpx.stream("GET", f"http://127.0.0.1:{port}/stream/risk-updates", timeout=10),
    ):
        open_socket.send('{"type": "connection_init"}')
        assert "connection_ack" in open_socket.recv(timeout=10)
        open_socket.send('{"id": "1", "type": "subscribe", "payload": {"query": "subscription { atRisk { change } }"}}')
        began = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        processes.wait_for(lambda: ended(child) or None, "an end", 10)
        assert time.monotonic() - began < 3.0
    assert child.exit_code() == 0
    assert "Traceback" not in child.tail(200)


def test_sigterm_ends_it_in_time_even_with_clients_that_do_not_read(processes: Processes, redis_url: str) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "KAFKA_BROKERS": "127.0.0.1:1"}
    child = processes.python("-m", "api", "--port", str(port), environ=environ)

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200
        except httpx.TransportError:
            return False

    processes.wait_for(answers, "an answer", 30)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", port))
            client.sendall(UPGRADE)
            assert client.recv(4_096).startswith(b"HTTP/1.1 101")
            # Answers that nobody reads: far more than all buffers on the way hold.
            client.sendall(masked(b'{"type": "connection_init"}'))
            for number in range(40):
                message = {"id": str(number), "type": "subscribe", "payload": {"query": EVERYTHING}}
                client.sendall(masked(json.dumps(message).encode()))
        began = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        processes.wait_for(lambda: ended(child) or None, "an end", 20)
        assert time.monotonic() - began < 10.0
    assert child.exit_code() == 0
    assert "Traceback" not in child.tail(200)


def processes_end(child: Child, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not ended(child):
        assert time.monotonic() < deadline, child.tail()
        time.sleep(0.02)


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)])
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_name_that_nobody_knows_is_not_loopback() -> None:
    assert not is_loopback("no-such-host.invalid")
