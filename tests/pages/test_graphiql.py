"""GraphiQL at /graphql: its examples answer, subscriptions come back, and a token is asked for and kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from accessibility import Axe
from live import SECRET, LiveSystem, token, until
from playwright.sync_api import Locator, Page, Response, expect
from visits import Visitor

from api.tokens import DEMO_ALGORITHM, LEEWAY_SECONDS

EXAMPLES = Path(__file__).parents[2] / "dashboard" / "graphiql" / "examples"
NAMES = {
    path.stem: re.search(r"^(query|mutation|subscription) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in sorted(EXAMPLES.glob("*.graphql"))
}
ANSWERED_AT_ONCE = [found[2] for found in NAMES.values() if found and found[1] != "subscription"]
EVENT = re.compile("SNAPSHOT|UPDATE")
"""The first event is often replaced by the next before anybody looks: prices move several times a second."""
ENDED = re.compile("has expired|not admitted any more")
"""What ends a socket says the second; what is asked afterwards by HTTP the first."""
THEIRS = {"nested-interactive": ".graphiql-tab"}
"""GraphiQL's tabs hold the buttons that choose and close them. No prop changes that."""
REFUSED = (r"status of 401",)
"""What Chromium's console says of a request that the server did not let in."""
AWAY = (r"WebSocket connection to .* failed", r"ERR_CONNECTION_REFUSED")
"""And of a server that is not there."""
DARK, LIGHT = "dark", "light"


def editor(page: Page) -> Locator:
    """The lines of the operation editor."""
    return page.get_by_label("Operation Editor").locator(".view-lines")


def result(page: Page) -> Locator:
    """The lines of the result pane."""
    return page.get_by_label("Result Window").locator(".view-lines")


def alert(page: Page) -> Locator:
    """Why a token is asked for."""
    return page.get_by_role("form", name="Sign in").get_by_role("alert")


def settled(page: Page) -> None:
    """Once Monaco has its workers: it fetches each when it is first needed, and complains where it cannot."""

    def has_all() -> bool:
        page.wait_for_timeout(20)  # The browser is heard only while something is asked of it.
        return all(any(name in each.url for each in page.workers) for name in ("editor", "graphql", "json"))

    until(has_all, "workers of the editor", show=lambda: str([each.url for each in page.workers]))


def ready(page: Page) -> Page:
    """Once both panes are there: until then GraphiQL does nothing when it is told to run."""
    expect(editor(page)).to_contain_text("Portfolios")
    expect(result(page)).to_be_attached()
    return page


def choose(page: Page, name: str) -> None:
    """Bring an example to the front."""
    page.get_by_role("tab").get_by_role("button", name=name, exact=True).click()
    expect(editor(page)).to_contain_text(name)


def run(page: Page) -> None:
    page.get_by_role("button", name="Execute query").click()


def answer(page: Page) -> dict[str, Any]:
    """Run what is in front; what was asked and what was answered."""
    with page.expect_response(is_of_the_editor) as told:
        run(page)
    answered: dict[str, Any] = told.value.json()
    expect(result(page)).to_contain_text('"data"' if "data" in answered else '"errors"')
    return answered


def is_of_the_editor(response: Response) -> bool:
    """Whether this answers what somebody wrote, and not what the page itself asks for."""
    asked = json.loads(response.request.post_data or "{}")
    return asked.get("operationName") not in (None, "IntrospectionQuery")


def sequence(page: Page) -> int:
    """The sequence in the result pane; 0 while there is none."""
    found = re.search(r'"sequence":\s"(\d+)"', result(page).inner_text())
    return int(found[1]) if found else 0


def darkness(page: Page) -> list[str]:
    """Whether the page, GraphiQL and its editor are dark or light."""
    is_dark = """element => {
      for (; element; element = element.parentElement) {
        const channels = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g)?.map(Number)
        if (channels && (channels[3] ?? 1) > 0) return channels[0] + channels[1] + channels[2] < 384 ? 'dark' : 'light'
      }
    }"""
    shown = ("header.bar", ".graphiql-container", ".graphiql-query-editor .monaco-editor .view-lines")
    return [page.locator(selector).first.evaluate(is_dark) for selector in shown]


def ending(issued: str, seconds: float) -> str:
    """The same token, which the server takes for so many seconds more."""
    claims = jwt.decode(issued, options={"verify_signature": False})
    times = {"exp": int(time.time() + seconds) - LEEWAY_SECONDS, "iat": int(time.time()) - 3600}
    return jwt.encode({**claims, **times, "nbf": times["iat"]}, SECRET, algorithm=DEMO_ALGORITHM)


def sign_in(page: Page, credential: str) -> None:
    page.get_by_label("Token").fill(credential)
    page.get_by_role("button", name="Sign in").click()


