"""Somebody's own prices and portfolios: the stream says what the files say, and a feed of one's own is valued with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Producer

from plimsoll import keys, topics
from plimsoll.messages import PortfolioUpdate, Position, encode

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
SECONDS = 60.0
NAMES = ("AAA", "BBB", "GAP")
LAST = 699
POSITIONS = """\
portfolio_id,symbol,quantity,advisor_id,cash
mine,AAA,100,desk-1,500
mine,BBB,-50,,
mine,GAP,10,,
mine,GONE,5,,
other,AAA,1.5,,
other,GAP,2,,
"""
SAME = (
    "market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "cash", "var_95", "var_99",
    "es_975", "var_95_fraction", "volatility", "expected_return", "sharpe_ratio", "sortino_ratio", "max_drawdown",
    "effective_names", "coverage",
)  # fmt: skip
EXACT = ("beta", "observations", "risk_number", "risk_number_structural", "incomplete_symbols", "proxied_symbols")


@dataclass
class Files:
    """Two files as a spreadsheet on Windows leaves them, and what they hold."""

    prices: Path
    positions: Path
    days: Sequence[str]
    closes: Sequence[Mapping[str, float]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """700 sessions of three names, one of them with gaps, and no index among them."""
    rng = np.random.default_rng(11)
    together = rng.normal(0.0, 0.008, (LAST + 1, 1))
    price = 100.0 * np.exp(np.cumsum(together + rng.normal(0.0, 0.008, (LAST + 1, len(NAMES))), axis=0))
    days = [(date(2022, 1, 1) + timedelta(days=day)).isoformat() for day in range(LAST + 1)]
    gaps = {"GAP": {300, 480, 641}}
    closes = [
        {name: round(float(row[column]), 4) for column, name in enumerate(NAMES) if day not in gaps.get(name, ())}
        for day, row in enumerate(price)
    ]
    lines = [",".join(["date", *NAMES])]
    lines += [
        ",".join([day, *(str(row.get(name, "")) for name in NAMES)]) for day, row in zip(days, closes, strict=True)
    ]
    made = Files(tmp_path / "prices.csv", tmp_path / "positions.csv", days, closes)
    made.prices.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ",,,", ""]).encode())
    made.positions.write_bytes(b"\xef\xbb\xbf" + POSITIONS.replace("\n", "\r\n").encode())
    return made


@pytest.fixture
def environ(broker_address: str, redis_url: str) -> dict[str, str]:
    """What the programs are told: there is no benchmark among these names."""
    return {"KAFKA_BROKERS": broker_address, "REDIS_URL": redis_url, "PLIMSOLL_BENCHMARK": "none"}


def snapshot(store: redis.Redis, portfolio_id: str) -> dict[str, Any]:
    return json.loads(store.get(keys.risk(portfolio_id)) or "{}")  # type: ignore[arg-type]


def test_at_the_end_of_a_replay_the_stream_says_what_the_files_say(
    files: Files, environ: dict[str, str], redis_url: str, processes: Any
) -> None:
    own = ["--prices", str(files.prices), "--positions", str(files.positions)]
    processes.python(
        "-m", "producer", *own, "--from", files.days[-4], "--session-seconds", "0.4", environ=environ
    )  # fmt: skip
    processes.python("-m", "engine", environ=environ)
    done = subprocess.run(
        [sys.executable, "-m", "plimsoll.cli", "risk", *own, "--json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    expected = {row["portfolio_id"]: row for row in json.loads(done.stdout)}
    assert expected.keys() == {"mine", "other"}

    with redis.Redis.from_url(redis_url, decode_responses=True) as store:

        def at_rest() -> bool:
            found = [snapshot(store, name) for name in expected]
            beats = [json.loads(beat) for beat in store.hvals(keys.ENGINE)]  # type: ignore[arg-type]
            return all(
                each.get("scenario_set_id", "").startswith(files.days[-1])
                and each["market_value"] == pytest.approx(expected[each["portfolio_id"]]["market_value"], rel=1e-9)
                for each in found
            ) and all(beat["replay"] == {"session": files.days[-1], "session_seconds": 0.0} for beat in beats)

        processes.wait_for(at_rest, "portfolios valued at the newest close, and prices at rest", SECONDS)
        for portfolio_id, row in expected.items():
            live = snapshot(store, portfolio_id)
            for name in SAME:
                assert live[name] == pytest.approx(row[name], rel=1e-6, abs=1e-9), (portfolio_id, name)
            assert {name: live[name] for name in EXACT} == {name: row[name] for name in EXACT}
            assert live["source_offset"] == 0  # stated once
    assert expected["mine"]["incomplete_symbols"] == ["GONE"]


def test_the_bridge_of_the_examples_brings_history_ticks_and_a_close(
    files: Files, environ: dict[str, str], redis_url: str, processes: Any
) -> None:
    processes.python("-m", "engine", environ=environ)
    kafka = Producer({"bootstrap.servers": environ["KAFKA_BROKERS"], "partitioner": "murmur2_random"})
    update = PortfolioUpdate("bridged", "desk-1", [Position("AAA", 2.0), Position("BBB", -1.0)])
    kafka.produce(topics.PORTFOLIO_UPDATES.name, key=update.id.encode(), value=encode(update))
    assert kafka.flush(20) == 0
    feed = [
        {"symbol": "AAA", "price": 123.25, "timestamp": time.time()},
        {"symbol": "BBB", "price": 50.5},
        {"symbol": "GAP", "price": 10.0},
        {"session": "2024-01-05"},
        {"symbol": "AAA", "price": -1.0},
        {"symbol": "AAA", "price": 124.0},
    ]
    bridge = subprocess.run(
        [sys.executable, ROOT / "examples" / "market_bridge.py", "--brokers", environ["KAFKA_BROKERS"],
         "--history", files.prices],
        input="\n".join([*map(json.dumps, feed), "no JSON", "", " "]), capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, **environ},
    )  # fmt: skip
    assert bridge.returncode == 1, bridge.stderr
    told = bridge.stderr.splitlines()
    assert [line.partition(":")[0] for line in told] == ["line 5", "line 7"], told
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:

        def valued() -> bool:
            found = snapshot(store, "bridged")
            return found.get("market_value") == 2 * 124.0 - 50.5 and found["scenario_set_id"].startswith("2024-01-05")

        processes.wait_for(valued, "portfolio valued with the bridge's newest price", SECONDS)
        found = snapshot(store, "bridged")
        assert found["observations"] == 500
        assert found["var_95"] > 0
        # The session closed at the newest prices before its end.
        marks = {name: json.loads(store.hget(keys.MARKS, name)) for name in NAMES}  # type: ignore[arg-type]
        assert {name: mark["previous_close"] for name, mark in marks.items()} == {
            "AAA": 123.25,
            "BBB": 50.5,
            "GAP": 10.0,
        }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("", "line 1 is no date and symbols with commas between them"),
        ("date;AAA\n2024-01-02;1\n", "line 1 is no date and symbols with commas between them"),
        ("date,AAA\n2024-01-02,1\n\n2024-01-03,1,2\n", "line 4 has 2 closes for 1 symbols"),
        ("date,AAA\n2024-01-02,dear\n", "line 2: could not convert string to float: 'dear'"),
    ],
    ids=["missing", "empty", "semicolons", "too many", "no number"],
)
def test_a_bridge_publishes_nothing_where_its_history_cannot_be_read(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    prices = tmp_path / "prices.csv"
    if content is not None:
        prices.write_text(content, encoding="utf-8")
    command = [sys.executable, ROOT / "examples" / "market_bridge.py", "--brokers", "127.0.0.1:1", "--history", prices]
    bridge = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert bridge.returncode == 2
    assert "Traceback" not in bridge.stderr
    assert reason in bridge.stderr.splitlines()[-1]
