"""The embedded store: it answers, it keeps nothing, and it leaves nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
import redis

from embedded import store as store_module
from embedded.store import EmbeddedStore, find_server, free_port, free_ports
from plimsoll.errors import Unavailable


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_and_is_gone_after_stop() -> None:
    store = EmbeddedStore.start()
    with redis.Redis.from_url(store.url) as client:
        assert client.ping()
    store.stop()

    assert not runs(store.pid)
    with redis.Redis.from_url(store.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_it_evicts_nothing_and_writes_nothing_to_disk(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        client.set("risk:growth", "{}")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "no"}

    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]


def test_it_listens_on_loopback_only() -> None:
    with EmbeddedStore.start() as store, redis.Redis.from_url(store.url) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_its_own_directory_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedStore.start():
        assert len(list(tmp_path.iterdir())) == 1

    assert list(tmp_path.iterdir()) == []


def test_a_port_taken_in_between_is_met_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(store_module, "free_port", lambda: next(ports))
        with EmbeddedStore.start() as store, redis.Redis.from_url(store.url) as client:
            assert client.ping()


def test_another_server_on_the_port_is_not_mistaken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore.start() as other:
        ports = iter([int(other.url.rpartition(":")[2]), free_port()])
        monkeypatch.setattr(store_module, "free_port", lambda: next(ports))
        with EmbeddedStore.start() as store:
            assert store.url != other.url


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_on_the_path_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    server = tmp_path / name
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server() == server


def test_without_one_on_the_path_the_wheel_s_server_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    server = find_server()

    assert server is not None
    assert "site-packages" in server.parts
    with EmbeddedStore.start() as store, redis.Redis.from_url(store.url) as client:
        assert client.ping()


def test_where_there_is_no_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "find_server", lambda: None)

    with pytest.raises(Unavailable, match="install one, or point --redis at one"):
        EmbeddedStore.start()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(store_module, "find_server", lambda: Path(sys.executable))

    with pytest.raises(Unavailable, match="ended with exit code"):
        EmbeddedStore.start()
    assert list(tmp_path.iterdir()) == []


def test_ports_in_a_row_can_all_be_had() -> None:
    first = free_ports(3)
    with contextlib.ExitStack() as taken:
        for port in range(first, first + 3):
            taken.enter_context(socket.socket()).bind(("127.0.0.1", port))


def test_where_no_row_is_free_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        monkeypatch.setattr(store_module, "free_port", lambda: port - 1)
        assert free_ports(2) == 0
