"""Portfolios: of an invented firm (who advises whom, what each client holds, how an advisor rebalances), or stated.

The clients are drawn, the prices they hold at are real. Everything is a pure function of a seed (or of the generator
handed in): portfolio `i` of `N` under `A` advisors is the same on every machine. No clock, no network. Portfolios that
somebody states are theirs: they are sent as they are, and never traded.

Signs and units: a short position has a negative quantity, market value and weight. `weight` is in percent of
`total_value`, and `total_value` = sum of market values + cash, so the weights and the cash's share make 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from plimsoll.messages import PortfolioUpdate, Position, RiskTolerance
from producer.closes import SECTORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

POSITIONS_LEAST, POSITIONS_MOST = 5, 20
VALUE_LEAST, VALUE_MOST = 100_000.0, 5_000_000.0
"""Dollars. What is drawn stays five per cent inside, because whole shares never add up to it exactly."""
SHORT_SHARE = 0.08
"""Of portfolios, those with one or two short positions."""
FULLY_INVESTED_SHARE = 0.15
"""Of portfolios, those without cash."""
ACCOUNT_TYPES = {"Individual": 0.30, "Joint": 0.20, "IRA": 0.20, "Roth IRA": 0.12, "401k": 0.10, "Trust": 0.08}
BOOK_SKEW = 0.8
"""Advisor number r has a book in proportion to 1 / r ** BOOK_SKEW."""
FLOW_SHARE = 0.05
"""Of rebalances, those in which the client also pays in or takes out cash."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How a client's tolerance shows in a portfolio: share of clients, bounds of cash, appetite for some sectors."""

    share: float
    cash_least: float
    cash_most: float
    appetite: Mapping[str, float]

    def preference(self, symbols: Sequence[str], sectors: Mapping[str, str]) -> NDArray[np.float64]:
        """How readily each of the symbols is bought; 1 where the client does not care."""
        return np.array([self.appetite.get(sectors.get(symbol, ""), 1.0) for symbol in symbols])


TEMPERS = {
    RiskTolerance.CONSERVATIVE: Temper(
        0.30, 0.08, 0.20, {"Technology": 0.3, "Energy": 0.3, "Consumer": 2.0, "Healthcare": 2.0}
    ),
    RiskTolerance.MODERATE: Temper(0.45, 0.02, 0.12, {}),
    RiskTolerance.AGGRESSIVE: Temper(
        0.25, 0.005, 0.06, {"Technology": 2.5, "Energy": 2.5, "Consumer": 0.5, "Healthcare": 0.7}
    ),
}
_TOLERANCES = tuple(TEMPERS)
_TOLERANCE_BOUNDS = np.cumsum([temper.share for temper in TEMPERS.values()])
_ACCOUNT_TYPES = tuple(ACCOUNT_TYPES)
_ACCOUNT_BOUNDS = np.cumsum(list(ACCOUNT_TYPES.values()))

# Keeps the draws of a portfolio, of the advisors' books and of the rebalancing apart under one seed.
_BOOKS, _CLIENT, _CHANGES = 1, 2, 3


class Universe:
    """What an invented firm may hold."""

    def __init__(self, symbols: Iterable[str], sectors: Mapping[str, str]) -> None:
        self.symbols = tuple(sorted(symbols))
        self.sectors = sectors
        self.preference = {tolerance: temper.preference(self.symbols, sectors) for tolerance, temper in TEMPERS.items()}


STOCKS = Universe(SECTORS, SECTORS)
"""The bundled ones."""


class Stated:
    """Portfolios as their owners state them: sent once, and not traded."""

    def __init__(self, updates: Sequence[PortfolioUpdate]) -> None:
        self.count = len(updates)
        self._updates = updates

    def portfolio(self, index: int, timestamp: float | None = None) -> PortfolioUpdate:
        """Portfolio number `index`, from 0, stated at `timestamp` (seconds since 1970)."""
        return msgspec.structs.replace(self._updates[index], timestamp=timestamp)


