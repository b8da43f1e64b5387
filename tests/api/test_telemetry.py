"""What the API counts of itself, by a clock that is told what time it is."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING

import pytest

from api.telemetry import BUCKETS, SERIES_MAX, Telemetry, Timing
from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from tests.api.conftest import Make


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry(clock: Clock) -> Telemetry:
    return Telemetry(clock=clock)


def test_an_operation_counts_once_by_what_it_asked_for_and_how_it_ended(telemetry: Telemetry, clock: Clock) -> None:
    with telemetry.operation("query", {"portfolioRisk"}, "http"):
        clock.now += 0.003
    with telemetry.operation("query", {"portfolioRisk", "firmRisk"}, "http") as told:
        told.outcome = "error"
    counted = {key: timing.count for key, timing in telemetry.operations.items()}
    assert counted == {("query", "portfolioRisk", "http", "ok"): 1, ("query", "several", "http", "error"): 1}
    assert telemetry.operations["query", "portfolioRisk", "http", "ok"].seconds == pytest.approx(0.003)


class Refused(PlimsollError):
    """As whatever is raised where nothing is carried out."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ZeroDivisionError(), "error"),
        (Refused(), "refused"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
)
def test_an_exception_says_how_an_operation_ended(telemetry: Telemetry, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)), telemetry.operation("mutation", {"updatePortfolio"}, "http"):
        raise error
    assert list(telemetry.operations) == [("mutation", "updatePortfolio", "http", outcome)]


def test_a_document_that_is_refused_is_an_operation_of_no_kind(telemetry: Telemetry) -> None:
    telemetry.document_refused("sse", "depth")
    assert list(telemetry.operations) == [("unknown", "none", "sse", "refused")]
    assert telemetry.refusals == {"depth": 1}


def test_a_subscription_runs_as_long_as_it_is_open(telemetry: Telemetry) -> None:
    with telemetry.operation("subscription", {"atRisk"}, "graphql-transport-ws"):
        with telemetry.operation("subscription", {"atRisk"}, "graphql-transport-ws"):
            assert telemetry.running["atRisk", "graphql-transport-ws"] == 2
        assert telemetry.running["atRisk", "graphql-transport-ws"] == 1
    assert telemetry.running["atRisk", "graphql-transport-ws"] == 0


def test_sockets_are_counted_by_protocol_and_by_how_they_ended(telemetry: Telemetry) -> None:
    for _ in range(4):
        telemetry.socket_opened("graphql-ws")
    telemetry.socket_closed("graphql-ws", 4403, by="server")
    telemetry.socket_closed("graphql-ws", 1000, by="client")
    telemetry.socket_closed("graphql-ws", 4999, by="client")
    assert (telemetry.sockets_open["graphql-ws"], telemetry.sockets_opened["graphql-ws"]) == (1, 4)
    # A code that a client made up is no label of ours.
    assert telemetry.sockets_closed == {
        ("graphql-ws", "4403", "server"): 1,
        ("graphql-ws", "1000", "client"): 1,
        ("graphql-ws", "other", "client"): 1,
    }


def test_a_computation_waits_and_then_runs(telemetry: Telemetry, clock: Clock) -> None:
    with telemetry.computation("what_if") as told:
        clock.now += 0.5
        assert (telemetry.waiting["what_if"], telemetry.computing["what_if"]) == (1, 0)
        told.begins()
        told.begins()
        assert (telemetry.waiting["what_if"], telemetry.computing["what_if"]) == (0, 1)
        clock.now += 0.25
    assert (telemetry.waiting["what_if"], telemetry.computing["what_if"]) == (0, 0)
    assert (telemetry.waits["what_if"].seconds, telemetry.computations["what_if"].seconds) == (0.5, 0.25)


def test_a_computation_that_never_waited_or_never_began_leaves_nothing_behind(
    telemetry: Telemetry, clock: Clock
) -> None:
    def fail() -> None:
        clock.now += 0.125
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), telemetry.computation("stress"):
        fail()
    assert (telemetry.waiting["stress"], telemetry.computing["stress"]) == (0, 0)
    assert telemetry.computations["stress"].seconds == 0.125


def test_a_lookup_is_a_hit_or_a_miss(telemetry: Telemetry) -> None:
    for found in (True, True, False):
        telemetry.looked_up("documents", found=found)
    assert telemetry.lookups == {("documents", "hit"): 2, ("documents", "miss"): 1}


def test_a_duration_counts_in_the_first_bucket_that_is_not_below_it() -> None:
    timing = Timing()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1] + 1):
        timing.observe(seconds)
    assert (timing.counts[0], timing.counts[1], timing.counts[-1], timing.count) == (2, 1, 1, 4)


def test_labels_that_should_not_be_cost_figures_and_no_memory(telemetry: Telemetry) -> None:
    for number in range(SERIES_MAX + 50):
        with telemetry.operation("query", {f"made_up_{number}"}, "http"):
            pass
    assert len(telemetry.operations) == SERIES_MAX


@pytest.mark.anyio
async def test_a_loop_that_stands_still_is_seen(telemetry: Telemetry, make: Make) -> None:
    watching = asyncio.create_task(telemetry.watch_loop())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    stands_until = loop.time() + 0.3
    while loop.time() < stands_until:
        pass
    await make.eventually(lambda: telemetry.lag.count > 0)
    watching.cancel()
    assert telemetry.lag.seconds >= 0.15


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_slow_operation_is_a_warning_and_any_other_a_detail(
    telemetry: Telemetry, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "api.telemetry")
    with telemetry.operation("query", {"firmRisk"}, "http"):
        clock.now += 0.9
    with telemetry.operation("query", {"firmRisk"}, "http"):
        clock.now += 1.1
    with telemetry.operation("subscription", {"atRisk"}, "graphql-transport-ws"):
        clock.now += 3_600
    assert [record.levelname for record in caplog.records] == ["DEBUG", "WARNING", "DEBUG"]


def test_a_line_names_a_document_by_its_hash_and_says_nothing_of_what_is_in_it(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "api.telemetry")
    text = 'query Mine { portfolio(id: "secret-portfolio") { id } }'
    with telemetry.operation("query", {"portfolio"}, "http", name="Mine" + "e" * 1000, document=text):
        pass
    (record,) = caplog.records
    assert record.__dict__["document"] == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert len(record.__dict__["operation"]) == 64
    assert "secret" not in str(record.__dict__)
