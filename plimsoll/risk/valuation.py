"""From positions and marks to exposure, scenario P&L and measures: many portfolios at a time.

P&L is linear in the value of a position: in scenario s a portfolio makes the sum over its symbols of exposure times
return. One sparse product gives every scenario of every portfolio, and all measures follow from it, so an answer for
one portfolio and a sweep over the whole book are the same code. A symbol that was never priced contributes nothing,
and `coverage` says so where nothing else is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from plimsoll.risk.arrays import BoolArray, FloatArray, Sparse
from plimsoll.risk.measures import FromPnl, Measures, complete, divisor, effective_names, from_pnl

_CHUNK_BYTES = 512 * 1024
"""Of scenario P&L at a time: it is read ten times over and should stay in cache meanwhile."""
_WORKING_BYTES = 8 * _CHUNK_BYTES
"""What the measures of one chunk take at a time, and free again, generously."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What positions are valued with.

    mark               (symbol,) float64, price of one unit; NaN where never priced
    previous_close     (symbol,) float64; NaN where there is none
    returns            (symbol, scenario) C order, fractions; zeros where unpriced. float32 halves the memory
    own_history        (symbol,) whether the returns are the symbol's own; False where they are a proxy
    benchmark_returns  (scenario,) fractions

    Raises ValueError where the shapes disagree.
    """

    mark: FloatArray
    previous_close: FloatArray
    returns: FloatArray
    own_history: BoolArray
    benchmark_returns: FloatArray

    def __post_init__(self) -> None:
        expected = (len(self.mark), len(self.benchmark_returns))
        if self.returns.shape != expected or not len(self.mark) == len(self.previous_close) == len(self.own_history):
            raise ValueError(
                f"{len(self.mark)} marks, {len(self.previous_close)} closes, {len(self.own_history)} histories and"
                f" {len(self.benchmark_returns)} benchmark returns for returns of shape {self.returns.shape}"
            )


def scenario_pnl(exposure: FloatArray | Sparse, returns: FloatArray) -> FloatArray:
    """P&L of every portfolio in every scenario.

    exposure  (portfolio, symbol)   money, short positions negative; dense or sparse
    returns   (symbol, scenario)    fractions: -0.02 is a fall of two per cent
    result    (portfolio, scenario) money, a loss is negative; in the precision of `returns`
    """
    pnl: FloatArray = exposure.astype(returns.dtype, copy=False) @ returns
    return pnl


def revalue(quantity: Sparse, cash: FloatArray, market: Market, risk_free: float) -> Measures:
    """Every measure of every portfolio, from nothing but what it holds and the market.

    quantity   (portfolio, symbol) signed units
    cash       (portfolio,) money
    risk_free  annual, a fraction

    A portfolio's measures do not depend on which others are valued with it.
    """
    exposure = _exposure(quantity, market.mark)
    everything = np.ones(len(market.mark))
    net = exposure @ everything
    gross, covered = (abs(exposure) @ np.column_stack((everything, market.own_history))).T
    holds_nothing = abs(quantity) @ everything == 0.0
    market_value = net + cash
    value = divisor(market_value, gross)
    return complete(
        _from_scenarios(exposure, value, market),
        value,
        risk_free,
        market_value=market_value,
        gross_exposure=gross,
        net_exposure=net,
        cash=np.array(cash, np.float64),
        effective_names=effective_names(exposure),
        day_pnl=quantity @ np.nan_to_num(market.mark - market.previous_close, nan=0.0),
        coverage=np.divide(covered, gross, out=holds_nothing.astype(np.float64), where=gross > 0.0),
    )


def _from_scenarios(exposure: Sparse, value: FloatArray, market: Market) -> FromPnl:
    """Live through the scenarios, a few portfolios at a time."""
    exposure = exposure.astype(market.returns.dtype, copy=False)
    portfolios, scenarios = exposure.shape[0], market.returns.shape[1]
    # Having freed a block of this size once, glibc keeps freed memory up to twice as much. Otherwise each chunk's goes
    # back to the system and is mapped anew, page by page, for the next one: a third of the time on a virtual machine.
    np.empty(_WORKING_BYTES, np.uint8)
    chunk = max(_CHUNK_BYTES // max(scenarios * market.returns.itemsize, 1), 1)
    parts = [
        from_pnl(
            scenario_pnl(exposure[first : first + chunk], market.returns),
            value[first : first + chunk],
            market.benchmark_returns,
        )
        for first in range(0, max(portfolios, 1), chunk)
    ]
    return FromPnl(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _exposure(quantity: Sparse, mark: FloatArray) -> Sparse:
    """(portfolio, symbol) money: quantity times mark, nothing where there is no mark."""
    price = np.nan_to_num(mark, nan=0.0)
    value = quantity.data * price[quantity.indices]
    return csr_array((value, quantity.indices, quantity.indptr), shape=quantity.shape)
