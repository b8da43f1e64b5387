"""From a price on Kafka to a subscriber's screen, every station real, on the embedded broker and on Apache Kafka.

One system on each serves all of this, so a test states portfolios of its own, and the prices it sends are of a symbol
that no other test values with.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from plimsoll import keys, topics
from plimsoll.messages import MarketClose, PortfolioUpdate, Position, encode

if TYPE_CHECKING:
    from tests.integration.conftest import System

pytestmark = pytest.mark.timeout(180)


def test_the_life_of_a_tick(system: System) -> None:
    some = system.graphql(
        "{ portfolios(first: 200) { totalCount edges { node { portfolioId holdings { symbol } } } } }"
    )["portfolios"]
    held = {e["node"]["portfolioId"]: {h["symbol"] for h in e["node"]["holdings"]} for e in some["edges"]}
    made = sorted(each for each in held if each.startswith("portfolio-"))
    assert len(made) == system.portfolios
    assert some["totalCount"] == len(held) == system.store.zcard(keys.by_id())
    portfolio_id = next(each for each in made if "MSFT" in held[each])

    with subscribed(
        system, "portfolioRisk(portfolioId: $id) { reason risk { sequence marketValue } }", portfolio_id
    ) as live:
        first = live.next()["portfolioRisk"]
        assert first["reason"] == "SNAPSHOT"
        system.tick("MSFT", 123.0)
        second = live.next()["portfolioRisk"]
        assert second["reason"] == "UPDATE"
        assert int(second["risk"]["sequence"]) > int(first["risk"]["sequence"])

        accepted = system.graphql(
            """mutation($id: ID!) {
                 simulatePortfolioUpdate(input: {portfolioId: $id, trades: [{symbol: "MSFT", quantity: 1000}]}) {
                   ... on PortfolioUpdateAccepted { topic partition offset }
                   ... on Problem { message } } }""",
            id=portfolio_id,
        )["simulatePortfolioUpdate"]
        assert accepted["topic"] == "portfolio-updates"
        seen = [second["risk"]]
        while seen[-1]["marketValue"] < second["risk"]["marketValue"] + 100_000:
            seen.append(live.next()["portfolioRisk"]["risk"])
        assert seen[-1]["marketValue"] == pytest.approx(second["risk"]["marketValue"] + 123_000, rel=0.01)
        sequences = [int(one["sequence"]) for one in seen]
        assert sequences == sorted(set(sequences))

    stored = system.snapshot(portfolio_id)
    assert (stored["source_partition"], stored["source_offset"]) == (accepted["partition"], int(accepted["offset"]))
    rest = httpx.get(f"{system.base}/risk/{portfolio_id}").json()
    assert rest["risk_number"] == stored["risk_number"]

    def published() -> list[dict[str, Any]]:
        same = ("portfolio_id", "sequence")
        everything = system.consumed(topics.RISK_UPDATES)
        return [one for one in everything if all(one[name] == stored[name] for name in same)]

    assert system.until(published, "the same snapshot on Kafka") == [stored]


HELD = {"AAPL": 120.0, "JPM": 75.0, "XOM": -40.0, "KO": 300.0}
CASH = 5_000.0
SAME_WORD = (
    "market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "var_95", "var_99", "es_975",
    "var_95_fraction", "volatility", "expected_return", "sharpe_ratio", "sortino_ratio", "beta", "tracking_error",
    "max_drawdown", "effective_names", "coverage",
)  # fmt: skip
EXACT = ("observations", "risk_number", "risk_number_structural", "method", "incomplete_symbols", "proxied_symbols")


def test_the_stream_the_files_and_the_api_say_the_same(system: System, tmp_path: Path) -> None:
    update = PortfolioUpdate("by-hand", "advisor-1", [Position(s, q) for s, q in HELD.items()], cash=CASH)
    system.send(topics.PORTFOLIO_UPDATES, "by-hand", encode(update))
    streamed = system.until(lambda: system.snapshot("by-hand"), "snapshot of the new portfolio")
    batch = risk_from_files(system, tmp_path, HELD)

    for name in SAME_WORD:
        # float32 in the stream, and numbers near zero are the differences of large ones.
        assert streamed[name] == pytest.approx(batch[name], rel=1e-6, abs=1e-9), name
    assert {name: streamed[name] for name in EXACT} == {name: batch[name] for name in EXACT}
    assert streamed["var_95_scenario_date"] == batch["var"]["filtered_historical"]["0.95"]["scenario_date"]

    asked = system.graphql(
        """query($id: ID!) {
             contributions(portfolioId: $id) { var95 es975 holdings { symbol componentVar95 componentEs975 } }
             alternatives(portfolioId: $id) { method var95 var99 es975 } }""",
        id="by-hand",
    )
    assert asked["contributions"]["var95"] == pytest.approx(batch["var_95"], rel=1e-9)
    for holding in asked["contributions"]["holdings"]:
        mine = batch["contributions"][holding["symbol"]]
        assert holding["componentVar95"] == pytest.approx(mine["component_var_95"], rel=1e-9)
        assert holding["componentEs975"] == pytest.approx(mine["component_es_975"], rel=1e-9)
    assert {each["method"].lower() for each in asked["alternatives"]} == batch["var"].keys()
    for each in asked["alternatives"]:
        method = each["method"].lower()
        for field, kind, level in (("var95", "var", "0.95"), ("var99", "var", "0.99"), ("es975", "es", "0.975")):
            expected = batch[kind][method][level]["amount"]
            assert each[field] == (None if expected is None else pytest.approx(expected, rel=1e-9)), (method, field)


def test_a_what_if_is_what_the_trades_then_bring(system: System) -> None:
    update = PortfolioUpdate("what-if", "advisor-1", [Position(s, q) for s, q in HELD.items()], cash=CASH)
    system.send(topics.PORTFOLIO_UPDATES, "what-if", encode(update))
    first = system.until(lambda: system.snapshot("what-if"), "snapshot of the new portfolio")
    trades = [{"symbol": "AAPL", "quantity": -120.0}, {"symbol": "PFE", "quantity": 55.5}]
    fields = "marketValue var95 var99 es975 volatility sharpeRatio beta riskNumber riskNumberStructural effectiveNames"
    after = system.graphql(
        f"""query($id: ID!, $trades: [TradeInput!]!) {{
              whatIf(portfolioId: $id, trades: $trades) {{ after {{ {fields} }} breaches {{ code }} }} }}""",
        id="what-if", trades=trades,
    )["whatIf"]["after"]  # fmt: skip
    system.graphql(
        """mutation($id: ID!, $trades: [TradeInput!]) {
             simulatePortfolioUpdate(input: {portfolioId: $id, trades: $trades}) { __typename } }""",
        id="what-if", trades=trades,
    )  # fmt: skip
    system.until(
        lambda: system.snapshot("what-if")["source_offset"] > first["source_offset"], "snapshot after the trades"
    )
    real = system.graphql(f"query($id: ID!) {{ portfolioRisk(portfolioId: $id) {{ {fields} }} }}", id="what-if")
    assert real["portfolioRisk"] == pytest.approx(after, rel=1e-6)


def risk_from_files(system: System, directory: Path, held: dict[str, float]) -> dict[str, Any]:
    """What `plimsoll risk` says of a portfolio, from the closes on Kafka as a CSV file."""
    sessions = sorted((m["session"], m["closes"]) for m in system.consumed(topics.MARKET_CLOSES))
    symbols = sorted(sessions[-1][1])
    lines = [",".join(["date", *symbols]), *(",".join([s, *(repr(c[x]) for x in symbols)]) for s, c in sessions)]
    (directory / "prices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    positions = ["portfolio_id,symbol,quantity", *(f"by-hand,{symbol},{quantity}" for symbol, quantity in held.items())]
    (directory / "positions.csv").write_text("\n".join(positions) + "\n", encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, "-m", "plimsoll.cli", "risk", "--prices", directory / "prices.csv",
            "--positions", directory / "positions.csv", "--cash", str(CASH), "--json",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (only,) = json.loads(done.stdout)
    return only


def test_poison_is_kept_with_its_reason_and_its_neighbours_are_applied(system: System) -> None:
    before = counted(system)
    system.send(topics.PORTFOLIO_UPDATES, "good-1", encode(PortfolioUpdate("good-1", "a", [Position("PG", 1.0)])))
    system.send(topics.PORTFOLIO_UPDATES, "bad", b'{"id": "\xff"}')
    system.send(topics.MARKET_DATA, "PG", b'{"symbol": "PG", "price": NaN}')
    system.send(topics.PORTFOLIO_UPDATES, "good-2", encode(PortfolioUpdate("good-2", "a", [Position("PG", 2.0)])))
    system.tick("PG", 77.0)
    system.until(lambda: system.snapshot("good-2").get("market_value") == 154.0, "neighbours of the poison")
    system.until(lambda: system.snapshot("good-1"), "the other neighbour, whichever worker has it")
    # Two workers read the market, each for itself: the bad price is met twice, under one position.
    letters = system.until(lambda: _at_least(system.consumed(topics.DEAD_LETTERS), 3), "dead letters")
    reasons = {(one["topic"], one["offset"]): (one["reason"], one["field"]) for one in letters}
    assert sorted(reasons.values()) == [("INVALID_UTF8", ""), ("NON_FINITE", "price")]
    system.until(lambda: counted(system) - before >= 3 + 2 * 2, "a count of every record")


def test_a_sender_that_chooses_another_partition_is_heard(system: System) -> None:
    portfolio_id = next(str(each) for each in system.store.zrange(keys.by_id(), 0, -1) if each.startswith("portfolio-"))
    before = system.snapshot(portfolio_id)
    # A partition of the same worker: two workers together cannot order what each sees alone, and say so.
    other = (before["source_partition"] + 2) % topics.PORTFOLIO_UPDATES.partitions
    update = encode(PortfolioUpdate(portfolio_id, "advisor-1", [Position("KO", 3.0)]))
    system.kafka.produce(topics.PORTFOLIO_UPDATES.name, key=portfolio_id.encode(), value=update, partition=other)
    assert system.kafka.flush(20) == 0
    system.until(lambda: system.snapshot(portfolio_id)["source_partition"] == other, "the other partition's update")
    after = system.snapshot(portfolio_id)
    assert int(after["sequence"]) > int(before["sequence"])
    assert after["effective_names"] == pytest.approx(1.0)


# --- reading ----------------------------------------------------------------------------------------------------------


class Live:
    """One open subscription."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def next(self, seconds: float = 10.0) -> dict[str, Any]:
        while True:
            message = json.loads(self._socket.recv(timeout=seconds))
            if message["type"] == "next":
                assert "errors" not in message["payload"], message
                return message["payload"]["data"]
            assert message["type"] in {"ping", "connection_ack"}, message


