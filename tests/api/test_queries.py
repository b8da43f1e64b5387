from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from plimsoll.messages import AdvisorPnl, Replay
from plimsoll.risk.tails import expected_shortfall, value_at_risk

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed

pytestmark = pytest.mark.anyio


def global_id(kind: str, own_id: str) -> str:
    return base64.b64encode(f"{kind}:{own_id}".encode()).decode()


RISK = """query($id: ID!) { portfolioRisk(portfolioId: $id) {
  portfolioId advisorId clientId riskTolerance sequence asOf calculatedAt marketValue grossExposure netExposure
  longExposure shortExposure cash var95 var99 es975 var95Fraction var99Fraction es975Fraction volatility expectedReturn
  sharpeRatio sortinoRatio beta trackingError maxDrawdown effectiveNames riskNumber riskNumberStructural riskBand
  alignment { toleranceNumber gap verdict } dayPnl method horizonDays observations scenarioSetId var95ScenarioDate
  coverage incompleteSymbols proxiedSymbols stale priceAgeMs calculationTimeMs } }"""


async def test_every_measure_of_a_snapshot_is_told(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="99999999999999999999"))
    await seed.heartbeat()

    risk = (await client.ask(RISK, id="p-1"))["portfolioRisk"]

    assert risk["sequence"] == "99999999999999999999"
    assert risk["asOf"] == "2023-11-14T22:13:20+00:00"
    assert risk["calculatedAt"] == "2023-11-14T22:13:20.250000+00:00"
    assert risk["riskBand"] == "MODERATE"
    assert risk["riskTolerance"] == "MODERATE"
    assert (risk["var95"], risk["es975"], risk["maxDrawdown"]) == (1_000.0, 1_450.0, -0.3)
    assert (risk["longExposure"], risk["shortExposure"]) == (51_243.75, 0.0)
    assert (risk["sortinoRatio"], risk["trackingError"], risk["riskNumberStructural"]) == (0.6, 0.05, 44)
    assert risk["alignment"] == {"toleranceNumber": 50, "gap": 0, "verdict": "ALIGNED"}
    assert risk["stale"] is False
    assert risk["priceAgeMs"] > 0


async def test_what_is_not_defined_is_null(client: Client, seed: Seed, make: Make) -> None:
    undefined = dict.fromkeys(("var_95_fraction", "volatility", "risk_number", "oldest_price_ns"))
    await seed.write(make.snapshot(**undefined))

    risk = (await client.ask(RISK, id="p-1"))["portfolioRisk"]

    assert risk["var95Fraction"] is risk["volatility"] is risk["riskNumber"] is risk["riskBand"] is None
    assert risk["alignment"] is None
    assert risk["priceAgeMs"] is None


@pytest.mark.parametrize("unknown", ["nobody", "not an identifier", "", "x" * 65, "a\n"])
async def test_an_unknown_portfolio_is_null(client: Client, unknown: str) -> None:
    assert (await client.ask(RISK, id=unknown))["portfolioRisk"] is None
    assert (await client.ask("query($id: ID!) { portfolio(id: $id) { id } }", id=unknown))["portfolio"] is None


