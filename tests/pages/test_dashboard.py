"""The dashboard as those who look after portfolios use it: in a browser, on a market that moves."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from accessibility import Axe
from live import LiveSystem, token, until
from playwright.sync_api import Locator, Page, Response, ViewportSize, expect
from visits import Visitor

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
CONNECTION_LOST = ("WebSocket connection", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")


def grid(page: Page) -> Locator:
    return page.get_by_role("grid", name="Portfolios")


def rows(page: Page) -> Locator:
    """Rows of portfolios that are in the document, in the order of the document's lines rather than of the table."""
    return page.locator("portfolio-grid .grid-body [role=row]:visible")


def row_of(page: Page, portfolio_id: str) -> Locator:
    return rows(page).filter(has=page.get_by_role("gridcell", name=portfolio_id, exact=True))


def cell(page: Page, place: int, key: str) -> Locator:
    """A cell of the row at a place of the table, from 0."""
    return page.locator(f'portfolio-grid [role=row][aria-rowindex="{place + 2}"] [data-column={key}]')


def column(page: Page, key: str) -> list[str]:
    """What a column says, from the top down."""
    return page.evaluate(
        """key => [...document.querySelectorAll('portfolio-grid .grid-body [role=row]:not([hidden])')]
            .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
            .map(row => row.querySelector(`[data-column="${key}"]`).textContent)""",
        key,
    )


def opened(visit: Visitor, address: str = "/", **options: Any) -> Page:
    """The dashboard with every portfolio read."""
    page = visit(address, **options)
    expect(page.get_by_text(re.compile(r"of 3\d\d shown"))).to_be_visible()
    expect(rows(page).first).to_be_visible()
    # It comes with the first totals, and takes its line from the table.
    expect(page.get_by_text("Replay of historical prices")).to_be_visible()
    return page


def numbers(page: Page) -> list[int]:
    return [int(each) for each in column(page, "riskNumber")]


def test_rows_move_while_one_looks_and_the_page_says_that_it_is_live(visit: Visitor) -> None:
    page = opened(visit)
    expect(page.locator(".state")).to_have_text("Live")
    before = column(page, "var95")
    until(lambda: column(page, "var95") != before, "row that moves", show=visit.account)
    expect(page.locator(".replay")).to_contain_text(re.compile(r"session of \d+ \w+ 20\d\d,\s+5 s a session"))


def test_the_riskiest_stand_first_and_a_head_sorts(visit: Visitor) -> None:
    page = opened(visit)
    until(lambda: (found := numbers(page)) == sorted(found, reverse=True), "order by risk", show=visit.account)
    page.get_by_role("columnheader", name="Portfolio").get_by_role("button").click()
    assert (ids := column(page, "id")) == sorted(ids)
    expect(page.get_by_role("columnheader", name="Portfolio")).to_have_attribute("aria-sort", "ascending")
    page.wait_for_url(re.compile("#sort=id$"))


def test_a_threshold_leaves_the_others_out_and_its_address_shows_a_colleague_the_same(visit: Visitor) -> None:
    page = opened(visit)
    page.get_by_role("slider", name="Risk number at least").fill("70")
    until(lambda: numbers(page) and min(numbers(page)) >= 70, "table of those at risk", show=visit.account)
    page.wait_for_url(re.compile("min=70"))
    colleague = opened(visit, page.url)
    until(lambda: numbers(colleague) and min(numbers(colleague)) >= 70, "the same at a colleague's")
    expect(colleague.get_by_role("slider", name="Risk number at least")).to_have_value("70")
    expect(colleague.get_by_role("button", name="At risk")).to_have_attribute("aria-pressed", "true")


def test_an_advisor_is_one_click_away_with_a_book_of_their_own(visit: Visitor, demo: LiveSystem) -> None:
    page = opened(visit)
    cell(page, 2, "advisorId").hover()
    expect(page.locator(".held")).to_be_visible()
    advisor = cell(page, 2, "advisorId").inner_text()
    cell(page, 2, "advisorId").click()
    strip = page.get_by_role("region", name=f"Advisor {advisor}")
    told = demo.graphql("query($id: ID!) { advisor(id: $id) { totalCount } }", {"id": advisor})
    expect(strip).to_contain_text(f"{told['advisor']['totalCount']} portfolios, as one book")
    expect(strip.get_by_text("VaR 95%")).to_be_visible()
    until(lambda: set(column(page, "advisorId")) == {advisor}, "table of one advisor", show=visit.account)
    strip.get_by_role("button", name="Show everyone").click()
    until(lambda: len(set(column(page, "advisorId"))) > 1, "table of everyone", show=visit.account)


