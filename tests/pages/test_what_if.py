"""Trades that are only thought of, and trades that are sent: typed by keyboard, computed as one types, made once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from accessibility import Axe
from live import LiveSystem, token
from playwright.sync_api import Locator, Page, Request, expect
from visits import Visitor

MINUS = "\N{MINUS SIGN}"
HELD = "query($id: ID!) { portfolio(id: $id) { holdings { symbol quantity } } }"
ANYTHING = "{ portfolios(first: 1, orderBy: RISK_NUMBER_ASC) { nodes { portfolioId } } }"


def what_if(visit: Visitor, portfolio_id: str, **options: Any) -> Page:
    """The tab, with what it says of the portfolio as it stands."""
    page = visit(f"/#portfolio={portfolio_id}&tab=whatif", **options)
    expect(page.locator(".what-if-result table").first).to_be_visible()
    return page


def field(page: Page, trade: int, name: str) -> Locator:
    return page.get_by_role("group", name=f"Trade {trade}").get_by_label(name)


def measure(page: Page, name: str) -> Locator:
    return page.locator(".comparison tr", has=page.get_by_role("rowheader", name=name, exact=True))


def sends(page: Page) -> list[Request]:
    """Every mutation that the page asks for, from now on."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "SendTrades" in (request.post_data or "") else None)
    return asked


def held(demo: LiveSystem, portfolio_id: str) -> dict[str, float]:
    holdings = demo.graphql(HELD, {"id": portfolio_id})["portfolio"]["holdings"]
    return {each["symbol"]: each["quantity"] for each in holdings}