@contextmanager
def subscribed(system: System, selection: str, portfolio_id: str) -> Iterator[Live]:
    url = system.base.replace("http", "ws") + "/graphql"
    with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        query = "subscription($id: ID!) { " + selection + " }"
        payload = {"query": query, "variables": {"id": portfolio_id}}
        socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        yield Live(socket)


def counted(system: System) -> int:
    """Records accounted for by all workers: applied, stale or dead-lettered."""
    beats = [json.loads(beat) for beat in system.store.hvals(keys.ENGINE)]  # type: ignore[arg-type]
    return sum(beat["applied"] + beat["stale"] + beat["dead_lettered"] for beat in beats)


def _at_least(found: list[dict[str, Any]], count: int) -> list[dict[str, Any]] | None:
    return found if len(found) >= count else None


def test_a_close_rolls_the_scenario_set_everywhere(system: System) -> None:
    system.send(topics.MARKET_CLOSES, "2024-01-02", encode(MarketClose("2024-01-02", system.last_closes())))
    ids = system.store.zrange(keys.by_id(), 0, -1)

    def rolled() -> bool:
        return {system.snapshot(p)["scenario_set_id"][:10] for p in ids} == {"2024-01-02"}

    system.until(rolled, "the new set in every snapshot")
    assert str(system.store.get(keys.CURRENT_SCENARIO_SET)).startswith("2024-01-02")
