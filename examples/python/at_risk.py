"""A live table of the portfolios at risk: `python at_risk.py http://127.0.0.1:6066 70`. PLIMSOLL_TOKEN signs in.

Needs `pip install "gql[websockets,httpx]"`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed

AT_RISK = """
subscription AtRisk($riskThreshold: Int!) {
  atRisk(riskThreshold: $riskThreshold) {
    change
    risk { portfolioId advisorId sequence riskNumber var95 marketValue stale }
  }
}
"""
STATUS = "query Status { systemStatus { status stale activePortfolios } }"
STATUS_SECONDS = 5.0
RETRY_SECONDS_MAX = 5.0
REFUSED = range(4400, 4500)
"""Codes of a server that will say the same again."""
ROWS_MAX = 20


class Table:
    """The portfolios at risk as far as we know, and how the server is."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._known: dict[str, dict[str, Any]] = {}
        self._status: dict[str, Any] | None = None

    def begin(self) -> None:
        """Forget everything: who left while we were away is not told, and the present list comes first."""
        self._known.clear()

    def apply(self, change: str, risk: dict[str, Any]) -> None:
        """Take one event of the stream."""
        if change == "LEFT":
            self._known.pop(risk["portfolioId"], None)
        else:
            self._known[risk["portfolioId"]] = risk

    def told(self, status: dict[str, Any] | None) -> None:
        """Take the system's status; None: the server does not answer."""
        self._status = status

    def __str__(self) -> str:
        ranked = sorted(self._known.values(), key=lambda risk: (-(risk["riskNumber"] or 0), risk["portfolioId"]))
        rows = [
            f"{risk['portfolioId']:<20} {risk['advisorId']:<14} {risk['riskNumber'] or '-':>4} "
            f"{risk['var95']:>14,.0f} {risk['marketValue']:>16,.0f}  {'stale' if risk['stale'] else ''}"
            for risk in ranked[:ROWS_MAX]
        ]
        of = self._status["activePortfolios"] if self._status else "?"
        head = f"{len(self._known)} of {of} portfolios at {self._threshold} or more; {self._health()}"
        names = f"{'portfolio':<20} {'advisor':<14} {'risk':>4} {'VaR 95 %':>14} {'value':>16}"
        return "\n".join([head, names, *rows])

    def _health(self) -> str:
        if self._status is None:
            return "the server does not answer"
        return "STALE: the engine is silent" if self._status["stale"] else str(self._status["status"])


async def followed(url: str, headers: dict[str, str], request: GraphQLRequest, table: Table) -> AsyncIterator[Any]:
    """Every event of a subscription, through reconnects. Raises where the server refuses it."""
    attempt = 0
    while True:
        transport = WebsocketsTransport(f"{url.replace('http', 'ws', 1)}/graphql", init_payload=headers)
        try:
            async with Client(transport=transport) as client:
                table.begin()
                async for data in client.subscribe(request):
                    attempt = 0
                    yield data
        except (TransportConnectionFailed, OSError) as away:
            if code_of(away) in REFUSED:
                raise
        except TransportQueryError as refused:
            if refused.errors[0]["extensions"]["code"] != "UNAVAILABLE":
                raise
        # Twice as long each time, up to five seconds; and not every client at once.
        await asyncio.sleep(min(0.1 * 2**attempt, RETRY_SECONDS_MAX) * random.uniform(0.5, 1.0))  # noqa: S311
        attempt += 1


def code_of(away: BaseException) -> int | None:
    """With what code the server closed the socket, if it did."""
    cause = away.__cause__
    return cause.rcvd.code if isinstance(cause, ConnectionClosed) and cause.rcvd else None


async def watch_status(url: str, headers: dict[str, str], table: Table) -> None:
    """Ask how the system is: snapshots stop coming when the engine stops, so nothing on the stream could say it."""
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=5.0) as client:
        while True:
            try:
                answer = await client.post("/graphql", json={"query": STATUS})
                table.told(answer.json()["data"]["systemStatus"])
            except (httpx.TransportError, ValueError, KeyError, TypeError):
                table.told(None)
            print(table, flush=True)
            await asyncio.sleep(STATUS_SECONDS)


async def main(url: str = "http://127.0.0.1:6066", threshold: str = "70") -> None:
    """Follow, and draw the table anew at each event."""
    token = os.environ.get("PLIMSOLL_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    table = Table(int(threshold))
    request = GraphQLRequest(AT_RISK, variable_values={"riskThreshold": int(threshold)})
    watching = asyncio.create_task(watch_status(url, headers, table))
    try:
        async for data in followed(url, headers, request, table):
            table.apply(**data["atRisk"])
            print(table, flush=True)
    except (TransportConnectionFailed, TransportQueryError) as refused:
        sys.exit(f"refused: {refused.__cause__ or refused}")
    finally:
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