class Firm:
    """`count` portfolios under `advisors` advisors, drawn from `seed`; `marks` are the prices they were bought at."""

    def __init__(
        self, count: int, advisors: int, seed: int, marks: Mapping[str, float], universe: Universe = STOCKS
    ) -> None:
        self.universe = universe
        self.count = count
        self.seed = seed
        self.marks = marks
        self._width = max(4, len(str(count)))
        self._advisor = _dealt(count, advisors, np.random.default_rng([seed, _BOOKS, count, advisors]))

    def portfolio(self, index: int, timestamp: float | None = None) -> PortfolioUpdate:
        """Portfolio number `index`, from 0, as its owner first stated it at `timestamp` (seconds since 1970)."""
        rng = np.random.default_rng([self.seed, _CLIENT, index])
        number = f"{index + 1:0{self._width}d}"
        tolerance = _TOLERANCES[_drawn(_TOLERANCE_BOUNDS, rng)]
        account_type = _ACCOUNT_TYPES[_drawn(_ACCOUNT_BOUNDS, rng)]
        quantities, cash = _composed(tolerance, self.universe, self.marks, rng)
        client = PortfolioUpdate(
            id=f"portfolio-{number}",
            advisor_id=f"advisor-{self._advisor[index] + 1}",
            client_id=f"client-{number}",
            risk_tolerance=tolerance,
            account_type=account_type,
            positions=[],
        )
        return stated(client, quantities, cash, self.marks, timestamp, self.universe.sectors)

    def rebalanced(
        self,
        portfolio: PortfolioUpdate,
        rng: np.random.Generator,
        marks: Mapping[str, float],
        timestamp: float | None = None,
    ) -> PortfolioUpdate:
        """What becomes of a portfolio of this firm when it is rebalanced: see `rebalance`."""
        return rebalance(portfolio, rng, marks, timestamp, self.universe)

    def changes(self) -> np.random.Generator:
        """The generator that rebalances of this firm are drawn from."""
        return np.random.default_rng([self.seed, _CHANGES])


def rebalance(
    portfolio: PortfolioUpdate,
    rng: np.random.Generator,
    marks: Mapping[str, float],
    timestamp: float | None = None,
    universe: Universe = STOCKS,
) -> PortfolioUpdate:
    """The portfolio after one to three trades at `marks`, stated at `timestamp` (seconds since 1970).

    A trade moves part of one long holding into another, so the value stays; what whole shares leave over goes to
    cash, and cash beyond what the client's tolerance wants is invested. Now and then a holding is sold out, a symbol
    is held for the first time, or the client pays in or takes out up to two per cent. Short positions are kept.
    """
    quantities = {position.symbol: position.quantity for position in portfolio.positions}
    cash = portfolio.cash
    for _ in range(int(rng.integers(1, 4))):
        spare = max(0.0, cash - TEMPERS[portfolio.risk_tolerance].cash_most * (portfolio.total_value or 0.0))
        cash += _moved(quantities, spare, portfolio.risk_tolerance, universe, rng, marks)
    if rng.random() < FLOW_SHARE:
        flow = rng.uniform(-0.02, 0.02) * (portfolio.total_value or 0.0)
        cash += max(flow, -cash)
    return stated(portfolio, quantities, round(cash, 2), marks, timestamp, universe.sectors)


def stated(
    portfolio: PortfolioUpdate,
    quantities: Mapping[str, float],
    cash: float,
    marks: Mapping[str, float],
    timestamp: float | None,
    sectors: Mapping[str, str],
) -> PortfolioUpdate:
    """The portfolio with these quantities and this cash, and price, value and weight filled in at `marks`."""
    value = {symbol: quantity * marks[symbol] for symbol, quantity in quantities.items()}
    total = math.fsum(value.values()) + cash
    positions = [
        Position(
            symbol=symbol,
            quantity=quantity,
            price=marks[symbol],
            market_value=round(value[symbol], 2),
            weight=round(100.0 * value[symbol] / total, 6),
            sector=sectors.get(symbol),
        )
        for symbol, quantity in quantities.items()
    ]
    return msgspec.structs.replace(
        portfolio, positions=positions, cash=cash, total_value=round(total, 2), timestamp=timestamp
    )


def _dealt(count: int, advisors: int, rng: np.random.Generator) -> list[int]:
    """The advisor, from 0, of each portfolio: uneven books, and nobody without one while there are enough."""
    if count <= advisors:
        return [int(advisor) for advisor in rng.permutation(count)]
    share = 1.0 / np.arange(1, advisors + 1) ** BOOK_SKEW
    # Cutting the running total at whole numbers gives every advisor a share to the nearest portfolio.
    past = np.rint(np.cumsum(share) / share.sum() * (count - advisors)).astype(np.intp)
    size = 1 + np.diff(past, prepend=0)
    return [int(advisor) for advisor in rng.permutation(np.repeat(np.arange(advisors), size))]


