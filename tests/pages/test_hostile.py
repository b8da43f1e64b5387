"""The dashboard where things go wrong for who looks at it: rows that go away, viewers who change, odd portfolios."""

from __future__ import annotations

import re
from typing import Any

import pytest
from accessibility import Axe
from confluent_kafka import Producer
from live import LiveSystem, token, until
from playwright.sync_api import Page, Route, WebSocketRoute, expect
from test_dashboard import cell, column, grid, opened, row_of, rows
from visits import Visitor

from plimsoll import topics


class HeldBack:
    """Questions of one kind that a page asks and nobody answers, until `pass_on` lets those after it through."""

    def __init__(self, page: Page, operation: str) -> None:
        self._operation = operation
        self.held: list[Route] = []
        self.pass_on = False
        page.route("**/graphql", self._hold)

    def _hold(self, route: Route) -> None:
        if self._operation in (route.request.post_data or "") and not self.pass_on:
            self.held.append(route)
        else:
            route.continue_()


STATE = "mutation($input: PortfolioInput!) { updatePortfolio(input: $input) { __typename ... on Problem { message } } }"
RISK = "query($id: ID!) { portfolioRisk(portfolioId: $id) { advisorId } }"
FOCUSED = """() => document.activeElement.closest('.grid-body [role=row]')
    ?.querySelector('[data-column=id]').lastElementChild.textContent ?? ''"""


def state(
    demo: LiveSystem, portfolio_id: str, held: dict[str, float], advisor_id: str = "advisor-1", **more: Any
) -> None:
    """State a portfolio, and wait until its risk is known."""
    positions = [{"symbol": symbol, "quantity": quantity} for symbol, quantity in held.items()]
    stated = {"id": portfolio_id, "advisorId": advisor_id, "positions": positions, **more}
    answer = demo.graphql(STATE, {"input": stated})["updatePortfolio"]
    assert answer["__typename"] == "PortfolioUpdateAccepted", answer
    until(
        lambda: (demo.graphql(RISK, {"id": portfolio_id})["portfolioRisk"] or {}).get("advisorId") == advisor_id,
        f"risk of {portfolio_id}",
    )


def close(demo: LiveSystem, portfolio_id: str) -> None:
    """Close a portfolio as its owner would, and wait until it is gone."""
    producer = Producer({"bootstrap.servers": demo.brokers, "partitioner": "murmur2_random"})
    producer.produce(topics.PORTFOLIO_UPDATES.name, key=portfolio_id, value=None)
    assert producer.flush(10.0) == 0
    until(lambda: demo.graphql(RISK, {"id": portfolio_id})["portfolioRisk"] is None, f"end of {portfolio_id}")


def test_the_keyboard_stays_in_the_table_when_its_row_is_closed(visit: Visitor, demo: LiveSystem) -> None:
    state(demo, "goes-1", {"AAPL": 10.0})
    state(demo, "goes-2", {"AAPL": 20.0})
    page = opened(visit, "/#sort=id&q=goes-")
    cell(page, 0, "id").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(FOCUSED) == "goes-1"
    close(demo, "goes-1")
    until(lambda: column(page, "id") == ["goes-2"], "the row that is left", show=visit.account)
    assert page.evaluate(FOCUSED) == "goes-2"
    close(demo, "goes-2")
    expect(page.get_by_role("columnheader", name="Portfolio").get_by_role("button")).to_be_focused()


def test_the_keyboard_stays_on_its_row_while_a_wheel_scrolls_it_out_of_sight(visit: Visitor) -> None:
    page = opened(visit, "/#sort=id")
    cell(page, 0, "id").focus()
    page.keyboard.press("ArrowDown")
    row = page.evaluate(FOCUSED)
    grid(page).evaluate("table => table.scrollTo(0, 5000)")
    expect(cell(page, 150, "id")).to_be_visible()
    assert page.evaluate(FOCUSED) == row
    page.keyboard.press("ArrowDown")
    expect(cell(page, 2, "id")).to_be_focused()
    expect(cell(page, 2, "id")).to_be_in_viewport()


