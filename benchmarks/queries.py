"""Questions a second of one API worker, beside stock Strawberry and the REST route, and what on-demand risk adds.

`risk-api` as users start it, with one worker, on a core of its own; the loader and Redis share the other. Each server
is loaded in turn with the same portfolios over as many kept connections, and every answer is checked for the figures
that its portfolio has. CPU is the server's own, user and system, from /proc: where something else ran meanwhile, it is
the steadier figure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import redis

from benchmarks.asker import Job, Question, Told
from benchmarks.measuring import Stuck, progress, wait_for
from benchmarks.reference import Differs
from benchmarks.report import Row
from benchmarks.seeding import beat, seed
from benchmarks.servers import ROOT, environment, python
from embedded.child import Child
from embedded.store import EmbeddedStore, connect, free_port
from plimsoll.messages import RiskSnapshot
from plimsoll.transport import Redis

PORTFOLIOS = 1_000
CONNECTIONS = 16
RISK_LEAST, LIST_LEAST = 6_000, 3_200
"""Answers a second."""
LIGHT_PER_SECOND = 2_000
"""Beside on-demand risk."""
ON_DEMAND_PER_SECOND, ON_DEMAND_CONNECTIONS = 20, 4
ON_DEMAND_MS_MOST = 20
NOWHERE = "127.0.0.1:1"
"""A broker's address where nobody listens: no question here needs one."""
STOP_SECONDS = 10.0

FIELDS = (
    "portfolioId advisorId sequence asOf calculatedAt marketValue grossExposure netExposure cash var95 var99 es975 "
    "var95Fraction var99Fraction es975Fraction volatility expectedReturn sharpeRatio beta maxDrawdown effectiveNames "
    "riskNumber riskBand dayPnl coverage"
)
RISK = f"query Risk($id: ID!) {{ portfolioRisk(portfolioId: $id) {{ {FIELDS} }} }}"
LIST = (
    "query List { portfolios(first: 100) { edges { node { portfolioId riskTolerance "
    "risk { riskNumber riskBand var95 var99 marketValue volatility beta dayPnl } } } } }"
)
AT_RISK = LIST.replace("query List { portfolios(", "query AtRisk { atRiskPortfolios(riskThreshold: 1, ")
WHAT_IF = (
    "query WhatIf($id: ID!, $trades: [TradeInput!]!) { whatIf(portfolioId: $id, trades: $trades) "
    "{ before { var95 } after { var95 riskNumber } difference { var95 } } }"
)
CONTRIBUTIONS = "query Parts($id: ID!) { contributions(portfolioId: $id) { var95 holdings { symbol componentVar95 } } }"


class Figures(NamedTuple):
    """Medians of the rounds."""

    risk: Told
    stock_risk: Told
    rest_risk: Told
    list: Told
    at_risk: Told
    stock_list: Told
    what_if: Told
    contributions: Told
    light: Told
    """Those light questions beside which the two before were asked."""


class Server(NamedTuple):
    """One that answers."""

    port: int
    child: Child


