"""GraphQL over HTTP as its specification wants it: the audits that graphql-http ships for servers."""

from __future__ import annotations

import json

import pytest
from live import LiveSystem
from nodes import Project

AUDITS = 61

# The first of the folder starts the system, and on a new machine fetches the clients.
pytestmark = pytest.mark.timeout(300)


def test_every_audit_of_graphql_over_http_is_ok(live: LiveSystem, clients: Project) -> None:
    audits = [json.loads(line) for line in clients.run("audit.mjs", live.direct_url).splitlines()]
    assert len(audits) == AUDITS
    failing = [f"{each['id']} {each['status']}: {each['name']}: {each['reason']}"
               for each in audits if each["status"] != "ok"]  # fmt: skip
    assert not failing, "\n".join(failing)
