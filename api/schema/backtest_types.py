"""How value at risk has done: an exception is a session that lost more than had been said before it."""

from __future__ import annotations

import strawberry

from api import backtests
from api.on_demand import defined
from api.schema.enums import Zone
from plimsoll.risk import backtest


@strawberry.type(description="A likelihood ratio test at 5 %. Null where there is nothing to test.")
class LikelihoodRatio:
    """A `backtest.LikelihoodRatio`."""

    statistic: float | None = strawberry.field(description="0 or more; the larger, the less the model fits.")
    p_value: float | None = strawberry.field(description="How often a right model shows at least as large a one.")
    rejected: bool

    @classmethod
    def of(cls, ratio: backtest.LikelihoodRatio) -> LikelihoodRatio:
        """A ratio in words of the schema."""
        return cls(statistic=defined(ratio.statistic), p_value=defined(ratio.p_value), rejected=ratio.rejected)


@strawberry.type(
    description="What the engine has counted at each session's close since it first saw the portfolio at one."
)
class LiveBacktest:
    """A `backtests.LiveBacktest`."""

    first_session: str
    last_session: str
    sessions: int = strawberry.field(description="Judged.")
    exceptions_95: int = strawberry.field(description="Sessions that lost more than the value at risk at 95 %.")
    exceptions_99: int
    recent_sessions: int = strawberry.field(description="The newest of them, at most 250.")
    recent_exceptions_95: int
    recent_exceptions_99: int
    kupiec_95: LikelihoodRatio = strawberry.field(description="Are exceptions as many as they should be? Of all.")
    kupiec_99: LikelihoodRatio
    zone: Zone | None = strawberry.field(description="At 99 %, over 250 recent sessions; null before.")

    @classmethod
    def of(cls, live: backtests.LiveBacktest) -> LiveBacktest:
        """A count in words of the schema."""
        return cls(
            first_session=live.first_session,
            last_session=live.last_session,
            sessions=live.sessions,
            exceptions_95=live.exceptions_95,
            exceptions_99=live.exceptions_99,
            recent_sessions=live.recent_sessions,
            recent_exceptions_95=live.recent_exceptions_95,
            recent_exceptions_99=live.recent_exceptions_99,
            kupiec_95=LikelihoodRatio.of(live.kupiec_95),
            kupiec_99=LikelihoodRatio.of(live.kupiec_99),
            zone=live.zone,
        )


@strawberry.type(description="A session that lost more than value at risk had said the evening before.")
class BacktestException:
    """A `backtests.ExceptionDay`."""

    session: str
    loss: float = strawberry.field(description="Positive, as value at risk is.")
    value_at_risk: float

    @classmethod
    def of(cls, day: backtests.ExceptionDay) -> BacktestException:
        """A day in words of the schema."""
        return cls(session=day.session, loss=day.loss, value_at_risk=day.value_at_risk)


@strawberry.type(description="What the tests say of value at risk at one level.")
class BacktestLevel:
    """A `backtests.Level`."""

    days: int
    exceptions: int
    expected_exceptions: float = strawberry.field(description="As many as there should be.")
    kupiec: LikelihoodRatio = strawberry.field(description="Are exceptions as many as they should be?")
    independence: LikelihoodRatio = strawberry.field(
        description="Is one as likely after an exception as after none? Christoffersen."
    )
    conditional_coverage: LikelihoodRatio = strawberry.field(description="Both at once. Christoffersen.")
    zone: Zone | None = strawberry.field(description="Of the last 250 days; null at any level but 99 %.")
    exception_days: list[BacktestException] = strawberry.field(description="The oldest first.")

    @classmethod
    def of(cls, level: backtests.Level) -> BacktestLevel:
        """A verdict in words of the schema."""
        verdict = level.verdict
        return cls(
            days=verdict.days,
            exceptions=verdict.exceptions,
            expected_exceptions=verdict.expected,
            kupiec=LikelihoodRatio.of(verdict.kupiec),
            independence=LikelihoodRatio.of(verdict.christoffersen.independence),
            conditional_coverage=LikelihoodRatio.of(verdict.christoffersen.conditional_coverage),
            zone=verdict.zone,
            exception_days=[BacktestException.of(day) for day in level.exceptions],
        )


@strawberry.type(
    description=(
        "The portfolio as it is now, by weight, through past sessions: each judged by what was known before it. "
        "Hypothetical: the portfolio did not hold them then."
    )
)
class RollingBacktest:
    """A `backtests.RollingBacktest`."""

    method: str
    scenario_set_id: strawberry.ID = strawberry.field(description="Whose closes these are.")
    window: int = strawberry.field(description="Scenarios behind each value at risk.")
    first_session: str
    last_session: str
    days: int
    var_95: BacktestLevel
    var_99: BacktestLevel
    z2: float | None = strawberry.field(
        description="Of expected shortfall at 97.5 % (Acerbi-Szekely): 0 for a right model, less where they are deeper."
    )
    z2_rejected: bool | None = strawberry.field(description="Expected shortfall is too small, at 5 %.")

    @classmethod
    def of(cls, rolling: backtests.RollingBacktest) -> RollingBacktest:
        """A backtest in words of the schema."""
        z2 = rolling.es_975.z2
        told = None if z2 is None else defined(z2)
        return cls(
            method=rolling.method.value,
            scenario_set_id=strawberry.ID(rolling.scenario_set_id),
            window=rolling.window,
            first_session=rolling.first_session,
            last_session=rolling.last_session,
            days=rolling.days,
            var_95=BacktestLevel.of(rolling.var_95),
            var_99=BacktestLevel.of(rolling.var_99),
            z2=told,
            z2_rejected=None if told is None else rolling.es_975.z2_rejected,
        )


@strawberry.type(description="How a portfolio's value at risk has done.")
class Backtest:
    """A `backtests.Backtest`."""

    live: LiveBacktest | None = strawberry.field(description="Null before the first judged session.")
    rolling: RollingBacktest | None = strawberry.field(description="Null where history is too short.")
    no_rolling_reason: str | None = strawberry.field(description="Why `rolling` is null, where it is.")

    @classmethod
    def of(cls, found: backtests.Backtest) -> Backtest:
        """A backtest in words of the schema."""
        rolling = found.rolling
        return cls(
            live=None if found.live is None else LiveBacktest.of(found.live),
            rolling=None if isinstance(rolling, backtests.NoBacktest) else RollingBacktest.of(rolling),
            no_rolling_reason=rolling.reason if isinstance(rolling, backtests.NoBacktest) else None,
        )
