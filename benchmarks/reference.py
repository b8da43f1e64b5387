"""What a snapshot has to say: `plimsoll.risk` asked outside the engine, and the loop that one would write first.

`Reference.check` compares a snapshot in Redis with a revaluation in float64 of the update that stated its positions.
`naive` is the same headline measures of one portfolio in plain numpy, as the map flow of `loops` computes them: its
answers are compared too, so that the baseline does the same work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_array

from benchmarks.records import SESSIONS, STOCKS
from plimsoll import messages
from plimsoll.errors import PlimsollError
from plimsoll.messages import PortfolioUpdate
from plimsoll.risk import stress
from plimsoll.risk.scenarios import Closes, build
from plimsoll.risk.score import risk_number, risk_score
from plimsoll.risk.valuation import Market, market_of, revalue
from producer import closes

TOLERANCE = 1e-6
"""Of gross exposure where money is compared; of the figure, or absolute, where it is not. What float32 is good for."""
_EXPOSURES = ("gross_exposure", "net_exposure", "long_exposure", "short_exposure")
_MONEY = frozenset((*_EXPOSURES, "market_value", "cash", "day_pnl", "var_95", "var_99", "es_975"))
SESSIONS_IN_YEAR = 252


class Differs(PlimsollError):
    """A snapshot is not what `plimsoll.risk` says of the same positions. No speed matters until it is."""


class Reference:
    """The bundled market at its last closes, and what portfolios are worth under it."""

    def __init__(self) -> None:
        bundled = closes.load()
        sessions = bundled.sessions[-SESSIONS:]
        price = bundled.matrix[-SESSIONS:]
        order = np.argsort(bundled.symbols)
        symbols = tuple(np.array(bundled.symbols)[order].tolist())
        anchors = {
            session: dict(zip(bundled.symbols, row.tolist(), strict=True))
            for session, row in zip(sessions, price, strict=True)
            if session in stress.ANCHOR_SESSIONS
        }
        self.scenarios = build(
            Closes(sessions, symbols, price[:, order]),
            closes.BENCHMARK,
            500,
            sectors=closes.SECTORS,
            stress_returns=stress.own_returns(anchors),
        )
        self.number = {symbol: at for at, symbol in enumerate(STOCKS)}
        """Symbol to its place in the market's arrays."""
        last = np.array([price[-1, bundled.symbols.index(symbol)] for symbol in STOCKS])
        self.market: Market = market_of(self.scenarios, STOCKS, {}, last, last.copy(), np.float64)
        self._single = market_of(self.scenarios, STOCKS, {}, last, last.copy(), np.float32)

    def measures(self, update: PortfolioUpdate, *, single: bool = False) -> dict[str, float | int | None]:
        """Every headline measure of one portfolio, in float64; `single`: in float32, as the engine holds scenarios."""
        symbols = [STOCKS.index(position.symbol) for position in update.positions]
        quantity = csr_array(
            ([position.quantity for position in update.positions], symbols, [0, len(symbols)]),
            shape=(1, len(STOCKS)),
        )
        return revalue(quantity, np.array([update.cash]), self._single if single else self.market).rows()[0]

    def check(self, snapshot: bytes, update: bytes) -> None:
        """Raises `Differs` where a stored snapshot is not that of this update at the last closes."""
        stored = msgspec.json.decode(snapshot)
        stated = messages.decode(update, PortfolioUpdate)
        if stored.get("scenario_set_id", self.scenarios.scenario_set_id) != self.scenarios.scenario_set_id:
            raise Differs(f"{stated.id} was valued under {stored['scenario_set_id']}")
        right, single = self.measures(stated), self.measures(stated, single=True)
        # A score of 46.4999998 is 46 in float64 and may be 47 in float32: at the edge of rounding both are right.
        edge = {name: single[name] for name, number in right.items() if isinstance(number, int)}
        compare(stated.id, stored, right | {name: value for name, value in edge.items() if stored[name] == value})


def compare(portfolio_id: str, said: Mapping[str, Any], right: Mapping[str, float | int | None]) -> None:
    """Raises `Differs` naming the first measure that is another."""
    gross = right["gross_exposure"] or 0.0
    for name, expected in right.items():
        found = said[name]
        room = TOLERANCE * (gross if name in _MONEY else 1.0)
        if expected is None or found is None:
            same = expected is found
        elif isinstance(expected, int):
            same = found == expected
        else:
            same = math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=room)
        if not same:
            raise Differs(f"{portfolio_id}: {name} is {found!r}, and plimsoll.risk says {expected!r}")


def naive(update: PortfolioUpdate, market: Market, number: Mapping[str, int]) -> dict[str, float | int | None]:
    """The headline measures of one portfolio, as one writes them down: numpy, a line a measure."""
    symbols = [number[position.symbol] for position in update.positions]
    quantity = np.array([position.quantity for position in update.positions])
    exposure = quantity * market.mark[symbols]
    net, gross = exposure.sum(), np.abs(exposure).sum()
    value = net + update.cash
    filtered = exposure @ market.filtered[symbols]
    returns = exposure @ market.historical[symbols] / value
    long_run = exposure @ market.long_run[symbols] / value
    index = market.benchmark_returns
    worst = np.sort(filtered)
    var_95, var_99 = -worst[25], -worst[5]
    es_975 = -(worst[:12].sum() + 0.5 * worst[12]) / 12.5
    deviation, mean = returns.std(ddof=1), returns.mean()
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2))
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    yearly = math.sqrt(SESSIONS_IN_YEAR)
    score = risk_score((filtered / value).std(ddof=1), long_run.mean())
    return {
        "market_value": float(value),
        "gross_exposure": float(gross),
        "net_exposure": float(net),
        "long_exposure": float(exposure[exposure > 0].sum()),
        "short_exposure": float(exposure[exposure < 0].sum()),
        "cash": update.cash,
        "var_95": float(var_95),
        "var_99": float(var_99),
        "es_975": float(es_975),
        "var_95_fraction": float(var_95 / value),
        "var_99_fraction": float(var_99 / value),
        "es_975_fraction": float(es_975 / value),
        "volatility": float(deviation * yearly),
        "expected_return": float(mean * SESSIONS_IN_YEAR),
        "sharpe_ratio": float(mean / deviation * yearly),
        "sortino_ratio": float(mean / downside * yearly),
        "beta": float(np.cov(returns, index)[0, 1] / np.var(index, ddof=1)),
        "tracking_error": float((returns - index).std(ddof=1) * yearly),
        "max_drawdown": float(np.min(wealth / np.maximum.accumulate(wealth)) - 1.0),
        "effective_names": float(gross**2 / np.sum(exposure**2)),
        "risk_number": int(risk_number(score)),
        "risk_number_structural": int(risk_number(risk_score(long_run.std(ddof=1), long_run.mean()))),
        "day_pnl": float(quantity @ (market.mark - market.previous_close)[symbols]),
        "coverage": float(np.abs(exposure[market.own_history[symbols]]).sum() / gross),
    }
