"""What the business looks like to those who watch the system: figures of everyone's portfolios, read beside all else.

They are found out every few seconds, however often somebody scrapes, and from what is counted already: sorted sets in
O(log n), heartbeats, and the sums that the engine keeps for each advisor. No portfolio is looked at. While they cannot
be read there are none: figures of a minute ago, shown as those of now, would be wrong in silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from api.aggregates import Aggregate
from api.engine_state import EngineState
from api.listing import Listing, Selection
from api.summary import Summary, band_ends
from plimsoll.errors import PlimsollError
from plimsoll.messages import Heartbeat
from plimsoll.risk.score import AT_RISK_NUMBER, RiskBand

READ_SECONDS = 5.0
"""How often: as a scrape would want it, and with a thousand advisors about a hundredth of a core."""
NO_BAND = "NONE"
"""The band of portfolios without a risk number."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everyone's portfolios, as found at one time."""

    by_band: Mapping[str, int]
    """Each of `RiskBand`, and `NO_BAND`."""
    at_risk: int
    """Portfolios at or above the usual threshold."""
    firm: Aggregate

    def measured(self, name: str) -> float:
        """A measure of the firm; NaN where it is not defined, or nothing is known yet."""
        value = None if self.firm.measured is None else self.firm.measured[name]
        return float("nan") if value is None else float(value)


class Business:
    """The newest figures. `run` it as long as the process lives. `clock` gives UTC nanoseconds."""

    def __init__(
        self,
        summary: Summary,
        listing: Listing,
        engine: EngineState,
        stale_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        self._summary = summary
        self._listing = listing
        self._engine = engine
        self._stale_ns = int(stale_seconds * 1e9)
        self._clock = clock
        self._is_away = False
        self.newest: Figures | None = None
        """None before the first are read, and while they cannot be."""
        self.stale = 0
        """Portfolios of workers that have been silent for longer than they may."""

    async def run(self) -> None:
        """Read again and again, not while the process is still busy with its start. Ends only by being cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Read everything once. Raises nothing: what cannot be read is not shown."""
        try:
            self.stale = self._of_the_silent(await self._engine.crew())
            self.newest = await self._read()
            self._is_away = False
        except (PlimsollError, RedisError) as error:
            # Once for each outage: what follows is the same news.
            _log.log(logging.DEBUG if self._is_away else logging.WARNING, "no figures for /metrics: %s", error)
            self.newest, self._is_away = None, True

    @property
    def result_age_seconds(self) -> float:
        """Since the newest price or update that any result knows of; NaN where there is none."""
        as_of_ns = None if self.newest is None else self.newest.firm.as_of_ns
        return float("nan") if as_of_ns is None else (self._clock() - as_of_ns) / 1e9

    def _of_the_silent(self, crew: Sequence[Heartbeat]) -> int:
        now_ns = self._clock()
        return sum(beat.portfolios for beat in crew if now_ns - beat.beat_at_ns > self._stale_ns)

    async def _read(self) -> Figures:
        by_band: dict[str, int] = {}
        for band in RiskBand:
            lowest, highest = band_ends(band)
            by_band[band] = await self._listing.count(Selection(min_risk_number=lowest, max_risk_number=highest))
        # Read a moment later than the bands, so a portfolio that has come meanwhile may be missing in them.
        by_band[NO_BAND] = max(0, await self._listing.count(Selection()) - sum(by_band.values()))
        at_risk = await self._listing.count(Selection(min_risk_number=AT_RISK_NUMBER))
        return Figures(by_band, at_risk, await self._summary.firm())
