"""Every Redis key and channel, spelled once, as a function that says what lives there.

Redis is a cache: all of it can be rebuilt from Kafka. Names with a colon are a contract that other programs rely on.
"""

from __future__ import annotations

MARKS = "marks"
"""Hash symbol -> `Mark` as JSON: the price each symbol is valued with, and when it was taken."""

CURRENT_SCENARIO_SET = "scenario-set:current"
"""String: the id of the scenario set that new snapshots are computed under."""

ENGINE = "engine"
"""Hash `worker index/workers` -> `Heartbeat` as JSON: what each engine worker said last."""

KAFKA_LOG = "kafka-log"
"""String: `{"cluster": …, "topics": {name: id}}`, the log whose offsets the sequences here are made of."""

KAFKA_CLUSTER = "kafka-cluster"
"""String: the id of the cluster alone, as version 0.1 wrote it. Read once, then replaced by `KAFKA_LOG`."""

FENCES = "engine-fences"
"""Hash partition of `portfolio-updates` -> token in decimal digits: the newest engine that took it. Larger wins."""

ADVISORS = "advisors"
"""Sorted set, every score 0: the ids of advisors who have a portfolio, in lexical order."""

CLOSED = "closed"
"""Hash portfolio_id -> sequence at which it was closed, so that a replay cannot open it again."""


def risk(portfolio_id: str) -> str:
    """The string that holds a portfolio's newest `RiskSnapshot` as JSON."""
    return f"risk:{portfolio_id}"


def portfolio(portfolio_id: str) -> str:
    """The string that holds a portfolio's positions as applied, a `PortfolioRecord` as JSON."""
    return f"portfolio:{portfolio_id}"


def history(portfolio_id: str) -> str:
    """The capped stream of a portfolio's `RiskPoint`s, one a minute (entry id: the minute in ms, `-0`)."""
    return f"history:{portfolio_id}"


def backtest(portfolio_id: str) -> str:
    """The string that holds a portfolio's live backtest, a `BacktestRecord` as JSON."""
    return f"backtest:{portfolio_id}"


def scenario_set(scenario_set_id: str) -> str:
    """The string that holds one immutable `ScenarioSetRecord` as JSON."""
    return f"scenario-set:{scenario_set_id}"


def by_risk(advisor_id: str | None = None) -> str:
    """The sorted set of portfolio ids by risk score, in sixteenths: everyone's, or one advisor's."""
    return "portfolios:by-risk" if advisor_id is None else f"portfolios:by-risk:{advisor_id}"


def by_id(advisor_id: str | None = None) -> str:
    """The sorted set of portfolio ids, every score 0, in lexical order: everyone's, or one advisor's."""
    return "portfolios:by-id" if advisor_id is None else f"portfolios:by-id:{advisor_id}"


def advisor_pnl(advisor_id: str) -> str:
    """Hash `worker index/workers` -> `AdvisorPnl` as JSON: scenario P&L summed over a worker's portfolios."""
    return f"advisor-pnl:{advisor_id}"


def risk_channel(advisor_id: str) -> str:
    """The pub/sub channel of one advisor's changes: each message is a `RiskBatch` as JSON."""
    return f"risk-updates:{advisor_id}"


ALL_RISK_CHANNELS = risk_channel("*")
"""The pattern that matches every advisor's channel."""
