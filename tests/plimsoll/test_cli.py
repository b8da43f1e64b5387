"""The `plimsoll` command as a shell sees it: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import get_args

import graphql
import pytest

from plimsoll import __version__, topics
from plimsoll.cli import HoldName, QuantileName
from plimsoll.risk.backtest import Hold
from plimsoll.risk.tails import Quantile

ROOT = Path(__file__).parents[2]
STOCKS, INDEX = (ROOT / "producer" / "data" / f"sp500_{name}.csv.gz" for name in ("dataset", "index"))
EXAMPLE = ROOT / "examples" / "portfolios.csv"


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
    for command in ("demo", "risk", "backtest", "schema", "topics", "status", "doctor", "top", "dead-letters", "bench"):
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


def test_what_is_spelt_out_for_the_help_is_what_there_is() -> None:
    assert list(get_args(QuantileName)) == [each.value for each in Quantile]
    assert list(get_args(HoldName)) == [each.value for each in Hold]


@pytest.mark.parametrize("command", ["risk", "backtest"])
def test_every_flag_of_a_report_is_in_the_docs(tmp_path: Path, command: str) -> None:
    documented = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8").partition(f"## plimsoll {command}\n")[2]
    flags = set(re.findall(r"--[a-z-]+", plimsoll(command, "--help", directory=tmp_path).stdout)) - {"--help"}

    assert len(flags) > 10
    assert not [flag for flag in flags if not re.search(rf"`{flag}[` ]", documented)]


# --- reports from files -----------------------------------------------------------------------------------------------


def test_the_risk_of_the_example_is_json(tmp_path: Path) -> None:
    prices = ["--prices", str(STOCKS), "--prices", str(INDEX)]
    flags = ["--as-of", "2020-02-19", "--window", "250", "--cash", "long-short=1e5", "--draws", "200", "--json"]
    answer = plimsoll("risk", *prices, "--positions", str(EXAMPLE), *flags, directory=tmp_path)

    assert (answer.returncode, answer.stderr) == (0, "")
    rows = json.loads(answer.stdout)
    assert [row["portfolio_id"] for row in rows] == [
        *("broad", "technology", "defensive", "energy", "cyclical", "long-short")
    ]
    assert {(row["as_of"], row["observations"], row["last_session"]) for row in rows} == {
        ("2020-02-19", 250, "2020-02-19")
    }
    assert rows[-1]["cash"] == 100_000.0
    assert rows[0]["parameters"]["benchmark"] == "SP500"
    assert rows[0]["parameters"]["monte_carlo"] == {"draws": 200, "seed": 7, "degrees_of_freedom": 5.0}


def test_the_backtest_of_the_example_is_a_table_for_each_portfolio(tmp_path: Path) -> None:
    flags = ["--from", "2020-01-02", "--to", "2020-12-31", "--method", "normal"]
    answer = plimsoll("backtest", "--prices", str(STOCKS), "--positions", str(EXAMPLE), *flags, directory=tmp_path)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.count("253 sessions 2020-01-02 to 2020-12-31, constant weights") == 6
    assert "Kupiec" in answer.stdout
    assert "filtered_historical" not in answer.stdout


def test_the_table_in_the_docs_is_what_the_command_says(tmp_path: Path) -> None:
    answer = plimsoll("backtest", "--prices", str(STOCKS), "--positions", str(EXAMPLE), "--json", directory=tmp_path)
    rows = [
        f"| {row['portfolio_id']} | `{method}` | "
        + " | ".join(
            f"{found['exceptions']} | {found['kupiec']['p_value']:.3f}{'*' if found['kupiec']['rejected'] else ''}"
            for found in (verdicts["0.95"], verdicts["0.99"])
        )
        + f" | {verdicts['0.99']['zone'].lower()} | {verdicts['0.975']['z2']:.2f} |"
        for row in json.loads(answer.stdout)
        for method, verdicts in row["methods"].items()
    ]

    assert len(rows) == 12
    assert "\n".join(rows) + "\n<!-- end" in (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8")


def test_a_portfolio_that_cannot_be_measured_leaves_the_others_alone(tmp_path: Path) -> None:
    book = tmp_path / "book.csv"
    book.write_text("portfolio_id,symbol,quantity,mood\na,GHOST,1,good\nb,KO,1,bad\n", encoding="utf-8")
    answer = plimsoll("risk", "--prices", str(STOCKS), "--positions", str(book), "--json", directory=tmp_path)

    assert answer.returncode == 0
    assert [row["problem"] is None for row in json.loads(answer.stdout)] == [False, True]
    assert answer.stderr.splitlines() == [
        f"plimsoll: {book}: ignored mood",
        f"plimsoll: {book}, row 2, column symbol: GHOST is in no number: no column in the prices",
        "plimsoll: a: nothing that it holds can be valued",
    ]

    book.write_text("portfolio_id,symbol,quantity\na,GHOST,1\n", encoding="utf-8")
    answer = plimsoll("risk", "--prices", str(STOCKS), "--positions", str(book), "--json", directory=tmp_path)
    assert answer.returncode == 1
    assert [row["portfolio_id"] for row in json.loads(answer.stdout)] == ["a"]


@pytest.mark.parametrize("command", ["risk", "backtest"])
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--prices", "nowhere.csv", "--positions", "book.csv"], 1, "nowhere.csv: there is no such file"),
        (["--prices", "bad.csv", "--positions", "book.csv"], 1, "bad.csv, row 3, column KO: a price of -1"),
        (["--prices", str(STOCKS), "--positions", "bad.csv"], 1, "bad.csv: no column portfolio_id"),
        (["--prices", str(STOCKS), "--positions", "book.csv", "--window", "59"], 2, "greater than or equal to 60"),
        (["--prices", str(STOCKS), "--positions", "book.csv", "--lambda", "1"], 2, "--lambda: 1.0 is not between"),
        (["--prices", str(STOCKS)], 2, "Missing option '--positions'"),
    ],
)
def test_a_bad_file_is_exit_code_1_and_a_bad_flag_2(
    tmp_path: Path, command: str, flags: list[str], code: int, said: str
) -> None:
    (tmp_path / "bad.csv").write_text("Date,KO\n2022-01-03,1\n2022-01-04,-1\n", encoding="utf-8")
    (tmp_path / "book.csv").write_text("portfolio_id,symbol,quantity\na,KO,1\n", encoding="utf-8")
    answer = plimsoll(command, *flags, directory=tmp_path)

    assert answer.returncode == code
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("command", ["risk", "backtest", "demo"])
def test_a_file_that_must_not_be_read_is_a_bad_file_too(tmp_path: Path, command: str) -> None:
    # Root may read everything, so both doors are shut by hand.
    code = f"""