def measure(rounds: int, seconds: float) -> Figures:
    """Start everything, load it in turn, `rounds` times. Raises `Differs` where an answer was wrong."""
    home = Path(tempfile.mkdtemp(prefix="plimsoll-bench-"))
    try:
        with EmbeddedStore.start(home) as store, connect(Redis(store.url), seconds=30.0) as client:
            serving, loading = _cores()
            os.sched_setaffinity(store.pid, loading)
            known = seed(client, PORTFOLIOS)
            with _api(store.url, home, serving) as api, _stock(store.url, home, serving) as stock:
                runs = [_round(api, stock, known, client, _Loader(home, loading, seconds)) for _ in range(rounds)]
        return Figures(*(_median(list(each)) for each in zip(*runs, strict=True)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _cores() -> tuple[set[int], set[int]]:
    """One for the server, one for whoever loads it. Raises `Stuck` where there is one only."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise Stuck("the server needs a core of its own beside the loader's: two cores")
    return {found[0]}, {found[1]}


@contextlib.contextmanager
def _api(redis_url: str, home: Path, cores: set[int]) -> Iterator[Server]:
    """`risk-api` with one worker."""
    port = free_port()
    environ = {"REDIS_URL": redis_url, "KAFKA_BROKERS": NOWHERE, "LOG_LEVEL": "ERROR"}
    with _started(python("api", "--port", str(port), environ=environ, log=home / "api.log"), port, cores) as server:
        yield server


@contextlib.contextmanager
def _stock(redis_url: str, home: Path, cores: set[int]) -> Iterator[Server]:
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "uvicorn", "benchmarks.stock:app", "--port", str(port)]
    child = Child.start(
        "stock Strawberry",
        [*command, "--loop", "uvloop", "--http", "httptools", "--log-level", "error", "--no-access-log"],
        environ={**environment(), "REDIS_URL": redis_url},
        log=home / "stock.log",
        directory=ROOT,
    )
    with _started(child, port, cores) as server:
        yield server


@contextlib.contextmanager
def _started(child: Child, port: int, cores: set[int]) -> Iterator[Server]:
    try:
        # Before it has threads: those it starts later stay where it is.
        os.sched_setaffinity(child.pid, cores)

        def answers() -> bool:
            if child.exit_code() is not None:
                raise Stuck(f"{child.name} ended:\n{child.tail()}")
            with contextlib.suppress(OSError):
                return bool(urllib.request.urlopen(_typename(port), timeout=1.0).status == 200)
            return False

        wait_for(answers, f"answer of {child.name}", 30.0)
        yield Server(port, child)
    finally:
        child.stop(STOP_SECONDS)


def _typename(port: int) -> urllib.request.Request:
    return urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=b'{"query": "{ __typename }"}',
        headers={"content-type": "application/json"},
    )


class _Loader(NamedTuple):
    home: Path
    cores: set[int]
    seconds: float

    def ask(self, what: str, server: Server, questions: list[Question]) -> Told:
        """As many questions as can be. Raises `Stuck`, and `Differs` where an answer was wrong."""
        return self.ask_all(what, server, [(questions, CONNECTIONS, 0.0)])[0]

    def ask_all(self, what: str, server: Server, kinds: list[tuple[list[Question], int, float]]) -> list[Told]:
        """Questions of several kinds side by side, each with its connections and its rate; from one process."""
        progress(what)
        jobs = [
            Job(server.port, server.child.pid, connections, self.seconds, rate, questions)
            for questions, connections, rate in kinds
        ]
        path = self.home / f"{what}.json"
        path.write_bytes(msgspec.json.encode(jobs))
        log = path.with_suffix(".log")
        log.unlink(missing_ok=True)
        asker = python("benchmarks.asker", str(path), environ={}, log=log)
        try:
            os.sched_setaffinity(asker.pid, self.cores)
            wait_for(lambda: asker.exit_code() is not None, f"end of {what}", self.seconds + 30.0)
            if asker.exit_code() != 0:
                raise Stuck(f"{what}: the loader did not end well:\n{asker.tail()}")
            told = msgspec.json.decode(asker.tail(1), type=list[Told])
        finally:
            asker.stop(STOP_SECONDS)
        for each in told:
            if each.wrong:
                count = f"{each.wrong:,} answers of {each.requests:,}"
                raise Differs(f"{what}: {count} are not right, the first:\n{each.first_wrong}")
        return told


def _round(api: Server, stock: Server, known: dict[str, RiskSnapshot], client: redis.Redis, loader: _Loader) -> Figures:
    risks = [_question(RISK, {"id": each}, _risk_of(snapshot)) for each, snapshot in known.items()]
    rest = [Question(f"/risk/{each}", None, f'"portfolio_id":"{each}"') for each in known]
    riskiest = sorted(known.values(), key=lambda each: (each.risk_number or 0, each.portfolio_id), reverse=True)
    lists = {text: [_question(text, {}, _row_of(riskiest[99]))] for text in (LIST, AT_RISK)}

    def load(what: str, server: Server, questions: list[Question]) -> Told:
        beat(client)  # A stale answer is as quick, and says another thing.
        return loader.ask(what, server, questions)

    # Each beside what it is compared with, so that the machine is as busy.
    risk, stock_risk = load("portfolioRisk", api, risks), load("portfolioRisk, stock", stock, risks)
    rest_risk = load("risk, REST", api, rest)
    page, stock_list = load("list of 100", api, lists[LIST]), load("list of 100, stock", stock, lists[LIST])
    at_risk = load("at risk, 100", api, lists[AT_RISK])
    what_if, light = _beside_light(loader, api, risks, "what-if", _what_ifs(known))
    contributions, _ = _beside_light(loader, api, risks, "contributions", _contributions(known))
    return Figures(risk, stock_risk, rest_risk, page, at_risk, stock_list, what_if, contributions, light)


def _beside_light(
    loader: _Loader, api: Server, risks: list[Question], what: str, questions: list[Question]
) -> list[Told]:
    """On-demand questions while light ones come all the time."""
    # The first one builds the scenario set again; a server does that once a session.
    _first(api, questions[0])
    light = (risks, CONNECTIONS, float(LIGHT_PER_SECOND))
    return loader.ask_all(what, api, [(questions, ON_DEMAND_CONNECTIONS, float(ON_DEMAND_PER_SECOND)), light])


def _first(api: Server, question: Question) -> None:
    request = _typename(api.port)
    request.data = (question.body or "").encode()
    with urllib.request.urlopen(request, timeout=60.0) as answered:
        body = answered.read().decode()
    if question.expected not in body:
        raise Differs(f"the first answer is not right: {body[:2_000]}")


def _question(text: str, variables: object, expected: str) -> Question:
    body = msgspec.json.encode({"query": text, "variables": variables}).decode()
    return Question("/graphql", body, expected)


def _risk_of(snapshot: RiskSnapshot) -> str:
    """A part of the answer that no other portfolio's has. Both servers write numbers as JSON's shortest."""
    return _json(snapshot.var_95)


def _row_of(snapshot: RiskSnapshot) -> str:
    """Of the last row of the page: where it stands, all rows before it do."""
    return _json(snapshot.portfolio_id)


def _what_ifs(known: dict[str, RiskSnapshot]) -> list[Question]:
    trades = [{"symbol": f"S{number:02d}", "quantity": -1.0} for number in range(3)]
    return [
        _question(WHAT_IF, {"id": each, "trades": trades}, f'"before":{{"var95":{_json(snapshot.var_95)}}}')
        for each, snapshot in known.items()
    ]


def _contributions(known: dict[str, RiskSnapshot]) -> list[Question]:
    return [_question(CONTRIBUTIONS, {"id": each}, '"holdings":[{"symbol":"S') for each in known]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _median(told: list[Told]) -> Told:
    """The run in the middle by its rate."""
    middle = statistics.median_low([each.requests / each.seconds for each in told])
    return next(each for each in told if each.requests / each.seconds == middle)


def rows(figures: Figures) -> list[Row]:
    """The claims about questions."""
    one, rest, page = figures.stock_risk, figures.rest_risk, figures.stock_list
    return [
        _rate_row("portfolioRisk, 25 fields", figures.risk, RISK_LEAST, "stock Strawberry", one),
        _rate_row("   the same beside GET /risk/{id}", figures.risk, None, "REST", rest),
        _rate_row("a list of 100 by 10 fields", figures.list, LIST_LEAST, "stock Strawberry", page),
        _rate_row("   of those at risk", figures.at_risk, LIST_LEAST, "stock Strawberry", page),
        _latency_row("what-if, 50 names", figures.what_if),
        _latency_row("contributions, 50 names", figures.contributions),
        Row(
            "   light questions meanwhile",
            f"p50 {figures.light.p50_ms:.1f} ms, p99 {figures.light.p99_ms:.1f} ms",
            baseline=f"{figures.light.requests / figures.light.seconds:,.0f}/s",
        ),
    ]


def _told(told: Told) -> str:
    return f"{told.requests / told.seconds:,.0f}/s at {told.cpu_us:.0f} µs"


def _rate_row(what: str, told: Told, least: int | None, baseline: str, beside: Told) -> Row:
    rate = told.requests / told.seconds
    measured = f"{_told(told)}, p50 {told.p50_ms:.1f} ms, p99 {told.p99_ms:.1f} ms"
    target, reached = ("", None) if least is None else (f"≥ {least:,}/s", rate >= least)
    return Row(
        what, measured, target, f"{baseline} {_told(beside)}", rate / (beside.requests / beside.seconds), reached
    )


def _latency_row(what: str, told: Told) -> Row:
    measured = f"p50 {told.p50_ms:.1f} ms, p99 {told.p99_ms:.1f} ms"
    beside = f"beside {LIGHT_PER_SECOND:,} portfolioRisk a second"
    return Row(what, measured, f"≤ {ON_DEMAND_MS_MOST} ms", beside, None, told.p99_ms <= ON_DEMAND_MS_MOST)
