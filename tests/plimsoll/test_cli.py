"""The `plimsoll` command as a shell sees it: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import graphql
import pytest

from plimsoll import __version__, topics


def plimsoll(*arguments: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plimsoll.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=directory,
        env=os.environ | {"TERM": "dumb", "COLUMNS": "100", **environ},
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    answer = plimsoll("--help", directory=tmp_path)

    assert answer.returncode == 0
    for command in ("demo", "schema", "topics", "version"):
        assert re.search(rf"\b{command}\b", answer.stdout)


def test_without_a_command_it_helps(tmp_path: Path) -> None:
    answer = plimsoll(directory=tmp_path)

    assert answer.returncode == 2
    assert "demo" in answer.stdout + answer.stderr


def test_help_of_the_demo_names_every_flag(tmp_path: Path) -> None:
    answer = plimsoll("demo", "--help", directory=tmp_path)

    assert answer.returncode == 0
    for flag in ("portfolios", "advisors", "seed", "port", "from", "session-seconds", "workers", "duration"):
        assert f"--{flag}" in answer.stdout
    assert "--kafka" in answer.stdout
    assert "--redis" in answer.stdout


def test_the_version_is_the_package_s(tmp_path: Path) -> None:
    assert plimsoll("version", directory=tmp_path).stdout == f"plimsoll {__version__}\n"


def test_helping_starts_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, plimsoll.cli; plimsoll.cli.application();"
        "print([name for name in ('confluent_kafka', 'numpy', 'bytewax', 'strawberry') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert answer.stdout == "[]\n"


def test_topics_creates_what_is_missing_and_lists_all_five(tmp_path: Path, broker_address: str) -> None:
    answer = plimsoll("topics", directory=tmp_path, KAFKA_BROKERS=broker_address)
    assert answer.returncode == 0, answer.stderr
    for topic in topics.ALL:
        assert re.search(rf"^{topic.name} .*\b{topic.partitions}\b", answer.stdout, re.MULTILINE)

    listed = json.loads(plimsoll("topics", "--json", directory=tmp_path, KAFKA_BROKERS=broker_address).stdout)
    assert len(listed) == len(topics.ALL)


def test_the_schema_is_printed_as_graphql(tmp_path: Path) -> None:
    answer = plimsoll("schema", directory=tmp_path)

    assert answer.returncode == 0, answer.stderr
    assert "portfolioRisk" in graphql.build_schema(answer.stdout).query_type.fields


def test_the_demo_shows_the_first_risk_and_leaves_nothing_where_it_was_started(tmp_path: Path) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    flags = ["--port", "0", "--portfolios", "20", "--advisors", "2", "--duration", "0"]
    answer = plimsoll("demo", *flags, directory=here, TMPDIR=str(temporary))

    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^ready http://127\.0\.0\.1:\d+$", answer.stdout, re.MULTILINE)
    assert re.search(r"the risk of [1-9]\d* portfolios can be asked for", answer.stdout)
    assert answer.stderr == ""
    assert list(here.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        (["demo", "--portfolios", "20001"], {}, 2, "point --kafka at a real one"),
        (["demo", "--from", "2020-02-22"], {}, 2, "the next one is 2020-02-24"),
        (["demo", "--no-such-flag"], {}, 2, "No such option"),
        (["no-such-command"], {}, 2, "No such command"),
        (["topics"], {"PLIMSOLL_NONSENSE": "1"}, 2, "PLIMSOLL_NONSENSE: no such setting"),
        (["topics"], {"KAFKA_BROKERS": "nowhere"}, 2, "KAFKA_BROKERS: 'nowhere' is not host:port"),
        (["demo", "--port", "0", "--redis", "redis://127.0.0.1:1"], {}, 1, "Redis at 127.0.0.1:1 is unavailable"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], code: int, said: str
) -> None:
    answer = plimsoll(*arguments, directory=tmp_path, **environ)

    assert answer.returncode == code
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_port_that_is_in_use_is_exit_code_3(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        answer = plimsoll("demo", "--port", str(port), directory=tmp_path)

    assert answer.returncode == 3
    assert answer.stderr == (
        f"plimsoll demo: port {port} is in use: choose another with --port, or --port 0 for any free one\n"
    )