def test_the_keyboard_goes_to_the_table_when_an_advisors_book_is_left(visit: Visitor) -> None:
    page = opened(visit, "/#advisor=advisor-3")
    page.get_by_role("button", name="Show everyone").press("Enter")
    expect(page.get_by_role("region", name="Advisor advisor-3")).to_have_count(0)
    expect(page.locator("portfolio-grid [tabindex='0']")).to_be_focused()


def test_how_many_match_is_read_out_when_one_asks_and_not_whenever_the_market_moves(
    visit: Visitor, demo: LiveSystem
) -> None:
    page = opened(visit)
    page.get_by_role("searchbox", name="Find").fill("crosses")
    said = page.locator("filter-bar [role=status]")
    expect(said).to_have_text(re.compile(r"^0 of 3\d\d portfolios match$"))
    state(demo, "crosses", {"AAPL": 10.0})
    expect(page.get_by_text(re.compile(r"^\s*1 of 3\d\d shown"))).to_be_visible()
    expect(said).to_have_text(re.compile("^0 of"))
    page.get_by_role("searchbox", name="Find").fill("crosse")
    expect(said).to_have_text(re.compile("^1 of"))
    close(demo, "crosses")


def test_nobody_is_told_that_nothing_matches_before_the_whole_list_was_read(visit: Visitor) -> None:
    page = visit("/#q=none-of-them")
    pages = HeldBack(page, "query RowsPage")
    page.reload()
    expect(page.get_by_text(re.compile(r"0 of [1-9]\d* shown"))).to_be_visible()
    expect(page.locator(".empty")).to_have_text("Reading portfolios\N{HORIZONTAL ELLIPSIS}")
    pages.pass_on = True
    pages.held[-1].continue_()
    expect(page.locator(".empty")).to_contain_text("No portfolio matches.")


@pytest.mark.parametrize(("width", "height"), [(844, 390), (667, 375), (1280, 400)])
def test_a_low_window_scrolls_and_leaves_room_for_a_table(visit: Visitor, width: int, height: int) -> None:
    page = opened(visit, viewport={"width": width, "height": height})
    assert grid(page).evaluate("table => table.clientHeight") > 240
    cell(page, 3, "id").click()
    details = page.locator("portfolio-details")
    expect(details.get_by_role("heading").first).to_be_in_viewport(ratio=1)
    assert details.evaluate("pane => pane.clientHeight") > 240


@pytest.mark.parametrize("width", [320, 360, 390, 430])
def test_on_a_phone_no_number_is_cut_short_and_no_id_looks_like_another(visit: Visitor, width: int) -> None:
    page = opened(visit, viewport={"width": width, "height": 700})
    page.get_by_role("button", name="Pause").click()
    # As in the worst of a crash.
    page.evaluate(
        """() => {
            const { model } = document.querySelector('plimsoll-app')
            const worst = { riskNumber: 87, openedAt: 99, var95: 551123, dayPnl: -1199352 }
            for (const row of model.view.rows) Object.assign(row, worst)
            model.tell('rows')
        }"""
    )
    expect(cell(page, 0, "dayPnl")).to_have_text("\N{MINUS SIGN}$1.2M")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = """() => [...document.querySelectorAll('portfolio-grid [role=row] > div, portfolio-grid .numeric > span')]
        .filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1).map(each => each.textContent)"""
    assert page.evaluate(cut) == []


def amounts(page: Page, key: str) -> list[int]:
    """A column of money, from the top down."""
    return [int(re.sub(r"[+$,]", "", each).replace("\N{MINUS SIGN}", "-")) for each in column(page, key)]


