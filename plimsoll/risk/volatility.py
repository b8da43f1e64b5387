"""How volatile each name was thought to be on each day, and scenarios rescaled to how volatile it is now.

RiskMetrics (1996): the variance of tomorrow is a mean of past squared returns, weights falling by lambda a day, with
no mean subtracted: variance(t+1) = lambda variance(t) + (1 - lambda) return(t)^2. Hull and White (1998): a return of a
calm day would have been larger in a stormy one, so the return of session s becomes return(s) * volatility(now) /
volatility(s), name by name. The volatility of a session is what was known before it.
"""

from __future__ import annotations

import numpy as np

from plimsoll.risk.arrays import BoolArray, FloatArray

BACKCAST_RETURNS = 75
"""The first returns of a name, whose weighted mean square its variance starts from, as in the library arch."""
VOLATILITY_FLOOR = 0.05
"""Of a name's own root mean square. After months without any move the forecast nears zero, and the first move would be
rescaled without bound; nothing that trades daily comes near it."""


def ewma_volatility(returns: FloatArray, decay: float) -> FloatArray:
    """(session + 1, symbol) daily volatility forecast for each session from those before it; the last row is for next.

    returns  (session, symbol) fractions, oldest first; NaN where none was observed, which leaves the forecast alone
    decay    lambda, 0.94 by RiskMetrics

    NaN for a symbol without any return.
    """
    observed = np.isfinite(returns)
    square = np.where(observed, np.square(returns, dtype=np.float64), np.nan)
    variance = np.empty((len(returns) + 1, returns.shape[1]))
    variance[0] = _backcast(square, observed, decay)
    for session in range(len(returns)):
        held = variance[session]
        variance[session + 1] = np.where(observed[session], decay * held + (1.0 - decay) * square[session], held)
    return np.sqrt(variance)


def filtered_returns(returns: FloatArray, volatility: FloatArray, volatility_now: FloatArray) -> FloatArray:
    """(session, symbol) returns as they would have been at the volatility of now (Hull-White 1998), fractions.

    returns         (session, symbol) fractions; NaN stays NaN
    volatility      (session, symbol) as it was forecast for each session
    volatility_now  (symbol,) as it is forecast for the session to come

    A name that never moved stays at zero.
    """
    least = VOLATILITY_FLOOR * _root_mean_square(returns)
    known = np.maximum(volatility, least)
    scale = np.divide(volatility_now, known, out=np.zeros_like(known), where=known > 0.0)
    filtered: FloatArray = returns * scale
    return filtered


def _backcast(square: FloatArray, observed: BoolArray, decay: float) -> FloatArray:
    """(symbol,) the variance to start from: the first returns of each name, the very first weighing most."""
    age = np.cumsum(observed, axis=0) - 1.0
    weight = np.where(observed & (age < BACKCAST_RETURNS), decay**age, 0.0)
    total, summed = _summed(weight), _summed(weight * np.nan_to_num(square, nan=0.0))
    start: FloatArray = np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0.0)
    return start


def _root_mean_square(returns: FloatArray) -> FloatArray:
    observed = np.isfinite(returns)
    square = np.where(observed, returns, 0.0) ** 2
    count = observed.sum(axis=0)
    root: FloatArray = np.sqrt(np.divide(_summed(square), count, out=np.zeros(len(count)), where=count > 0))
    return root


def _summed(rows: FloatArray) -> FloatArray:
    """(symbol,) one session after the other. Of numpy's sums, the last digit depends on how many symbols there are."""
    total: FloatArray = np.zeros(rows.shape[1])
    for row in rows:
        total = total + row
    return total
