"""The benchmarks run as their README says; what they measure is theirs to print, and no test's to judge.

What is tested is that they measure what they say: the baseline does the same work, a rate is that of its span, poison
is poison, and a wrong snapshot stops a run instead of being timed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from graphql import parse, validate

from api.schema import schema
from benchmarks import asker, catalogue, measuring, moving, pages, records
from benchmarks.load import latency_of
from benchmarks.measuring import Sample, Steady, Stuck
from benchmarks.records import PortfolioLog
from benchmarks.reference import Differs, Reference, compare, naive
from plimsoll import messages
from plimsoll.errors import BadMessage
from plimsoll.messages import PortfolioUpdate

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CPU and memory are read from /proc")


# --- as commands ------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=ROOT,
    )


def table(
    tmp_path: Path, *arguments: str, broker: str | None = "embedded broker"
) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """The rows and figures of a run on the embedded broker, where it needs one, and what it printed."""
    told = tmp_path / "told.json"
    done = run(*arguments, "--broker", "embedded", "--directory", tmp_path, "--json", told)
    assert done.returncode == 0, done.stderr
    assert broker is None or broker in done.stdout
    read = json.loads(told.read_text(encoding="utf-8"))
    for row in read["rows"]:
        assert row["measured"] in done.stdout, row
    assert [each.name for each in tmp_path.iterdir()] == ["told.json"], "data was left behind"
    return read["rows"], read["figures"], done.stdout


def test_the_kernel_benchmark_prints_each_universe_beside_the_loop(tmp_path: Path) -> None:
    figures = tmp_path / "kernel.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kernel.py", "--rounds", "1", "--json", figures],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(figures.read_text(encoding="utf-8"))
    for row in told["kernel"]:
        assert row["universe"] in done.stdout
        assert f"{row['kernel_per_second']:,}" in done.stdout
        # The same answers, or there is nothing to compare: the benchmark itself refuses to print otherwise.
        assert 0.0 <= row["largest_difference"] < 1e-5
    # What memory a portfolio takes is no matter of speed.
    assert told["memory"]["bytes_per_portfolio"] <= 1024


@linux
def test_updates_are_measured_beside_both_loops_and_checked_against_the_reference(tmp_path: Path) -> None:
    rows, figures, _ = table(tmp_path, "updates", "--updates", "1500", "--rounds", "1")
    assert figures["updates"]["updates"] == 1500
    for name in ("bare", "naive", "engine", "two_workers"):
        assert figures["updates"][name]["per_second"] > 0, name
    assert "naive map flow" in rows[0]["baseline"]
    assert "bare loop" in rows[1]["baseline"]


@linux
def test_poison_is_counted_to_the_last_record(tmp_path: Path) -> None:
    _, figures, _ = table(tmp_path, "poison", "--updates", "900", "--rounds", "1")
    assert (figures["poison"]["updates"], figures["poison"]["poison"], figures["poison"]["dead_letters"]) == (
        900,
        100,
        100,
    )


@linux
def test_a_portfolio_is_weighed_at_rest_and_with_its_history_full(tmp_path: Path) -> None:
    rows, figures, _ = table(tmp_path, "footprint", "--portfolios", "60")
    told = figures["footprint"]
    assert told["portfolios"] == 60
    assert told["at_rest"] > told["snapshot"] > 0
    assert told["longest_history"] >= told["history_points"], "it was not full"
    # A point is the beginning of a snapshot.
    assert 0 < told["history"] / told["longest_history"] < told["snapshot"]
    assert told["in_kafka"] == {}, "the embedded broker has no disk"
    assert len(rows) == 2


@linux
def test_ticks_are_followed_from_their_sending_to_a_subscriber(tmp_path: Path) -> None:
    rows, figures, _ = table(tmp_path, "ticks", "--portfolios", "60", "--ticks", "200", "--seconds", "8")
    handful, size = figures["ticks"]["sizes"]
    assert (handful["portfolios"], size["portfolios"]) == (10, 60)
    for each in (handful, size):
        latency = each["cost"]["latency"]
        assert latency["messages"] > 0
        # Whatever else is true: the oldest waits longest, and nobody decodes before receiving.
        assert 0 < latency["each_to_redis"][0] <= latency["each_to_subscriber"][0]
        assert latency["each_to_redis"][0] < latency["oldest_to_redis"][0]
    assert any("plain numpy" in row["baseline"] for row in rows)


@linux
def test_a_soak_says_what_became_of_memory_lag_and_errors(tmp_path: Path) -> None:
    _, figures, _ = table(tmp_path, "soak", "--portfolios", "60", "--ticks", "200", "--minutes", "0.1")
    told = figures["soak"]
    assert (told["errors"], told["restarts"]) == (0, 0)
    assert all(size > 10 for size in told["memory_mib"])
    assert 0 < told["lag_ms"][0] <= told["lag_ms"][2]


@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the server needs a core of its own")
def test_questions_are_answered_rightly_by_all_three_servers_before_they_count(tmp_path: Path) -> None:
    rows, figures, _ = table(tmp_path, "queries", "--rounds", "1", "--seconds", "0.2", broker=None)
    for name, told in figures["queries"].items():
        assert told["requests"] > 0, name
        assert told["wrong"] == 0, name
        assert 0 < told["p50_ms"] <= told["p99_ms"], name
    assert "stock Strawberry" in rows[0]["baseline"]
    assert "REST" in rows[1]["baseline"]


@linux
def test_the_asker_counts_every_answer_that_is_not_the_one_expected() -> None:
    async def asked() -> asker.Told:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = b"right" if b"/right" in head else b"wrong"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        questions = [asker.Question(path, None, "right") for path in ("/right", "/wrong")]
        # One connection asks in turn, so half of the answers are wrong.
        return await asker.ask(asker.Job(port, os.getpid(), 1, 0.2, 0.0, questions))

    told = asyncio.run(asked())
    assert told.first_wrong.endswith("wrong")
    assert told.wrong > told.requests / 2 - 1


@linux
def test_the_asker_waits_for_a_server_slower_than_its_time() -> None:
    silence = 0.5

    async def asked() -> asker.Told:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(silence)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        return await asker.ask(asker.Job(port, os.getpid(), 1, 0.05, 0.0, [asker.Question("/", None, "right")]))

    told = asyncio.run(asked())
    assert (told.requests, told.wrong) == (1, 0)
    assert told.p50_ms >= silence * 1e3
    assert told.seconds > 0.05


@linux
def test_the_asker_says_so_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker, "PATIENCE_SECONDS", 0.1)

    async def asked() -> None:
        async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await asker.ask(asker.Job(port, os.getpid(), 1, 0.05, 0.0, [asker.Question("/", None, "right")]))

    with pytest.raises(Stuck, match="no answer within"):
        asyncio.run(asked())


def test_every_benchmark_is_in_the_readme() -> None:
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [name for name in catalogue.RUNS if f"`{name}`" not in readme] == []


# --- what is written --------------------------------------------------------------------------------------------------


def test_an_update_is_what_existing_senders_send_and_about_two_kilobytes() -> None:
    written = list(PortfolioLog(300, 15).records())
    assert 1_800 < np.mean([len(value) for _, value in written]) < 2_200
    now_ns = time.time_ns()
    updates = [messages.decode_portfolio_update(key, value, now_ns) for key, value in written]
    assert len({update.id for update in updates}) == 300
    sent = {"id", "advisor_id", "client_id", "positions", "total_value", "timestamp", "risk_tolerance", "account_type"}
    for _, value in written:
        told = msgspec.json.decode(value)
        assert all(told[name] is not None for name in sent), told
        assert len(told["positions"]) == 15
        assert all(None not in position.values() and len(position) == 6 for position in told["positions"])


def test_a_log_that_grows_goes_on_where_it_ended() -> None:
    ids = [key for first in (0, 40) for key, _ in PortfolioLog(40, 5, first=first).records()]
    assert ids == [records.portfolio_id(number).encode() for number in range(80)]
    assert set(records.FIRST_ADVISORS) == {records.advisor_id(number) for number in range(10)}


def test_every_kind_of_poison_is_refused_and_every_good_record_is_left_alone() -> None:
    good = list(PortfolioLog(160, 15).records())
    mixed = list(records.poisoned(good, every=10))
    reasons = []
    for key, value in mixed:
        try:
            messages.decode_portfolio_update(key, value, time.time_ns())
        except BadMessage as bad:
            reasons.append(bad.reason)
    assert len(mixed) == 176
    assert [record for record in mixed if not record[0].startswith(b"poison-")] == good
    assert len(reasons) == 16
    assert len(set(reasons)) == 8, reasons


# --- the reference ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


def test_the_naive_loop_computes_the_very_measures_of_the_engine(reference: Reference) -> None:
    for _, value in PortfolioLog(100, 15).records():
        update = messages.decode(value, PortfolioUpdate)
        right = reference.measures(update)
        said = naive(update, reference.market, reference.number)
        assert said.keys() == right.keys()
        compare(update.id, said, right)


@pytest.mark.parametrize("name", ["var_99", "beta", "risk_number", "market_value"])
def test_a_snapshot_that_is_off_by_a_hair_is_refused(reference: Reference, name: str) -> None:
    _, value = next(PortfolioLog(1, 15).records())
    right = reference.measures(messages.decode(value, PortfolioUpdate))
    reference.check(msgspec.json.encode(right), value)
    wrong = right | {name: (right[name] or 0) * (1 + 1e-4) if name != "risk_number" else (right[name] or 0) + 1}
    with pytest.raises(Differs, match=name):
        reference.check(msgspec.json.encode(wrong), value)


def test_a_risk_number_at_the_edge_of_rounding_may_be_that_of_either_precision(reference: Reference) -> None:
    """Its score is 46.4999998 in float64 and 46.5000004 in float32."""
    value = dict(PortfolioLog(1500, 15).records())[b"portfolio-0001155"]
    right = reference.measures(messages.decode(value, PortfolioUpdate))
    assert right["risk_number"] == 46
    for number in (46, 47):
        reference.check(msgspec.json.encode(right | {"risk_number": number}), value)
    for number in (45, 48):
        with pytest.raises(Differs, match="risk_number"):
            reference.check(msgspec.json.encode(right | {"risk_number": number}), value)


# --- measuring --------------------------------------------------------------------------------------------------------


def test_a_rate_and_its_cpu_are_of_the_part_between_a_tenth_and_nine_tenths() -> None:
    # A start of 5 s at which nothing happens, then 100 a second for 10 s, then a last one that takes 10 s.
    samples = [Sample(5.0 * n, 0, {"workers": 1.0 * n}) for n in range(2)]
    samples += [Sample(5.0 + n, 100 * n, {"workers": 1.0 + 0.5 * n}) for n in range(1, 11)]
    samples.append(Sample(25.0, 1001, {"workers": 30.0}))
    measured = measuring.steady(samples, 1001, began=5.0)
    assert measured.per_second == pytest.approx(100.0)
    assert measured.cpu_per_1000["workers"] == pytest.approx(5.0)
    assert measured.whole_per_second == pytest.approx(1001 / 20.0)
    assert measured.whole_cpu_per_1000["workers"] == pytest.approx(29.0 / 1.001)


def test_a_run_that_came_all_at_once_is_measured_whole() -> None:
    samples = [Sample(0.0, 0, {"workers": 0.0}), Sample(2.0, 100, {"workers": 1.0})]
    assert measuring.steady(samples, 100).per_second == pytest.approx(50.0)


def test_medians_are_taken_of_each_figure() -> None:
    runs = [Steady(rate, {"workers": 1.0 / rate}, rate, {"workers": 2.0}) for rate in (1.0, 100.0, 10.0)]
    assert measuring.median_of(runs) == Steady(10.0, {"workers": 0.1}, 10.0, {"workers": 2.0})


def test_a_slope_is_that_of_least_squares() -> None:
    assert measuring.slope([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0]) == pytest.approx(2.0)
    assert measuring.slope([0.0, 1.0, 2.0], [0.0, 3.0, 0.0]) == pytest.approx(0.0)


@linux
def test_cpu_of_a_process_is_what_the_process_itself_counts() -> None:
    before, own = measuring.cpu_seconds([os.getpid()]), time.process_time()
    while time.process_time() - own < 0.3:
        pass
    assert measuring.cpu_seconds([os.getpid()]) - before == pytest.approx(time.process_time() - own, abs=0.05)


@linux
def test_memory_of_a_process_grows_by_what_it_touches() -> None:
    before = measuring.memory_bytes(os.getpid())
    touched = np.ones(128 * 2**20 // 8)
    assert measuring.memory_bytes(os.getpid()) - before > 0.9 * touched.nbytes


@linux
def test_children_are_found_and_forgotten_once_they_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in measuring.children_of(os.getpid())
        child.kill()
    assert child.pid not in measuring.children_of(os.getpid())


def test_a_count_that_stops_short_is_an_error_and_no_figure() -> None:
    with pytest.raises(Stuck, match="half: 5 of 10"):
        measuring.watch("half", lambda: 5, 10, {}, seconds_max=0.0)
    with pytest.raises(Stuck):
        measuring.watch("dead", lambda: 5, 10, {}, seconds_max=60.0, alive=lambda: False)


def test_each_tick_waited_until_the_first_message_that_knows_of_it() -> None:
    ms = 1_000_000
    # received, decoded, newest tick known before, newest tick of this message
    seen = np.array([[160, 161, 100, 150], [220, 223, 150, 200], [9, 9, 1, 2]], np.int64) * ms
    renewed = np.array([[160, 50], [220, 60], [9, 1]], np.int64) * ms
    latency = latency_of(seen, renewed, from_ns=50 * ms)
    assert latency.messages == 2
    assert latency.oldest_to_redis == pytest.approx((65.0, 70.0), abs=0.2)
    # Evenly between 10 and 60 ms, and between 20 and 70.
    assert latency.each_to_redis[0] == pytest.approx(40.0, abs=1.0)
    assert latency.each_to_redis[1] < latency.oldest_to_redis[1]
    assert latency.each_to_subscriber[0] == pytest.approx(42.0, abs=1.5)
    assert latency.renewal == pytest.approx((55.0, 60.0), abs=0.2)


def test_a_subscriber_that_met_no_new_tick_is_an_error_and_no_latency() -> None:
    with pytest.raises(Stuck, match="no snapshot"):
        latency_of(np.empty((0, 4), np.int64), np.empty((0, 2), np.int64), from_ns=0)


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("batches", "rows"), ("rows",)])
def test_a_dashboard_without_a_browser_asks_what_the_page_asks(names: tuple[str, ...]) -> None:
    text = pages.operation(*names)
    assert validate(schema._schema, parse(text)) == []
    assert "...Row" in text


def test_portfolios_that_move_are_of_every_risk_and_stand_with_their_advisors() -> None:
    made = moving.portfolios(200, 8)
    assert len({each.portfolio_id for each in made}) == 200
    assert [each.advisor_id for each in made] == sorted(f"advisor-{number * 8 // 200}" for number in range(200))
    assert {min(2, (each.risk_number or 0) // 34) for each in made} == {0, 1, 2}
