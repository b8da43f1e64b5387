"""How we reach Kafka and Redis: settings in, what each client library wants to be told out.

Every client in the programs is made of a `Kafka` or a `Redis` from here, so that none can forget to encrypt or to sign
in. Certificates and host names are verified wherever there is TLS, and nothing switches that off. Kafka's passwords are
sent through TLS alone: a broker may send a client on to any other host, so that even one on this machine is no reason
to send them in the open.

The libraries are not imported here. What their errors mean is told apart by codes and names: a server that is *away* is
waited for; one that answers and *refuses* us is met with the same answer tomorrow, and a person has to be told.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from plimsoll.errors import BadSetting, Refused, Unavailable

if TYPE_CHECKING:
    from plimsoll.settings import Settings

KNOCK_MS = 2_000
"""How long a broker may take to answer a connection that is only made to be told why."""
SIGN_IN = "our sign-in is not taken"
RIGHTS = "our user may not do this"


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files: the CA that is trusted, and the certificate and key that we show. Empty: none."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """What Python's TLS is told. Raises `OSError` where a file cannot be read or used."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.certificate:
            # Without an answer OpenSSL would ask for the passphrase of a key on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        return context

    def check(self, prefix: str) -> None:
        """Raises `BadSetting` where they cannot be used; `prefix` is what their settings' keys begin with."""
        if bool(self.certificate) != bool(self.key):
            stated, missing = ("CERTIFICATE", "KEY") if self.certificate else ("KEY", "CERTIFICATE")
            raise BadSetting(f"{prefix}_{stated}", f"useless without {prefix}_{missing}: state both, or neither")
        for name, files, wanted in (
            ("CA", Files(ca=self.ca), "a PEM file of the authority's certificates"),
            ("CERTIFICATE", Files("", self.certificate, self.key), "PEM files of a certificate and its unlocked key"),
        ):
            try:
                if files != Files():
                    files.context()
            except (OSError, ValueError) as error:
                path = files.ca or f"{files.certificate} with {files.key}"
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise BadSetting(f"{prefix}_{name}", f"{path} cannot be used ({reason}): name {wanted}") from None


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers, and how they are spoken to. As text it is the brokers alone."""

    brokers: str
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    files: Files = Files()

    @classmethod
    def of(cls, settings: Settings) -> Kafka:
        """As the settings have it."""
        return cls(
            settings.kafka_brokers,
            settings.kafka_security,
            settings.kafka_sasl_mechanism,
            settings.kafka_username,
            settings.kafka_password,
            Files(settings.kafka_ca, settings.kafka_certificate, settings.kafka_key),
        )

    def __str__(self) -> str:
        return self.brokers

    @property
    def where(self) -> str:
        """Where no broker answers, as the end of a sentence, and what may be meant."""
        # A port that speaks TLS only hangs up on whoever does not.
        meant = "" if self.encrypted else "; where they speak TLS, set PLIMSOLL_KAFKA_SECURITY"
        return f"at {self} (set KAFKA_BROKERS{meant})"

    @property
    def encrypted(self) -> bool:
        """Whether it is spoken to through TLS."""
        return self.security.endswith("SSL")

    @property
    def signs_in(self) -> bool:
        """Whether a name and a password are sent."""
        return self.security.startswith("SASL")

    def librdkafka(self) -> dict[str, Any]:
        """Configuration of confluent-kafka's clients: `Consumer({**kafka.librdkafka(), ...})`."""
        told: dict[str, Any] = {"bootstrap.servers": self.brokers}
        if self.encrypted:
            stated = {
                "ssl.ca.location": self.files.ca,
                "ssl.certificate.location": self.files.certificate,
                "ssl.key.location": self.files.key,
            }
            told |= {
                "security.protocol": self.security,
                "enable.ssl.certificate.verification": True,
                "ssl.endpoint.identification.algorithm": "https",
                **{key: path for key, path in stated.items() if path},
            }
        if self.signs_in:
            told |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        return told

    def aiokafka(self) -> dict[str, Any]:
        """Arguments of aiokafka's clients: `AIOKafkaProducer(**kafka.aiokafka(), ...)`."""
        told: dict[str, Any] = {"bootstrap_servers": self.brokers.split(",")}
        if self.encrypted:
            told |= {"security_protocol": self.security, "ssl_context": self.files.context()}
        if self.signs_in:
            told |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return told

    async def knock(self, connect: Callable[..., Awaitable[Any]]) -> Refused | None:
        """Try a connection of its own to each broker: why the first that answers does not let us in; else None.

        `connect` is `aiokafka.conn.create_conn`. aiokafka's clients keep to themselves why their connections fail.
        """
        told = self.aiokafka()
        for broker in told.pop("bootstrap_servers"):
            host, _, port = broker.rpartition(":")
            try:
                connection = await connect(host.strip("[]"), int(port), request_timeout_ms=KNOCK_MS, **told)
            except Exception as error:  # whatever it is: only a refusal says more than that nobody answers
                if refused := self.refusal(error):
                    return refused
            else:
                connection.close()
                return None
        return None

    def refusal(self, error: object) -> Refused | None:
        """What an error of either library says, where it says that we are not let in; else None."""
        code, text = _kafka_code(error), _kafka_text(error)
        if code in _KAFKA_SIGN_IN and not any(word in text.lower() for word in _PASSING_WORDS):
            return Refused(
                "Kafka",
                SIGN_IN,
                f"at {self} as {self.username!r} by {self.mechanism} ({text}): correct PLIMSOLL_KAFKA_USERNAME, "
                "PLIMSOLL_KAFKA_PASSWORD or PLIMSOLL_KAFKA_SASL_MECHANISM",
            )
        if code in _KAFKA_RIGHTS:
            return Refused(
                "Kafka",
                RIGHTS,
                f"at {self} as {self.username or 'ANONYMOUS'!r} ({text}): docs/SECURITY.md says which rights it needs",
            )
        if code == _KAFKA_SSL or isinstance(error, BaseException):
            what = _tls_refusal(text if code == _KAFKA_SSL else _tls_text(error))
            if what:
                return Refused("Kafka", what, f"at {self} ({text}): {_tls_remedy('PLIMSOLL_KAFKA', 'KAFKA_BROKERS')}")
        return None


