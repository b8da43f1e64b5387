"""What other browser tests rely on: trouble on a page is noticed, and only what was announced is forgiven."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from accessibility import Axe
from live import LiveSystem, answers, until
from visits import Visitor

CAUSES = {
    "console error: something of the page's own": "console.error('something of the page\\'s own')",
    "console warning: something to look at": "console.warn('something to look at')",
    "error nobody caught: Error: forgotten": "setTimeout(() => { throw new Error('forgotten') })",
    "console error: .*404": "fetch('/pages/no-such').then(() => null)",
    "request to another host: http://elsewhere.example/x": "fetch('http://elsewhere.example/x').catch(() => null)",
    "request failed: GET http://elsewhere.example/x": "fetch('http://elsewhere.example/x').catch(() => null)",
    "request to another host: ws://elsewhere.example/": "{ new WebSocket('ws://elsewhere.example/') }",
}


@pytest.mark.parametrize(("trouble", "cause"), CAUSES.items(), ids=range(1, len(CAUSES) + 1))
def test_trouble_is_noticed_until_it_is_expected(visit: Visitor, trouble: str, cause: str) -> None:
    page = visit("/docs", bypass_csp=True)
    assert visit.troubles() == []
    page.evaluate(f"() => {{ {cause} }}")
    until(lambda: any(re.search(trouble, each) for each in visit.troubles()), trouble, show=visit.account)
    visit.expect(trouble, "elsewhere.example")
    assert visit.troubles() == []


def test_axe_finds_what_is_wrong_and_is_told_what_is_not_ours(visit: Visitor, axe: Axe) -> None:
    page = visit("/docs", bypass_csp=True)
    page.set_content("<html lang=en><title>T</title><main><h1>H</h1><img id=bare src='data:,'></main>")
    assert "image-alt (critical)" in axe(page)[0]
    assert axe(page, theirs={"image-alt": "#bare"}) == []
    assert axe(page, theirs={"image-alt": "#other", "label": "#bare"}) == axe(page)


def test_the_api_behind_a_page_can_be_killed_and_comes_back_at_its_address(demo: LiveSystem) -> None:
    demo.kill_api()
    assert answers(f"{demo.url}/live") == {}
    demo.start_api()
    assert answers(f"{demo.url}/live")


def test_an_engine_that_stands_still_publishes_nothing_and_goes_on(demo: LiveSystem) -> None:
    def newest() -> int:
        query = "{ portfolios(first: 100) { nodes { risk { sequence } } } }"
        nodes = demo.graphql(query, {})["portfolios"]["nodes"]
        return max(int(node["risk"]["sequence"]) for node in nodes)

    with demo.engine_standing_still():
        stands = newest_that_stays(newest)
    until(lambda: newest() > stands, "newer risk")


def newest_that_stays(newest: Callable[[], int]) -> int:
    """What was on its way when the engine stopped may still arrive."""
    seen: list[int] = []

    def stays() -> bool:
        seen.append(newest())
        return len(seen) > 50 and len(set(seen[-50:])) == 1

    until(stays, "end of what was on its way")
    return seen[-1]