def kept(page: Page) -> dict[str, str]:
    """Where the browser keeps anything of this page that outlives the tab or is seen by others."""
    script = "() => ({ address: location.href, forever: JSON.stringify(localStorage), cookies: document.cookie })"
    found: dict[str, str] = page.evaluate(script)
    return found


# --- as it opens ------------------------------------------------------------------------------------------------------


def test_it_opens_with_nothing_in_the_console_and_nothing_asked_of_another_host(visit: Visitor) -> None:
    page = ready(visit("/graphql"))
    expect(page.get_by_role("tab")).to_have_count(len(NAMES))
    expect(page.get_by_role("link", name="Dashboard")).to_have_attribute("href", "/")
    page.wait_for_load_state("networkidle")
    assert visit.troubles() == []


def test_every_example_answers_without_errors(visit: Visitor) -> None:
    page = ready(visit("/graphql"))
    answers = {}
    for name in ANSWERED_AT_ONCE:
        choose(page, name)
        answers[name] = answer(page)
        assert "errors" not in answers[name], answers
        assert all(value is not None for value in answers[name]["data"].values()), answers
    # The other answer of the mutation would be a Problem.
    assert answers["Simulate"]["data"]["simulatePortfolioUpdate"]["topic"] == "portfolio-updates"


def test_the_examples_name_a_portfolio_that_the_caller_may_see(visit: Visitor, guarded: str) -> None:
    visit.expect(*REFUSED)
    page = visit(f"{guarded}/graphql")
    sign_in(page, token("advisor", "--advisor", "advisor-7"))
    ready(page)
    choose(page, "Portfolios")
    (riskiest, *_) = answer(page)["data"]["portfolios"]["nodes"]
    assert riskiest["risk"]["advisorId"] == "advisor-7"
    assert riskiest["portfolioId"] != "portfolio-0001"
    choose(page, "Contributions")
    assert answer(page)["data"]["contributions"]["holdings"]


def test_the_documentation_describes_what_one_can_ask(visit: Visitor) -> None:
    page = ready(visit("/graphql"))
    page.get_by_role("button", name="Show Documentation Explorer").click()
    page.get_by_role("link", name="Query", exact=True).click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("What trades would change")
    page.get_by_role("link", name="whatIf", exact=True).click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Signed changes of quantity")


