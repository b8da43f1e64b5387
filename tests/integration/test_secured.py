"""Everything through TLS and with passwords: producer, Kafka, engine, Redis, API, each with the fewest rights.

Kafka has the ACLs of `deploy/kafka/acls.csv` and Redis the users of `deploy/redis/users.acl`, as they are shipped. Then
each way of not being let in: it is said once, with the remedy, and by whoever can do nothing else, as the last words.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from embedded.child import Child
from embedded.demo import Demo, check
from embedded.store import connect, find_server, free_port
from engine import topics as engine_topics
from engine.drain import Drain
from engine.kafka_sink import producer
from engine.redis_sink import RedisWriter
from engine.replay import LogMoved, opened
from engine.topics import ensure_topics
from engine.window import Window
from plimsoll import keys, topics
from plimsoll.errors import EXIT_LASTING, Refused, Unavailable
from plimsoll.transport import RIGHTS, SIGN_IN, Files, Kafka, Redis
from producer.publish import connect as publishing
from tests.certificates import Authority
from tests.conftest import Processes

ROOT = Path(__file__).parents[2]
RUN = Path(__file__).parent / "kafka" / "run.py"
USERS_ACL = ROOT / "deploy" / "redis" / "users.acl"
ACLS_CSV = ROOT / "deploy" / "kafka" / "acls.csv"
ACLS_SH = ROOT / "deploy" / "kafka" / "acls.sh"
CANNOT_RUN = 77
READY_SECONDS = 110.0
PORTFOLIOS = 6
WORDS = {name: secrets.token_hex(12) for name in ("admin", "producer", "engine", "api", "operator", "stranger")}
"""User -> password, in Kafka as in Redis."""

pytestmark = pytest.mark.timeout(180)


def lacking(reason: str) -> None:
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(f"REQUIRE_KAFKA=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory)


@pytest.fixture(scope="module")
def stranger_ca(directory: Path) -> str:
    """An authority that nobody here has a certificate of."""
    return str(Authority(directory, "stranger").ca)


# --- Redis ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SecuredStore:
    """A Redis that speaks TLS alone, with the users that are shipped."""

    port: int
    files: Files

    def as_user(self, name: str, word: str | None = None) -> Redis:
        return Redis(f"rediss://{name}:{word or WORDS[name]}@127.0.0.1:{self.port}/0", self.files)


def users_acl() -> str:
    """The template with the hashes of our passwords in place of their names."""
    template = USERS_ACL.read_text(encoding="utf-8")
    return re.sub(r"#(\w+)_PASSWORD_SHA256", lambda found: f"#{sha256(WORDS[found[1].lower()])}", template)


def sha256(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


@pytest.fixture(scope="module")
def store(directory: Path, authority: Authority) -> Iterator[SecuredStore]:
    with running_store(directory, authority) as made:
        yield made


@contextmanager
def running_store(directory: Path, authority: Authority, shown: Files | None = None) -> Iterator[SecuredStore]:
    """A Redis whose log lies in the directory; where we show it a certificate, it asks everybody for one."""
    server = find_server()
    if server is None:
        lacking("there is no redis-server or valkey-server here")
    certificate, key = authority.issue("redis")
    acl = directory / "users.acl"
    acl.write_text(users_acl(), encoding="utf-8")
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    tls += ["--tls-ca-cert-file", str(authority.ca), "--tls-auth-clients", "yes" if shown else "optional"]
    child = Child.start(
        "redis",
        [str(server), "--port", "0", "--bind", "127.0.0.1", "--save", "", "--aclfile", str(acl), *tls],
        environ={"PATH": os.defpath},
        log=directory / "redis.log",
        directory=directory,
    )
    made = SecuredStore(port, replace(shown or Files(), ca=str(authority.ca)))
    deadline = time.monotonic() + 20
    try:
        while not answers(made):
            if child.exit_code() is not None and "tls-port" in child.tail():
                lacking(f"{server} speaks no TLS")
            assert child.exit_code() is None, child.tail()
            assert time.monotonic() < deadline, child.tail()
            time.sleep(0.02)
        yield made
    finally:
        child.stop(5.0)


def answers(store: SecuredStore) -> bool:
    try:
        with connect(store.as_user("operator"), 1.0) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize("name", ["engine", "api"])
def test_the_rights_in_redis_name_every_key_there_is_and_no_other(name: str) -> None:
    """Keys are spelled in plimsoll/keys.py; the API has no use for what only the engine asks itself."""
    constants = {each for name, each in vars(keys).items() if name.isupper() and each != keys.ALL_RISK_CHANNELS}
    one_of = (keys.risk, keys.portfolio, keys.history, keys.backtest, keys.scenario_set, keys.advisor_pnl)
    known = constants | {spell("*") for spell in (*one_of, keys.by_risk, keys.by_id)} | {keys.by_risk(), keys.by_id()}
    line = next(line for line in users_acl().splitlines() if line.startswith(f"user {name} "))
    wanted = known if name == "engine" else known - {keys.KAFKA_LOG, keys.KAFKA_CLUSTER, keys.FENCES}
    assert set(re.findall(r" (?:%R)?~(\S+)", line)) == wanted
    assert re.findall(r" &(\S+)", line) == [keys.ALL_RISK_CHANNELS]
    assert name == "engine" or not re.findall(r" ~", line), "the API reads, and no more"


def commands(name: str) -> set[str]:
    line = next(line for line in users_acl().splitlines() if line.startswith(f"user {name} "))
    return set(re.findall(r" \+(\S+)", line))


def test_the_engine_s_scripts_call_nothing_that_its_user_may_not() -> None:
    """Some of what they call may fail without a word: a point of history that is there already."""
    sources = [(ROOT / "engine" / name).read_text(encoding="utf-8") for name in ("redis_scripts.py", "fence.py")]
    called = re.findall(r"redis\.p?call\('(\w+)'(?:, '(NUM\w+)')?", "".join(sources))
    assert len(called) > 20
    assert {"|".join(filter(None, words)).lower() for words in called} <= commands("engine")


def test_the_api_asks_nothing_that_its_user_may_not() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "api").glob("*.py"))
    asked = set(re.findall(r"(?:_redis|pipeline)\.([a-z]+)\(", sources)) - {"pipeline", "aclose", "execute"}
    assert len(asked) > 10
    assert asked <= commands("api")


@pytest.mark.parametrize("call", ["'SET', 'other', 1", "'FLUSHALL'", "'PUBLISH', 'other', 1"])
def test_a_script_may_do_no_more_than_its_user(store: SecuredStore, call: str) -> None:
    engine = store.as_user("engine")
    with connect(engine, 5.0) as client, pytest.raises(redis.ResponseError) as failed:
        client.eval(f"return redis.call({call})", 0)
    refused = engine.refusal(failed.value)
    assert refused is not None, failed.value
    assert refused.what == RIGHTS


def test_a_writer_that_loses_its_rights_does_not_try_for_ever(store: SecuredStore) -> None:
    writer = RedisWriter(store.as_user("api"), "0/1", range(12), 390, Drain())
    with pytest.raises(Refused, match=RIGHTS):
        writer.write(Window(closed=[("growth", "1")]))
    writer.close()


FORBIDDEN = {
    "engine": ["FLUSHALL", "FLUSHDB", "CONFIG GET *", "ACL LIST", "KEYS *", "SET other 1", "SHUTDOWN NOSAVE"],
    "api": [
        "SET risk:growth {}",
        "DEL risk:growth",
        "FLUSHALL",
        "CONFIG GET *",
        "PUBLISH risk-updates:a {}",
        "EVAL x 0",
    ],
}


@pytest.mark.parametrize(("name", "command"), [(name, each) for name, some in FORBIDDEN.items() for each in some])
def test_a_program_s_user_may_do_in_redis_what_the_program_does_and_no_more(
    store: SecuredStore, name: str, command: str
) -> None:
    with connect(store.as_user(name), 5.0) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_nobody_is_let_into_redis_without_a_password(store: SecuredStore) -> None:
    plain = Redis(f"rediss://127.0.0.1:{store.port}/0", store.files)
    with connect(plain, 5.0) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_each_way_of_not_being_let_into_redis_says_the_remedy(store: SecuredStore, stranger_ca: str) -> None:
    engine = store.as_user("engine")
    by_name = engine.url.replace("127.0.0.1", "localhost")
    for tried, what, remedy in (
        (store.as_user("engine", "wrong"), SIGN_IN, "correct the name and the password in REDIS_URL"),
        (replace(engine, files=Files(ca=stranger_ca)), "its certificate is not trusted", "PLIMSOLL_REDIS_CA"),
        # The certificate is for 127.0.0.1, and this name leads there too.
        (replace(engine, url=by_name), "its certificate is not trusted", "a host that stands in it in REDIS_URL"),
    ):
        with connect(tried, 5.0) as client, pytest.raises(redis.RedisError) as failed:
            client.ping()
        refused = tried.refusal(failed.value)
        assert refused is not None, failed.value
        assert refused.what == what
        assert remedy in str(refused)
        assert WORDS["engine"] not in str(refused)


def test_a_redis_that_speaks_tls_and_one_that_does_not_are_told_apart(store: SecuredStore, redis_url: str) -> None:
    """Neither says more than that it hangs up or keeps silent, which may pass by itself."""
    without_tls = Redis(redis_url.replace("redis://", "rediss://"))
    with connect(without_tls, 0.5) as client, pytest.raises(redis.TimeoutError) as silent:
        client.ping()
    assert without_tls.refusal(silent.value) is None
    assert "has to begin with redis://" in without_tls.said(silent.value)
    plain = Redis(f"redis://engine:{WORDS['engine']}@127.0.0.1:{store.port}/0")
    with connect(plain, 5.0) as client, pytest.raises(redis.ConnectionError) as failed:
        client.ping()
    assert "has to begin with rediss://" in plain.said(failed.value)


def test_a_redis_that_asks_for_a_certificate_takes_ours_and_says_where_there_is_none(
    directory: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("engine")
    (directory / "mutual").mkdir()
    with running_store(directory / "mutual", authority, Files("", str(certificate), str(key))) as store:
        with connect(store.as_user("engine"), 5.0) as client:
            assert client.ping()
        nobody = replace(store, files=Files(ca=store.files.ca)).as_user("engine")
        with connect(nobody, 5.0) as client, pytest.raises(redis.ConnectionError) as failed:
            client.ping()
    # It says why and hangs up, and of the two we may only meet the second.
    refused = nobody.refusal(failed.value)
    assert refused is None or refused.what == "our certificate is not taken"
    assert "PLIMSOLL_REDIS_CERTIFICATE" in str(refused or nobody.said(failed.value))


# --- Kafka ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SecuredBroker:
    """A Kafka with a listener for SASL_SSL, with the ACLs that are shipped."""

    brokers: str
    plain: str
    """A listener without TLS: only to see what becomes of whoever takes it for one that has."""
    ca: str

    def as_user(self, name: str, word: str | None = None) -> Kafka:
        return Kafka(self.brokers, "SASL_SSL", "SCRAM-SHA-512", name, word or WORDS[name], Files(ca=self.ca))


def rights() -> list[tuple[str, str, str, str]]:
    """Principal, kind of resource, its name, and operation, as they are shipped."""
    with ACLS_CSV.open(encoding="utf-8", newline="") as table:
        return [
            (row["principal"], row["resource"], row["name"], operation)
            for row in csv.DictReader(table)
            for operation in row["operations"].split()
        ]


@pytest.fixture(scope="module")
def broker(directory: Path, authority: Authority) -> Iterator[SecuredBroker]:
    certificate, key = authority.issue("kafka")
    keystore = directory / "kafka.pem"
    keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
    plain, controller, secured = free_port(), free_port(), free_port()
    told = directory / "secured.json"
    told.write_text(json.dumps({"port": secured, "keystore": str(keystore), "users": WORDS}), encoding="utf-8")
    child = Child.start(
        "kafka",
        [sys.executable, RUN, directory / "broker", str(plain), str(controller), told],
        environ=os.environ,
        log=directory / "broker.log",
    )
    made = SecuredBroker(f"127.0.0.1:{secured}", f"127.0.0.1:{plain}", str(authority.ca))
    try:
        admin = AdminClient({**made.as_user("admin").librdkafka(), "log_level": 0, "reconnect.backoff.max.ms": 200})
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if child.exit_code() == CANNOT_RUN:
                lacking(child.tail(1))
            assert child.exit_code() is None, child.tail()
            assert time.monotonic() < deadline, child.tail()
            try:
                if admin.list_topics(timeout=0.5).brokers:
                    break
            except Exception:  # not yet
                continue
        allow(admin)
        yield made
    finally:
        child.stop(10.0)


def allow(admin: AdminClient) -> None:
    kinds = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
    bindings = [
        AclBinding(
            kinds[kind],
            name,
            ResourcePatternType.LITERAL,
            f"User:{principal}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for principal, kind, name, operation in rights()
    ]
    for done in admin.create_acls(bindings).values():
        done.result(20)


def test_the_rights_in_kafka_name_every_topic_and_its_contract() -> None:
    named = {(principal, operation, name) for principal, kind, name, operation in rights() if kind == "topic"}
    assert {name for *_, name in named} == set(topics.BY_NAME)
    assert {name for principal, operation, name in named if operation == "Create"} == set(topics.BY_NAME)
    assert {principal for principal, operation, _ in named if operation == "Create"} == {"operator"}


def test_the_script_gives_the_rights_of_the_table(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    tool = tmp_path / "kafka-acls"
    tool.write_text(f'#!/bin/sh\necho "$@" >>{asked}\n', encoding="utf-8")
    tool.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    environ = {**os.environ, "KAFKA_ACLS": str(tool)}
    subprocess.run([bash, ACLS_SH, "kafka:9093", "admin.properties"], env=environ, check=True, timeout=30)
    given = [
        (words["--allow-principal"].removeprefix("User:"), kind, words[f"--{kind}"], operation)
        for line in asked.read_text(encoding="utf-8").splitlines()
        for words in [dict(zip(line.split(), line.split()[1:], strict=False))]
        for kind in ("topic", "group")
        if f"--{kind}" in words
        for operation in re.findall(r"--operation (\w+)", line)
    ]
    assert given == rights()


# --- end to end -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Secured:
    """Both servers, and how each program is told of them: by files, as orchestrators mount secrets."""

    broker: SecuredBroker
    store: SecuredStore
    directory: Path

    def environ(self, name: str, **others: str) -> dict[str, str]:
        """What a program finds that signs in as `name`; the passwords are in files."""
        word, url = self.directory / f"{name}.word", self.directory / f"{name}.url"
        word.write_text(f"{WORDS[name]}\n", encoding="utf-8")
        url.write_text(f"{self.store.as_user(name).url}\n", encoding="utf-8")
        return {
            "KAFKA_BROKERS": self.broker.brokers,
            "PLIMSOLL_KAFKA_SECURITY": "SASL_SSL",
            "PLIMSOLL_KAFKA_USERNAME": name,
            "PLIMSOLL_KAFKA_PASSWORD_FILE": str(word),
            "PLIMSOLL_KAFKA_CA": self.broker.ca,
            "REDIS_URL_FILE": str(url),
            "PLIMSOLL_REDIS_CA": self.store.files.ca,
            **others,
        }


@pytest.fixture(scope="module")
def secured(broker: SecuredBroker, store: SecuredStore, directory: Path) -> Secured:
    return Secured(broker, store, directory)


def get(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=10)
    except httpx.HTTPError:
        return None


@pytest.mark.kafka
def test_a_price_reaches_a_reader_though_nobody_may_do_more_than_it_needs(
    secured: Secured, processes: Processes
) -> None:
    ensure_topics(secured.broker.as_user("operator"), 1)
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    processes.python("-m", "engine", environ=secured.environ("engine"))
    processes.python("-m", "api", "--port", str(port), environ=secured.environ("api"))
    without_redis = {key: text for key, text in secured.environ("producer").items() if "REDIS" not in key}
    batch = ["--mode", "batch", "--num-portfolios", str(PORTFOLIOS), "--updates-per-portfolio", "1", "--history", "300"]
    processes.python("-m", "producer", *batch, environ=without_redis)

    def known() -> list[str]:
        answer = get(f"{here}/portfolios/at-risk?risk_threshold=1")
        return list(answer.json()) if answer and answer.is_success else []

    processes.wait_for(lambda: len(known()) >= PORTFOLIOS, "risk of every portfolio", 60)
    chosen = known()[0]
    with httpx.stream("GET", f"{here}/stream/risk-updates?portfolio_id={chosen}", timeout=30) as stream:
        events = (line for line in stream.iter_lines() if line.startswith("data:"))
        first = sequence_in(next(events))
        accepted = httpx.post(
            f"{here}/simulate/portfolio-update?portfolio_id={chosen}&advisor_id=advisor-1", timeout=30
        )
        assert accepted.is_success, accepted.text
        assert next(later for line in events if (later := sequence_in(line)) > first)

    well: set[str] = set()

    def all_were_well() -> bool:
        """Each at some moment: a machine that is busy elsewhere may keep one waiting while it asks another."""
        answer = get(f"{here}/ready")
        checks = answer.json()["checks"] if answer else []
        well.update(each["check"] for each in checks if each["ok"])
        return well >= {"redis", "subscriber", "kafka", "engine"}

    processes.wait_for(all_were_well, "readiness of everything", 40)


def sequence_in(line: str) -> int:
    told: dict[str, Any] = json.loads(line.removeprefix("data:"))
    found = re.search(r'"sequence":\s*"(\d+)"', json.dumps(told))
    assert found is not None, told
    return int(found[1])


@pytest.mark.kafka
def test_the_demo_takes_secured_servers_and_its_own_for_what_they_are(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = secured.environ("operator")
    url = secured.store.as_user("operator").url
    check(Demo(port=0, kafka=secured.broker.brokers, redis=f"{url[:-1]}1"), told)
    check(Demo(port=0), told)
    monkeypatch.setattr("embedded.demo.REACH_SECONDS", 4.0)
    with pytest.raises(Refused, match=SIGN_IN):
        check(Demo(port=0, kafka=secured.broker.brokers), {**told, "PLIMSOLL_KAFKA_USERNAME": "nobody"})
    with pytest.raises(Refused, match=SIGN_IN):
        check(Demo(port=0, redis=url.replace(WORDS["operator"], "wrong")), told)


# --- who is not let in ------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka tries on until the time is up; here that is soon."""
    monkeypatch.setattr(engine_topics, "_TIMEOUT_SECONDS", 2.5)


