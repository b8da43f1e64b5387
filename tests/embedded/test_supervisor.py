"""The supervisor, with stand-ins for the three programs: it says when it is ready, and nothing outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from embedded import supervisor
from embedded.child import Child
from embedded.demo import Demo
from plimsoll import keys, topics
from plimsoll.transport import Kafka, Redis

IDLE = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
DEAF_WITHIN_SECONDS = 3.0
"""Until then SIGTERM may still end it: an interpreter takes its time on a busy machine."""
DIES = "import sys; print('no prices today'); sys.exit(7)"
DIES_LATER = """
import socket, sys, time
while True:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except OSError:
        time.sleep(0.05)
time.sleep(2)
print("out of memory")
sys.exit(9)
"""
API = """
import http.server, json, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"active_portfolios": PORTFOLIOS}).encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
# Every stand-in writes its number down first, so that a test can see whether it still runs.
NOTES_ITS_PID = "import os, pathlib; pathlib.Path({path!r}).write_text(str(os.getpid()))\n"


def stand_ins(directory: Path, portfolios: int = 1000, **codes: str) -> Callable[..., Mapping[str, list[str]]]:
    """Programs as the supervisor wants them: `producer=`, `engine=` and `api=` say what they do."""
    chosen = {"producer": IDLE, "api": API.replace("PORTFOLIOS", str(portfolios)), "engine": IDLE} | codes

    def programs(_demo: Demo, port: int, _recovery: Path) -> dict[str, list[str]]:
        return {
            name: [sys.executable, "-c", NOTES_ITS_PID.format(path=str(directory / name)) + code, str(port)]
            for name, code in chosen.items()
        }

    return programs


