"""Settings: what is read from where, and how a wrong one is named."""

from __future__ import annotations

import errno
import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.errors import BadSetting
from plimsoll.risk.methods import RELIVE
from plimsoll.settings import Settings, documented, load, secret_files

KEYS = [each.key for each in documented()]


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_without_a_word_from_anybody_the_documented_defaults_hold(dotenv: Path) -> None:
    assert load({}) == Settings()
    assert load({}, dotenv) == Settings()
    assert load({each.key: each.default for each in documented()}) == Settings()


def test_every_setting_is_documented_once_with_a_sentence() -> None:
    assert len(set(KEYS)) == len(KEYS)
    assert all(each.about for each in documented())


def test_a_setting_does_not_change_while_running() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().window_ms = 10  # type: ignore[misc]


# --- where it comes from ----------------------------------------------------------------------------------------------


def test_the_environment_outdoes_the_file(dotenv: Path) -> None:
    dotenv.write_text("PLIMSOLL_WINDOW_MS=100\nPLIMSOLL_SCENARIOS=250\n", encoding="utf-8")
    settings = load({"PLIMSOLL_WINDOW_MS": "20"}, dotenv)
    assert (settings.window_ms, settings.scenarios) == (20, 250)


def test_a_file_may_be_written_as_shells_write_it(dotenv: Path) -> None:
    dotenv.write_text(
        "# ours\n\n export LOG_LEVEL = debug \nPLIMSOLL_BENCHMARK='SPY'\nREDIS_URL=\"redis://store:6379/1?a=b\"\n",
        encoding="utf-8",
    )
    settings = load({}, dotenv)
    assert (settings.log_level, settings.benchmark) == ("DEBUG", "SPY")
    assert settings.redis_url == "redis://store:6379/1?a=b"


def test_a_benchmark_is_a_symbol_or_none() -> None:
    assert load({"PLIMSOLL_BENCHMARK": "DAX"}).benchmark == "DAX"
    assert load({"PLIMSOLL_BENCHMARK": "none"}).benchmark is None


def test_the_rest_of_the_environment_is_none_of_our_business() -> None:
    assert load({"PATH": "/bin", "REDIS_PASSWORD": "x", "KAFKA_HEAP_OPTS": "-Xmx1g"}) == Settings()


def test_a_file_from_windows_is_read(dotenv: Path) -> None:
    dotenv.write_bytes(b"\xef\xbb\xbfPLIMSOLL_SCENARIOS=250\r\nPLIMSOLL_WINDOW_MS=20\r\n")
    assert load({}, dotenv) == Settings(scenarios=250, window_ms=20)


def test_a_file_that_is_no_text_is_refused_by_name(dotenv: Path) -> None:
    dotenv.write_text("PLIMSOLL_SCENARIOS=250\n", encoding="utf-16")
    with pytest.raises(BadSetting, match=r"^\.env: cannot be read \(it is no UTF-8 text\): save it as UTF-8"):
        load({}, dotenv)


def test_a_file_that_may_not_be_read_is_refused_by_name(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dotenv))

    dotenv.touch()
    monkeypatch.setattr(Path, "read_text", refuse)  # Whoever runs tests as root may read everything.
    with pytest.raises(BadSetting, match=r"^\.env: cannot be read \(Permission denied\)"):
        load({}, dotenv)


def test_what_docker_compose_reads_from_the_same_file_is_left_to_it(dotenv: Path) -> None:
    dotenv.write_text("COMPOSE_PROFILES=load\nDOCKER_BUILDKIT=1\nGF_SECURITY_ADMIN_PASSWORD=a\n", encoding="utf-8")
    assert load({}, dotenv) == Settings()


# --- what is wrong is named -------------------------------------------------------------------------------------------