def test_what_selling_half_would_change_is_there_as_one_types_and_nothing_is_sent(
    visit: Visitor, demo: LiveSystem
) -> None:
    demo.open_portfolio("halved")
    page = what_if(visit, "halved")
    sent = sends(page)
    field(page, 1, "Symbol").focus()
    page.keyboard.type("aapl")
    page.keyboard.press("Enter")
    expect(field(page, 1, "Change of quantity")).to_be_focused()
    expect(page.get_by_role("button", name="Sell half of AAPL")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sell half of AAPL")).to_be_focused()
    page.keyboard.press("Enter")
    expect(field(page, 1, "Change of quantity")).to_have_value("-50")
    expect(page.get_by_text(re.compile(f"100 held, .*; 50 after {MINUS}50"))).to_be_visible()
    expect(measure(page, "VaR 95%")).to_contain_text("less risk")
    expect(measure(page, "Value").locator("td").last).to_contain_text("▼")
    expect(measure(page, "Cash")).to_contain_text("no change")
    expect(page.get_by_text("Cash stays as it is")).to_be_visible()
    assert (sent, held(demo, "halved")) == ([], {"AAPL": 100})


def test_limits_that_a_trade_would_break_are_told_from_those_broken_before(visit: Visitor, demo: LiveSystem) -> None:
    portfolio_id = demo.graphql(ANYTHING, {})["portfolios"]["nodes"][0]["portfolioId"]
    page = what_if(visit, portfolio_id)
    field(page, 1, "Symbol").fill("AMD")
    field(page, 1, "Change of quantity").fill("10,000,000")
    expect(page.locator(".breaches tr").filter(has_text="of gross exposure").filter(has_text="AMD")).to_contain_text(
        "new"
    )


def test_a_line_that_is_no_trade_says_which_field_and_why_and_is_not_sent(visit: Visitor, demo: LiveSystem) -> None:
    demo.open_portfolio("mistyped")
    page = what_if(visit, "mistyped")
    sent = sends(page)
    field(page, 1, "Symbol").fill("A B")
    field(page, 1, "Change of quantity").fill("1,5")
    page.get_by_role("button", name="Send it").click()
    expect(field(page, 1, "Symbol")).to_be_focused()
    expect(field(page, 1, "Symbol")).to_have_accessible_description(re.compile("“A B” is no symbol"))
    expect(field(page, 1, "Change of quantity")).to_have_accessible_description(re.compile("“1,5” is no quantity"))
    expect(page.get_by_text("One line is not finished")).to_be_visible()
    assert sent == []


def test_a_symbol_without_a_price_is_said_to_be_in_no_number(visit: Visitor, demo: LiveSystem) -> None:
    demo.open_portfolio("unpriced")
    page = what_if(visit, "unpriced")
    field(page, 1, "Symbol").fill("NOWHERE")
    field(page, 1, "Change of quantity").fill("5")
    expect(page.get_by_text("Without a price, and in no number here: NOWHERE.")).to_be_visible()


def test_what_is_typed_is_still_there_after_a_look_at_another_tab(visit: Visitor, demo: LiveSystem) -> None:
    demo.open_portfolio("looked-away")
    page = what_if(visit, "looked-away")
    field(page, 1, "Symbol").fill("MSFT")
    page.get_by_role("tab", name="Stress").click()
    page.get_by_role("tab", name="What if").click()
    expect(field(page, 1, "Symbol")).to_have_value("MSFT")
    assert "MSFT" not in page.url


def test_trades_are_sent_once_after_they_were_confirmed_and_told_to_be_in_force(
    visit: Visitor, demo: LiveSystem
) -> None:
    demo.open_portfolio("traded")
    page = what_if(visit, "traded")
    sent = sends(page)
    field(page, 1, "Symbol").fill("AAPL")
    field(page, 1, "Change of quantity").fill("-30")
    field(page, 1, "Change of quantity").press("Enter")
    field(page, 2, "Symbol").fill("MSFT")
    field(page, 2, "Change of quantity").fill("12.5")
    page.get_by_role("button", name="Send it").click()
    dialog = page.get_by_role("dialog", name="Send 2 trades of traded?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.get_by_role("row", name=re.compile(f"^AAPL {MINUS}30 100 70$"))).to_be_visible()
    expect(dialog.get_by_role("row", name=re.compile(r"^MSFT \+12.5 0 12.5$"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert sent == []
    page.get_by_role("button", name="Send it").click()
    dialog.get_by_role("button", name="Send 2 trades").dblclick()
    expect(page.locator(".in-force")).to_contain_text(
        re.compile(rf"In force since \d\d:\d\d:\d\d: AAPL {MINUS}30, MSFT \+12.5")
    )
    expect(page.locator(".in-force")).to_contain_text(re.compile(r"Risk number \d+\. portfolio-updates, partition \d+"))
    expect(field(page, 1, "Symbol")).to_have_value("")
    assert len(sent) == 1
    assert held(demo, "traded") == {"AAPL": 70, "MSFT": 12.5}


def test_whoever_may_not_trade_is_told_so_in_the_servers_words(visit: Visitor, guarded: str) -> None:
    visit.expect("401", "403", "WebSocket")
    page = visit(f"{guarded}/#portfolio=portfolio-0003&tab=whatif")
    page.get_by_label("Access token").fill(token("risk_manager"))
    page.get_by_role("button", name="Sign in").click()
    field(page, 1, "Symbol").fill("AAPL")
    field(page, 1, "Change of quantity").fill("1")
    page.get_by_role("button", name="Send it").click()
    page.get_by_role("button", name="Send 1 trade").click()
    expect(page.locator(".sent")).to_contain_text(
        "Not sent: mutation simulatePortfolioUpdate is for operator, and not for risk_manager"
    )
    expect(field(page, 1, "Symbol")).to_have_value("AAPL")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_form_its_answer_and_its_dialog(
    visit: Visitor, demo: LiveSystem, axe: Axe, scheme: str
) -> None:
    demo.open_portfolio("looked-at")
    page = what_if(visit, "looked-at", color_scheme=scheme)
    field(page, 1, "Symbol").fill("AAPL")
    field(page, 1, "Change of quantity").fill("-50")
    page.get_by_role("button", name="Add a trade").click()
    field(page, 2, "Symbol").fill("A B")
    field(page, 2, "Symbol").press("Enter")
    expect(measure(page, "VaR 95%")).to_contain_text("less risk")
    assert axe(page) == []
    page.get_by_role("button", name="Remove trade 2").click()
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_role("dialog", name="Send 1 trade")).to_be_visible()
    assert axe(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_absurd_trades_are_seen_whole_and_can_be_scrolled_by_keyboard(
    visit: Visitor, demo: LiveSystem, axe: Axe, width: int
) -> None:
    demo.open_portfolio("absurd")
    page = what_if(visit, "absurd", viewport={"width": width, "height": 800})
    field(page, 1, "Symbol").fill("A" * 64)
    field(page, 1, "Change of quantity").fill("5")
    page.get_by_role("button", name="Add a trade").click()
    field(page, 2, "Symbol").fill("AAPL")
    field(page, 2, "Change of quantity").fill("-100,000,000,000")
    expect(page.locator(".breaches")).to_be_visible()
    expect(page.get_by_text(re.compile("Check how A+ is spelt"))).to_be_visible()
    details = page.locator("portfolio-details")
    assert details.evaluate("pane => pane.scrollWidth - pane.clientWidth") == 0
    assert axe(page) == []
    page.get_by_role("button", name="Send it").click()
    dialog = page.get_by_role("dialog", name="Send 2 trades")
    expect(dialog.get_by_role("cell", name="+5")).to_be_in_viewport(ratio=1)


def test_of_many_unknown_symbols_the_first_are_named_and_the_rest_counted(visit: Visitor, demo: LiveSystem) -> None:
    demo.open_portfolio("misspelt")
    page = what_if(visit, "misspelt")
    page.evaluate(
        """() => {
            const lines = document.querySelector('trade-lines')
            for (let number = 100; number < 150; number += 1) lines.draft.add(`NONE${number}`, '5')
            document.querySelector('what-if-tab').requestUpdate()
        }"""
    )
    expect(page.get_by_text("Check how NONE100")).to_have_text(re.compile("NONE119 and 30 more is spelt"))


def test_on_a_phone_the_comparison_needs_no_sideways_scrolling(visit: Visitor, demo: LiveSystem) -> None:
    demo.open_portfolio("on-a-phone")
    page = what_if(visit, "on-a-phone", viewport={"width": 390, "height": 844})
    field(page, 1, "Symbol").fill("AAPL")
    field(page, 1, "Change of quantity").fill("-50")
    expect(measure(page, "VaR 95%")).to_contain_text("less risk")
    assert page.evaluate("document.querySelector('portfolio-details').scrollWidth") <= 390
    assert (
        page.evaluate(
            "(table => table.scrollWidth - table.clientWidth)(document.querySelector('.what-if .table-scroll'))"
        )
        == 0
    )