def test_the_order_is_held_from_one_arrow_key_to_the_next(visit: Visitor) -> None:
    page = opened(visit, "/#sort=-dayPnl")
    cell(page, 0, "id").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".held")).to_be_visible()
    held = column(page, "id")
    until(
        lambda: (now := amounts(page, "dayPnl")) != sorted(now, reverse=True), "values out of order", show=visit.account
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert column(page, "id") == held


def test_the_table_does_not_move_when_one_points_at_it(visit: Visitor) -> None:
    for width in (1280, 1024, 768):
        page = opened(visit, viewport={"width": width, "height": 720})
        expect(page.get_by_text("Replay of historical prices")).to_be_visible()
        before = grid(page).bounding_box()
        cell(page, 2, "id").hover()
        expect(page.locator(".held")).to_be_attached()
        assert grid(page).bounding_box() == before


LONGEST = {"partial": True, "marketValue": -1.053e12, "var95": 8.88e10, "var95Fraction": 0.8888, "es975": 8.88e10,
           "dayPnl": -8.88e10, "sharpeRatio": -8.88, "beta": -8.88}  # fmt: skip


@pytest.mark.parametrize("width", [1280, 1024, 768])
def test_the_table_does_not_move_when_a_number_above_it_becomes_longer(visit: Visitor, width: int) -> None:
    # Longer totals come late: with the first answers to their question after `longer` is set.
    longer = False

    def totals(route: Route) -> None:
        if "query Firm" not in (route.request.post_data or ""):
            route.continue_()
            return
        response = route.fetch()
        told = response.json()
        told["data"]["firmRisk"] |= LONGEST if longer else {"partial": False, "dayPnl": 0.0}
        route.fulfill(response=response, json=told)

    page = visit("/#q=none-of-them", viewport={"width": width, "height": 720})
    page.route("**/graphql", totals)
    page.reload()
    expect(page.get_by_text("Replay of historical prices")).to_be_visible()
    expect(page.locator(".state")).to_have_text("Live")
    before = grid(page).bounding_box()
    longer = True
    expect(page.get_by_role("region", name="All portfolios")).to_contain_text("\N{MINUS SIGN}$1.05T")
    assert grid(page).bounding_box() == before
    said = page.locator("page-header .state, page-header .pace dd").all()
    for each, words in zip(said, ("Engine silent", "59.9 s", "59.9 s", "9,999/s"), strict=True):
        each.evaluate("(element, words) => { element.lastChild.data = words }", words)
    assert grid(page).bounding_box() == before


def test_a_paused_page_stands_still_under_a_pointer_that_comes_and_goes_and_while_one_scrolls(visit: Visitor) -> None:
    page = opened(visit, "/#sort=-var95")
    page.get_by_role("button", name="Pause").click()
    shown = [column(page, key) for key in ("id", "var95", "calculatedMs")]
    heard = page.evaluate("() => document.querySelector('plimsoll-app').model.book.updates")
    until(
        lambda: page.evaluate("() => document.querySelector('plimsoll-app').model.book.updates") > heard + 600,
        "updates that a paused page takes in",
        show=visit.account,
    )
    cell(page, 3, "id").hover()
    page.mouse.move(5, 5)
    grid(page).evaluate("table => { table.scrollTo(0, 3000); }")
    expect(cell(page, 90, "id")).to_be_visible()
    grid(page).evaluate("table => { table.scrollTo(0, 0); }")
    expect(cell(page, 0, "id")).to_be_visible()
    assert [column(page, key) for key in ("id", "var95", "calculatedMs")] == shown
    page.get_by_role("button", name="Resume").click()
    until(lambda: column(page, "calculatedMs") != shown[2], "page that goes on", show=visit.account)


def test_a_portfolio_that_is_closed_while_one_looks_at_it_is_said_to_be(visit: Visitor, demo: LiveSystem) -> None:
    state(demo, "looked-at", {"AAPL": 10.0})
    page = opened(visit, "/#portfolio=looked-at&tab=whatif")
    page.get_by_label("Symbol", exact=True).focus()
    close(demo, "looked-at")
    expect(page.get_by_text("looked-at was closed, or is not among your portfolios any more.")).to_be_visible()
    expect(page.get_by_role("tabpanel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("portfolio-grid [tabindex='0']")).to_be_focused()


def test_a_portfolio_that_goes_to_another_advisor_stays_in_everyones_table(visit: Visitor, demo: LiveSystem) -> None:
    state(demo, "moves", {"AAPL": 10.0}, "advisor-1")
    page = opened(visit, "/#q=moves")
    expect(cell(page, 0, "advisorId")).to_have_text("advisor-1")
    state(demo, "moves", {"AAPL": 10.0}, "advisor-2")
    expect(cell(page, 0, "advisorId")).to_have_text("advisor-2")
    expect(row_of(page, "moves")).to_be_visible()
    close(demo, "moves")
    expect(page.get_by_text("No portfolio matches.")).to_be_visible()


def test_what_has_no_price_is_marked_and_no_large_number_is_cut_into_a_smaller_one(
    visit: Visitor, demo: LiveSystem
) -> None:
    long = "a" * 64
    state(demo, long, {"AAPL": 1e9, "NOPE": 5.0}, cash=1e14)
    try:
        page = opened(visit, f"/#q={long}", viewport={"width": 1280, "height": 800})
        expect(row_of(page, f"partial {long}")).to_be_visible()
        expect(page.locator(".row-mark:visible")).to_have_text("partial")
        expect(page.locator(".row-mark:visible")).to_be_in_viewport(ratio=1)
        assert re.fullmatch(r"\$100\.\dT", column(page, "marketValue")[0])
        page.goto(f"{page.url}&portfolio={long}")
        expect(page.get_by_role("heading", name=long)).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
    finally:
        close(demo, long)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_sector_and_billions_fit_the_details(visit: Visitor, demo: LiveSystem, width: int) -> None:
    held = [{"symbol": "AAPL", "quantity": 1e8, "sector": "S" * 64}]
    state(demo, "billions", {}, positions=held)
    try:
        page = visit("/#portfolio=billions&tab=stress", viewport={"width": width, "height": 800})
        page.get_by_label("Market").fill("-10")
        page.get_by_role("button", name="Shock it").click()
        expect(page.locator(".shock").get_by_role("rowheader", name="S" * 64)).to_be_visible()
        expect(page.locator("portfolio-details .tiles")).to_contain_text(re.compile(r"Value\s*\$[\d.]+B"))
        assert page.locator("portfolio-details").evaluate("pane => pane.scrollWidth - pane.clientWidth") == 0
    finally:
        close(demo, "billions")


def signed_in(page: Page, bearer: str) -> None:
    page.get_by_label("Access token").fill(bearer)
    page.get_by_role("button", name="Sign in").click()


def test_nothing_that_one_viewer_was_told_is_there_for_the_next(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "WebSocket")
    page = visit(guarded)
    first, second = token("advisor", "--advisor", "advisor-3"), token("advisor", "--advisor", "advisor-4")
    signed_in(page, first)
    expect(rows(page).first).to_be_visible()
    # Above the table; what comes later would move it from under the pointer.
    expect(page.get_by_text("Replay of historical prices")).to_be_visible()
    expect(page.get_by_role("region", name="All portfolios")).to_contain_text("$")
    cell(page, 0, "id").hover()
    expect(page.locator(".held")).to_be_visible()
    opened_id = column(page, "id")[0]
    cell(page, 0, "id").click()
    page.get_by_role("tab", name="Holdings").click()
    expect(page.get_by_role("region", name="Positions")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    # What is seen before anything that the server answers could be.
    seen = page.evaluate(
        """async second => {
            const app = document.querySelector('plimsoll-app')
            app.model.use(second)
            await app.updateComplete
            await document.querySelector('portfolio-details')?.updateComplete
            return document.body.innerText
        }""",
        second,
    )
    # Its id is in the address, and so in the title of the details.
    assert seen.count(opened_id) == 1
    assert "advisor-3" not in seen
    assert "Positions" not in seen
    assert "$" not in seen
    page.goto(guarded + "/#")
    until(lambda: set(column(page, "advisorId")) == {"advisor-4"}, "the other's table", show=visit.account)
    assert "advisor-3" not in page.locator("body").inner_text()


def test_who_signs_in_is_told_why_and_never_that_a_connection_is_lost(visit: Visitor, guarded: str, axe: Axe) -> None:
    visit.expect("401", "WebSocket")
    page = visit(guarded)
    expect(page.locator(".state")).to_have_text("Signed out")
    assert axe(page) == []
    page.evaluate(
        """() => {
            window.told = []
            new MutationObserver(() => {
                const alert = document.querySelector('[role=alert]')
                if (alert) window.told.push(alert.textContent)
            }).observe(document.body, { subtree: true, childList: true })
        }"""
    )
    signed_in(page, "no token at all")
    field = page.get_by_label("Access token")
    expect(field).to_have_accessible_description(re.compile("Your token was refused: the token is not valid"))
    expect(field).to_be_focused()
    signed_in(page, token("advisor", "--advisor", "advisor-3"))
    expect(page.locator(".state")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".state")).to_have_text("Signed out")
    assert page.evaluate("window.told") == []


def test_an_answer_that_comes_after_the_viewer_has_changed_is_dropped(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "WebSocket")
    page = visit(guarded)
    signed_in(page, token("advisor", "--advisor", "advisor-3"))
    expect(rows(page).first).to_be_visible()
    totals = HeldBack(page, "query Firm")
    with page.expect_request(lambda request: "query Firm" in (request.post_data or "")):
        pass
    until(lambda: page.title() and totals.held, "question that is not answered yet", show=visit.account)
    totals.pass_on = True
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Access token")).to_be_focused()
    signed_in(page, token("advisor", "--advisor", "advisor-4"))
    refused = {"errors": [{"message": "too late", "extensions": {"code": "UNAUTHENTICATED"}}]}
    for route in totals.held:
        route.fulfill(status=401, json=refused)
    until(lambda: set(column(page, "advisorId")) == {"advisor-4"}, "the other's table", show=visit.account)
    expect(page.get_by_label("Access token")).to_have_count(0)
    expect(page.locator("portfolio-grid [tabindex='0']")).to_be_focused()


def test_whose_token_may_not_see_portfolios_is_told_so_and_asks_no_more(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "403", "WebSocket")
    page = visit(guarded)
    signed_in(page, token("operator"))
    expect(page.get_by_text("is for advisor or risk_manager, and not for operator")).to_be_visible()
    expect(page.get_by_label("Access token")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5_000)
    assert asked == []


def test_a_connection_whose_other_end_is_gone_without_a_word_is_noticed(visit: Visitor, demo: LiveSystem) -> None:
    silent = [False]

    def between(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: None if silent[0] else server.send(message))
        server.on_message(lambda message: None if silent[0] else socket.send(message))

    page = visit("/#q=none-of-them")
    page.route_web_socket(re.compile("/graphql$"), between)
    page.reload()
    expect(page.locator(".state")).to_have_text("Live")
    silent[0] = True
    expect(page.locator(".state")).to_have_text("Reconnecting", timeout=40_000)
    silent[0] = False
    expect(page.locator(".state")).to_have_text("Live", timeout=30_000)


def test_a_slider_that_is_dragged_does_not_flood_the_history(visit: Visitor) -> None:
    page = opened(visit)
    written = page.evaluate(
        """async () => {
            let written = 0
            const write = history.replaceState.bind(history)
            history.replaceState = (...said) => { written += 1; write(...said) }
            const slider = document.querySelector('input[type=range]')
            for (let value = 1; value <= 60; value += 1) {
                slider.value = String(value)
                slider.dispatchEvent(new InputEvent('input', { bubbles: true }))
            }
            return written
        }"""
    )
    assert written <= 1
    until(lambda: "min=60" in page.evaluate("location.hash"), "address that says what is shown", show=visit.account)


@pytest.mark.parametrize(
    "address",
    [
        "#min=%00&advisor=%E0%A4%A&sort=__proto__&portfolio=__proto__&tab=constructor",
        "#portfolio=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E" * 20,
        "#q=" + "x" * 60_000,
    ],
    ids=["prototype", "markup", "long"],
)
def test_a_link_of_rubbish_opens_the_page(visit: Visitor, address: str) -> None:
    page = visit("/" + address)
    expect(page.locator(".state")).to_have_text("Live")
    expect(page.get_by_text(re.compile(r"of 3\d\d shown"))).to_be_visible()
    assert page.evaluate("document.querySelector('img')") is None