WRONG = [
    ("KAFKA_BROKERS", ""),
    ("KAFKA_BROKERS", "kafka"),
    ("KAFKA_BROKERS", "kafka:0"),
    ("KAFKA_BROKERS", "kafka:65536"),
    ("KAFKA_BROKERS", "one:9092,two"),
    ("KAFKA_BROKERS", ":9092"),
    ("REDIS_URL", ""),
    ("REDIS_URL", "http://store:6379"),
    ("REDIS_URL", "redis://[::1"),
    ("REDIS_URL", "redis://user:pass/word@store:6379/0"),
    ("REDIS_URL", "rediss://store:6379/0?ssl_cert_reqs=none"),
    ("REDIS_URL", "rediss://store:6379/0?db=1&ssl_check_hostname=False"),
    ("REDIS_URL", "redis://store:6379/0#1"),
    ("PLIMSOLL_KAFKA_SECURITY", "SASL_PLAINTEXT"),
    ("PLIMSOLL_KAFKA_SECURITY", "TLS"),
    ("PLIMSOLL_KAFKA_SECURITY", ""),
    ("PLIMSOLL_KAFKA_SASL_MECHANISM", "GSSAPI"),
    ("PLIMSOLL_KAFKA_USERNAME", "two\tnames"),
    ("PLIMSOLL_KAFKA_PASSWORD", "\0"),
    ("PLIMSOLL_KAFKA_CA", "\0"),
    ("PLIMSOLL_KAFKA_CERTIFICATE", "\0"),
    ("PLIMSOLL_KAFKA_KEY", "\0"),
    ("PLIMSOLL_REDIS_CA", "\0"),
    ("PLIMSOLL_REDIS_CERTIFICATE", "\0"),
    ("PLIMSOLL_REDIS_KEY", "\0"),
    ("LOG_LEVEL", "LOUD"),
    ("PLIMSOLL_WINDOW_MS", "5"),
    ("PLIMSOLL_WINDOW_MS", "1001"),
    ("PLIMSOLL_WINDOW_MS", "50ms"),
    ("PLIMSOLL_WINDOW_MS", ""),
    ("PLIMSOLL_SCENARIOS", "249"),
    ("PLIMSOLL_BENCHMARK", ""),
    ("PLIMSOLL_RISK_FREE", "nan"),
    ("PLIMSOLL_RISK_FREE", "inf"),
    ("PLIMSOLL_RISK_FREE", "two per cent"),
    ("PLIMSOLL_METHOD", "ewma_normal"),
    ("PLIMSOLL_DECAY", "1.0"),
    ("PLIMSOLL_DECAY", "94"),
    ("PLIMSOLL_AGE_DECAY", "0.4"),
    ("PLIMSOLL_LIVE_VOLATILITY", "yes"),
    ("PLIMSOLL_LIMIT_NAME_FRACTION", "25"),
    ("PLIMSOLL_LIMIT_LEVERAGE", "0"),
    ("PLIMSOLL_LIMIT_VAR_99_FRACTION", "-0.1"),
    ("PLIMSOLL_REPUBLISH_SECONDS", "0"),
    ("PLIMSOLL_HISTORY_POINTS", "10001"),
    ("PLIMSOLL_STALE_SECONDS", "1"),
    ("PLIMSOLL_REPLICATION_FACTOR", "16"),
    ("PLIMSOLL_DEAD_LETTER_SHARE", "0"),
    ("PLIMSOLL_DEAD_LETTER_SHARE", "1.1"),
    ("PLIMSOLL_DEAD_LETTER_NEWEST", "99"),
    ("PLIMSOLL_PUBLISH_RATE", "99"),
    ("PLIMSOLL_READY_LAG", "0"),
    ("PLIMSOLL_HEALTH_HOST", "localhost"),
    ("PLIMSOLL_HEALTH_HOST", ""),
    ("PLIMSOLL_HEALTH_PORT", "-1"),
    ("PLIMSOLL_HEALTH_PORT", "65530"),
    ("PLIMSOLL_PROFILE", "demo"),
    ("PLIMSOLL_ALLOWED_ORIGINS", "*"),
    ("PLIMSOLL_ALLOWED_ORIGINS", "desk.example.com"),
    ("PLIMSOLL_ALLOWED_ORIGINS", "https://desk.example.com/"),
    ("PLIMSOLL_ALLOWED_HOSTS", "*.example.com"),
    ("PLIMSOLL_RATE_SIGNED_IN", "-1"),
    ("PLIMSOLL_RATE_ANYONE", "many"),
    ("PLIMSOLL_TRUSTED_DOCUMENTS", "\0"),
    ("PLIMSOLL_TRUSTED_ONLY", "yes"),
    ("PLIMSOLL_OTLP_ENDPOINT", "collector:4317"),
    ("PLIMSOLL_OTLP_ENDPOINT", "grpc://collector:4317"),
    ("PLIMSOLL_OTLP_ENDPOINT", "http://user:word@collector:4318"),
    ("PLIMSOLL_OTLP_ENDPOINT", "http://[::1"),
    ("PLIMSOLL_SOCKETS", "0"),
    ("PLIMSOLL_SOCKETS_PER_CALLER", "many"),
    ("PLIMSOLL_SUBSCRIPTIONS_PER_CALLER", "0"),
    ("PLIMSOLL_AUTH", "none"),
    ("PLIMSOLL_JWKS", "http://keys.example/jwks"),
    ("PLIMSOLL_JWKS", "ftp://127.0.0.1/jwks"),
    ("PLIMSOLL_JWKS", "https://name:word@keys.example/jwks"),
    ("PLIMSOLL_JWKS", "https://[::1"),
    ("PLIMSOLL_JWKS", "https:///jwks"),
    ("PLIMSOLL_JWKS_SECONDS", "4"),
    ("PLIMSOLL_JWT_ALGORITHMS", "HS256"),
    ("PLIMSOLL_JWT_ALGORITHMS", "RS256,none"),
    ("PLIMSOLL_JWT_ALGORITHMS", ""),
    ("PLIMSOLL_JWT_ISSUER", ""),
    ("PLIMSOLL_JWT_AUDIENCE", ""),
    ("PLIMSOLL_JWT_ROLES_CLAIM", ""),
    ("PLIMSOLL_JWT_ADVISOR_CLAIM", ""),
    ("PLIMSOLL_API_KEYS", "https://keys.example/keys"),
    ("PLIMSOLL_TOKEN_SECRET", "correct-horse-battery-staple"),
    ("PLIMSOLL_AUDIT", "yes"),
]


