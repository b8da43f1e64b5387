"""The scenario set in force, built again from the closes that the engine states, and kept.

A set is a pure function of closes, so its record holds no more than those: whoever builds it again arrives at the same
id, or computes by other rules than the engine and must not answer in its name. Sets are immutable and roll once a
session, so one is kept. It is built in a thread, the loop being free meanwhile; whoever asks then waits for that one.
The draws of the Monte Carlo, which are the same for every portfolio, are made along with the first.
"""

from __future__ import annotations

import asyncio
import logging

import numpy as np

from api.snapshots import SnapshotStore
from plimsoll.errors import Unavailable
from plimsoll.messages import ScenarioSetRecord
from plimsoll.risk import methods, scenarios
from plimsoll.risk.methods import Model
from plimsoll.risk.scenarios import Closes, ScenarioSet

_log = logging.getLogger(__name__)


class ScenarioSets:
    """The current set, and no other."""

    def __init__(self, store: SnapshotStore, model: Model) -> None:
        self._store = store
        self._model = model
        self._building = asyncio.Lock()
        self._kept: ScenarioSet | None = None
        self._refused: ScenarioSetRecord | None = None

    async def current(self) -> ScenarioSet:
        """The set that new snapshots are computed under. Raises `Unavailable` while there is none."""
        found = await self._find()
        if isinstance(found, Unavailable):
            raise found
        return found

    async def if_any(self) -> ScenarioSet | None:
        """The same for whoever can answer without it. Raises `Unavailable` only where Redis is away."""
        found = await self._find()
        return None if isinstance(found, Unavailable) else found

    async def _find(self) -> ScenarioSet | Unavailable:
        record = await self._store.scenario_set()
        if record is None:
            return Unavailable(
                "the engine", "it has stated no scenario set yet; it does once enough sessions have closed"
            )
        async with self._building:
            if self._refused is record:
                return _another_version(record, "as the log says")
            if self._kept is None or self._kept.scenario_set_id != record.scenario_set_id:
                try:
                    self._kept = await asyncio.to_thread(scenario_set_of, record)
                    await asyncio.to_thread(methods.prepare, self._kept.observations, self._model)
                except Unavailable as error:
                    # Tried and logged once: a record never changes, and the store keeps the one it read.
                    _log.error("%s", error)
                    self._refused = record
                    return error
            return self._kept


def scenario_set_of(record: ScenarioSetRecord) -> ScenarioSet:
    """The scenario set that a record describes. Raises `Unavailable` where another one comes out."""
    try:
        price = np.frombuffer(record.closes, np.float64).reshape(len(record.sessions), len(record.symbols))
        built = scenarios.build_shared(
            Closes(tuple(record.sessions), tuple(record.symbols), price),
            record.benchmark or None,
            record.window,
            decay=record.decay,
            sectors=record.sectors,
            stress_returns=record.stress_returns,
        )
    except ValueError as error:
        raise _another_version(record, str(error)) from error
    if built.scenario_set_id != record.scenario_set_id:
        raise _another_version(record, f"here it becomes {built.scenario_set_id}")
    return built


def _another_version(record: ScenarioSetRecord, detail: str) -> Unavailable:
    return Unavailable(
        "the engine",
        f"its scenario set {record.scenario_set_id} cannot be built again ({detail}), so it runs another version;"
        " run the same one of both",
    )