def still_running(directory: Path) -> list[str]:
    def runs(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    return [path.name for path in directory.iterdir() if (pid := path.read_text()) and runs(int(pid))]


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """Where the stand-ins write their process numbers."""
    directory = tmp_path / "noted"
    directory.mkdir()
    return directory


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary files are made: empty when nothing was left behind."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


def test_ready_is_said_once_and_on_a_line_of_its_own(
    noted: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = supervisor.run(Demo(port=0, duration=0.1), os.environ, programs=stand_ins(noted))

    out = capfd.readouterr().out.splitlines()
    assert code == 0
    ready = [number for number, line in enumerate(out) if line.startswith("ready ")]
    assert len(ready) == 1
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+", out[ready[0]])
    assert all(re.match(r"\[ *\d+\.\ds\] ", line) for line in out[: ready[0]])
    assert "replay of real closing prices from 2020-02-19" in out[ready[0] + 1]
    assert "/graphql" in out[ready[0] + 1]
    assert "/docs" in out[ready[0] + 1]
    assert still_running(noted) == []
    assert list(temporary.iterdir()) == []


def test_when_some_portfolios_are_slow_it_is_ready_without_them(
    noted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "SETTLE_SECONDS", 0.2)
    code = supervisor.run(Demo(port=0, duration=0), os.environ, programs=stand_ins(noted, portfolios=3))

    assert code == 0
    assert "the risk of 3 portfolios" in capfd.readouterr().out


def test_a_program_that_dies_is_named_with_its_exit_code_and_last_words(
    noted: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = supervisor.run(Demo(port=0), os.environ, programs=stand_ins(noted, producer=DIES))

    said = capfd.readouterr()
    assert code == 1
    assert "producer ended with exit code 7" in said.err
    assert "no prices today" in said.err
    assert "ready" not in said.out
    assert still_running(noted) == []
    assert list(temporary.iterdir()) == []


def test_one_that_dies_after_ready_stops_everything_too(noted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = supervisor.run(Demo(port=0), os.environ, programs=stand_ins(noted, engine=DIES_LATER))

    said = capfd.readouterr()
    assert code == 1
    assert "ready http" in said.out
    assert "engine ended with exit code 9" in said.err
    assert still_running(noted) == []


def test_when_nothing_comes_it_gives_up_and_says_so(
    noted: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = supervisor.run(Demo(port=0), os.environ, programs=stand_ins(noted, portfolios=0), ready_seconds=0.5)

    assert code == 1
    assert "after 0.5 s the producer has published no portfolio; its last lines:" in capfd.readouterr().err
    assert still_running(noted) == []
    assert list(temporary.iterdir()) == []


def test_the_first_station_that_did_not_do_its_part_is_the_silent_one(
    tmp_path: Path, broker_address: str, redis_url: str
) -> None:
    code = "import sys; print('last words of', sys.argv[1])"
    children = [
        Child.start(name, [sys.executable, "-c", code, name], environ=os.environ, log=tmp_path / f"{name}.log")
        for name in ("producer", "api", "engine")
    ]
    assert all(child.wait(10) for child in children)
    stations = supervisor._Running(
        *(Demo(), 0, Kafka(broker_address), Redis(redis_url), children),
        *(supervisor.StopRequest(), supervisor._Progress()),
    )

    assert "the producer has published no portfolio" in str(stations._silent(60))

    producer = Producer({"bootstrap.servers": broker_address})
    producer.produce(topics.PORTFOLIO_UPDATES.name, b"{}")
    assert producer.flush(10) == 0
    assert "the engine has written no risk" in str(stations._silent(60))

    with redis.Redis.from_url(redis_url) as client:
        client.zadd(keys.by_risk(), {"growth": 42})
    assert str(stations._silent(60)) == (
        "after 60 s the api does not tell the risk that is in the store; its last lines:\nlast words of api"
    )


def test_a_port_that_is_in_use_is_exit_code_3_and_nothing_is_started(
    noted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert supervisor.run(Demo(port=port), os.environ, programs=stand_ins(noted)) == 3

    assert f"port {port} is in use: choose another with --port" in capfd.readouterr().err
    assert list(noted.iterdir()) == []


def test_a_wrong_flag_is_exit_code_2(noted: Path) -> None:
    assert supervisor.run(Demo(port=0, portfolios=0), os.environ, programs=stand_ins(noted)) == 2


def test_a_stubborn_program_is_killed_in_time(
    noted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    began_stopping: list[float] = []
    stop_all = supervisor.stop_all
    monkeypatch.setattr(
        supervisor, "stop_all", lambda *given: (began_stopping.append(time.monotonic()), stop_all(*given))[1]
    )

    demo = Demo(port=0, duration=DEAF_WITHIN_SECONDS)
    assert supervisor.run(demo, os.environ, programs=stand_ins(noted, engine=DEAF)) == 0
    assert time.monotonic() - began_stopping[0] < 5
    assert "engine had to be killed" in capfd.readouterr().out
    assert still_running(noted) == []


def test_real_servers_are_used_where_they_are_named(
    noted: Path, tmp_path: Path, broker_address: str, redis_url: str
) -> None:
    told = tmp_path / "told"
    servers = "os.environ['KAFKA_BROKERS'] + ' ' + os.environ['REDIS_URL']"
    tells = f"import os, pathlib\npathlib.Path({str(told)!r}).write_text({servers})"
    api = tells + API.replace("PORTFOLIOS", "1000")
    demo = Demo(port=0, duration=0, kafka=broker_address, redis=redis_url)

    assert supervisor.run(demo, os.environ, programs=stand_ins(noted, api=api)) == 0
    assert told.read_text() == f"{broker_address} {redis_url}"
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping(), "a server from outside is left running"
    assert Producer({"bootstrap.servers": broker_address}).list_topics(timeout=5).topics


def start_elsewhere(processes: Any, noted: Path, **codes: str) -> Any:
    """The supervisor in a process of its own, as a background job of a shell starts it: with SIGINT ignored."""
    programs = stand_ins(noted, **codes)(Demo(), 0, Path())
    script = noted.parent / "supervise.py"
    script.write_text(f"""
import os, signal, sys
from embedded import supervisor
from embedded.demo import Demo
signal.signal(signal.SIGINT, signal.SIG_IGN)
commands = {programs!r}
def programs(demo, port, recovery):
    return {{name: [*command[:-1], str(port)] for name, command in commands.items()}}
sys.exit(supervisor.run(Demo(port=0), os.environ, programs=programs))
""")
    return processes.python(script)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_leaves_nothing(
    processes: Any,
    noted: Path,
    temporary: Path,
    number: signal.Signals,
) -> None:
    running = start_elsewhere(processes, noted)
    processes.wait_for(lambda: "ready http" in running.tail(), "ready line")
    processes.wait_for(lambda: sorted(still_running(noted)) == ["api", "engine", "producer"], "three programs")

    began = time.monotonic()
    os.kill(running.pid, number)
    assert running.wait(5)

    assert time.monotonic() - began < 5
    assert running.exit_code() == 0
    assert still_running(noted) == []
    assert list(temporary.iterdir()) == []


def test_a_signal_before_ready_stops_everything_too(
    processes: Any,
    noted: Path,
    temporary: Path,
) -> None:
    running = start_elsewhere(processes, noted, api=IDLE)
    processes.wait_for(lambda: len(still_running(noted)) == 3, "three programs")

    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(5)
    assert running.exit_code() == 0
    assert "ready" not in running.tail()
    assert still_running(noted) == []
    assert list(temporary.iterdir()) == []


def test_a_second_ctrl_c_does_not_wait(processes: Any, noted: Path) -> None:
    running = start_elsewhere(processes, noted, engine=DEAF)
    processes.wait_for(lambda: "ready http" in running.tail(), "ready line")

    os.kill(running.pid, signal.SIGINT)
    processes.wait_for(lambda: "stopping" in running.tail(), "stopping")
    began = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(5)

    assert time.monotonic() - began < supervisor.STOP_SECONDS
    assert "engine had to be killed" in running.tail()
    assert still_running(noted) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent has died")
def test_killed_outright_it_takes_its_children_with_it(
    processes: Any,
    noted: Path,
    temporary: Path,
) -> None:
    running = start_elsewhere(processes, noted, engine=DEAF)
    processes.wait_for(lambda: "ready http" in running.tail(), "ready line")
    assert len(list(temporary.iterdir())) == 1

    os.kill(running.pid, signal.SIGKILL)
    processes.wait_for(lambda: still_running(noted) == [], "end of the children")