def test_a_search_finds_part_of_an_id_and_says_when_nothing_matches(visit: Visitor) -> None:
    page = opened(visit)
    page.keyboard.press("Control+k")
    page.keyboard.type("0007")
    until(lambda: column(page, "id") == ["portfolio-0007"], "the one found", show=visit.account)
    page.keyboard.type("x")
    expect(page.get_by_text("No portfolio matches. Lower the risk number, or clear the search.")).to_be_visible()


def test_everything_can_be_reached_by_keyboard(visit: Visitor) -> None:
    page = opened(visit)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the portfolios")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Home")
    page.keyboard.press("Home")
    first = column(page, "id")[0]
    expect(page.get_by_role("gridcell", name=first, exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    second = column(page, "id")[1]
    expect(page.get_by_role("gridcell", name=second, exact=True)).to_be_focused()
    page.keyboard.press("Control+End")
    expect(page.locator(f'[role=row][aria-rowindex="{grid(page).get_attribute("aria-rowcount")}"]')).to_be_visible()
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("columnheader", name="Portfolio").get_by_role("button")).to_be_focused()
    page.keyboard.press("ArrowDown")
    # While the keyboard was in the head the order was free.
    first = column(page, "id")[0]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=first)).to_be_focused()
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Holdings")).to_be_focused()
    expect(page.get_by_role("tab", name="Holdings")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("gridcell", name=first, exact=True)).to_be_focused()
    page.get_by_role("button", name="Keys").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_a_row_does_not_slip_away_from_under_the_pointer(visit: Visitor) -> None:
    page = opened(visit)
    cell(page, 3, "id").hover()
    expect(page.get_by_text("order held while you point at the table")).to_be_visible()
    held, values = column(page, "id"), column(page, "var95")
    until(lambda: column(page, "var95") != values, "value that changes while the order is held", show=visit.account)
    assert column(page, "id") == held
    page.mouse.move(5, 5)
    expect(page.get_by_text("order held while you point at the table")).to_be_hidden()
    until(lambda: (found := numbers(page)) == sorted(found, reverse=True), "order that follows again")


def test_a_paused_page_stands_still_and_catches_up(visit: Visitor) -> None:
    page = opened(visit)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".state")).to_have_text("Paused")
    still = page.locator("body").inner_text()
    heard = page.evaluate("() => document.querySelector('plimsoll-app').model.book.updates")
    until(
        lambda: page.evaluate("() => document.querySelector('plimsoll-app').model.book.updates") > heard + 300,
        "updates that a paused page takes in",
        show=visit.account,
    )
    assert page.locator("body").inner_text() == still
    page.get_by_role("button", name="Resume").click()
    until(lambda: page.locator("body").inner_text() != still, "page that goes on", show=visit.account)


def test_what_is_shown_can_be_taken_away_as_csv(visit: Visitor) -> None:
    page = opened(visit, "/#min=70&sort=id")
    page.get_by_role("button", name="Pause").click()
    shown = column(page, "id")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export CSV").click()
    assert downloading.value.suggested_filename == "portfolios.csv"
    lines = list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text(encoding="utf-8"))))
    assert [line["portfolio_id"] for line in lines][: len(shown)] == shown
    assert all(int(line["risk_number"]) >= 70 for line in lines)
    assert all(float(line["var_95"]) > 0 for line in lines)


def test_a_page_whose_server_dies_says_so_greys_and_comes_back(visit: Visitor, demo: LiveSystem) -> None:
    visit.expect(*CONNECTION_LOST)
    page = opened(visit)
    demo.kill_api()
    expect(page.locator(".state")).to_have_text("Reconnecting")
    expect(page.get_by_role("alert").filter(has_text="The connection is lost.")).to_be_visible()
    expect(page.locator("portfolio-grid.is-stale")).to_be_visible()
    demo.start_api()
    expect(page.locator(".state")).to_have_text("Live", timeout=30_000)
    before = column(page, "var95")
    until(lambda: column(page, "var95") != before, "row that moves again", show=visit.account)
    expect(page.locator("portfolio-grid.is-stale")).to_have_count(0)