def _composed(
    tolerance: RiskTolerance, universe: Universe, marks: Mapping[str, float], rng: np.random.Generator
) -> tuple[dict[str, float], float]:
    """Whole shares by symbol, and cash in dollars, of a new portfolio."""
    temper, preference = TEMPERS[tolerance], universe.preference[tolerance]
    count = min(int(rng.integers(POSITIONS_LEAST, POSITIONS_MOST + 1)), len(universe.symbols))
    # The first arrivals among exponential clocks are a draw without replacement in proportion to the rates.
    chosen = np.argsort(rng.exponential(size=len(universe.symbols)) / preference)[:count]
    total = _total_value(rng)
    cash_share = 0.0 if rng.random() < FULLY_INVESTED_SHARE else rng.uniform(temper.cash_least, temper.cash_most)
    shorts = min(int(rng.integers(1, 3)) if rng.random() < SHORT_SHARE else 0, count - 1)
    sold = rng.uniform(0.02, 0.06, size=shorts)
    raw = (0.05 + rng.exponential(size=count - shorts)) * preference[chosen[: count - shorts]]
    # What short sales brought in is invested again, so that longs - shorts + cash is the whole.
    weights = np.concatenate([raw / raw.sum() * (1.0 - cash_share + sold.sum()), -sold])
    quantities = {}
    for symbol, weight in zip((universe.symbols[column] for column in chosen), weights.tolist(), strict=True):
        shares = max(1.0, float(round(abs(weight) * total / marks[symbol])))
        quantities[symbol] = math.copysign(shares, weight)
    return quantities, round(cash_share * total, 2)


def _total_value(rng: np.random.Generator) -> float:
    """Dollars, lognormal around half a million, drawn again until within bounds."""
    while True:
        total = float(rng.lognormal(math.log(500_000.0), 0.9))
        if VALUE_LEAST * 1.05 <= total <= VALUE_MOST * 0.95:
            return total


def _moved(
    quantities: dict[str, float],
    spare: float,
    tolerance: RiskTolerance,
    universe: Universe,
    rng: np.random.Generator,
    marks: Mapping[str, float],
) -> float:
    """Trade once, changing `quantities`, with `spare` dollars besides the proceeds; the change of cash in dollars."""
    longs = [symbol for symbol, quantity in quantities.items() if quantity > 0]
    if len(longs) < 2:
        return 0.0
    source = longs[int(rng.integers(len(longs)))]
    target = _bought(quantities, [symbol for symbol in longs if symbol != source], tolerance, universe, rng)
    sells_out = len(quantities) > POSITIONS_LEAST and len(longs) > 2 and rng.random() < 0.1
    sold = quantities[source] if sells_out else float(math.floor(quantities[source] * rng.uniform(0.05, 0.3)))
    bought = float(math.floor((sold * marks[source] + spare) / marks[target]))
    if bought == 0.0:
        return 0.0
    quantities[target] = quantities.get(target, 0.0) + bought
    quantities[source] -= sold
    if quantities[source] == 0.0:
        del quantities[source]
    return sold * marks[source] - bought * marks[target]


def _bought(
    quantities: Mapping[str, float],
    others: list[str],
    tolerance: RiskTolerance,
    universe: Universe,
    rng: np.random.Generator,
) -> str:
    """The symbol that money goes into: mostly one of `others`, held already, now and then one the client would like."""
    fresh = [number for number, symbol in enumerate(universe.symbols) if symbol not in quantities]
    if fresh and rng.random() < 0.15:
        rate = universe.preference[tolerance][fresh]
        return universe.symbols[fresh[int(np.argmin(rng.exponential(size=len(fresh)) / rate))]]
    return others[int(rng.integers(len(others)))]


def _drawn(bounds: NDArray[np.float64], rng: np.random.Generator) -> int:
    """An index, as likely as its step in the running total `bounds`, whose last is 1."""
    return min(int(np.searchsorted(bounds, rng.random(), side="right")), len(bounds) - 1)
