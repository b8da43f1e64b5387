"""The shape of the house, kept honest: who may import what, who reads the world, and what no file may say.

`lint-imports` checks which package imports which. Here is what it cannot say.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("plimsoll", "producer", "engine", "api", "embedded")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SHARED_LANGUAGE = sorted(path for path in (ROOT / "plimsoll").glob("*.py") if path.name != "cli.py")
RISK = sorted((ROOT / "plimsoll" / "risk").glob("*.py"))
REPORTS = sorted((ROOT / "plimsoll" / "reports").glob("*.py"))
DOORS = {"plimsoll/cli.py", "producer/__main__.py", "engine/__main__.py", "api/__main__.py", "embedded/__main__.py"}
FUNCTION_LINES_MAX = 80
"""Style asks for less than a screen; this is where it stops being a matter of taste."""
FILE_LINES_MAX = 600


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), named(path))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def foreign(path: Path, *allowed: str) -> set[str]:
    """What a file imports beyond the standard library and the `allowed` packages."""
    return {
        module
        for module in imported(path)
        if module.partition(".")[0] not in sys.stdlib_module_names
        and not any(module == each or module.startswith(f"{each}.") for each in allowed)
    }


# --- who may import what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHARED_LANGUAGE, ids=named)
def test_the_shared_language_needs_nothing_but_msgspec(path: Path) -> None:
    assert not foreign(path, "msgspec", "plimsoll")
    assert "plimsoll.risk" not in set(imported(path))


@pytest.mark.parametrize("path", RISK, ids=named)
def test_the_mathematics_knows_arrays_and_nothing_else(path: Path) -> None:
    assert not foreign(path, "numpy", "scipy", "plimsoll.risk")


@pytest.mark.parametrize("path", REPORTS, ids=named)
def test_the_reports_know_the_mathematics_and_no_program(path: Path) -> None:
    """pyarrow is an extra, so only the place that reads Parquet may ask for it, and not as it is imported itself."""
    extra = ("pyarrow",) if path.name == "files.py" else ()
    assert not foreign(path, "numpy", "scipy", "rich", "msgspec", "plimsoll", *extra)
    assert "plimsoll.cli" not in set(imported(path))
    assert not [module for module in at_import(path) if module.partition(".")[0] == "pyarrow"]


def at_import(path: Path) -> Iterator[str]:
    """Every module that importing a file imports: those at its top, and not for the type checker alone."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


WORLD = {"os", "time", "datetime", "random", "socket", "pathlib", "subprocess", "threading", "asyncio", "logging"}


@pytest.mark.parametrize("path", RISK, ids=named)
def test_the_mathematics_has_no_clock_no_chance_and_no_files(path: Path) -> None:
    assert not {module.partition(".")[0] for module in imported(path)} & WORLD
    assert not [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name) and node.id in ("open", "print")]


IMPORT_EVERYTHING = """
import importlib, os, pathlib, sys, threading
environment = dict(os.environ)
for module in sys.argv[1:]:
    importlib.import_module(module)
assert threading.active_count() == 1, threading.enumerate()
assert dict(os.environ) == environment
descriptors = pathlib.Path("/proc/self/fd")
if descriptors.is_dir():
    opened = [os.readlink(each) for each in descriptors.iterdir() if each.is_symlink()]
    assert not [what for what in opened if what.startswith("socket:")], opened
print(len(sys.argv[1:]), "imported")
"""


def test_importing_every_module_starts_nothing_and_says_nothing() -> None:
    modules = [named(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in SOURCES]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *modules], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(modules)} imported\n", "")


# --- who reads the world ----------------------------------------------------------------------------------------------


def reads_the_environment(path: Path) -> bool:
    """Whether a file looks into the environment, rather than handing all of it to a child."""
    tree = tree_of(path)
    handed_on = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in ("env", "environ")
        for part in ast.walk(node.value)
    }
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb") and id(node) not in handed_on
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_only_a_door_reads_the_environment(path: Path) -> None:
    assert named(path) in DOORS or not reads_the_environment(path)


def test_the_doors_do() -> None:
    assert {named(path) for path in SOURCES if reads_the_environment(path)} == DOORS


# --- who speaks to servers --------------------------------------------------------------------------------------------