@pytest.fixture
def not_let_in(broker: SecuredBroker, stranger_ca: str) -> Mapping[str, tuple[Kafka, str, str]]:
    """Way -> what is tried, what is said, and the remedy."""
    engine = broker.as_user("engine")
    by_name = broker.brokers.replace("127.0.0.1", "localhost")
    return {
        "password": (broker.as_user("engine", "wrong"), SIGN_IN, "PLIMSOLL_KAFKA_PASSWORD"),
        "mechanism": (replace(engine, mechanism="PLAIN"), SIGN_IN, "PLIMSOLL_KAFKA_SASL_MECHANISM"),
        "authority": (replace(engine, files=Files(ca=stranger_ca)), "its certificate is not trusted", "KAFKA_CA"),
        "host": (replace(engine, brokers=by_name), "its certificate is not trusted", "a host that stands in it"),
    }


@pytest.mark.kafka
@pytest.mark.parametrize("way", ["password", "mechanism", "authority", "host"])
@pytest.mark.anyio
@pytest.mark.usefixtures("impatient")
async def test_each_way_of_not_being_let_into_kafka_says_the_remedy_in_both_libraries(
    not_let_in: Mapping[str, tuple[Kafka, str, str]], way: str
) -> None:
    kafka, what, remedy = not_let_in[way]
    with pytest.raises(Refused) as slow:
        ensure_topics(kafka, 1)
    with pytest.raises(Refused) as quick:
        await publishing(kafka, [topics.MARKET_DATA])
    for refused in (slow.value, quick.value):
        assert refused.what == what, refused
        assert remedy in str(refused)
        assert WORDS["engine"] not in str(refused)