async def test_answers_are_stale_once_the_engine_is_silent(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    assert (await client.ask(RISK, id="p-1"))["portfolioRisk"]["stale"] is True


async def test_answers_are_stale_after_an_old_heartbeat(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    await seed.heartbeat(beat_at_ns=1)
    assert (await client.ask(RISK, id="p-1"))["portfolioRisk"]["stale"] is True


@pytest.mark.parametrize("by", ["p-1", global_id("Portfolio", "p-1")])
async def test_a_portfolio_is_found_by_either_id(client: Client, seed: Seed, make: Make, by: str) -> None:
    await seed.write(make.snapshot())

    portfolio = (
        await client.ask(
            "query($id: ID!) { portfolio(id: $id) { id portfolioId clientId riskTolerance cash accountType"
            " advisor { advisorId } risk { riskNumber } } }",
            id=by,
        )
    )["portfolio"]

    assert portfolio == {
        "id": global_id("Portfolio", "p-1"),
        "portfolioId": "p-1",
        "clientId": "client-1",
        "riskTolerance": "MODERATE",
        "cash": 1_000.0,
        "accountType": "IRA",
        "advisor": {"advisorId": "advisor-1"},
        "risk": {"riskNumber": 50},
    }


async def test_a_node_is_found_by_its_global_id_only(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    query = "query($id: ID!) { node(id: $id) { __typename id } }"

    for kind, own_id in (("Portfolio", "p-1"), ("Advisor", "advisor-1")):
        node = (await client.ask(query, id=global_id(kind, own_id)))["node"]
        assert node == {"__typename": kind, "id": global_id(kind, own_id)}
    for unknown in ("p-1", global_id("Portfolio", "p-2"), global_id("Advisor", "p-1"), global_id("Trade", "p-1"), "%"):
        assert (await client.ask(query, id=unknown))["node"] is None


async def test_holdings_say_what_each_position_is_worth(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(
        make.snapshot(),
        make.record(symbols=["AAPL", "MSFT", "NEW"], quantities=[10.0, -5.0, 1.0], sectors=["Technology", None, None]),
    )
    await seed.marks(AAPL=101.0, MSFT=202.0)

    holdings = (
        await client.ask(
            '{ portfolio(id: "p-1") { holdings { symbol sector quantity mark markedAt markAgeMs marketValue'
            " weightFraction dayPnl } } }"
        )
    )["portfolio"]["holdings"]

    # 10 x 101 - 5 x 202 is nothing, so the market value is the cash: 1,000.
    assert [(h["symbol"], h["marketValue"], h["weightFraction"]) for h in holdings] == [
        ("AAPL", 1_010.0, 1.01),
        ("MSFT", -1_010.0, -1.01),
        ("NEW", None, None),
    ]
    assert holdings[0]["dayPnl"] == pytest.approx(10.0)
    assert holdings[1]["dayPnl"] == pytest.approx(-10.0)
    assert holdings[2]["mark"] is holdings[2]["markedAt"] is holdings[2]["dayPnl"] is None


PAGE = """query($first: Int, $after: String, $filter: PortfolioFilter, $order: PortfolioOrder) {
  portfolios(first: $first, after: $after, filter: $filter, orderBy: $order) {
    totalCount nodes { portfolioId } edges { cursor node { portfolioId risk { riskNumber } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def fill(seed: Seed, make: Make) -> None:
    for number in range(1, 10):
        await seed.write(make.snapshot(f"p-{number}", f"advisor-{number % 2}", risk_number=number * 10))


async def test_pages_of_portfolios_are_walked_by_their_cursors(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    met, after = [], None
    for page_number in range(3):
        page = (await client.ask(PAGE, first=4, after=after))["portfolios"]
        assert page["totalCount"] == 9
        assert page["pageInfo"]["hasPreviousPage"] == (page_number > 0)
        met += [edge["node"]["risk"]["riskNumber"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]

    assert page["pageInfo"]["hasNextPage"] is False
    assert met == [90, 80, 70, 60, 50, 40, 30, 20, 10]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"riskBand": "HIGH"}, ["p-9", "p-8", "p-7"]),
        ({"riskBand": "LOW"}, ["p-2", "p-1"]),
        ({"riskBand": "MODERATE", "minRiskNumber": 50}, ["p-6", "p-5"]),
        ({"advisorId": "advisor-0", "maxRiskNumber": 40}, ["p-4", "p-2"]),
        ({"riskBand": "HIGH", "maxRiskNumber": 10}, []),
        ({"advisorId": "nobody"}, []),
    ],
)
async def test_a_filter_leaves_what_fits(
    client: Client, seed: Seed, make: Make, filter_: dict[str, Any], expected: list[str]
) -> None:
    await fill(seed, make)
    page = (await client.ask(PAGE, first=50, filter=filter_))["portfolios"]
    assert [node["portfolioId"] for node in page["nodes"]] == expected
    assert page["totalCount"] == len(expected)


async def test_lists_have_three_orders(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    for order, first in (("RISK_NUMBER_ASC", "p-1"), ("RISK_NUMBER_DESC", "p-9"), ("PORTFOLIO_ID", "p-1")):
        page = (await client.ask(PAGE, first=1, order=order))["portfolios"]
        assert page["nodes"] == [{"portfolioId": first}]


async def test_an_empty_page_says_that_there_is_more_and_how_much(client: Client, seed: Seed, make: Make) -> None:
    page = "{ totalCount nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"
    text = f"{{ portfolios(first: 0) {page} advisors(first: 0) {page} }}"
    empty = {"hasPreviousPage": False, "startCursor": None, "endCursor": None}
    for count in (0, 1):
        expected = {
            "totalCount": count, "nodes": [], "edges": [], "pageInfo": empty | {"hasNextPage": count > 0}
        }  # fmt: skip
        assert await client.ask(text) == {"portfolios": expected, "advisors": expected}
        await seed.write(make.snapshot())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("{ portfolios(first: -1) { totalCount } }", "first"),
        ("{ portfolios(first: 201) { totalCount } }", "first"),
        ('{ portfolios(after: "garbage") { totalCount } }', "after"),
        ("{ portfolios(filter: {minRiskNumber: 0}) { totalCount } }", "filter.minRiskNumber"),
        ('{ portfolios(filter: {advisorId: "*"}) { totalCount } }', "filter.advisorId"),
        ("{ atRiskPortfolios(riskThreshold: 0) { totalCount } }", "riskThreshold"),
        ("{ atRiskPortfolios(riskThreshold: 100) { totalCount } }", "riskThreshold"),
        ('{ whatIf(portfolioId: "*", trades: []) { before { sequence } } }', "portfolioId"),
        ('{ stress(portfolioId: "p-1", scenarios: ["doom"]) { pnl } }', "scenarios"),
        ('{ riskHistory(portfolioId: "a b") { sequence } }', "portfolioId"),
    ],
)
async def test_an_argument_that_cannot_be_used_is_named(client: Client, query: str, field: str) -> None:
    error = await client.refused(query)
    assert error["extensions"] == {"code": "BAD_INPUT", "field": field, "classification": "ValidationError"}


async def test_those_at_risk_are_at_or_above_the_threshold(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    for threshold, expected in ((70, ["p-9", "p-8", "p-7"]), (71, ["p-9", "p-8"]), (99, [])):
        page = (
            await client.ask(
                "query($t: Int!) { atRiskPortfolios(riskThreshold: $t) { totalCount nodes { portfolioId } } }",
                t=threshold,
            )
        )["atRiskPortfolios"]
        assert [node["portfolioId"] for node in page["nodes"]] == expected
        assert page["totalCount"] == len(expected)


@pytest.mark.parametrize("by", ["advisor-1", global_id("Advisor", "advisor-1")])
async def test_an_advisor_has_portfolios(client: Client, seed: Seed, make: Make, by: str) -> None:
    await fill(seed, make)
    advisor = (
        await client.ask(
            "query($id: ID!) { advisor(id: $id) { id advisorId totalCount"
            " portfolios(first: 2, orderBy: PORTFOLIO_ID) { nodes { portfolioId } } } }",
            id=by,
        )
    )["advisor"]
    assert advisor == {
        "id": global_id("Advisor", "advisor-1"),
        "advisorId": "advisor-1",
        "totalCount": 5,
        "portfolios": {"nodes": [{"portfolioId": "p-1"}, {"portfolioId": "p-3"}]},
    }
    assert (await client.ask('{ advisor(id: "nobody") { id } }'))["advisor"] is None


async def test_advisors_are_listed_by_id(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    first = (await client.ask("{ advisors(first: 1) { totalCount nodes { advisorId } pageInfo { endCursor } } }"))[
        "advisors"
    ]
    assert first["nodes"] == [{"advisorId": "advisor-0"}]
    assert first["totalCount"] == 2
    rest = await client.ask(
        "query($after: String) { advisors(after: $after) { nodes { advisorId } pageInfo { hasNextPage } } }",
        after=first["pageInfo"]["endCursor"],
    )
    assert rest["advisors"] == {"nodes": [{"advisorId": "advisor-1"}], "pageInfo": {"hasNextPage": False}}


def a_pnl(pnl: np.ndarray, scenario_set_id: str, **stated: float) -> AdvisorPnl:
    values = {
        "portfolios": 1,
        "market_value": 1_000.0,
        "gross_exposure": 1_000.0,
        "net_exposure": 1_000.0,
        "cash": 0.0,
        "day_pnl": 5.0,
        "covered_exposure": 500.0,
        "as_of_ns": 1_700_000_000_000_000_000,
        "calculated_at_ns": 1_700_000_000_000_000_000,
    } | stated
    filtered = np.asarray(pnl, np.float64)
    # As it was: an older half, and the scenarios half as large as they are filtered to now.
    long_run = np.concatenate([filtered, filtered]) / 2.0
    return AdvisorPnl(
        scenario_set_id=scenario_set_id, pnl=filtered.tobytes(), long_run_pnl=long_run.tobytes(), **values
    )


AGGREGATE = """scope portfolios partial scenarioSetId asOf method observations marketValue longExposure shortExposure
  var95 var95ScenarioDate es975 volatility sortinoRatio trackingError riskNumber riskNumberStructural effectiveNames
  coverage beta"""


async def test_the_firm_is_measured_from_summed_scenarios_not_from_summed_risk(
    client: Client, seed: Seed, make: Make
) -> None:
    scenarios = await seed.scenario_set()
    await seed.heartbeat()
    rng = np.random.default_rng(3)
    one, other = rng.normal(0, 10, 100), rng.normal(0, 10, 100)
    for advisor, pnl in (("advisor-1", one), ("advisor-2", other)):
        await seed.write(make.snapshot(f"p-{advisor}", advisor))
        await seed.advisor_pnl(advisor, "0/1", a_pnl(pnl, scenarios.scenario_set_id))

    answer = await client.ask(f'{{ firmRisk {{ {AGGREGATE} }} advisor(id: "advisor-1") {{ risk {{ {AGGREGATE} }} }} }}')
    firm, advisor = answer["firmRisk"], answer["advisor"]["risk"]

    together = (one + other)[None, :]
    assert firm["var95"] == pytest.approx(value_at_risk(together, 0.05)[0])
    assert firm["es975"] == pytest.approx(expected_shortfall(together, 0.025)[0])
    assert (firm["scope"], firm["portfolios"], firm["partial"]) == ("firm", 2, False)
    assert (firm["marketValue"], firm["coverage"], firm["observations"]) == (2_000.0, 0.5, 100)
    # Volatility is of returns as they were, half as large as what is filtered to now.
    assert firm["volatility"] == pytest.approx(np.std(together / 2.0 / 2_000.0, ddof=1) * np.sqrt(252))
    assert firm["var95ScenarioDate"] in scenarios.scenario_sessions
    assert firm["method"] == "filtered_historical"
    assert None not in (firm["sortinoRatio"], firm["trackingError"], firm["riskNumberStructural"])
    assert (firm["longExposure"], firm["shortExposure"], firm["effectiveNames"]) == (2_000.0, 0.0, None)
    assert advisor["scope"] == "advisor-1"
    assert advisor["var95"] == pytest.approx(value_at_risk(one[None, :], 0.05)[0])


@pytest.fixture
def always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats that are written one after another are all seen."""
    monkeypatch.setattr("api.engine_state.READ_EVERY_NS", 0)


@pytest.mark.usefixtures("always_read")
async def test_an_aggregate_says_when_a_part_is_missing(client: Client, seed: Seed, make: Make) -> None:
    scenarios = await seed.scenario_set()
    await seed.heartbeat(0, 2)
    await seed.heartbeat(1, 2)
    await seed.write(make.snapshot("p-1"))
    await seed.write(make.snapshot("p-2"))
    current, earlier = scenarios.scenario_set_id, "2001-01-01-old"
    await seed.advisor_pnl("advisor-1", "0/2", a_pnl(np.ones(100), current))
    await seed.advisor_pnl("advisor-1", "1/2", a_pnl(np.ones(100), earlier))
    # A crew of another size was there before, and left this behind.
    await seed.advisor_pnl("advisor-1", "0/1", a_pnl(np.ones(100), current, portfolios=50))

    firm = (await client.ask(f"{{ firmRisk {{ {AGGREGATE} }} }}"))["firmRisk"]

    assert (firm["portfolios"], firm["partial"], firm["scenarioSetId"]) == (1, True, current)


async def test_while_another_scenario_set_comes_into_force_the_last_whole_sum_stands(
    client: Client, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f'{{ firmRisk {{ {AGGREGATE} }} advisor(id: "advisor-1") {{ risk {{ {AGGREGATE} }} }} }}'
    before, after = await seed.scenario_set(), make.scenario_set(102)
    await seed.heartbeat(0, 1)
    for advisor in ("advisor-1", "advisor-2"):
        await seed.write(make.snapshot(f"p-{advisor}", advisor))
        await seed.advisor_pnl(advisor, "0/1", a_pnl(np.ones(100), before.scenario_set_id))
    whole = await client.ask(query)
    assert (whole["firmRisk"]["portfolios"], whole["firmRisk"]["partial"]) == (2, False)

    await seed.scenario_set(after)
    await seed.advisor_pnl("advisor-1", "0/1", a_pnl(np.full(100, 2.0), after.scenario_set_id))
    rolling = await client.ask(query)
    assert rolling["firmRisk"] == whole["firmRisk"]
    assert rolling["advisor"]["risk"]["scenarioSetId"] == after.scenario_set_id

    monkeypatch.setattr("api.summary.ROLL_NS", -1)
    late = (await client.ask(query))["firmRisk"]
    assert (late["portfolios"], late["partial"], late["scenarioSetId"]) == (1, True, after.scenario_set_id)


async def test_a_firm_without_portfolios_has_no_risk(client: Client) -> None:
    firm = (await client.ask(f"{{ firmRisk {{ {AGGREGATE} }} }}"))["firmRisk"]
    assert (firm["portfolios"], firm["partial"], firm["var95"], firm["riskNumber"]) == (0, False, 0.0, None)


WHAT_IF = """query($id: ID!, $trades: [TradeInput!]!) { whatIf(portfolioId: $id, trades: $trades) {
  before { sequence marketValue var95 riskNumber incompleteSymbols }
  after { marketValue var95 riskNumber incompleteSymbols proxiedSymbols coverage }
  difference { marketValue var95 riskNumber } } }"""


async def test_what_if_changes_nothing_but_says_what_would_change(client: Client, seed: Seed, make: Make) -> None:
    await seed.scenario_set()
    await seed.marks(AAPL=100.0, MSFT=200.0, TSLA=50.0)
    await seed.write(make.snapshot(sequence="12"))
    before_keys = {key: await seed.redis.dump(key) for key in await seed.redis.keys("*")}

    trades = [
        {"symbol": "AAPL", "quantity": -40.0},
        {"symbol": "AAPL", "quantity": -60.0},
        {"symbol": "TSLA", "quantity": 10.0},
        {"symbol": "NEW", "quantity": 1.0},
    ]
    answer = (await client.ask(WHAT_IF, id="p-1", trades=trades))["whatIf"]

    before, after = answer["before"], answer["after"]
    assert before["sequence"] == "12"
    # 100 x 100 + 50 x 200 + 1,000 of cash; then no AAPL, 10 x 50 of TSLA.
    assert (before["marketValue"], after["marketValue"]) == (21_000.0, 11_500.0)
    assert answer["difference"]["marketValue"] == -9_500.0
    assert answer["difference"]["var95"] == pytest.approx(after["var95"] - before["var95"])
    assert (before["incompleteSymbols"], after["incompleteSymbols"]) == ([], ["NEW"])
    assert after["proxiedSymbols"] == ["TSLA"]
    assert {key: await seed.redis.dump(key) for key in await seed.redis.keys("*")} == before_keys


async def test_no_trades_make_no_difference(client: Client, seed: Seed, make: Make) -> None:
    await seed.scenario_set()
    await seed.marks(AAPL=100.0, MSFT=200.0)
    await seed.write(make.snapshot())
    answer = (await client.ask(WHAT_IF, id="p-1", trades=[]))["whatIf"]
    assert answer["difference"] == {"marketValue": 0.0, "var95": 0.0, "riskNumber": 0}


async def test_what_if_of_nobody_is_not_found_and_without_scenarios_unavailable(
    client: Client, seed: Seed, make: Make
) -> None:
    assert (await client.refused(WHAT_IF, id="nobody", trades=[]))["extensions"]["code"] == "NOT_FOUND"
    await seed.write(make.snapshot())
    assert (await client.refused(WHAT_IF, id="p-1", trades=[]))["extensions"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize("quantity", ["1e400", "-1e400", "1e13"])
async def test_a_trade_beyond_reason_is_refused(client: Client, seed: Seed, make: Make, quantity: str) -> None:
    await seed.write(make.snapshot())
    error = await client.refused(
        f'{{ whatIf(portfolioId: "p-1", trades: [{{symbol: "A", quantity: {quantity}}}]) {{ before {{ sequence }} }} }}'
    )
    assert error["extensions"]["code"] == "BAD_INPUT"


async def test_a_stress_follows_the_index_where_a_name_has_no_history_of_it(
    client: Client, seed: Seed, make: Make
) -> None:
    scenarios = await seed.scenario_set()
    await seed.marks(AAPL=100.0, MSFT=200.0)
    await seed.write(make.snapshot())

    results = (
        await client.ask(
            '{ stress(portfolioId: "p-1", scenarios: ["covid-2020"]) { id name pnl pnlFraction ownShareFraction'
            " indexReturn holdings { symbol returnFraction pnl basis } } }"
        )
    )["stress"]

    (covid,) = results
    index = scenarios.benchmark_returns
    beta = np.cov(scenarios.historical[:, scenarios.symbols.index("AAPL")], index)[0, 1] / np.var(index, ddof=1)
    by_symbol = {holding["symbol"]: holding for holding in covid["holdings"]}
    assert by_symbol["AAPL"]["returnFraction"] == pytest.approx(beta * covid["indexReturn"])
    assert by_symbol["AAPL"]["basis"] == "beta"
    assert covid["pnl"] == pytest.approx(sum(holding["pnl"] for holding in covid["holdings"]))
    assert covid["pnlFraction"] == pytest.approx(covid["pnl"] / 21_000.0)
    everything = (await client.ask('{ stress(portfolioId: "p-1") { id } }'))["stress"]
    assert len(everything) == 16


async def test_history_is_cut_at_both_ends(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    minute = 1_700_000_040_000
    await seed.history("p-1", [minute, minute + 60_000, minute + 120_000])
    query = """query($from: DateTime, $to: DateTime) { riskHistory(portfolioId: "p-1", from: $from, to: $to) {
      sequence asOf marketValue riskNumber riskBand } }"""

    def moment(ms: int) -> str:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat()

    everything = (await client.ask(query))["riskHistory"]
    middle = await client.ask(query, **{"from": moment(minute + 60_000), "to": moment(minute + 119_999)})
    # A point is as of some second of its minute, and is met by whoever asks from there.
    within = await client.ask(query, **{"from": moment(minute + 9_000), "to": moment(minute + 69_000)})

    assert [point["sequence"] for point in everything] == ["1", "2", "3"]
    assert [point["sequence"] for point in middle["riskHistory"]] == ["2"]
    assert [point["sequence"] for point in within["riskHistory"]] == ["1", "2"]
    assert everything[0]["asOf"] == moment(minute)
    same = await client.ask('{ portfolio(id: "p-1") { history { sequence } } }')
    assert len(same["portfolio"]["history"]) == 3


async def test_all_of_the_longest_history_is_told(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    # PLIMSOLL_HISTORY_POINTS is 10,000 at the most, and Redis keeps up to a node of its stream more.
    await seed.history("p-1", [minute * 60_000 for minute in range(1, 10_101)])
    found = (await client.ask('{ riskHistory(portfolioId: "p-1") { sequence } }'))["riskHistory"]
    assert (len(found), found[-1]["sequence"]) == (10_100, "10100")


async def test_a_moment_that_is_none_is_refused(client: Client) -> None:
    error = await client.refused('{ riskHistory(portfolioId: "p-1", from: "yesterday") { sequence } }')
    assert "DateTime" in error["message"]


async def test_the_summary_counts_and_adds(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    await seed.write(make.snapshot("p-unnumbered", risk_number=None, var_95=5.0))

    summary = (
        await client.ask(
            "{ metricsSummary { totalPortfolios averageRiskNumber totalValueAtRisk highRiskCount"
            " riskDistribution { low moderate high } } }"
        )
    )["metricsSummary"]

    assert summary == {
        "totalPortfolios": 10,
        "averageRiskNumber": 50.0,
        "totalValueAtRisk": 9_005.0,
        "highRiskCount": 3,
        "riskDistribution": {"low": 2, "moderate": 4, "high": 3},
    }


@pytest.mark.usefixtures("always_read")
async def test_the_status_speaks_of_the_present_crew(client: Client, seed: Seed) -> None:
    await seed.heartbeat(0, 1, calculations=5, beat_at_ns=1)
    await seed.heartbeat(0, 2, calculations=100, average_calculation_time_ms=1.0)
    await seed.heartbeat(1, 2, calculations=300, average_calculation_time_ms=2.0)

    status = (
        await client.ask(
            "{ systemStatus { status redisConnected kafkaConnected stale totalCalculations averageCalculationTimeMs"
            " workers { workerIndex workers calculations marketSource } replay { session sessionSeconds } } }"
        )
    )["systemStatus"]

    assert status["status"] == "degraded"  # Kafka is nowhere in this test
    assert (status["redisConnected"], status["kafkaConnected"], status["stale"]) == (True, False, False)
    assert (status["totalCalculations"], status["averageCalculationTimeMs"]) == ("400", 1.75)
    assert [worker["workerIndex"] for worker in status["workers"]] == [0, 1]
    assert status["replay"] == {"session": "2020-02-20", "sessionSeconds": 20.0}


@pytest.mark.usefixtures("always_read")
async def test_what_is_played_says_the_worker_that_spoke_last(client: Client, seed: Seed) -> None:
    text = "{ systemStatus { replay { session } } }"
    assert (await client.ask(text))["systemStatus"]["replay"] is None  # nobody has spoken
    now_ns = time.time_ns()
    for index, session in enumerate(("2020-02-21", "2020-02-20")):
        await seed.heartbeat(index, 2, beat_at_ns=now_ns - index, replay=Replay(session, 5.0))
    assert (await client.ask(text))["systemStatus"]["replay"] == {"session": "2020-02-21"}


async def test_prices_that_are_no_replay_are_not_called_one(client: Client, seed: Seed) -> None:
    await seed.heartbeat(replay=None)
    assert (await client.ask("{ systemStatus { replay { session } } }"))["systemStatus"]["replay"] is None


async def test_an_unexpected_error_is_masked_and_logged_under_its_id(
    client: Client, seed: Seed, caplog: pytest.LogCaptureFixture
) -> None:
    await seed.redis.set("risk:broken", "not json: redis://:secret@host")

    error = await client.refused(RISK, id="broken")

    assert "secret" not in str(error)
    assert error["extensions"]["code"] == "INTERNAL"
    assert error["extensions"]["errorId"] in caplog.text


@pytest.mark.parametrize("body", ["1", "null", '"{ __typename }"', "[]", "", "{", "[" * 100_000])
async def test_a_body_that_is_no_object_is_the_callers_fault(client: Client, body: str) -> None:
    response = await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text


async def test_null_variables_of_a_get_are_none(client: Client) -> None:
    response = await client.http.get("/graphql", params={"query": "{ __typename }", "variables": "null"})
    assert response.json() == {"data": {"__typename": "Query"}}


async def test_a_document_of_countless_aliases_is_refused_before_it_is_run(client: Client) -> None:
    aliases = " ".join(f"a{n}: __typename" for n in range(3_000))
    response = await client.http.post("/graphql", json={"query": f"{{ {aliases} }}"})
    assert "tokens: 1,001 where 1,000 are allowed" in response.json()["errors"][0]["message"]


async def test_nan_is_refused_before_it_is_read(client: Client) -> None:
    response = await client.http.post(
        "/graphql",
        content='{"query": "{ __typename }", "variables": {"x": NaN}}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
