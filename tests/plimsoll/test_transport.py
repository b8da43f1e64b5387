"""Transport: what contradicts itself is refused, and each client library is told what the settings say."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from plimsoll.errors import BadSetting
from plimsoll.settings import load
from plimsoll.transport import Heard, Kafka, Redis
from tests.certificates import Authority

SIGNED_IN = {
    "PLIMSOLL_KAFKA_SECURITY": "SASL_SSL",
    "PLIMSOLL_KAFKA_USERNAME": "engine",
    "PLIMSOLL_KAFKA_PASSWORD": "correct-horse",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


# --- what contradicts itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "key", "reason"),
    [
        ({"PLIMSOLL_KAFKA_USERNAME": "engine"}, "PLIMSOLL_KAFKA_USERNAME", "does not sign in: make that SASL_SSL"),
        ({"PLIMSOLL_KAFKA_PASSWORD": "word"}, "PLIMSOLL_KAFKA_PASSWORD", "does not sign in: make that SASL_SSL"),
        ({**SIGNED_IN, "PLIMSOLL_KAFKA_USERNAME": ""}, "PLIMSOLL_KAFKA_USERNAME", "signs in, so state it"),
        ({**SIGNED_IN, "PLIMSOLL_KAFKA_PASSWORD": ""}, "PLIMSOLL_KAFKA_PASSWORD", "or PLIMSOLL_KAFKA_PASSWORD_FILE"),
        ({"PLIMSOLL_KAFKA_CA": "ca.pem"}, "PLIMSOLL_KAFKA_CA", "has no TLS: make that SSL or SASL_SSL"),
        ({"PLIMSOLL_REDIS_CA": "ca.pem"}, "PLIMSOLL_REDIS_CA", "REDIS_URL does not begin with rediss://"),
        ({"PLIMSOLL_REDIS_KEY": "key.pem"}, "PLIMSOLL_REDIS_KEY", "REDIS_URL does not begin with rediss://"),
        (
            {"PLIMSOLL_KAFKA_SECURITY": "SSL", "PLIMSOLL_KAFKA_CA": "nowhere.pem"},
            "PLIMSOLL_KAFKA_CA",
            "nowhere.pem cannot be used .No such file or directory.: name a PEM file",
        ),
        (
            {"PLIMSOLL_KAFKA_SECURITY": "SSL", "PLIMSOLL_KAFKA_CERTIFICATE": "own.pem"},
            "PLIMSOLL_KAFKA_CERTIFICATE",
            "useless without PLIMSOLL_KAFKA_KEY: state both, or neither",
        ),
        (
            {"REDIS_URL": "rediss://store:6380/0", "PLIMSOLL_REDIS_KEY": "own.key"},
            "PLIMSOLL_REDIS_KEY",
            "useless without PLIMSOLL_REDIS_CERTIFICATE: state both, or neither",
        ),
        (
            {
                "REDIS_URL": "rediss://store:6380/0",
                "PLIMSOLL_REDIS_CERTIFICATE": "own.pem",
                "PLIMSOLL_REDIS_KEY": "own.key",
            },
            "PLIMSOLL_REDIS_CERTIFICATE",
            "own.pem with own.key cannot be used",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_remedy(told: dict[str, str], key: str, reason: str) -> None:
    with pytest.raises(BadSetting, match=reason) as refused:
        load(told)
    assert refused.value.key == key


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certainly", encoding="utf-8")
    with pytest.raises(BadSetting, match=r"^PLIMSOLL_REDIS_CA: .*ca.pem cannot be used"):
        load({"REDIS_URL": "rediss://store:6380/0", "PLIMSOLL_REDIS_CA": str(tmp_path / "ca.pem")})


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(authority: Authority) -> None:
    certificate, key = authority.issue("locked", passphrase=b"sesame")
    told = {"PLIMSOLL_KAFKA_CERTIFICATE": str(certificate), "PLIMSOLL_KAFKA_KEY": str(key)}
    with pytest.raises(BadSetting, match=r"^PLIMSOLL_KAFKA_CERTIFICATE: .*unlocked key"):
        load({"PLIMSOLL_KAFKA_SECURITY": "SSL", **told})


# --- what the libraries are told --------------------------------------------------------------------------------------


def test_without_a_word_about_it_only_the_brokers_are_told() -> None:
    kafka = Kafka.of(load({"KAFKA_BROKERS": "one:9092,two:9092"}))
    assert kafka.librdkafka() == {"bootstrap.servers": "one:9092,two:9092"}
    assert kafka.aiokafka() == {"bootstrap_servers": ["one:9092", "two:9092"]}
    assert str(kafka) == "one:9092,two:9092"


def test_whoever_signs_in_verifies_first(authority: Authority) -> None:
    certificate, key = authority.issue("engine")
    kafka = Kafka.of(
        load(
            {
                **SIGNED_IN,
                "PLIMSOLL_KAFKA_CA": str(authority.ca),
                "PLIMSOLL_KAFKA_CERTIFICATE": str(certificate),
                "PLIMSOLL_KAFKA_KEY": str(key),
            }
        )
    )
    assert kafka.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
        "ssl.ca.location": str(authority.ca),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "engine",
        "sasl.password": "correct-horse",
    }
    told = kafka.aiokafka()
    context = told.pop("ssl_context")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert told == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "engine",
        "sasl_plain_password": "correct-horse",
    }


def test_a_store_s_certificate_is_verified_wherever_there_is_one(authority: Authority) -> None:
    told = load({"REDIS_URL": "rediss://engine:word@store:6380/0", "PLIMSOLL_REDIS_CA": str(authority.ca)})
    assert Redis.of(told).redis_py() == {
        "url": "rediss://engine:word@store:6380/0",
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": str(authority.ca),
        "ssl_certfile": None,
        "ssl_keyfile": None,
    }
    assert Redis("redis://store/0").redis_py() == {"url": "redis://store/0"}


def test_no_password_is_shown() -> None:
    told = load({**SIGNED_IN, "REDIS_URL": "redis://engine:correct-horse@store:6379/0"})
    kafka, redis = Kafka.of(told), Redis.of(told)
    assert "correct-horse" not in f"{told!r} {kafka!r} {kafka} {redis!r} {redis}"
    assert (str(redis), redis.username) == ("store:6379", "engine")
    assert str(Redis("unix:///run/redis.sock?db=1")) == "/run/redis.sock"


# --- refused, or away -------------------------------------------------------------------------------------------------


class Failure:
    """An error of confluent-kafka, as far as it is looked at."""

    def __init__(self, code: int, text: str) -> None:
        self._code = code
        self._text = text

    def code(self) -> int:
        return self._code

    def str(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-169, "SASL authentication error: Local: Broker transport failure"),
        (-169, "SaslHandshake failed: Local: Timed out"),
        (-181, "Disconnected: SSL connection closed by peer (after 4ms in state SSL_HANDSHAKE)"),
        (-195, "Local: Broker transport failure"),
        (-187, "1/1 brokers are down"),
    ],
)
def test_a_broker_that_goes_away_while_we_sign_in_has_not_refused_us(code: int, text: str) -> None:
    heard = Heard(Kafka("kafka:9093", "SASL_SSL", username="engine"))
    heard(Failure(code, text))
    assert heard.refused is None
    assert not heard.why(Failure(-195, "Failed to get metadata")).lasting


def test_once_refused_is_said_whatever_is_heard_afterwards() -> None:
    heard = Heard(Kafka("kafka:9093", "SASL_SSL", username="engine"))
    heard(Failure(-169, "SASL authentication error: invalid credentials"))
    heard(Failure(-187, "1/1 brokers are down"))
    told = heard.why(Failure(-195, "Failed to get metadata"))
    assert told.lasting
    assert "as 'engine' by SCRAM-SHA-512 (SASL authentication error: invalid credentials)" in str(told)


def test_the_system_s_numbers_are_not_taken_for_kafka_s() -> None:
    """33 is EDOM to the system and a mechanism that is not offered to Kafka; 29 is an illegal seek."""
    kafka = Kafka("kafka:9093", "SASL_SSL", username="engine")
    assert kafka.refusal(OSError(33, "Numerical argument out of domain")) is None
    assert kafka.refusal(OSError(29, "Illegal seek")) is None
