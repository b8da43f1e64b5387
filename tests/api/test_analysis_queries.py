"""What is computed when it is asked for, as GraphQL tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from plimsoll import keys
from plimsoll.messages import BacktestRecord, Mark, encode
from plimsoll.risk.backtest import traffic_light
from plimsoll.risk.methods import RELIVE, Method

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed

pytestmark = pytest.mark.anyio

CONTRIBUTION = """exposure weightFraction componentVar95 componentVar99 componentEs975 marginalVar95 marginalVar99
  marginalEs975 incrementalVar95 incrementalVar99 incrementalEs975"""
CONTRIBUTIONS = f"""method scenarioSetId observations var95 var99 es975 incompleteSymbols
  holdings {{ symbol sector {CONTRIBUTION} }} sectors {{ sector {CONTRIBUTION} }}"""
ALTERNATIVES = "method label inForce var95 var99 es975 var95Fraction var99Fraction es975Fraction var95ScenarioDate"
SHOCK = """pnl pnlFraction holdings { symbol returnFraction pnl basis } sectors { sector pnl }
  unusedSectors unusedSymbols incompleteSymbols"""
RATIO = "{ statistic pValue rejected }"
LEVEL = f"""{{ days exceptions expectedExceptions kupiec {RATIO} independence {RATIO} conditionalCoverage {RATIO} zone
  exceptionDays {{ session loss valueAtRisk }} }}"""
BACKTEST = f"""live {{ firstSession lastSession sessions exceptions95 exceptions99 recentSessions recentExceptions95
    recentExceptions99 kupiec95 {RATIO} kupiec99 {RATIO} zone }}
  rolling {{ method scenarioSetId window firstSession lastSession days var95 {LEVEL} var99 {LEVEL} z2 z2Rejected }}
  noRollingReason"""


@pytest.fixture
async def market(seed: Seed, make: Make) -> None:
    await seed.scenario_set(make.scenario_set(400, sectors={"MSFT": "Software"}))
    await seed.marks(AAPL=100.0, MSFT=200.0, TSLA=50.0)
    symbols, quantities = ["AAPL", "MSFT", "TSLA", "NEW"], [100.0, -20.0, 10.0, 1.0]
    sectors = ["Technology", None, None, None]
    await seed.write(make.snapshot(), make.record(symbols=symbols, quantities=quantities, sectors=sectors))


async def both_ways(client: Client, field: str, selection: str, arguments: str = "") -> Any:
    """What a field says of portfolio p-1; the portfolio itself has to say the same."""
    by_id = f'portfolioId: "p-1"{", " if arguments else ""}{arguments}'
    own = f"({arguments})" if arguments else ""
    answer = await client.ask(
        f'{{ {field}({by_id}) {{ {selection} }} portfolio(id: "p-1") {{ {field}{own} {{ {selection} }} }} }}'
    )
    assert answer[field] == answer["portfolio"][field]
    return answer[field]


@pytest.mark.usefixtures("market")
async def test_contributions_add_up_to_the_total_of_the_same_answer(client: Client) -> None:
    found = await both_ways(client, "contributions", CONTRIBUTIONS)
    assert [part["symbol"] for part in found["holdings"]] == ["AAPL", "MSFT", "TSLA"]
    assert [part["sector"] for part in found["sectors"]] == ["Technology", "Software", None]
    assert (found["method"], found["incompleteSymbols"]) == ("filtered_historical", ["NEW"])
    for name in ("Var95", "Var99", "Es975"):
        total = found[name[0].lower() + name[1:]]
        for parts in (found["holdings"], found["sectors"]):
            assert sum(part[f"component{name}"] for part in parts) == pytest.approx(total, abs=1e-9)
    aapl = found["holdings"][0]
    assert aapl["marginalVar95"] == pytest.approx(aapl["componentVar95"] / 10_000.0)
    assert aapl["weightFraction"] == pytest.approx(10_000.0 / 7_500.0)


@pytest.mark.usefixtures("market")
async def test_alternatives_stand_side_by_side_and_the_one_in_force_is_the_headline(client: Client) -> None:
    found = await both_ways(client, "alternatives", ALTERNATIVES)
    assert [each["method"] for each in found] == [method.value for method in Method]
    (in_force,) = [each for each in found if each["inForce"]]
    headline = await client.ask(
        '{ whatIf(portfolioId: "p-1", trades: []) {'
        " before { method var95 var99 es975 var95Fraction var95ScenarioDate } } }"
    )
    assert {name: in_force[name] for name in headline["whatIf"]["before"]} == {
        name: pytest.approx(value) if isinstance(value, float) else value
        for name, value in headline["whatIf"]["before"].items()
    }
    assert {each["method"] for each in found if each["var95ScenarioDate"]} == set(RELIVE)


@pytest.mark.usefixtures("market")
async def test_a_shock_is_done_to_what_is_held(client: Client) -> None:
    arguments = (
        'parallelFraction: -0.1, sectors: [{sector: "Software", fraction: -0.5}, {sector: "Softwear", fraction: 0.1}],'
        ' symbols: [{symbol: "AAPL", fraction: 0.05}]'
    )
    found = await both_ways(client, "shock", SHOCK, arguments)
    # 10,000 of AAPL, 4,000 of MSFT sold short, 500 of TSLA.
    assert {each["symbol"]: each["pnl"] for each in found["holdings"]} == {
        "AAPL": 500.0,
        "MSFT": 2_000.0,
        "TSLA": -50.0,
    }
    assert (found["pnl"], found["pnlFraction"]) == (2_450.0, pytest.approx(2_450.0 / 7_500.0))
    assert found["sectors"][0] == {"sector": None, "pnl": -50.0}
    assert (found["unusedSectors"], found["unusedSymbols"], found["incompleteSymbols"]) == (["Softwear"], [], ["NEW"])


@pytest.mark.usefixtures("market")
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("parallelFraction: -1.5", "parallelFraction"),
        ("parallelFraction: 1e400", "parallelFraction"),
        ('sectors: [{sector: "A", fraction: 0.1}, {sector: "B", fraction: 11}]', "sectors[1].fraction"),
        ('symbols: [{symbol: "A", fraction: 0.1}, {symbol: "A", fraction: 0.2}]', "symbols[1].symbol"),
        ("sectors: [], symbols: []", "parallelFraction"),
    ],
)
async def test_a_shock_that_cannot_be_is_named(client: Client, arguments: str, field: str) -> None:
    error = await client.refused(f'{{ shock(portfolioId: "p-1", {arguments}) {{ pnl }} }}')
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("BAD_INPUT", field)


@pytest.mark.usefixtures("market")
async def test_a_shock_needs_no_scenarios(client: Client, seed: Seed) -> None:
    await seed.redis.delete(keys.CURRENT_SCENARIO_SET)
    found = await both_ways(client, "shock", "pnl", "parallelFraction: -0.2")
    assert found["pnl"] == pytest.approx(-0.2 * 6_500.0)


@pytest.mark.usefixtures("market")
async def test_what_if_names_the_limits_that_would_be_breached(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(), make.record())
    answer = await client.ask(
        '{ whatIf(portfolioId: "p-1", trades: [{symbol: "AAPL", quantity: 200}]) {'
        " after { longExposure alignment { gap verdict } }"
        " difference { longExposure shortExposure sortinoRatio trackingError riskNumberStructural }"
        " breaches { code message value bound symbol alreadyBreached } } }"
    )
    # Half of it is in AAPL, then three quarters; a quarter is allowed.
    name = next(breach for breach in answer["whatIf"]["breaches"] if breach["symbol"] == "AAPL")
    assert (name["code"], name["value"], name["bound"]) == ("SINGLE_NAME", 0.75, 0.25)
    assert name["alreadyBreached"] is True
    assert "AAPL" in name["message"]
    assert answer["whatIf"]["difference"]["longExposure"] == 20_000.0


async def test_a_backtest_is_live_and_rolling(client: Client, seed: Seed, make: Make) -> None:
    scenarios = await seed.scenario_set(make.scenario_set(400))
    await seed.write(make.snapshot())
    before = await both_ways(client, "backtest", BACKTEST)
    assert before["live"] is None

    await seed.backtest(BacktestRecord("p-1", "2020-01-02", "2020-02-19", 34, 2, 1, "0" * 32 + "11", "0" * 33 + "1"))
    found = await both_ways(client, "backtest", BACKTEST)

    live, rolling = found["live"], found["rolling"]
    assert (live["sessions"], live["exceptions95"], live["recentExceptions99"], live["zone"]) == (34, 2, 1, None)
    assert live["kupiec95"]["rejected"] is False
    assert (rolling["window"], rolling["days"], found["noRollingReason"]) == (100, 299, None)
    assert len(rolling["var95"]["exceptionDays"]) == rolling["var95"]["exceptions"]
    assert rolling["var95"]["expectedExceptions"] == pytest.approx(299 * 0.05)
    newest = scenarios.closes.sessions[-250:]
    recent = [day for day in rolling["var99"]["exceptionDays"] if day["session"] in newest]
    assert (rolling["var95"]["zone"], rolling["var99"]["zone"]) == (None, traffic_light(len(recent)).value)
    assert rolling["z2"] is not None


async def test_a_backtest_without_history_says_why(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    found = await both_ways(client, "backtest", BACKTEST)
    assert found["rolling"] is None
    assert "no scenario set" in found["noRollingReason"]
    await seed.scenario_set()
    found = await both_ways(client, "backtest", BACKTEST)
    assert found["rolling"] is None
    assert "100 sessions" in found["noRollingReason"]


@pytest.mark.usefixtures("market")
async def test_what_is_held_by_sector_and_how_quickly_it_is_sold(client: Client, seed: Seed) -> None:
    await seed.redis.hset(keys.MARKS, "AAPL", encode(Mark(100.0, 1, average_daily_volume=1_000.0)))
    portfolio = (
        await client.ask(
            '{ portfolio(id: "p-1") { exposures { sector grossExposure netExposure longExposure shortExposure }'
            " holdings { symbol liquidityDays } alignment { toleranceNumber gap verdict } } }"
        )
    )["portfolio"]
    technology, software, unknown = portfolio["exposures"]
    assert (technology["sector"], technology["longExposure"]) == ("Technology", 10_000.0)
    assert software == {
        "sector": "Software",
        "grossExposure": 4_000.0,
        "netExposure": -4_000.0,
        "longExposure": 0.0,
        "shortExposure": -4_000.0,
    }
    assert (unknown["sector"], unknown["grossExposure"]) == (None, 500.0)
    assert {each["symbol"]: each["liquidityDays"] for each in portfolio["holdings"]} == {
        "AAPL": 0.5,
        "MSFT": None,
        "TSLA": None,
        "NEW": None,
    }
    assert portfolio["alignment"] == {"toleranceNumber": 50, "gap": 0, "verdict": "ALIGNED"}


@pytest.mark.parametrize(
    "query",
    [
        'contributions(portfolioId: "nobody") { var95 }',
        'alternatives(portfolioId: "nobody") { var95 }',
        'backtest(portfolioId: "nobody") { noRollingReason }',
        'shock(portfolioId: "nobody", parallelFraction: -0.1) { pnl }',
        'stress(portfolioId: "nobody") { pnl }',
    ],
)
async def test_nobody_is_not_found(client: Client, query: str) -> None:
    assert (await client.refused(f"{{ {query} }}"))["extensions"]["code"] == "NOT_FOUND"


async def test_where_the_engine_runs_another_version_answers_are_unavailable(
    client: Client, seed: Seed, make: Make
) -> None:
    record = replace(make.scenario_set_record(make.scenario_set()), scenario_set_id="2020-02-09-other")
    await seed.redis.set(keys.scenario_set("2020-02-09-other"), encode(record))
    await seed.redis.set(keys.CURRENT_SCENARIO_SET, "2020-02-09-other")
    await seed.write(make.snapshot())
    for query in ("contributions", "alternatives", "stress"):
        error = await client.refused(f'{{ {query}(portfolioId: "p-1") {{ __typename }} }}')
        assert (error["extensions"]["code"], error["extensions"]["dependency"]) == ("UNAVAILABLE", "the engine")
        assert "another version" in error["message"]
