"""httpx and nothing else: queries and mutations by POST, subscriptions as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
from play import MUTATION, QUERY, RETRY_SECONDS, SUBSCRIPTION, TRADE, URL, WHO, say

# The server says something at least every fifteen seconds; who hears nothing for longer has lost it.
client = httpx.Client(base_url=URL, timeout=httpx.Timeout(5.0, read=30.0))


def once(text: str, variables: object) -> dict:
    return client.post("/graphql", json={"query": text, "variables": variables}).raise_for_status().json()["data"]


def followed(text: str, variables: object) -> Iterator[dict]:
    """The payload of each `next` event, until the stream says `complete` or ends."""
    asked = {"query": text, "variables": variables}
    accept = {"accept": "text/event-stream"}
    with client.stream("POST", "/graphql", json=asked, headers=accept) as answer:
        answer.raise_for_status()
        kind = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                kind = value.strip()
                if kind == "complete":
                    return
            elif name == "data" and kind == "next":
                yield json.loads(value)


def main() -> None:
    say("query", **once(QUERY, WHO)["portfolioRisk"])
    is_first, reason = True, ""
    while reason != "CLOSED":
        try:
            for payload in followed(SUBSCRIPTION, WHO):
                if errors := payload.get("errors"):
                    say("failed", message=errors[0]["message"])
                    if errors[0]["extensions"]["code"] != "UNAVAILABLE":
                        return
                    break
                event = payload["data"]["portfolioRisk"]
                say("event", **event)
                reason = event["reason"]
                if is_first:
                    is_first = False
                    say("mutation", **once(MUTATION, TRADE)["simulatePortfolioUpdate"])
        except httpx.TransportError as away:
            say("closed", reason=repr(away))
        except httpx.HTTPStatusError as refused:
            say("failed", message=str(refused))
            return
        time.sleep(RETRY_SECONDS)


main()
