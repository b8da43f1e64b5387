"""Pages opened in the browser, and everything that goes wrong on them.

A test looks at what a page shows. What it does not look at is collected here: what the console says, errors nobody
caught, requests that fail, and requests to another host. Any of these fails the test, unless it said beforehand that
it would happen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Request, ViewportSize

SAID_MAX = 200
"""Lines of a console that are kept, the newest: enough to see what led to a failure."""
SECONDS_MAX = 30.0
"""How long a test waits for what a page should show. Two cores are shared by engine, API and browser."""
OF_OUR_OWN_WILL = "net::ERR_ABORTED"
"""How a request ends that its page took back, or left behind."""


class Visitor:
    """Opens pages, each in a context of its own: `visit("/graphql", color_scheme="dark")`."""

    def __init__(self, url: str, new_context: Callable[..., BrowserContext], pictures: Path) -> None:
        self._url = url
        self._new_context = new_context
        self._pictures = pictures
        self._expected: list[re.Pattern[str]] = []
        self._said: deque[str] = deque(maxlen=SAID_MAX)
        self._troubles: list[str] = []
        self._pages: list[Page] = []

    def __call__(self, address: str = "/", **options: Any) -> Page:
        """Open a path of the demo, or a whole address. The options are those of Playwright's `new_context`."""
        # The plugin gives every context a viewport of its own, and takes no second one.
        viewport = options.pop("viewport", None)
        context = self._new_context(**options)
        context.set_default_timeout(SECONDS_MAX * 1000)
        return self.open(context, address, viewport)

    def open(
        self,
        context: BrowserContext,
        address: str,
        viewport: ViewportSize | None = None,
        *,
        until: Literal["load", "commit"] = "load",
    ) -> Page:
        """Open one more page in a context that there is, as another tab; wait `until` it is there, or on its way."""
        page, whole = context.new_page(), urljoin(self._url, address)
        if viewport is not None:
            page.set_viewport_size(viewport)
        self._watch(page, urlsplit(whole).netloc)
        page.goto(whole, wait_until=until)
        return page

    def expect(self, *patterns: str) -> None:
        """Trouble in which one of these is found is part of the test, whether it has happened or will."""
        self._expected += [re.compile(pattern) for pattern in patterns]

    def troubles(self) -> list[str]:
        """What went wrong so far and nobody expected."""
        for page in self._pages:
            self._catch_up(page)
        return [each for each in self._troubles if not any(pattern.search(each) for pattern in self._expected)]

    def account(self) -> str:
        """What the consoles said, and where there is a picture of each page."""
        pictures = [path for number, page in enumerate(self._pages, 1) if (path := self._picture(number, page))]
        return "\n".join(
            ["console:", *(f"  {line}" for line in self._said), "pictures:", *(f"  {p}" for p in pictures)]
        )

    def _watch(self, page: Page, host: str) -> None:
        def said(message: ConsoleMessage) -> None:
            where = message.location.get("url", "")
            line = f"{message.type}: {message.text} ({where})" if where else f"{message.type}: {message.text}"
            self._said.append(line)
            if message.type in ("error", "warning"):
                self._troubles.append(f"console {line}")

        def asked(url: str) -> None:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
                self._troubles.append(f"request to another host: {url}")

        def failed(request: Request) -> None:
            if request.failure != OF_OUR_OWN_WILL:
                self._troubles.append(f"request failed: {request.method} {request.url}: {request.failure}")

        page.on("console", said)
        page.on("pageerror", lambda error: self._troubles.append(f"error nobody caught: {error.stack or error}"))
        page.on("request", lambda request: asked(request.url))
        page.on("requestfailed", failed)
        page.on("websocket", lambda socket: asked(socket.url))
        self._pages.append(page)

    def _catch_up(self, page: Page) -> None:
        """Hear what the browser has said: it is read only while something is asked of it."""
        if not page.is_closed():
            page.wait_for_timeout(0)

    def _picture(self, number: int, page: Page) -> Path | None:
        path = self._pictures / f"page-{number}.png"
        try:
            page.screenshot(path=path, timeout=5_000)
        except Error:
            return None  # Closed by the test, or beyond help: the console has to do.
        return path