LIBRARIES = ("confluent_kafka", "aiokafka", "redis", "bytewax.connectors.kafka")
CLIENTS = re.compile(
    r"(AIO)?Kafka\w*(Client|Consumer|Producer|Source|Sink)|(Admin|Strict)?(Client|Consumer|Producer|Redis)"
)
TOLD = {"librdkafka", "aiokafka", "redis_py"}
"""The methods of `plimsoll.transport` whose answers clients are made of."""


def untold(tree: ast.Module) -> list[int]:
    """Lines on which a client of Kafka or Redis is made of anything but what `plimsoll.transport` says."""
    classes = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LIBRARIES)
        for alias in node.names
        if CLIENTS.fullmatch(alias.name)
    }
    ours = {
        id(call)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & classes
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__"
    }
    made = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            id(node) in ours
            or (isinstance(node.func, ast.Name) and node.func.id in classes)
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "from_url")
            or ast.unparse(node.func) == "redis.Redis"
        )
    ]
    return [
        node.lineno
        for node in made
        if not any(isinstance(part, ast.Attribute) and part.attr in TOLD for part in ast.walk(node))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_no_client_is_made_without_the_settings_of_transport(path: Path) -> None:
    assert not untold(tree_of(path))


@pytest.mark.parametrize(
    "line",
    [
        "from confluent_kafka import Consumer; Consumer({'bootstrap.servers': kafka})",
        "from confluent_kafka.admin import AdminClient as Asking; Asking({})",
        "from confluent_kafka import Producer; Producer({**told})",
        "from aiokafka import AIOKafkaProducer; AIOKafkaProducer(bootstrap_servers=kafka)",
        "from aiokafka.admin import AIOKafkaAdminClient; AIOKafkaAdminClient()",
        "from bytewax.connectors.kafka import KafkaSource; KafkaSource([kafka], [topic])",
        "import redis; redis.Redis(host=host)",
        "from redis.asyncio import BlockingConnectionPool; BlockingConnectionPool.from_url(url)",
        "from redis.asyncio import Redis; Redis(host=host)",
    ],
)
def test_one_that_is_would_be_found(line: str) -> None:
    assert untold(ast.parse(line)) == [1]


# --- names and sizes --------------------------------------------------------------------------------------------------

EVASIONS = re.compile(r"(?i)utils?|helpers?|common|misc|manager|impl")


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_name_says_what_a_thing_is(path: Path) -> None:
    words = [path.stem, path.parent.name]
    words += [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    evasive = [word for word in words for part in parts_of(word) if EVASIONS.fullmatch(part)]
    assert not evasive


def parts_of(name: str) -> list[str]:
    """`SnapshotStore` and `snapshot_store` as their words."""
    return re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_and_its_functions_can_be_read_at_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX
    long = {
        node.name: length
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1 - parameter_lines(node)) > FUNCTION_LINES_MAX
    }
    assert not long


def parameter_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a signature: the flags of a command are a table, not a body."""
    return function.body[0].lineno - function.lineno - 1


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_module_opens_with_what_it_knows(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))


# --- what no file may say ---------------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git holds or would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git, or no checkout: nothing says which files are ours")
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def lines_that_say(pattern: str) -> list[str]:
    """`file:line` of every text line that matches."""
    wanted = re.compile(pattern)
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if wanted.search(text):
            found += [f"{named(path)}:{n}" for n, line in enumerate(text.splitlines(), 1) if wanted.search(line)]
    return found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Where packages come from is the business of whoever installs; versions and hashes are ours."""
    hosts = r"pypi\.org|pythonhosted\.org|registry\.npmjs|npmjs\.org|repo1?\.maven|deb\.debian|crates\.io|proxy\.golang"
    assert not lines_that_say(hosts)


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    assert not lines_that_say(
        r"(?<![\w./~{}-])/(?:wor[k]|roo[t])/|(?<![\w/])\.\./share[d]\b|\bshare[d]/(?:data|design|style|risk|research)"
    )


def test_nothing_is_left_for_later() -> None:
    assert not lines_that_say(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b")


def test_the_resolution_that_names_hosts_is_not_tracked() -> None:
    assert ROOT / "uv.lock" not in tracked()


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_the_lock_holds_every_dependency_with_its_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    entries = re.split(r"\n(?=\S)", lock.strip())
    locked = {re.split(r"[=;\[ ]", entry)[0] for entry in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[\[>=<~! ]", dependency)[0] for dependency in project["dependencies"]}
    assert wanted <= locked
    assert all("--hash=sha256:" in entry for entry in entries)