@pytest.mark.kafka
@pytest.mark.usefixtures("impatient")
def test_a_port_that_speaks_tls_and_one_that_does_not_are_told_apart(broker: SecuredBroker) -> None:
    """Neither says more than that it hangs up, which may pass by itself."""
    with pytest.raises(Unavailable, match="where they speak TLS, set PLIMSOLL_KAFKA_SECURITY"):
        ensure_topics(Kafka(broker.brokers), 1)
    with pytest.raises(Unavailable, match="SSL_HANDSHAKE"):
        ensure_topics(replace(broker.as_user("engine"), brokers=broker.plain), 1)


@pytest.mark.kafka
def test_a_user_without_rights_is_told_what_it_lacks(broker: SecuredBroker) -> None:
    ensure_topics(broker.as_user("operator"), 1)
    stranger = broker.as_user("stranger")
    with pytest.raises(engine_topics.TopicMismatch, match="this user may not create it, or may not see it"):
        ensure_topics(stranger, 1)
    with opened(stranger) as log, pytest.raises(LogMoved, match="no topic dead-letters that stranger may see"):
        log.partitions(topics.DEAD_LETTERS.name)
    client = producer(broker.as_user("api"), reports_all=True)
    refused: list[Any] = []
    client.produce(topics.RISK_UPDATES.name, b"{}", on_delivery=lambda error, _: refused.append(error))
    client.flush(20)
    assert [type(stranger.refusal(error)) for error in refused] == [Refused]


