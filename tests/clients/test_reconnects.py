"""Every client reads, trades and follows; then its connection is cut, the API killed, the API stopped. It comes back.

All clients play at the same time, in processes of their own, against one system; they tell what happened as lines of
JSON. The tests read those lines.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from live import LiveSystem
from nodes import Project, environment

from embedded.child import Child

pytestmark = pytest.mark.timeout(300)

HERE = Path(__file__).parent
ON_SOCKETS = ("graphql-ws", "apollo", "urql", "relay", "gql_client")
ON_STREAMS = ("apollo-multipart", "urql-sse", "httpx_client")
CLIENTS = (*ON_SOCKETS, *ON_STREAMS)
CODES_SAID = tuple(name for name in ON_SOCKETS if name != "gql_client")
"""Who tells with what code a socket was closed."""
PHASES = ("opened", "cut", "killed", "stopped")
"""What had happened before each part of the play."""
PHASE_SECONDS = 60.0
COME_BACK = (1001, 1012, 1013)
"""Going away, service restart, try again later: a server that stops says one of these, and clients then return."""


@dataclass
class Part:
    """One client's process, and which of its lines belong to which phase."""

    child: Child
    begins: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[dict[str, Any]]:
        """What it has told so far. What is no JSON is its standard error."""
        whole = self.child.log.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith('{"kind"')]

    def told(self, kind: str, phase: str | None = None) -> list[dict[str, Any]]:
        """Its lines of one kind, of one phase or of all."""
        lines = self.lines()
        if phase is not None:
            ends = [begin for name, begin in self.begins.items() if PHASES.index(name) > PHASES.index(phase)]
            lines = lines[self.begins[phase] : min(ends, default=None)]
        return [line for line in lines if line["kind"] == kind]

    def is_moving(self, phase: str) -> bool:
        """Whether in this phase it has met the snapshot and two newer ones, and in the first its own trade as well."""
        reasons = [event["reason"] for event in self.told("event", phase)]
        after = reasons[reasons.index("SNAPSHOT") :] if "SNAPSHOT" in reasons else []
        return len(after) > 2 and (phase != "opened" or self.has_traded())

    def has_traded(self) -> bool:
        """Whether its trade of a million shares was answered, and is seen in what a hundred were worth."""
        if not self.told("mutation"):
            return False
        values = [event["risk"]["marketValue"] for event in self.told("event")]
        return values[-1] > 1_000 * values[0]


@pytest.fixture(scope="module")
def parts(live: LiveSystem, clients: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Part]]:
    """The whole play, once: every client through all phases. Whoever does not get through one is not waited for."""
    directory = tmp_path_factory.mktemp("parts")
    compile_relay(clients)
    for name in CLIENTS:
        live.open_portfolio(name)
    playing = {name: Part(start(name, live.url, clients, directory)) for name in CLIENTS}
    try:
        through = set(CLIENTS)
        for phase in PHASES:
            for part in playing.values():
                # The first begins with the first line: some have told much before the last has been started.
                part.begins[phase] = len(part.lines()) if part.begins else 0
            happen(phase, live)
            through = those_moving(playing, through, phase)
        yield playing
    finally:
        for part in playing.values():
            part.child.stop(2.0)


def compile_relay(clients: Project) -> None:
    shutil.copy(HERE.parents[1] / "schema.graphql", clients.directory / "relay")
    clients.run("node_modules/relay-compiler/cli.js", "relay.config.json", directory="relay")


def start(name: str, url: str, clients: Project, directory: Path) -> Child:
    script = HERE / "python" / f"{name}.py"
    command = [sys.executable, script, url, name] if script.exists() else clients.command(f"{name}.mjs", url, name)
    environ = dict(os.environ) if script.exists() else environment()
    return Child.start(name, command, environ=environ, log=directory / f"{name}.jsonl", directory=directory)


def happen(phase: str, live: LiveSystem) -> None:
    match phase:
        case "cut":
            live.cut()
        case "killed":
            live.kill_api()
            live.start_api()
        case "stopped":
            live.stop_api()
            live.start_api()


def those_moving(playing: dict[str, Part], names: set[str], phase: str) -> set[str]:
    deadline = time.monotonic() + PHASE_SECONDS
    waiting = set(names)
    while waiting and time.monotonic() < deadline:
        waiting -= {name for name in waiting if playing[name].is_moving(phase)}
        waiting -= {name for name in waiting if playing[name].child.exit_code() is not None}
        time.sleep(0.05)
    return names - waiting


@pytest.fixture
def part(request: pytest.FixtureRequest, parts: dict[str, Part]) -> Part:
    """What one client has told."""
    return parts[request.param]


def every(names: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("part", names, indirect=True)


@every(CLIENTS)
def test_a_query_is_answered(part: Part) -> None:
    (answer,) = part.told("query")
    assert (answer["portfolioId"], answer["marketValue"] > 0) == (part.child.name, True)


@every(CLIENTS)
def test_a_mutation_is_accepted_and_its_effect_arrives_on_the_open_subscription(part: Part) -> None:
    assert part.told("mutation"), part.child.tail()
    (accepted,) = part.told("mutation")
    assert (accepted["__typename"], accepted["topic"]) == ("PortfolioUpdateAccepted", "portfolio-updates")
    assert part.has_traded()
    assert not part.told("failed", "opened")


@every(CLIENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_the_snapshot_comes_first_and_then_what_is_newer(part: Part, phase: str) -> None:
    assert part.is_moving(phase), part.child.tail()
    events = part.told("event", phase)
    # What was on its way when the connection went may still be told.
    first = next(index for index, event in enumerate(events) if event["reason"] == "SNAPSHOT")
    sequences = [int(event["risk"]["sequence"]) for event in events[first:]]
    assert {event["reason"] for event in events[first + 1 :]} <= {"UPDATE", "RESYNC"}
    assert sequences == sorted(set(sequences))


@every(CLIENTS)
def test_nothing_older_is_told_after_a_reconnect(part: Part) -> None:
    sequences = [int(event["risk"]["sequence"]) for event in part.told("event")]
    assert len(sequences) > len(PHASES)
    assert sequences == sorted(sequences)


@every(CODES_SAID)
def test_a_stop_says_that_one_may_come_back(part: Part) -> None:
    codes = [closed["code"] for closed in part.told("closed", "stopped")]
    assert codes, part.child.tail()
    assert codes[0] in COME_BACK
    assert not part.told("completed")


@every(ON_SOCKETS)
def test_a_socket_that_came_back_has_nothing_to_complain_of(part: Part) -> None:
    assert not part.told("failed")


@every(("relay",))
def test_relay_pages_through_a_connection_and_reads_a_node_again(part: Part) -> None:
    (pages,), (node,) = part.told("pages"), part.told("node")
    assert len(set(pages["ids"])) == 6
    assert node["id"] == node["asked"] == pages["ids"][0]
