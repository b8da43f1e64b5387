from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from api import scenario_sets
from api.scenario_sets import ScenarioSets, scenario_set_of
from plimsoll.errors import Unavailable
from plimsoll.messages import ScenarioSetRecord, decode, encode
from plimsoll.risk.methods import Model

if TYPE_CHECKING:
    from tests.api.conftest import Make


class OneRecord:
    """A store that holds this record."""

    def __init__(self, record: ScenarioSetRecord | None) -> None:
        self.record = record

    async def scenario_set(self) -> ScenarioSetRecord | None:
        return self.record


@pytest.fixture(scope="module")
def record(make: Make) -> ScenarioSetRecord:
    made = make.scenario_set(sectors={"AAPL": "Technology"}, stress_returns={"covid-2020": {"AAPL": -0.3}}, decay=0.9)
    return make.scenario_set_record(made)


def test_whoever_builds_a_set_from_its_record_arrives_at_the_same_one(make: Make, record: ScenarioSetRecord) -> None:
    stated = {"sectors": record.sectors, "stress_returns": record.stress_returns, "decay": record.decay}
    made = make.scenario_set(**stated)
    built = scenario_set_of(decode(encode(record), ScenarioSetRecord))
    assert built.scenario_set_id == made.scenario_set_id == record.scenario_set_id
    for name in ("returns", "volatility", "volatility_now", "filtered"):
        np.testing.assert_array_equal(getattr(built, name), getattr(made, name))
    assert (built.sectors, built.stress_returns) == (made.sectors, made.stress_returns)


@pytest.mark.parametrize(
    "stated",
    [{"scenario_set_id": "2020-02-09-another"}, {"window": 90}, {"closes": b"12345678"}, {"benchmark": "NONE"}],
)
def test_a_record_that_becomes_another_set_is_refused(record: ScenarioSetRecord, stated: dict[str, object]) -> None:
    with pytest.raises(Unavailable, match="another version"):
        scenario_set_of(replace(record, **stated))


@pytest.mark.anyio
async def test_a_set_is_built_once_outside_the_loop_s_thread(
    record: ScenarioSetRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders = []

    def build(record: ScenarioSetRecord) -> object:
        builders.append(threading.current_thread())
        return scenario_set_of(record)

    monkeypatch.setattr(scenario_sets, "scenario_set_of", build)
    sets = ScenarioSets(OneRecord(record), Model(draws=2))  # type: ignore[arg-type]
    found = await asyncio.gather(*(sets.current() for _ in range(5)))
    assert {id(each) for each in found} == {id(found[0])}
    assert len(builders) == 1
    assert builders[0] is not threading.current_thread()


@pytest.mark.anyio
async def test_a_set_of_another_version_is_logged_once_and_every_answer_says_so(
    record: ScenarioSetRecord, caplog: pytest.LogCaptureFixture
) -> None:
    sets = ScenarioSets(OneRecord(replace(record, scenario_set_id="2020-02-09-another")), Model(draws=2))  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, "api.scenario_sets"):
        for _ in range(3):
            with pytest.raises(Unavailable, match="2020-02-09-another"):
                await sets.current()
        assert await sets.if_any() is None
    assert len(caplog.records) == 1


@pytest.mark.anyio
async def test_before_the_first_set_there_is_none() -> None:
    sets = ScenarioSets(OneRecord(None), Model(draws=2))  # type: ignore[arg-type]
    assert await sets.if_any() is None
    with pytest.raises(Unavailable, match="no scenario set yet"):
        await sets.current()
