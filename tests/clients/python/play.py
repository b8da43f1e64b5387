"""What every client plays, and how it tells: one JSON object a line, which the tests read."""

from __future__ import annotations

import json
import sys
from typing import Any

URL, PORTFOLIO_ID = sys.argv[1:3]
SOCKET_URL = URL.replace("http", "ws", 1)

QUERY = """
query Risk($portfolioId: ID!) {
  portfolioRisk(portfolioId: $portfolioId) { portfolioId sequence marketValue }
}
"""
MUTATION = """
mutation Trade($input: SimulatePortfolioUpdateInput!) {
  simulatePortfolioUpdate(input: $input) {
    __typename
    ... on PortfolioUpdateAccepted { topic offset }
    ... on Problem { code message }
  }
}
"""
SUBSCRIPTION = """
subscription Follow($portfolioId: ID!) {
  portfolioRisk(portfolioId: $portfolioId) { reason previousSequence risk { sequence marketValue stale } }
}
"""
WHO = {"portfolioId": PORTFOLIO_ID}
# So many that no move of the market could be taken for them.
TRADE = {"input": {"portfolioId": PORTFOLIO_ID, "trades": [{"symbol": "AAPL", "quantity": 1_000_000}]}}

RETRY_SECONDS = 0.2


def say(kind: str, **told: Any) -> None:
    print(json.dumps({"kind": kind, **told}), flush=True)