class Heard:
    """What a client of confluent-kafka says of its connections: give it as `error_cb`, and ask it why nobody answers.

    The client tries on whatever happens, so a call that waited in vain knows less than was heard meanwhile. What was
    heard is handed over while the client polls.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._newest: object = None
        self.refused: Refused | None = None
        """Set for good once we were refused."""

    def __call__(self, error: object) -> None:
        """Hear an error."""
        # That all are down follows from what was said of each, and says less.
        if self._newest is None or _kafka_code(error) != _KAFKA_ALL_DOWN:
            self._newest = error
        self.refused = self.refused or self._kafka.refusal(error)

    def why(self, error: object) -> Unavailable:
        """What to raise for a call that failed."""
        if told := self._kafka.refusal(error) or self.refused:
            return told
        texts = dict.fromkeys(_kafka_text(each) for each in (error, self._newest) if each is not None)
        return Unavailable("Kafka", f"{'; '.join(texts)} {self._kafka.where}")


@dataclass(frozen=True, slots=True)
class Redis:
    """The store, and how it is spoken to. As text it is host and port: the URL may hold a password."""

    url: str = field(repr=False)
    files: Files = Files()

    @classmethod
    def of(cls, settings: Settings) -> Redis:
        """As the settings have it."""
        return cls(settings.redis_url, Files(settings.redis_ca, settings.redis_certificate, settings.redis_key))

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"

    @property
    def encrypted(self) -> bool:
        """Whether it is spoken to through TLS."""
        return urlsplit(self.url).scheme == "rediss"

    @property
    def username(self) -> str:
        """Whom we sign in as; `default` is what Redis calls whoever names nobody."""
        return urlsplit(self.url).username or "default"

    def redis_py(self) -> dict[str, Any]:
        """Arguments of redis-py's `from_url`, URL and all: `Redis.from_url(**store.redis_py(), ...)`."""
        if not self.encrypted:
            return {"url": self.url}
        return {
            "url": self.url,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": self.files.ca or None,
            "ssl_certfile": self.files.certificate or None,
            "ssl_keyfile": self.files.key or None,
        }

    def refusal(self, error: BaseException) -> Refused | None:
        """What an error of redis-py says, where it says that we are not let in; else None."""
        what = redis_refuses(error)
        if not what:
            return None
        remedies = {
            SIGN_IN: "correct the name and the password in REDIS_URL",
            RIGHTS: "docs/SECURITY.md says which rights it needs",
        }
        remedy = remedies.get(what) or _tls_remedy("PLIMSOLL_REDIS", "REDIS_URL")
        return Refused("Redis", what, f"at {self} as {self.username!r} ({error}): {remedy}")

    def said(self, error: BaseException) -> str:
        """An error of a store that is away, and what may be meant where it hung up or kept silent."""
        text = str(error)
        hung_up = any(words in text for words in ("closed by server", "reset by peer", "Broken pipe", "EOF occurred"))
        if hung_up and self.encrypted and not self.files.certificate:
            return f"{text} (where it asks for a certificate, PLIMSOLL_REDIS_CERTIFICATE has to name ours)"
        if hung_up and not self.encrypted:
            return f"{text} (where this port speaks TLS, REDIS_URL has to begin with rediss://)"
        if self.encrypted and text.startswith("Timeout connecting"):
            return f"{text} (where this port speaks no TLS, REDIS_URL has to begin with redis://)"
        return text


