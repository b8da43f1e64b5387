"""The whole of Plimsoll, running, for clients and browsers to connect to: an embedded broker and store, a producer that
never ends, the engine, and `risk-api`, behind a proxy that can cut every connection at once. The API can be killed or
stopped, and comes back at its address; the engine can be made to stand still.
"""

from __future__ import annotations

import os
import signal
import subprocess
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
from embedded.child import Child, _descendants
from embedded.demo import Demo, environment, programs, servers
from embedded.store import EmbeddedStore, free_port

T = TypeVar("T")

FOR_CLIENTS = Demo(portfolios=40, advisors=4)
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


def token(role: str, *options: str) -> str:
    """What `plimsoll token` issues for the guarded API: `token("advisor", "--advisor", "advisor-1")`."""
    done = subprocess.run(
        [sys.executable, "-m", "plimsoll.cli", "token", "--role", role, *options],
        env={**os.environ, "PLIMSOLL_TOKEN_SECRET": SECRET}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class LiveSystem:
    """Use as a context manager. `url` leads through the proxy, `direct_url` past it; without a proxy they are one.

    `demo` says how large the system is and how quickly its sessions pass; `settings` are what its programs are told.
    """

    def __init__(
        self,
        directory: Path,
        demo: Demo = FOR_CLIENTS,
        *,
        proxied: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._demo = demo
        self._settings = settings or {}
        self._proxied = proxied
        self._port = free_port()
        self._commands = programs(demo, self._port, directory / "recovery")
        self._stack = ExitStack()
        self.direct_url = self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            broker = stack.enter_context(EmbeddedBroker.start())
            store = stack.enter_context(EmbeddedStore.start(self._directory))
            reached = servers(self._demo, broker.address, store.url)
            self._environ = environment({**os.environ, **self._settings}, reached, benchmark=self._demo.benchmark)
            stack.callback(self._start("producer").stop)
            self._engine = self._start("engine")
            stack.callback(self._engine.stop)
            self.start_api()
            stack.callback(self._end_api)
            until(self._knows_all, "risk of every portfolio", READY_SECONDS, self.api.tail)
            if self._proxied:
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
    def engine_standing_still(self) -> Iterator[list[int]]:
        """Every process of the engine stopped, none ended: the market goes on, and no risk is published. Their ids."""
        # The supervisor first and last, so that it never sees a worker that does not answer.
        processes = [self._engine.pid, *_descendants(self._engine.pid)]
        try:
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            yield processes
        finally:
            for pid in reversed(processes):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def guarded(self, settings: Mapping[str, str] | None = None) -> Iterator[str]:
        """The address of one more API on the same broker and store, where one has to sign in.

        `settings` say how; otherwise it takes what `token` gives.
        """
        port, environ = free_port(), {"PLIMSOLL_AUTH": "on", **(settings or {"PLIMSOLL_TOKEN_SECRET": SECRET})}
        url = f"http://127.0.0.1:{port}"
        api = Child.start(
            "guarded", [sys.executable, "-m", "api", "--port", str(port)], environ={**self._environ, **environ},
            log=self._directory / "guarded.log", directory=self._directory,
        )  # fmt: skip
        try:
            until(
                lambda: answers(f"{url}/live") or api.exit_code(),
                "answer from the guarded API",
                READY_SECONDS,
                api.tail,
            )
            assert api.exit_code() is None, api.tail()
            yield url
        finally:
            api.stop()

    @property
    def brokers(self) -> str:
        """Where producers other than the API connect to."""
        return self._environ["KAFKA_BROKERS"]

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
        return answers(f"{self.direct_url}/health").get("active_portfolios") == self._demo.portfolios

    def _start(self, name: str) -> Child:
        log = self._directory / f"{name}.log"
        return Child.start(name, self._commands[name], environ=self._environ, log=log, directory=self._directory)
