"""How long a position takes to be sold without being the market.

Whoever trades more than a part of a day's volume moves the price against himself; held to that part, a position takes
as many days as its size is larger. Twenty per cent of the average daily volume is what desks commonly allow themselves:
a convention, not a result and not a rule of any regulator. What it leaves out is the price of haste: the spread, which
Bangia, Diebold, Schuermann and Stroughair (1999) add to value at risk, and the impact of selling faster. Volume is that
of the past, and it tends to be missing when everyone sells.
"""

from __future__ import annotations

import numpy as np

from plimsoll.risk.arrays import FloatArray

PARTICIPATION = 0.2
"""Part of a day's volume that one holder can trade unnoticed, by the convention of desks."""


def liquidity_days(quantity: FloatArray, daily_volume: FloatArray, participation: float = PARTICIPATION) -> FloatArray:
    """(holding,) days to trade out of each position: |quantity| / (participation x volume), not rounded.

    quantity       (holding,) signed; a short position takes as long to buy back
    daily_volume   (holding,) average traded a day, in the unit of quantity; NaN where it is not known
    participation  part of the volume that may be ours, above 0 and at most 1

    NaN where volume is not known, infinite where something is held that does not trade, 0 where nothing is held. Raises
    ValueError for a participation out of range, or a negative volume.
    """
    if not 0.0 < participation <= 1.0:
        raise ValueError(f"participation {participation} is no part of a day's volume: take more than 0, at most 1")
    volume = np.asarray(daily_volume, np.float64)
    if np.any(volume < 0.0):
        raise ValueError(f"a daily volume of {volume.min(where=~np.isnan(volume), initial=0.0):g} is below nothing")
    size, tradable = np.broadcast_arrays(np.abs(np.asarray(quantity, np.float64)), participation * volume)
    days = np.full(size.shape, np.nan)
    np.divide(size, tradable, out=days, where=tradable > 0.0)
    days[(tradable == 0.0) & (size > 0.0)] = np.inf
    days[size == 0.0] = 0.0
    return days