def test_every_setting_has_a_wrong_value_below() -> None:
    assert {key for key, _ in WRONG} == set(KEYS)


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_value_that_cannot_be_is_refused_and_its_key_named(key: str, value: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load({key: value})
    assert refused.value.key == key
    assert str(refused.value).startswith(f"{key}: ")


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_file_is_read_as_strictly_as_the_environment(dotenv: Path, key: str, value: str) -> None:
    dotenv.write_text(f"{key}={value}\n", encoding="utf-8")
    with pytest.raises(BadSetting) as refused:
        load({}, dotenv)
    assert refused.value.key == key


def test_an_unknown_setting_is_refused_and_those_like_it_named() -> None:
    with pytest.raises(BadSetting) as refused:
        load({"PLIMSOLL_WINDOW": "50"})
    assert refused.value.key == "PLIMSOLL_WINDOW"
    assert "PLIMSOLL_WINDOW_MS" in refused.value.detail
    assert len(refused.value.detail) < 120


def test_an_unknown_setting_that_is_like_none_lists_them_all(dotenv: Path) -> None:
    dotenv.write_text("COLOUR=red\n", encoding="utf-8")
    with pytest.raises(BadSetting) as refused:
        load({}, dotenv)
    assert all(key in refused.value.detail for key in KEYS)


def test_an_unknown_setting_in_a_file_is_refused_with_its_line(dotenv: Path) -> None:
    dotenv.write_text("# comment\nKAFKA_BROKER=kafka:9092\n", encoding="utf-8")
    with pytest.raises(BadSetting, match=r"^KAFKA_BROKER: no such setting \(line 2 of \.env\)"):
        load({}, dotenv)


@pytest.mark.parametrize("line", ["just words", "= value", "two words=1", "LONELY"])
def test_a_line_that_is_no_setting_is_refused_with_its_number_but_not_quoted(dotenv: Path, line: str) -> None:
    dotenv.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(BadSetting) as refused:
        load({}, dotenv)
    assert refused.value.key == ".env line 2"
    assert line not in str(refused.value)


SECRET = "correct-horse"


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@store:6379/0",
        f"//:{SECRET}@store:6379/0",
        f"user@{SECRET}",
        # Python's own complaint about this one quotes what stands before the host.
        f"redis://:{SECRET}@st\u2100re:6379/0",
        f"redis://:{SECRET}@[::1",
    ],
)
def test_a_refused_url_does_not_give_its_password_away(url: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load({"REDIS_URL": url})
    assert refused.value.key == "REDIS_URL"
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_refused_secret_is_not_told_and_a_taken_one_is_not_shown() -> None:
    with pytest.raises(BadSetting) as refused:
        load({"PLIMSOLL_TOKEN_SECRET": SECRET})
    assert SECRET not in str(refused.value)
    taken = load({"PLIMSOLL_TOKEN_SECRET": 3 * SECRET, "REDIS_URL": f"redis://:{SECRET}@store:6379/0"})
    assert taken.token_secret == 3 * SECRET
    assert SECRET not in repr(taken)


# --- secrets in files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_lie_in_a_file_of_its_own(tmp_path: Path, end: str) -> None:
    file = tmp_path / "url"
    file.write_bytes(f"redis://engine:{SECRET} @store:6379/0{end}".encode())
    assert load({"REDIS_URL_FILE": str(file)}).redis_url == f"redis://engine:{SECRET} @store:6379/0"


def test_every_secret_may_and_nothing_else() -> None:
    assert set(secret_files().values()) == {"REDIS_URL", "PLIMSOLL_KAFKA_PASSWORD", "PLIMSOLL_TOKEN_SECRET"}
    with pytest.raises(BadSetting, match="PLIMSOLL_WINDOW_MS_FILE: no such setting"):
        load({"PLIMSOLL_WINDOW_MS_FILE": "window"})


def test_a_secret_that_the_environment_states_outdoes_a_file_that_dotenv_names(dotenv: Path) -> None:
    dotenv.write_text("REDIS_URL_FILE=nowhere\n", encoding="utf-8")
    assert load({"REDIS_URL": "redis://store:6379/1"}, dotenv).redis_url == "redis://store:6379/1"


def test_a_file_that_the_environment_names_outdoes_a_secret_in_dotenv(dotenv: Path, tmp_path: Path) -> None:
    dotenv.write_text("REDIS_URL=redis://other:6379/1\n", encoding="utf-8")
    (tmp_path / "url").write_text("redis://store:6379/1", encoding="utf-8")
    assert load({"REDIS_URL_FILE": str(tmp_path / "url")}, dotenv).redis_url == "redis://store:6379/1"


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (None, "cannot be read .No such file or directory.: name a file that this user may read"),
        (b"\xff\xfe", "cannot be read .it is no UTF-8 text."),
        (b"\n", "is empty: it has to hold the secret and nothing else"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, contents: bytes | None, reason: str) -> None:
    file = tmp_path / "secret"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(BadSetting, match=f"^PLIMSOLL_TOKEN_SECRET_FILE: .*{reason}"):
        load({"PLIMSOLL_TOKEN_SECRET_FILE": str(file)})


def test_a_secret_is_stated_once(tmp_path: Path) -> None:
    told = {"REDIS_URL": "redis://store:6379/1", "REDIS_URL_FILE": str(tmp_path)}
    with pytest.raises(BadSetting, match=r"^REDIS_URL_FILE: REDIS_URL is stated as well: leave one of them out"):
        load(told)


def test_what_a_secret_file_holds_is_not_told_when_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    with pytest.raises(BadSetting) as refused:
        load({"PLIMSOLL_TOKEN_SECRET_FILE": str(tmp_path / "secret")})
    assert SECRET not in str(refused.value)


# --- what is right ----------------------------------------------------------------------------------------------------


def test_several_brokers_are_written_without_spaces_between_them() -> None:
    assert load({"KAFKA_BROKERS": "one:9092, two:9093 ,[::1]:9094"}).kafka_brokers == "one:9092,two:9093,[::1]:9094"


@pytest.mark.parametrize(
    "url", ["redis://store:6379/0", "rediss://user:word@store:6380/2", "unix:///run/redis.sock?db=1"]
)
def test_a_redis_url_is_kept_as_it_is(url: str) -> None:
    assert load({"REDIS_URL": url}).redis_url == url


@given(window_ms=st.integers(10, 1000), risk_free=st.floats(-0.2, 1.0))
def test_numbers_within_their_bounds_are_read_exactly(window_ms: int, risk_free: float) -> None:
    settings = load({"PLIMSOLL_WINDOW_MS": str(window_ms), "PLIMSOLL_RISK_FREE": repr(risk_free)})
    assert (settings.window_ms, settings.risk_free) == (window_ms, risk_free)


@pytest.mark.parametrize(("text", "on"), [("on", True), ("off", False)])
def test_a_switch_is_on_or_off(text: str, on: bool) -> None:
    assert load({"PLIMSOLL_LIVE_VOLATILITY": text}).live_volatility is on


def test_the_stream_lives_scenarios_through_again_by_any_method_that_has_them() -> None:
    for method in RELIVE:
        assert load({"PLIMSOLL_METHOD": method.value}).method == method


@pytest.mark.parametrize(
    "where",
    ["keys.json", "/run/keys.json", "https://issuer.example/keys?v=2", "http://127.0.0.1:8000/keys", "http://[::1]/k"],
)
def test_keys_come_from_a_file_or_by_https_or_from_this_machine(where: str) -> None:
    assert load({"PLIMSOLL_JWKS": where}).jwks == where


def test_algorithms_are_chosen_from_those_that_only_the_issuer_can_sign_with() -> None:
    assert load({}).jwt_algorithms == ("RS256", "ES256", "EdDSA")
    assert load({"PLIMSOLL_JWT_ALGORITHMS": "EdDSA, RS256,EdDSA"}).jwt_algorithms == ("EdDSA", "RS256")


def test_a_client_s_token_in_the_same_shell_is_nobody_s_setting() -> None:
    assert load({"PLIMSOLL_TOKEN": "header.payload.signature"}) == Settings()