import errno, os, pathlib, sys
from plimsoll.cli import main

def refuse(*_): raise OSError(errno.EACCES, "Permission denied")

os.access, pathlib.Path.read_bytes = lambda *_, **__: False, refuse
sys.argv = ["plimsoll", "{command}", "--prices", "p.csv", "--positions", "p.csv"]
main()
"""
    (tmp_path / "p.csv").touch()
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert answer.returncode == 1
    assert answer.stderr.endswith(": p.csv: cannot be read: Permission denied\n")


def test_what_an_encoding_lacks_is_spelt_out(tmp_path: Path) -> None:
    book = tmp_path / "book.csv"
    book.write_text("portfolio_id,symbol,quantity\nb\u00fcro\u2026,KO,1\n", encoding="utf-8")
    arguments = ("risk", "--prices", str(STOCKS), "--positions", str(book))
    answer = plimsoll(*arguments, directory=tmp_path, PYTHONIOENCODING="ascii")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(r"b\xfcro\u2026  as of")


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


STAND_IN = """
import json, pathlib, sys

def main(arguments):
    pathlib.Path("called.json").write_text(json.dumps(arguments))
    return 3 if "fails" in arguments else 0
"""
ELSEWHERE = "import sys, plimsoll.cli; plimsoll.__file__ = sys.argv.pop(1); plimsoll.cli.main()"
"""Runs the command as if the package stood at the path that is its first argument."""


def bench(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(directory / "plimsoll" / "__init__.py"), "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=directory,
    )


def test_the_benchmarks_of_the_checkout_are_run_with_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "__main__.py").write_text(STAND_IN, encoding="utf-8")
    asked = {
        (): [],
        ("kernel", "--quick", "fan-out"): ["kernel", "fan-out", "--quick"],
        ("--json", "out.json"): ["--json", "out.json"],
        ("updates", "--broker", "kafka", "--rounds", "3"): ["updates", "--rounds", "3", "--broker", "kafka"],
    }
    for arguments, handed_on in asked.items():
        answer = bench(tmp_path, *arguments)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert json.loads((tmp_path / "called.json").read_text(encoding="utf-8")) == handed_on
    assert bench(tmp_path, "fails").returncode == 3


def test_an_installed_package_has_no_benchmarks_and_says_where_they_are(tmp_path: Path) -> None:
    answer = bench(tmp_path)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert "benchmarks come with the checkout, not with the installed package" in answer.stderr
    assert "Traceback" not in answer.stderr


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("arguments", [["schema"], ["risk", "--prices", STOCKS, "--positions", EXAMPLE], ["--help"]])
def test_a_full_disk_is_one_sentence(tmp_path: Path, arguments: list[str | Path]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "plimsoll.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )

    assert answer.returncode == 1
    assert answer.stderr == "plimsoll: the disk is full, and what was written is not whole: make room, ask again\n"


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
