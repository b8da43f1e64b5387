"""The details of one portfolio, as somebody sees and works them: history, holdings, methods, stresses and a shock."""

from __future__ import annotations

import re

import pytest
from accessibility import Axe
from live import LiveSystem, until
from playwright.sync_api import Locator, Page, expect
from visits import Visitor

TABS = ("overview", "holdings", "methods", "stress")
MINUS = "\N{MINUS SIGN}"
A_HEDGED_ONE = "{ portfolios(first: 200) { nodes { portfolioId risk { shortExposure } } } }"


@pytest.fixture(scope="module")
def hedged(demo: LiveSystem) -> str:
    """The id of a portfolio that is short of something."""
    nodes = demo.graphql(A_HEDGED_ONE, {})["portfolios"]["nodes"]
    return str(min(nodes, key=lambda node: node["risk"]["shortExposure"])["portfolioId"])


def shown(page: Page, name: str) -> str:
    """A measure of the overview, by its name."""
    return (
        page.locator(".measures dl > div", has=page.locator(f"dt:text-matches('^{name}')")).locator("dd").inner_text()
    )


def amounts(cells: Locator) -> list[float]:
    """What cells of money say, with the minus that the pages write."""
    return [float(re.sub(r"[$,+]", "", text.split()[0]).replace(MINUS, "-")) for text in cells.all_inner_texts()]


def test_the_history_grows_as_one_looks_on_and_stands_still_while_paused(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}")
    expect(page.get_by_role("img", name=re.compile("Risk number over"))).to_be_visible()
    before = shown(page, "Sequence")
    until(lambda: shown(page, "Sequence") != before, "newer measures")
    page.get_by_role("button", name="Pause").click()
    held = shown(page, "Sequence")
    # The first of two would have been shown by the time that the second is there.
    newer = page.evaluate(NEWER_THAN, [hedged, page.evaluate(NEWER_THAN, [hedged, held])])
    assert shown(page, "Sequence") == held
    page.get_by_role("button", name="Resume").click()
    until(lambda: int(shown(page, "Sequence")) >= int(newer), "what came meanwhile")


NEWER_THAN = """async ([portfolioId, sequence]) => {
  const query = `{ portfolioRisk(portfolioId: "${portfolioId}") { sequence } }`
  for (;;) {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch('/graphql', { method: 'POST', headers, body: JSON.stringify({ query }) })
    const found = (await answer.json()).data.portfolioRisk.sequence
    if (BigInt(found) > BigInt(sequence)) return found
  }
}"""


def test_what_is_drawn_can_be_chosen_and_read_as_a_table(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}")
    page.get_by_role("button", name="Market value").press("Enter")
    expect(page.get_by_role("img", name=re.compile(r"Market value over .*: from \$[\d,]+ to \$[\d,]+"))).to_be_visible()
    page.get_by_text("As a table").press("Enter")
    first = page.get_by_role("region", name="History as a table").locator("tbody tr").first
    expect(first.locator("td").last).to_have_text(re.compile(r"^\$[\d,]+$"))


def test_the_line_is_drawn_anew_in_the_ink_of_another_theme(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}", color_scheme="light")
    expect(page.locator("line-chart canvas")).to_be_visible()
    before = page.locator("line-chart canvas").element_handle()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    until(lambda: before.evaluate("canvas => !canvas.isConnected"), "another canvas")
    expect(page.locator("line-chart canvas")).to_have_count(1)


def test_components_of_var_add_up_hedges_and_all(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab=holdings")
    table = page.get_by_role("region", name="Risk by symbol")
    expect(table.locator("tbody tr").first).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    parts = amounts(table.locator("tbody td:nth-child(4)"))
    # Every part, and the total, is rounded to whole dollars.
    assert sum(parts) == pytest.approx(amounts(table.locator("tfoot td:nth-child(4)"))[0], abs=len(parts))
    expect(table.locator("tfoot")).to_contain_text("100.0%")


def test_holdings_are_sorted_by_their_heads_with_the_keyboard(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab=holdings")
    table = page.get_by_role("region", name="Positions")
    head = table.get_by_role("columnheader", name="Quantity")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    quantities = amounts(table.locator("tbody td:nth-child(2)"))
    assert quantities == sorted(quantities)
    assert quantities[0] < 0, "the short position stands first"


def test_one_method_is_in_force_and_all_are_compared(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab=methods")
    expect(page.locator(".methods tbody tr")).to_have_count(7)
    expect(page.locator(".in-force")).to_contain_text("Filtered historical simulation in force")
    page.get_by_role("tabpanel").get_by_role("button", name="ES 97.5%").press("Enter")
    expect(page.locator(".says").first).to_have_text(re.compile(r"ES 97\.5% lies between \$[\d,]+ .* and\s+\$[\d,]+"))


def test_a_stress_opens_to_its_holdings_from_the_keyboard(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab=stress")
    worst = page.locator(".opens").first
    worst.press("Enter")
    expect(worst).to_have_attribute("aria-expanded", "true")
    holdings = page.locator(".parts table").first
    expect(holdings).to_be_visible()
    assert sum(amounts(holdings.locator("tbody td:nth-child(4)"))) < 0
    worst.press("Enter")
    expect(page.locator(".parts")).to_have_count(0)


def test_a_shock_of_ones_own_names_what_is_not_held_and_what_cannot_be_read(visit: Visitor, hedged: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab=stress")
    page.get_by_label("Market").fill("a lot")
    page.get_by_role("button", name="Shock it").click()
    expect(page.get_by_label("Market")).to_be_focused()
    expect(page.get_by_text("“a lot” is no percentage")).to_be_visible()
    page.get_by_label("Market").fill("-20 %")
    page.get_by_label("Symbol", exact=True).fill("NOTHELD")
    page.get_by_label("Symbol by").fill("5")
    page.get_by_label("Symbol by").press("Enter")
    expect(page.get_by_text("Shocked, but not held: NOTHELD.")).to_be_visible()
    expect(page.locator(".shock .says strong")).to_have_text(re.compile(rf"^[+{MINUS}]\$[\d,]+$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_details(visit: Visitor, axe: Axe, hedged: str, scheme: str) -> None:
    page = visit(f"/#portfolio={hedged}", color_scheme=scheme)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        expect(page.locator("#details-panel table").first).to_be_attached()
        if tab == "stress":
            page.locator(".opens").first.click()
            page.get_by_role("button", name="Shock it").click()
            expect(page.locator(".shock .stressed")).to_be_visible()
        expect(page.locator("#details-panel .loading")).to_have_count(0)
        assert axe(page) == [], tab


@pytest.mark.parametrize("tab", TABS)
def test_on_a_phone_nothing_is_wider_than_the_page(visit: Visitor, hedged: str, tab: str) -> None:
    page = visit(f"/#portfolio={hedged}&tab={tab}", viewport={"width": 390, "height": 844})
    expect(page.locator("#details-panel table").first).to_be_attached()
    assert page.evaluate("document.querySelector('portfolio-details').scrollWidth") <= 390