def test_what_changed_while_the_page_was_cut_off_is_there_afterwards(visit: Visitor, demo: LiveSystem) -> None:
    visit.expect(*CONNECTION_LOST)
    page = opened(visit)
    demo.kill_api()
    expect(page.locator(".state")).to_have_text("Reconnecting")
    demo.start_api()
    demo.open_portfolio("opened-meanwhile")
    expect(page.locator(".state")).to_have_text("Live", timeout=30_000)
    page.get_by_role("searchbox", name="Find").fill("opened-meanwhile")
    expect(row_of(page, "opened-meanwhile")).to_be_visible()


def test_an_engine_that_falls_silent_is_told_of_and_its_rows_are_grey(visit: Visitor, demo: LiveSystem) -> None:
    page = opened(visit)
    with demo.engine_standing_still():
        expect(page.get_by_role("alert").filter(has_text="The engine is silent.")).to_be_visible(timeout=30_000)
        expect(page.locator(".state")).to_have_text("Engine silent")
        expect(page.locator("portfolio-grid.is-stale")).to_be_visible()
    expect(page.locator(".state")).to_have_text("Live", timeout=30_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visitor, axe: Axe, theme: str) -> None:
    page = opened(visit, color_scheme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert axe(page) == []
    page.get_by_role("button", name="Keys").click()
    assert axe(page) == []


def test_the_theme_follows_the_system_until_it_is_switched_and_is_remembered(visit: Visitor) -> None:
    page = opened(visit, color_scheme="dark")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_a_phone_shows_what_matters_and_needs_no_sideways_scrolling(visit: Visitor, axe: Axe) -> None:
    page = opened(visit, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('portfolio-grid').scrollWidth") <= 390
    shown = [head.inner_text() for head in page.get_by_role("columnheader").all() if head.is_visible()]
    assert [head.removesuffix(" ↓") for head in shown] == ["Portfolio", "Risk", "Change", "VaR 95%", "Day P&L"]
    cell(page, 1, "id").tap()
    expect(page.get_by_role("tab", name="Overview")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert axe(page) == []


def test_an_advisor_signs_in_and_sees_no_client_of_anyone_else(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "WebSocket")
    said: list[str] = []
    page = visit(guarded)

    def note(answer: Response) -> None:
        if answer.url.endswith("/graphql"):
            said.append(answer.text())

    page.on("response", note)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: said.append(str(frame))))
    page.get_by_label("Access token").fill(token("advisor", "--advisor", "advisor-3"))
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page).first).to_be_visible()
    expect(page.locator(".state")).to_have_text("Live")
    before = column(page, "var95")
    until(lambda: column(page, "var95") != before, "row that moves", show=visit.account)
    assert set(column(page, "advisorId")) == {"advisor-3"}
    # Whose body is read while the page is closed would fail the next test.
    page.remove_listener("response", note)
    assert page.title()
    told = "\n".join(said)
    assert "advisor-3" in told
    assert set(re.findall(r"advisor-\d+", told)) == {"advisor-3"}
    assert "token" not in page.url
    assert json.loads(page.evaluate("JSON.stringify(Object.keys(localStorage))")) == []


def test_a_token_that_is_refused_is_said_to_be(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "WebSocket")
    page = visit(guarded)
    page.get_by_label("Access token").fill("Bearer not-a-token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Your token was refused")).to_be_visible()


@pytest.mark.timeout(240)
def test_twenty_pages_on_one_server_all_keep_up(visit: Visitor, demo: LiveSystem) -> None:
    first = opened(visit)
    # Small ones draw less, and the browser has to draw all twenty on the cores that the engine works on.
    small = ViewportSize(width=400, height=300)
    pages = [first, *(visit.open(first.context, "/", small, until="commit") for _ in range(19))]
    sequence = "id => document.querySelector('plimsoll-app')?.model?.book.rows.get(id)?.sequence ?? '0'"
    query = "query($id: ID!) { portfolioRisk(portfolioId: $id) { sequence } }"
    now = int(demo.graphql(query, {"id": "portfolio-0001"})["portfolioRisk"]["sequence"])
    for page in pages:
        # Hidden tabs paint nothing, and have to know all the same.
        until(lambda page=page: int(page.evaluate(sequence, "portfolio-0001")) > now, "newer row", show=visit.account)
        expect(page.locator(".state")).to_have_text("Live")