def redis_refuses(error: BaseException) -> str:
    """In which way an error of redis-py says that we are not let in, in a few words; empty where it does not."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"AuthenticationError", "AuthorizationError"}:
        return SIGN_IN
    if "NoPermissionError" in kinds or any(words in str(error) for words in _SCRIPT_RIGHTS):
        return RIGHTS
    return _tls_refusal(_tls_text(error))


def check(settings: Settings) -> None:
    """Refuse what contradicts itself or names files that cannot be used. Raises `BadSetting`."""
    _check_kafka(Kafka.of(settings))
    redis = Redis.of(settings)
    if not redis.encrypted:
        _refuse_files(
            "PLIMSOLL_REDIS", redis.files, "REDIS_URL does not begin with rediss://: let it, or leave this out"
        )
    redis.files.check("PLIMSOLL_REDIS")


def _check_kafka(kafka: Kafka) -> None:
    stated = {"PLIMSOLL_KAFKA_USERNAME": kafka.username, "PLIMSOLL_KAFKA_PASSWORD": kafka.password}
    security = f"PLIMSOLL_KAFKA_SECURITY={kafka.security}"
    for key, value in stated.items():
        if kafka.signs_in and not value:
            others = ", or PLIMSOLL_KAFKA_PASSWORD_FILE" if key.endswith("PASSWORD") else ""
            raise BadSetting(key, f"{security} signs in, so state it{others}")
        if value and not kafka.signs_in:
            raise BadSetting(key, f"{security} does not sign in: make that SASL_SSL, or leave this out")
    if not kafka.encrypted:
        _refuse_files(
            "PLIMSOLL_KAFKA", kafka.files, f"{security} has no TLS: make that SSL or SASL_SSL, or leave this out"
        )
    kafka.files.check("PLIMSOLL_KAFKA")


def _refuse_files(prefix: str, files: Files, reason: str) -> None:
    for name, path in (("CA", files.ca), ("CERTIFICATE", files.certificate), ("KEY", files.key)):
        if path:
            raise BadSetting(f"{prefix}_{name}", reason)


_SCRIPT_RIGHTS = ("The user executing the script can't", "ACL failure in script")
"""A script that may do less than it tries fails with an error like any other: in the words of Redis 7, and of newer."""


# --- what errors say --------------------------------------------------------------------------------------------------

_KAFKA_SSL = -181
_KAFKA_ALL_DOWN = -187
_KAFKA_SIGN_IN = {-169, 33, 34, 58}
"""librdkafka's own, then the protocol's: mechanism not offered, not expected here, and name or password wrong."""
_KAFKA_RIGHTS = {29, 30, 31, 53}
"""Of topics, groups, the cluster, transactions."""
_PASSING_WORDS = ("transport failure", "timed out", "disconnected")
"""A broker that goes away while we sign in has not refused us."""


def _kafka_code(error: object) -> int | None:
    """The number of an error of confluent-kafka (wrapped or not) or of aiokafka; None for any other."""
    inner = _inner(error)
    code = getattr(inner, "code", None)
    # An `OSError` has a number too, which is the system's and not the protocol's.
    found = code() if callable(code) else None if isinstance(inner, OSError) else getattr(inner, "errno", None)
    return found if isinstance(found, int) else None


def _kafka_text(error: object) -> str:
    inner = _inner(error)
    told = getattr(inner, "str", None)
    return str(told()) if callable(told) else str(inner)


def _inner(error: object) -> object:
    """What confluent-kafka's exception is wrapped around."""
    wrapped = error.args[0] if isinstance(error, Exception) and error.args else None
    return wrapped if hasattr(wrapped, "code") else error


def _tls_text(error: object) -> str:
    """What Python's TLS says beneath an error; empty where it was not that."""
    return next((f"{each.reason} {each}" for each in _causes(error) if isinstance(each, ssl.SSLError)), "")


def _causes(error: object) -> Iterator[BaseException]:
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__ or error.__context__


def _tls_refusal(text: str) -> str:
    """What is wrong, from the words of OpenSSL; empty where it may pass by itself."""
    words = text.lower().replace("_", " ")
    if "certificate verify failed" in words or "could not be verified" in words:
        return "its certificate is not trusted"
    if "alert" in words and ("certificate" in words or "unknown ca" in words):
        return "our certificate is not taken"
    return ""


def _tls_remedy(prefix: str, address: str) -> str:
    return (
        f"name the CA of its certificate in {prefix}_CA and a host that stands in it in {address}; "
        f"what it wants to see of us are {prefix}_CERTIFICATE and {prefix}_KEY"
    )