@pytest.mark.kafka
def test_a_worker_that_is_refused_ends_with_the_remedy_as_its_last_words(
    secured: Secured, processes: Processes
) -> None:
    """Its supervisor does not try again, whichever of the two servers it is, and at the start as in the flow."""
    ensure_topics(secured.broker.as_user("operator"), 1)
    wrong_kafka = secured.environ("engine", PLIMSOLL_KAFKA_PASSWORD_FILE="", PLIMSOLL_KAFKA_PASSWORD="wrong")
    api_in_redis = secured.environ("engine", REDIS_URL_FILE=secured.environ("api")["REDIS_URL_FILE"])
    told = {
        SIGN_IN: processes.python("-m", "engine", environ=wrong_kafka),
        RIGHTS: processes.python("-m", "engine", environ=api_in_redis),
    }
    for words, engine in told.items():
        assert engine.wait(60), engine.tail()
        assert engine.exit_code() == EXIT_LASTING, engine.tail()
        assert f"refuses us, {words}" in engine.tail()
        assert "Traceback" not in engine.tail()


@pytest.mark.kafka
def test_an_api_that_is_refused_says_so_when_it_is_asked_whether_it_is_ready(
    secured: Secured, processes: Processes
) -> None:
    port = free_port()
    wrong = secured.environ("api", PLIMSOLL_KAFKA_PASSWORD_FILE="", PLIMSOLL_KAFKA_PASSWORD="wrong")
    wrong |= {"REDIS_URL_FILE": "", "REDIS_URL": secured.store.as_user("api", "wrong").url}
    api = processes.python("-m", "api", "--port", str(port), environ=wrong)

    def reasons() -> dict[str, str]:
        answer = get(f"http://127.0.0.1:{port}/ready")
        return {each["check"]: each["reason"] for each in answer.json()["checks"]} if answer else {}

    processes.wait_for(lambda: all(SIGN_IN in reasons().get(each, "") for each in ("redis", "kafka")), SIGN_IN, 40)
    asked = httpx.get(f"http://127.0.0.1:{port}/risk/growth", timeout=20)
    assert asked.status_code == 503
    assert SIGN_IN in asked.json()["detail"]
    assert "correct PLIMSOLL_KAFKA_USERNAME" in api.tail(100)
    assert "correct the name and the password in REDIS_URL" in api.tail(100)
