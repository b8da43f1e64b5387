"""The pictures of the README: `make pictures`, or `uv run python docs/pictures/take.py`.

A demo runs into the crash of 2020; then the dashboard is opened in Chromium and taken as it is. Needs the
development dependencies and a Chromium.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
SESSION = "2020-02-24"
"""From this session on pictures are taken: the index lost 3.4% on it, and risk numbers are of every size yet."""
DEMO = ("demo", "--portfolios", "1000", "--advisors", "50", "--session-seconds", "4", "--port", "0")
PATIENCE_SECONDS = 240.0
RISKIEST = "{ portfolios(first: 1) { nodes { portfolioId advisor { advisorId } } } }"


def take() -> None:
    """Start a demo, wait for the session, take every picture, stop it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("pictures are taken in Chromium, and none is on the PATH; Debian's package is called chromium")
    with subprocess.Popen(
        [sys.executable, "-m", "plimsoll.cli", *DEMO], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as demo:
        try:
            url = _address(demo)
            _wait_for_session(url)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
                _pictures(browser, url)
                browser.close()
        finally:
            demo.send_signal(signal.SIGTERM)


def _pictures(browser: Any, url: str) -> None:  # noqa: ANN401 - Playwright's Browser
    riskiest = _ask(url, RISKIEST)["portfolios"]["nodes"][0]["portfolioId"]
    wide = {"width": 1440, "height": 900}
    _picture(browser, f"{url}/#portfolio={riskiest}", "dashboard", viewport=wide, color_scheme="light")
    _picture(browser, f"{url}/#min=70&portfolio={riskiest}&tab=stress", "stress", viewport=wide, color_scheme="dark")
    _picture(browser, url, "phone", viewport={"width": 390, "height": 844}, color_scheme="light", is_mobile=True)


def _picture(browser: Any, address: str, name: str, **options: Any) -> None:  # noqa: ANN401
    page: Page = browser.new_context(**options).new_page()
    page.goto(address)
    page.locator("portfolio-grid .grid-body [role=row]:visible").first.wait_for()
    # Long enough for the numbers of the header, and for a chart to have some points.
    page.wait_for_timeout(6_000)
    path = HERE / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size // 1000} KB")
    page.context.close()


def _address(demo: subprocess.Popen[str]) -> str:
    for line in demo.stdout or ():
        if line.startswith("ready "):
            return line.split()[1]
    sys.exit("the demo ended before it was ready; `uv run plimsoll demo` says why")


def _wait_for_session(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    session = ""
    while session < SESSION:
        if time.monotonic() > deadline:
            sys.exit(f"the demo did not reach {SESSION} within {PATIENCE_SECONDS:g} s; it is at {session}")
        time.sleep(1.0)
        session = (_ask(url, "{ systemStatus { replay { session } } }")["systemStatus"]["replay"] or {})["session"]
        print(f"\rsession of {session}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _ask(url: str, query: str) -> Any:  # noqa: ANN401 - what the query asks for
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310 - the demo's own address
        return json.load(answer)["data"]


if __name__ == "__main__":
    take()
