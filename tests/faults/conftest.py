"""Fixtures of the fault tests: a rig on the embedded broker, and one on a real Kafka.

The programs beside this file (`invariants.py`, `watch.py`, `load.py`) import one another as scripts do, from their own
folder; so do the tests.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from rig import Rig, Store  # noqa: E402 - found once the folder is on the path

from embedded.broker import EmbeddedBroker  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a fault test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def rigs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; `kept`: with a store that writes to disk. The seed is the test's own name, and shown on failure."""
    made: list[Rig] = []
    seed = zlib.crc32(request.node.name.encode()) % 10_000

    def make(brokers: str, *, kept: bool = False) -> Rig:
        directory = tmp_path / f"rig-{len(made) + 1}"
        store = Store(directory / "store", kept=kept)
        rig = Rig(brokers, store, directory, seed)
        made.append(rig)
        store.start()
        return rig

    yield make
    for rig in made:
        rig.close()
        rig.store.stop()


@pytest.fixture
def rig(rigs: Callable[..., Rig], embedded_broker: EmbeddedBroker) -> Rig:
    """A store and an empty embedded broker."""
    return rigs(embedded_broker.address)


@pytest.fixture
def real_rig(rigs: Callable[..., Rig], real_broker: str) -> Rig:
    """A store and an empty real Kafka."""
    return rigs(real_broker)
