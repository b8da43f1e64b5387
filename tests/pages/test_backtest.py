"""How value at risk has done: verdicts in words, a light with a name, exceptions that can be read without seeing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from accessibility import Axe
from live import LiveSystem, until
from playwright.sync_api import Page, Request, expect
from visits import Visitor

ADDRESS = "/#portfolio=portfolio-0003&tab=backtest"
JUDGED = '{ backtest(portfolioId: "portfolio-0003") { rolling { var99 { days exceptions expectedExceptions zone } } } }'


def backtest(visit: Visitor, **options: Any) -> Page:
    page = visit(ADDRESS, **options)
    expect(page.get_by_text("As of")).to_be_visible()
    return page


def test_verdicts_and_the_traffic_light_are_those_of_the_api_in_words(visit: Visitor, demo: LiveSystem) -> None:
    page = backtest(visit)
    # A session passes in seconds, and may end between the two answers: then look again.
    for _ in range(5):
        told = demo.graphql(JUDGED, {})["backtest"]["rolling"]["var99"]
        if (
            page.locator(".verdicts tr", has_text="Exceptions")
            .locator("td")
            .last.inner_text()
            .startswith(str(told["exceptions"]))
        ):
            break
        page.get_by_role("button", name="Again").click()
        expect(page.get_by_text("As of")).to_be_visible()
    expect(page.locator(".verdicts tr", has_text="Exceptions").locator("td").last).to_contain_text(
        str(told["exceptions"])
    )
    expect(page.locator(".verdicts tr", has_text="Kupiec").locator("td").last).to_contain_text(
        re.compile(r"(accepted|rejected).*p", re.DOTALL)
    )
    expect(page.get_by_text(re.compile(f"Basel traffic light: {told['zone'].title()}"))).to_be_visible()
    expect(page.get_by_text(re.compile("Hypothetical: the portfolio as it is now"))).to_be_visible()


def test_the_exceptions_are_a_picture_with_words_and_a_table(visit: Visitor) -> None:
    page = backtest(visit)
    picture = page.get_by_role("img", name=re.compile(r"\d+ of \d+ sessions lost more than VaR 95% had said"))
    expect(picture).to_be_visible()
    many = int(re.match(r"\d+", picture.get_attribute("aria-label") or "").group())  # type: ignore[union-attr]
    expect(picture.locator("circle")).to_have_count(many)
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Exceptions of VaR 95%").locator("tbody tr")).to_have_count(many)
    page.get_by_role("button", name="VaR 99%").click()
    expect(page.get_by_role("img", name=re.compile("lost more than VaR 99% had said"))).to_be_visible()


def test_it_is_asked_for_once_and_again_when_somebody_wants_to_know(visit: Visitor) -> None:
    page = visit("/")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "query Backtest" in (request.post_data or "") else None)
    page.goto(page.url + ADDRESS[1:])
    expect(page.get_by_text("As of")).to_be_visible()
    # Other tabs would have asked again by now.
    page.wait_for_event("request", lambda request: "query Firm" in (request.post_data or ""))
    assert len(asked) == 1
    page.get_by_role("button", name="Again").click()
    expect(page.get_by_text("As of")).to_be_visible()
    assert len(asked) == 2


def test_where_nothing_can_be_rolled_the_reason_is_told(visit: Visitor, demo: LiveSystem) -> None:
    stated = {"id": "unlisted", "advisorId": "advisor-1", "positions": [{"symbol": "UNLISTED", "quantity": 1}]}
    demo.graphql(
        "mutation($input: PortfolioInput!) { updatePortfolio(input: $input) { __typename } }", {"input": stated}
    )
    known = "query($id: ID!) { portfolio(id: $id) { id } }"
    until(lambda: demo.graphql(known, {"id": "unlisted"})["portfolio"], "portfolio that the engine knows")
    page = visit("/#portfolio=unlisted&tab=backtest")
    expect(page.get_by_text("There is none. There are no closes of UNLISTED.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_backtest(visit: Visitor, axe: Axe, scheme: str) -> None:
    page = backtest(visit, color_scheme=scheme)
    page.get_by_text("As a table").click()
    assert axe(page) == []


def test_on_a_phone_a_backtest_is_no_wider_than_the_page(visit: Visitor) -> None:
    page = backtest(visit, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.querySelector('portfolio-details').scrollWidth") <= 390
