"""Which scenario set a portfolio is measured with: the one that all share, or where prices have gaps one of its own.

Names without a gap live through the same sessions, so they share a set. Where a name that is held lacks returns, the
sessions in which it does are left out for its holders, and for nobody else (listwise); a name listed too late for that
is proxied by the benchmark. Without a benchmark nothing can stand in for it: then its holders' history begins when it
was listed, if that leaves sixty returns, and where it does not the name is not valued.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from plimsoll.reports.files import BadFile
from plimsoll.reports.flags import BENCHMARK
from plimsoll.reports.prices import Series, closes_of
from plimsoll.risk import scenarios, stress
from plimsoll.risk.scenarios import OBSERVATIONS_MIN, Closes, MissingBenchmark, ScenarioSet, TooFewObservations


class Sets:
    """The scenario sets of one price history, each built as they are asked for.

    prices     what is known; the newest session is the day that is measured
    benchmark  one of its symbols, or None
    window     how many scenarios; `decay` is lambda of the volatilities
    sectors    {symbol: sector}, for proxies

    Raises `BadFile` where there are too few sessions to measure anybody, or the benchmark has no history.
    """

    def __init__(
        self, prices: Series, benchmark: str | None, *, window: int, decay: float, sectors: Mapping[str, str]
    ) -> None:
        self._closes = closes_of(prices)
        self._benchmark = benchmark
        self._window = window
        self._decay = decay
        self._sectors = {symbol: sector for symbol, sector in sectors.items() if symbol in prices.symbols}
        self._stress_returns = stress.own_returns(_anchors(self._closes))
        try:
            self.shared = self._build(self._closes, None)
        except (TooFewObservations, MissingBenchmark) as error:
            raise BadFile(prices.named, str(error)) from None
        # What a name lacks before the window is a proxy's, as in the stream; without a benchmark there is none.
        counts = self.shared.returns if benchmark is None else self.shared.historical
        observed = np.isfinite(counts)
        self._whole = {symbol for column, symbol in enumerate(self.shared.symbols) if observed[:, column].all()}
        used = self.shared.closes
        self._benchmark_whole = benchmark is None or bool(
            np.isfinite(used.returns()[:, used.symbols.index(benchmark)]).all()
        )

    @property
    def stress_returns(self) -> Mapping[str, Mapping[str, float]]:
        """{stress id: {symbol: return}} of those that traded through a named stress, before the day measured."""
        return self._stress_returns

    def gaps(self, held: Collection[str]) -> frozenset[str]:
        """What decides the set of these holdings: nothing where all are whole, and so is the benchmark.

        The shared set leaves out the sessions in which the benchmark has a gap; what is held may have returns in them.
        """
        return frozenset(held) - self._whole if self._benchmark_whole else frozenset(held)

    def of(self, gaps: frozenset[str]) -> ScenarioSet:
        """The set for holdings with these gaps. Raises `TooFewObservations`."""
        # Not kept: whoever asks has grouped the portfolios by their gaps, and thousands of sets would fill the memory.
        return self._listwise(gaps) if gaps else self.shared

    def returns_of(self, symbol: str) -> int:
        """How many returns a symbol has in the sessions that are looked at."""
        used = self.shared.closes
        if symbol not in used.symbols:
            return 0
        return int(np.isfinite(used.returns()[:, used.symbols.index(symbol)]).sum())

    def _listwise(self, held: Collection[str]) -> ScenarioSet:
        made = self._build(self._closes, held)
        if self._benchmark is not None:
            return made
        listed = [self._listed(symbol) for symbol in held if self._is_late(made, symbol)]
        if not listed:
            return made
        try:
            return self._build(made.closes.newest(len(made.closes.sessions) - max(listed)), held)
        except TooFewObservations:
            return made

    def _is_late(self, made: ScenarioSet, symbol: str) -> bool:
        """Whether a name lacks scenarios of this set, but has enough returns to be measured by."""
        if symbol in made.symbols and np.isfinite(made.filtered[:, made.symbols.index(symbol)]).all():
            return False
        return self.returns_of(symbol) >= OBSERVATIONS_MIN

    def _listed(self, symbol: str) -> int:
        """The first session with a price, among those that are looked at."""
        used = self.shared.closes
        return int(np.flatnonzero(np.isfinite(used.price[:, used.symbols.index(symbol)]))[0])

    def _build(self, closes: Closes, held: Collection[str] | None) -> ScenarioSet:
        return scenarios.build(
            closes,
            self._benchmark,
            self._window,
            decay=self._decay,
            sectors=self._sectors,
            stress_returns=self._stress_returns,
            held=held,
        )


def benchmark_of(prices: Series, asked: str | None) -> str | None:
    """The benchmark's column: the one asked for, else `BENCHMARK` where it has a price. Raises `BadFile`."""
    if asked is not None:
        if asked not in prices.symbols:
            raise BadFile(prices.named, f"no column {asked}, which is to be the benchmark")
        return asked
    if BENCHMARK not in prices.symbols:
        return None
    return BENCHMARK if np.isfinite(prices.value[:, prices.symbols.index(BENCHMARK)]).any() else None


def _anchors(closes: Closes) -> dict[str, dict[str, float]]:
    return {
        session: dict(zip(closes.symbols, closes.price[row].tolist(), strict=True))
        for row, session in enumerate(closes.sessions)
        if session in stress.ANCHOR_SESSIONS
    }
