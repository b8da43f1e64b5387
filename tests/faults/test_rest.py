"""The log comes to rest: what was said last must be what stays, with no further input to mend it.

Not everything that changes a portfolio's numbers raises its sequence by itself: the proxy of a symbol without a history
follows what a vendor, or somebody else's positions, say of it, and that is looked at once a second. A snapshot computed
anew under a sequence that Redis holds already is refused there.
"""

from __future__ import annotations

import json

from load import UNHEARD, Made, Plan
from rig import Rig

from plimsoll import topics

ORPHAN = "ORPHAN"
"""Priced, without a history, and with nobody's opinion but a sector, which the last update states."""


def at_rest(rig: Rig) -> None:
    rig.opened(Plan(rig.seed))
    rig.watch()
    rig.running(rig.engine())
    rig.holds()


def sent(rig: Rig, topic: topics.Topic, key: str, value: dict[str, object]) -> None:
    assert rig.sender is not None
    rig.sender.send(Made(topic.name, key.encode(), json.dumps(value).encode()))
    rig.sender.settle()


def holding(portfolio_id: str, **position: object) -> dict[str, object]:
    positions = [{"symbol": ORPHAN, "quantity": 100.0, **position}, {"symbol": "XOM", "quantity": 10.0}]
    return {"id": portfolio_id, "advisor_id": "advisor-1", "positions": positions, "timestamp": 1.0}


def test_a_last_tick_with_another_price_and_another_beta_is_believed(rig: Rig) -> None:
    at_rest(rig)
    sent(rig, topics.MARKET_DATA, UNHEARD, {"symbol": UNHEARD, "price": 43.21, "volatility": 0.6, "beta": 0.3})
    rig.holds(10.0)


def test_a_last_update_that_states_a_sector_is_believed_of_others_too(rig: Rig) -> None:
    at_rest(rig)
    sent(rig, topics.PORTFOLIO_UPDATES, "portfolio-901", holding("portfolio-901"))
    sent(rig, topics.MARKET_DATA, ORPHAN, {"symbol": ORPHAN, "price": 20.0})
    rig.holds(10.0)
    sent(rig, topics.PORTFOLIO_UPDATES, "portfolio-902", holding("portfolio-902", sector="Energy"))
    rig.holds(10.0)
