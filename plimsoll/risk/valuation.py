"""From positions and marks to exposure, scenario P&L and measures: many portfolios at a time.

P&L is linear in the value of a position: in scenario s a portfolio makes the sum over its symbols of exposure times
return. One product gives every scenario of every portfolio, and all measures follow from it, so an answer for one
portfolio and a sweep over the whole book are the same code. A symbol that was never priced contributes nothing, and
`coverage` says so where nothing else is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from plimsoll.risk import methods
from plimsoll.risk.arrays import BoolArray, FloatArray, Sparse
from plimsoll.risk.measures import (
    Choice,
    FromPnl,
    Holdings,
    LongRun,
    Measures,
    complete,
    effective_names,
    from_pnl,
    value_known,
)
from plimsoll.risk.methods import Method, ScenarioPnl
from plimsoll.risk.scenarios import Opinion, ScenarioSet, rows_by_symbol
from plimsoll.risk.tails import TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99, TailRisk

STANDARD = Choice()

DENSE_SYMBOLS_MAX = 64
"""Up to so many symbols a dense product is quicker than a sparse one, though most of it multiplies zeros."""
_CHUNK_BYTES = 1024 * 1024
"""Of scenario P&L at a time: it is read many times over and should stay in cache meanwhile."""
_WORKING_BYTES = 16 * _CHUNK_BYTES
"""What the measures of one chunk take at a time, and free again, generously."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What positions are valued with.

    mark               (symbol,) float64, price of one unit; NaN where never priced
    previous_close     (symbol,) float64; NaN where there is none
    historical         (symbol, scenario) C order, fractions; zeros where unpriced. float32 halves the memory
    filtered           (symbol, scenario) the same, rescaled to the volatility of now
    own_history        (symbol,) whether the returns are the symbol's own; False where some are a proxy's
    benchmark_returns  (scenario,) fractions; NaN where there are none
    long_run           (symbol, session) C order, fractions, as they were; the newest are the historical ones
    volatility_now     (symbol,) daily, as the scenarios are filtered to; NaN where a proxy stands for the symbol
    valued             (symbol,) whether there are returns to value it with; where not, its mark is NaN

    Raises ValueError where the shapes disagree.
    """

    mark: FloatArray
    previous_close: FloatArray
    historical: FloatArray
    filtered: FloatArray
    own_history: BoolArray
    benchmark_returns: FloatArray
    long_run: FloatArray
    volatility_now: FloatArray
    valued: BoolArray
    long_run_mean: FloatArray = field(init=False)
    """(symbol,) mean daily return of the long run, a fraction."""
    long_run_factor: FloatArray = field(init=False)
    """(symbol, factor) exposure @ factor, squared and summed, is the variance of daily P&L over the long run."""

    def __post_init__(self) -> None:
        symbols, scenarios = len(self.mark), len(self.benchmark_returns)
        each = (self.previous_close, self.own_history, self.long_run, self.volatility_now, self.valued)
        lengths = [len(array) for array in each]
        if {self.historical.shape, self.filtered.shape} != {(symbols, scenarios)} or set(lengths) != {symbols}:
            raise ValueError(
                f"{symbols} marks and {scenarios} benchmark returns for returns of shape {self.historical.shape} and"
                f" {self.filtered.shape}, and {lengths} closes, histories, long runs, volatilities and flags"
            )
        object.__setattr__(self, "long_run_mean", self.long_run.mean(axis=1, dtype=np.float64))
        object.__setattr__(self, "long_run_factor", _factor(self.long_run))

    def remark(self, price: FloatArray) -> None:
        """Value everything with other prices (symbol,) from now on; NaN where there is none."""
        self.mark[:] = np.where(self.valued, price, np.nan)


def market_of(
    scenarios: ScenarioSet,
    symbols: Sequence[str],
    opinions: Mapping[str, Opinion],
    mark: FloatArray,
    previous_close: FloatArray,
    dtype: type[np.floating],
) -> Market:
    """The market of these symbols, in this order; `opinions` is of every symbol that has a price.

    A symbol for which neither history nor proxy can be had is not valued: its mark becomes NaN.
    """
    rows = rows_by_symbol(scenarios, symbols, opinions, dtype)
    now = dict(zip(scenarios.symbols, scenarios.volatility_now.tolist(), strict=True))
    return Market(
        mark=np.where(rows.valued, mark, np.nan),
        previous_close=previous_close,
        historical=rows.historical,
        filtered=rows.filtered,
        own_history=rows.own_history,
        benchmark_returns=scenarios.benchmark_returns,
        long_run=rows.long_run,
        volatility_now=np.array([now.get(symbol, np.nan) for symbol in symbols], np.float64),
        valued=rows.valued,
    )


def _factor(long_run: FloatArray) -> FloatArray:
    """(symbol, factor) with factor @ factor.T the sample covariance (ddof 1), as few factors as that takes.

    long_run  (symbol, session) fractions
    """
    swing: FloatArray = long_run - long_run.mean(axis=1, keepdims=True, dtype=np.float64)
    swing /= np.sqrt(max(long_run.shape[1] - 1, 1))
    if long_run.shape[0] >= long_run.shape[1]:
        return swing
    triangle: FloatArray = np.linalg.qr(swing.T, mode="r")  # type: ignore[assignment]  # numpy's stubs miss this mode
    return np.ascontiguousarray(triangle.T)


def live_scale(market: Market, decay: float) -> FloatArray:
    """(symbol,) by how much a symbol's volatility changes with what it did today: new over old.

    variance(live) = lambda variance(close) + (1 - lambda) return(today)^2, always from the closed state, so asking
    twice changes nothing. 1 for a proxy, and where today's return is not known.
    """
    today = market.mark / market.previous_close - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(decay + (1.0 - decay) * (today / market.volatility_now) ** 2)
    return np.where(np.isfinite(scale), scale, 1.0)


def scenario_pnl(exposure: FloatArray | Sparse, returns: FloatArray) -> FloatArray:
    """P&L of every portfolio in every scenario.

    exposure  (portfolio, symbol)   money, short positions negative; dense or sparse
    returns   (symbol, scenario)    fractions: -0.02 is a fall of two per cent
    result    (portfolio, scenario) money, a loss is negative; in the precision of `returns`
    """
    pnl: FloatArray = exposure.astype(returns.dtype, copy=False) @ returns
    return pnl


def revalue(
    quantity: Sparse, cash: FloatArray, market: Market, choice: Choice = STANDARD, scale: FloatArray | None = None
) -> Measures:
    """Every measure of every portfolio, from nothing but what it holds and the market.

    quantity   (portfolio, symbol) signed units
    cash       (portfolio,) money
    scale      (symbol,) what filtered scenarios are multiplied by, as `live_scale` gives it; None for the frozen set

    A portfolio's measures do not depend on which others are valued with it, but for the rounding of a dense product
    where there are few symbols; with more than `DENSE_SYMBOLS_MAX` they agree to the last bit.
    """
    exposure = exposures(quantity, market.mark)
    held = holdings(quantity, exposure, cash, market)
    value = value_known(held)
    factored = exposure @ market.long_run_factor
    long_run = LongRun(exposure @ market.long_run_mean, np.sqrt(np.einsum("pf,pf->p", factored, factored)))
    parts = [
        from_pnl(pnl, value[chunk], market.benchmark_returns, choice) for chunk, pnl in _chunks(exposure, market, scale)
    ]
    measured = FromPnl(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return complete(held, measured, long_run, value)


def tails(
    quantity: Sparse,
    market: Market,
    probabilities: Sequence[float] = (TAIL_VAR_95, TAIL_VAR_99, TAIL_ES_975),
    choice: Choice = STANDARD,
) -> list[TailRisk]:
    """Value at risk and expected shortfall alone, of every portfolio, for each tail probability; as in `revalue`."""
    exposure = exposures(quantity, market.mark)
    relives_filtered = choice.method is Method.FILTERED_HISTORICAL
    parts = [
        methods.tail_risk(choice.method, pnl, probabilities, choice.model)
        for _, pnl in _chunks(exposure, market, None, historical=not relives_filtered)
    ]
    return [
        TailRisk(*(np.concatenate(column) for column in zip(*level, strict=True))) for level in zip(*parts, strict=True)
    ]


def exposures(quantity: Sparse, mark: FloatArray) -> Sparse:
    """(portfolio, symbol) money: quantity times mark, nothing where there is no mark."""
    price = np.nan_to_num(mark, nan=0.0)
    value = quantity.data * price[quantity.indices]
    # Their own indices: scipy sorts them in place when it multiplies, and would leave the quantities to other symbols.
    return csr_array((value, quantity.indices.copy(), quantity.indptr), shape=quantity.shape)


def holdings(quantity: Sparse, exposure: Sparse, cash: FloatArray, market: Market) -> Holdings:
    """What follows from positions and marks alone."""
    everything = np.ones(len(market.mark))
    net = exposure @ everything
    gross, covered = (abs(exposure) @ np.column_stack((everything, market.own_history))).T
    holds_nothing = abs(quantity) @ everything == 0.0
    return Holdings(
        market_value=net + cash,
        gross_exposure=gross,
        net_exposure=net,
        cash=np.array(cash, np.float64),
        effective_names=effective_names(exposure),
        day_pnl=quantity @ np.nan_to_num(market.mark - market.previous_close, nan=0.0),
        coverage=np.divide(covered, gross, out=holds_nothing.astype(np.float64), where=gross > 0.0),
    )


def _chunks(
    exposure: Sparse, market: Market, scale: FloatArray | None, *, historical: bool = True
) -> Iterator[tuple[slice, ScenarioPnl]]:
    """Live through the scenarios, a few portfolios at a time; the filtered ones alone where no others are wanted."""
    portfolios, scenarios = exposure.shape[0], market.filtered.shape[1]
    # Having freed a block of this size once, glibc keeps freed memory up to twice as much. Otherwise each chunk's goes
    # back to the system and is mapped anew, page by page, for the next one: a third of the time on a virtual machine.
    np.empty(_WORKING_BYTES, np.uint8)
    bytes_each = scenarios * market.filtered.itemsize * (2 if historical else 1)
    rows = max(_CHUNK_BYTES // max(bytes_each, 1), 1)
    held = _rows_of(exposure, market.historical.dtype)
    scaled = held if scale is None else _rows_of(_times(exposure, scale), market.filtered.dtype)
    for first in range(0, max(portfolios, 1), rows):
        filtered = scenario_pnl(scaled[first : first + rows], market.filtered)
        as_it_was = scenario_pnl(held[first : first + rows], market.historical) if historical else filtered[:, :0]
        yield slice(first, first + rows), ScenarioPnl(as_it_was, filtered)


def _rows_of(exposure: Sparse, dtype: np.dtype[np.floating]) -> FloatArray | Sparse:
    """Exposure in the form whose product with returns is quickest, which is also quicker to cut into chunks."""
    exposure = exposure.astype(dtype, copy=False)
    return exposure.toarray() if exposure.shape[1] <= DENSE_SYMBOLS_MAX else exposure


def _times(exposure: Sparse, scale: FloatArray) -> Sparse:
    scaled = exposure.data * scale[exposure.indices]
    return csr_array((scaled, exposure.indices.copy(), exposure.indptr), shape=exposure.shape)