def test_on_a_phone_the_result_is_below_the_editor_and_nothing_is_beyond_the_edge(visit: Visitor) -> None:
    page = ready(visit("/graphql", viewport={"width": 390, "height": 800}))
    assert "errors" not in answer(page)
    above, below = editor(page).bounding_box(), result(page).bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] < below["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# --- light and dark ---------------------------------------------------------------------------------------------------


def test_colours_follow_the_system_also_while_it_is_open(visit: Visitor) -> None:
    page = ready(visit("/graphql", color_scheme=DARK))
    until(lambda: darkness(page) == [DARK] * 3, "dark page", show=lambda: str(darkness(page)))
    page.emulate_media(color_scheme=LIGHT)
    until(lambda: darkness(page) == [LIGHT] * 3, "light page", show=lambda: str(darkness(page)))


def test_colours_can_be_switched_and_stay_so(visit: Visitor) -> None:
    page = ready(visit("/graphql", color_scheme=LIGHT))
    page.get_by_role("button", name="Open settings dialog").click()
    page.get_by_role("button", name="Dark", exact=True).click()
    page.keyboard.press("Escape")
    until(lambda: darkness(page) == [DARK] * 3, "dark page", show=lambda: str(darkness(page)))
    page.reload()
    ready(page)
    until(lambda: darkness(page) == [DARK] * 3, "dark page", show=lambda: str(darkness(page)))


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_axe_finds_nothing_of_ours(visit: Visitor, axe: Axe, scheme: str) -> None:
    page = ready(visit("/graphql", color_scheme=scheme))
    answer(page)
    page.get_by_role("button", name="Show Documentation Explorer").click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Query")
    assert axe(page, theirs=THEIRS) == []


# --- subscriptions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def following(visit: Visitor) -> Page:
    """A page whose subscription is live."""
    page = ready(visit("/graphql"))
    choose(page, "Follow")
    run(page)
    expect(result(page)).to_contain_text(EVENT)
    expect(page.get_by_role("status")).to_have_text("Subscription live")
    settled(page)
    return page


def test_a_subscription_shows_what_is_newer_until_it_is_stopped(following: Page) -> None:
    first = sequence(following)
    until(lambda: sequence(following) > first, "second event", show=lambda: result(following).inner_text())
    expect(result(following)).to_contain_text("UPDATE")
    following.get_by_role("button", name="Stop query").click()
    expect(following.get_by_role("status")).to_have_text("")
    expect(following.get_by_role("button", name="Execute query")).to_be_visible()


def test_a_subscription_says_that_its_connection_is_lost_and_goes_on(
    following: Page, demo: LiveSystem, visit: Visitor
) -> None:
    visit.expect(*AWAY)
    before = sequence(following)
    demo.kill_api()
    expect(result(following)).to_contain_text("The connection was lost (1006). Trying again.")
    expect(result(following)).to_contain_text('"sequence"')
    expect(following.get_by_role("status")).to_have_text("Connection lost: trying again")
    demo.start_api()
    expect(following.get_by_role("status")).to_have_text("Subscription live")
    expect(result(following)).not_to_contain_text("lost")
    until(lambda: sequence(following) > before, "newer event", show=lambda: result(following).inner_text())


def test_a_query_says_that_nobody_answers(visit: Visitor, demo: LiveSystem) -> None:
    visit.expect(*AWAY)
    page = ready(visit("/graphql"))
    assert "errors" not in answer(page)
    settled(page)
    demo.kill_api()
    try:
        run(page)
        expect(result(page)).to_contain_text("The server does not answer")
        expect(result(page)).not_to_contain_text('"stack"')
    finally:
        demo.start_api()
    assert "errors" not in answer(page)


# --- signing in -------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(visit: Visitor, guarded: str) -> Iterator[Page]:
    """A page that asks for a token."""
    visit.expect(*REFUSED)
    page = visit(f"{guarded}/graphql")
    expect(alert(page)).to_have_text("This server wants a token.")
    return page


def test_a_token_is_asked_for_and_sent_with_queries_and_over_the_socket(asked: Page) -> None:
    credential = token("risk_manager", "--subject", "Ada")
    sign_in(asked, credential)
    ready(asked)
    assert answer(asked)["data"]["portfolios"]["nodes"]
    expect(asked.locator("header.bar")).to_contain_text("Signed in as Ada")
    choose(asked, "Follow")
    run(asked)
    expect(result(asked)).to_contain_text(EVENT)
    assert asked.evaluate("sessionStorage.getItem('plimsoll.token')") == credential
    assert credential not in str(kept(asked))


def test_whoever_signs_out_leaves_nothing_behind(asked: Page) -> None:
    sign_in(asked, f"Bearer {token('risk_manager')}")
    asked.get_by_role("button", name="Sign out").click()
    expect(alert(asked)).to_have_text("This server wants a token.")
    assert asked.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("credential", "reason"),
    [("nonsense", "the token is not valid"), (ending(token("risk_manager"), -60), "the token is expired")],
    ids=["none", "expired"],
)
def test_a_token_that_is_refused_is_told_why_and_forgotten(asked: Page, credential: str, reason: str) -> None:
    sign_in(asked, credential)
    expect(alert(asked)).to_have_text(f"The server does not take your token: {reason}.")
    assert asked.evaluate("sessionStorage.length") == 0
    sign_in(asked, token("risk_manager"))
    expect(asked.get_by_role("tab")).to_have_count(len(NAMES))
    expect(alert(asked)).to_have_count(0)


def test_a_token_that_ends_under_a_subscription_says_so_and_keeps_what_was_written(asked: Page) -> None:
    issued = token("risk_manager")
    began = time.monotonic()
    sign_in(asked, issued)
    ready(asked)
    # How long this machine takes, now, to come so far: the token is to end after that and not before.
    seconds = 4.0 + 3.0 * (time.monotonic() - began)
    asked.get_by_role("button", name="Sign out").click()
    sign_in(asked, ending(issued, seconds))
    ready(asked)
    choose(asked, "Follow")
    run(asked)
    expect(result(asked)).to_contain_text(EVENT)
    expect(alert(asked)).to_contain_text(ENDED, timeout=(30.0 + seconds) * 1000)
    expect(result(asked)).to_contain_text("4403")
    sign_in(asked, token("risk_manager"))
    run(asked)
    expect(result(asked)).to_contain_text(EVENT)


def test_axe_finds_nothing_where_one_signs_in(asked: Page, axe: Axe) -> None:
    assert axe(asked) == []


def test_request_headers_are_used_and_never_kept(asked: Page) -> None:
    credential = token("risk_manager")
    asked.get_by_role("button", name="Use request headers instead").click()
    ready(asked)
    asked.get_by_role("button", name="Show editor tools").click()
    asked.get_by_role("button", name="Headers", exact=True).click()
    asked.locator("[data-uri$='request-headers.json'].monaco-editor").click()
    asked.keyboard.insert_text(json.dumps({"authorization": f"Bearer {credential}"}))
    assert "errors" not in answer(asked)
    # GraphiQL waits half a second before it writes its tabs.
    until(lambda: "graphiql:queries" in kept(asked)["forever"], "history of queries")
    asked.wait_for_function("localStorage.getItem('graphiql:tabState')?.includes('Portfolios')")
    assert credential not in str(kept(asked))
