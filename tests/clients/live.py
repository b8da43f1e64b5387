"""The whole of Plimsoll, running, for clients to connect to: an embedded broker and store, a producer that never ends,
the engine, and `risk-api` behind a proxy that can cut every connection at once. The API can be killed or stopped, and
comes back at its address.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import pytest
from proxy import FaultProxy

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.demo import Demo, environment, programs
from embedded.store import EmbeddedStore, free_port

T = TypeVar("T")

PORTFOLIOS = 40
SECRET = "only for tests, and longer than thirty-two bytes"
READY_SECONDS = 60.0
STOP_SECONDS = 10.0


def until(condition: Callable[[], T], what: str, seconds: float = 20.0, show: Callable[[], str] = str) -> T:
    """Ask until it is true and return what it said; fail with `show()` if it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {seconds:g} s\n{show()}", pytrace=False)
        time.sleep(0.02)
    return answer


def answers(address: str) -> dict[str, Any]:
    """What is answered to a GET; nothing while nobody does."""
    try:
        return httpx.get(address, timeout=2.0).json()
    except (httpx.TransportError, ValueError):
        return {}


class LiveSystem:
    """Use as a context manager. `url` leads through the proxy, `direct_url` past it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._commands = programs(Demo(portfolios=PORTFOLIOS, advisors=4), self._port, directory / "recovery")
        self._stack = ExitStack()
        self.direct_url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            broker = stack.enter_context(EmbeddedBroker.start())
            store = stack.enter_context(EmbeddedStore.start(self._directory))
            self._environ = environment(os.environ, broker.address, store.url)
            for name in ("producer", "engine"):
                stack.callback(self._start(name).stop)
            self.start_api()
            stack.callback(self._end_api)
            until(self._knows_all, "risk of every portfolio", READY_SECONDS, self.api.tail)
            self._proxy = stack.enter_context(FaultProxy(self.direct_url))
            self.url = self._proxy.url.rstrip("/")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- what can happen to it -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection; new ones are accepted at once."""
        self._proxy.refuse()
        self._proxy.pass_on()

    def kill_api(self) -> None:
        """SIGKILL; gone when this returns."""
        self.api.kill()
        assert self.api.wait(5.0), "an API that outlives SIGKILL"

    def stop_api(self) -> None:
        """SIGTERM; fails where it takes longer than it may."""
        self.api.terminate()
        assert self.api.wait(STOP_SECONDS), "an API that ignores SIGTERM"

    def start_api(self) -> None:
        """Start it, and wait until it answers."""
        self.api = self._start("api")
        until(lambda: answers(f"{self.direct_url}/live"), "answer from the API", READY_SECONDS, self.api.tail)

    @contextmanager
    def guarded(self) -> Iterator[str]:
        """The address of one more API on the same broker and store, where one has to sign in."""
        port, environ = free_port(), {"PLIMSOLL_AUTH": "on", "PLIMSOLL_TOKEN_SECRET": SECRET}
        url = f"http://127.0.0.1:{port}"
        api = Child.start(
            "guarded", [sys.executable, "-m", "api", "--port", str(port)], environ={**self._environ, **environ},
            log=self._directory / "guarded.log", directory=self._directory,
        )  # fmt: skip
        try:
            until(lambda: answers(f"{url}/live") or api.exit_code(), "answer from the guarded API", show=api.tail)
            assert api.exit_code() is None, api.tail()
            yield url
        finally:
            api.stop()

    # --- asking --------------------------------------------------------------------------------------------------

    def graphql(self, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        """The data of an answer without errors."""
        asked = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.direct_url}/graphql", json=asked, timeout=10.0).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def open_portfolio(self, portfolio_id: str) -> None:
        """A portfolio of a hundred shares of AAPL; returns once its risk is known."""
        stated = {"id": portfolio_id, "advisorId": "advisor-1", "positions": [{"symbol": "AAPL", "quantity": 100}]}
        self.graphql("mutation($input: PortfolioInput!) { updatePortfolio(input: $input) { __typename } }",
                     {"input": stated})  # fmt: skip
        query = "query($id: ID!) { portfolioRisk(portfolioId: $id) { sequence } }"
        until(lambda: self.graphql(query, {"id": portfolio_id})["portfolioRisk"], f"risk of {portfolio_id}")

    def _end_api(self) -> None:
        """Whichever runs now: it may have been started anew."""
        self.api.stop()

    def _knows_all(self) -> bool:
        return answers(f"{self.direct_url}/health").get("active_portfolios") == PORTFOLIOS

    def _start(self, name: str) -> Child:
        log = self._directory / f"{name}.log"
        return Child.start(name, self._commands[name], environ=self._environ, log=log, directory=self._directory)
