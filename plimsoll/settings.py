"""Every setting, its default and its bounds, in one table; read from the environment and from `.env`.

Only a `__main__` or the command line calls `load`. A key that is unknown or cannot be read stops the process and is
named: a setting that is silently ignored is worse than none. `KAFKA_BROKERS`, `REDIS_URL` and `LOG_LEVEL` carry no
prefix because older installations set them; all else is `PLIMSOLL_*`.

A secret may lie in a file of its own, as Docker and Kubernetes mount them: `REDIS_URL_FILE` names the file that holds
`REDIS_URL`. It is read once, at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plimsoll import transport
from plimsoll.errors import BadSetting

_PREFIX = "PLIMSOLL_"
HEALTH_PORTS = 11
"""Ports above the first that workers may need: `portfolio-updates` has twelve partitions, one a worker at least."""
ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Signatures that tokens may bear. None of them can be made by whoever only verifies them."""
TOKEN_SECRET_SIZE_MIN = 32
"""Bytes: as many as the hash that HS256 is made of."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CLIENTS_OWN = frozenset({"PLIMSOLL_TOKEN"})
"""What the examples of clients sign in with: it may stand in the same shell, and is nobody's setting."""
_FILE = "_FILE"
"""After the key of any secret: the file that holds it, as Docker and Kubernetes mount secrets."""
_FOREIGN_IN_DOTENV = ("COMPOSE_", "DOCKER_", "GF_")
"""Docker Compose reads the same `.env`, for itself and for its Grafana; their keys are not ours to judge."""


# What each reader takes is its docstring: the reference shows it beside the default.


def _text(text: str) -> str:
    """Any text but an empty one."""
    if not text:
        raise ValueError("empty")
    return text


def _symbol_or_none(text: str) -> str | None:
    """A symbol, or none."""
    return None if text == "none" else _text(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    read.__doc__ = f"One of {', '.join(choices)}."
    return read


def _level(text: str) -> str:
    """One of DEBUG, INFO, WARNING, ERROR, in any case."""
    return _one_of("DEBUG", "INFO", "WARNING", "ERROR")(text.upper())


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
        if not least <= number <= most:
            raise ValueError(f"{number} is not between {least} and {most}")
        return number

    read.__doc__ = f"A whole number from {least:,} to {most:,}."
    return read


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        if not least <= number <= most:
            raise ValueError(f"{text} is not between {least:g} and {most:g}")
        return number

    read.__doc__ = f"A number from {least:g} to {most:g}."
    return read


def _switch(text: str) -> bool:
    """On or off."""
    return _one_of("off", "on")(text) == "on"


def _brokers(text: str) -> str:
    """A host:port, or several with commas between them."""
    for broker in text.split(","):
        host, colon, port = broker.strip().rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{broker.strip()!r} is not host:port; several are separated by commas")
    return ",".join(broker.strip() for broker in text.split(","))


def _address(text: str) -> str:
    """An IP address."""
    try:
        ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address such as 127.0.0.1, 0.0.0.0 or ::") from None
    return text


def _origins(text: str) -> tuple[str, ...]:
    """Origins with commas between them: http or https, and no path."""
    origins = tuple(each.strip().lower() for each in text.split(",") if each.strip())
    for each in origins:
        scheme, _, host = each.partition("://")
        if scheme not in ("http", "https") or not host or set(host) & set("/*?#@ "):
            raise ValueError(f"{each!r} is not an origin such as https://desk.example.com, without a path or a *")
    return origins


def _hosts(text: str) -> tuple[str, ...]:
    """Names of hosts with commas between them."""
    hosts = tuple(each.strip().lower() for each in text.split(",") if each.strip())
    for each in hosts:
        if not set(each) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_:"):
            raise ValueError(f"{each!r} is not the name of a host such as risk.example.com")
    return hosts


def _path(text: str) -> str:
    """The path of a file, or nothing."""
    if "\0" in text:
        raise ValueError("no path has a NUL in it")
    return text


def _redis_url(text: str) -> str:
    """A URL that begins with redis, rediss or unix."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # its reason would quote the password
        raise ValueError("not a URL (in a password, / is written %2F, @ %40, # %23, ? %3F and % %25)") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        # The URL may hold a password, so only its scheme is quoted.
        raise ValueError(f"scheme {parts.scheme!r} is none of redis, rediss, unix")
    if parts.fragment or any(option.startswith("ssl_") for option in parts.query.split("&")):
        # redis-py would let them outdo what we tell it, and switch the verification of certificates off.
        raise ValueError("neither # nor options that begin with ssl_ have a place in it; PLIMSOLL_REDIS_CA names a CA")
    return text


def _security(text: str) -> str:
    """One of PLAINTEXT, SSL and SASL_SSL."""
    if text == "SASL_PLAINTEXT":
        raise ValueError(
            "SASL_PLAINTEXT sends what passwords are found out by without encryption, and a broker on this machine may "
            "send us on to any other: use SASL_SSL"
        )
    return _one_of("PLAINTEXT", "SSL", "SASL_SSL")(text)


def _word(text: str) -> str:
    """One line of text."""
    if not text.isprintable():
        raise ValueError("it holds a line break or another character that cannot be printed")
    return text


def _collector(text: str) -> str:
    """A URL of http or https without a name and password in it, or off."""
    if text == "off":
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("neither off nor of the form http://host:port")
    if "@" in parts.netloc:
        raise ValueError("it holds a name or a password; a collector's key goes into OTEL_EXPORTER_OTLP_HEADERS")
    return text


def _file_or_none(text: str) -> str:
    """The path of a file, or nothing."""
    if "://" in text:
        raise ValueError("a URL where the path of a file is wanted")
    return text


def _file_or_url_or_none(text: str) -> str:
    """The path of a file, an https URL (http on this machine), or nothing."""
    scheme, colon, _ = text.partition("://")
    if not colon:
        return text
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.username is not None or parts.fragment or not host:
        raise ValueError("not of the form https://host/path; a name and password have no place in it")
    if scheme != "https" and not (scheme == "http" and host in LOOPBACK):
        raise ValueError(f"scheme {scheme!r} is not https, which a key must come by; http is for this machine only")
    return text


def _algorithms(text: str) -> tuple[str, ...]:
    """Some of RS256, ES256, EdDSA, with commas between them."""
    named = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    for each in named:
        if each not in ALGORITHMS:
            raise ValueError(f"{each!r} is none of {', '.join(ALGORITHMS)}")
    return named


def _secret_or_none(text: str) -> str:
    """A text of 32 bytes or more, or nothing."""
    if text and len(text.encode()) < TOKEN_SECRET_SIZE_MIN:
        raise ValueError(f"shorter than {TOKEN_SECRET_SIZE_MIN} bytes, which can be guessed: `openssl rand -hex 32`")
    return text


def _setting(key: str, default: str, read: Callable[[str], Any], about: str, *, secret: bool = False) -> Any:  # noqa: ANN401
    return field(
        default_factory=lambda: read(default),
        repr=not secret,
        metadata={"key": key, "default": default, "read": read, "about": about, "secret": secret},
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process was told. Frozen: nothing changes its mind while running."""

    kafka_brokers: str = _setting(
        "KAFKA_BROKERS", "127.0.0.1:9092", _brokers, "Kafka brokers, host:port, comma separated"
    )
    redis_url: str = _setting(
        "REDIS_URL", "redis://127.0.0.1:6379/0", _redis_url, "Redis or Valkey, one node", secret=True
    )
    kafka_security: str = _setting(
        "PLIMSOLL_KAFKA_SECURITY",
        "PLAINTEXT",
        _security,
        "PLAINTEXT, SSL, or SASL_SSL, which signs in; certificates and host names are always verified",
    )
    kafka_sasl_mechanism: str = _setting(
        "PLIMSOLL_KAFKA_SASL_MECHANISM",
        "SCRAM-SHA-512",
        _one_of("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"),
        "How SASL_SSL signs in: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN",
    )
    kafka_username: str = _setting("PLIMSOLL_KAFKA_USERNAME", "", _word, "Whom SASL_SSL signs in as")
    kafka_password: str = _setting("PLIMSOLL_KAFKA_PASSWORD", "", _word, "Their password", secret=True)
    kafka_ca: str = _setting(
        "PLIMSOLL_KAFKA_CA",
        "",
        _path,
        "PEM file of the CA that brokers' certificates are trusted by; empty: the system's",
    )
    kafka_certificate: str = _setting(
        "PLIMSOLL_KAFKA_CERTIFICATE", "", _path, "PEM file of the certificate that brokers are shown, for mutual TLS"
    )
    kafka_key: str = _setting("PLIMSOLL_KAFKA_KEY", "", _path, "PEM file of that certificate's key, not encrypted")
    redis_ca: str = _setting(
        "PLIMSOLL_REDIS_CA",
        "",
        _path,
        "PEM file of a CA that Redis's certificate (rediss://) is trusted by, besides the system's",
    )
    redis_certificate: str = _setting(
        "PLIMSOLL_REDIS_CERTIFICATE", "", _path, "PEM file of the certificate that Redis is shown, for mutual TLS"
    )
    redis_key: str = _setting("PLIMSOLL_REDIS_KEY", "", _path, "PEM file of that certificate's key, not encrypted")
    log_level: str = _setting("LOG_LEVEL", "INFO", _level, "DEBUG, INFO, WARNING or ERROR")
    window_ms: int = _setting(
        "PLIMSOLL_WINDOW_MS", "50", _integer(10, 1000), "How long ticks are conflated before a revaluation, ms"
    )
    publish_rate: int = _setting(
        "PLIMSOLL_PUBLISH_RATE",
        "6000",
        _integer(100, 1_000_000),
        "Snapshots a second and worker for what the market alone moves; those that moved most go first",
    )
    dead_letter_share: float = _setting(
        "PLIMSOLL_DEAD_LETTER_SHARE",
        "0.5",
        _number(0.01, 1.0),
        "A worker stops where more than this share of a topic's newest records cannot be applied; 1: never",
    )
    dead_letter_newest: int = _setting(
        "PLIMSOLL_DEAD_LETTER_NEWEST",
        "10000",
        _integer(100, 10_000_000),
        "Records of a topic over which that share is taken",
    )
    scenarios: int = _setting("PLIMSOLL_SCENARIOS", "500", _integer(250, 2000), "Sessions of returns in a scenario set")
    benchmark: str | None = _setting(
        "PLIMSOLL_BENCHMARK",
        "SP500",
        _symbol_or_none,
        "Symbol whose closes are the benchmark of beta and proxies; none: there is none",
    )
    risk_free: float = _setting(
        "PLIMSOLL_RISK_FREE",
        "0.0",
        _number(-0.2, 1.0),
        "Annual risk-free rate of the Sharpe ratio, a fraction",
    )
    method: str = _setting(
        "PLIMSOLL_METHOD",
        "filtered_historical",
        _one_of("filtered_historical", "historical", "age_weighted"),
        "How scenarios are lived through again: filtered_historical, historical or age_weighted",
    )
    decay: float = _setting(
        "PLIMSOLL_DECAY",
        "0.94",
        _number(0.5, 0.999),
        "Decay of variance a session (lambda), by which scenarios are filtered",
    )
    age_decay: float = _setting(
        "PLIMSOLL_AGE_DECAY", "0.99", _number(0.5, 0.9999), "Decay of a scenario's weight a session, of age_weighted"
    )
    live_volatility: bool = _setting(
        "PLIMSOLL_LIVE_VOLATILITY", "off", _switch, "on: today's move counts towards the volatility of now"
    )
    limit_name_fraction: float = _setting(
        "PLIMSOLL_LIMIT_NAME_FRACTION", "0.25", _number(0.01, 1.0), "What-if warns of a larger share in one name"
    )
    limit_leverage: float = _setting(
        "PLIMSOLL_LIMIT_LEVERAGE", "1.5", _number(0.1, 100.0), "What-if warns of more gross exposure over market value"
    )
    limit_var_99_fraction: float = _setting(
        "PLIMSOLL_LIMIT_VAR_99_FRACTION", "0.1", _number(0.001, 10.0), "What-if warns of a larger 99 % value at risk"
    )
    republish_seconds: int = _setting(
        "PLIMSOLL_REPUBLISH_SECONDS", "30", _integer(1, 3600), "Every snapshot is offered to Redis again after this"
    )
    history_points: int = _setting(
        "PLIMSOLL_HISTORY_POINTS", "390", _integer(1, 10_000), "Minutes of history kept for each portfolio"
    )
    stale_seconds: int = _setting(
        "PLIMSOLL_STALE_SECONDS",
        "15",
        _integer(2, 3600),
        "Answers are marked stale when the engine is silent this long",
    )
    replication_factor: int = _setting(
        "PLIMSOLL_REPLICATION_FACTOR", "1", _integer(1, 15), "Replicas of a topic that has to be created"
    )
    ready_lag: int = _setting(
        "PLIMSOLL_READY_LAG", "100000", _integer(1, 10**12), "Records of lag above which an engine worker is not ready"
    )
    health_host: str = _setting(
        "PLIMSOLL_HEALTH_HOST",
        "127.0.0.1",
        _address,
        "Where an engine worker serves /live, /ready and /metrics; 0.0.0.0 for all, as nothing there is secret",
    )
    health_port: int = _setting(
        "PLIMSOLL_HEALTH_PORT",
        "9464",
        _integer(0, 65_535 - HEALTH_PORTS),
        "Port of /live, /ready and /metrics of worker 0; worker I listens on port + I; 0: none",
    )
    profile: str = _setting(
        "PLIMSOLL_PROFILE",
        "development",
        _one_of("development", "production"),
        "production: no GraphiQL, no schema told, no names suggested in errors",
    )
    allowed_origins: tuple[str, ...] = _setting(
        "PLIMSOLL_ALLOWED_ORIGINS",
        "",
        _origins,
        "Origins whose pages may use the API, comma separated, such as https://desk.example.com; empty: its own alone",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "PLIMSOLL_ALLOWED_HOSTS",
        "",
        _hosts,
        "Names, besides localhost and addresses, that the API answers to without sign-in, comma separated",
    )
    rate_signed_in: int = _setting(
        "PLIMSOLL_RATE_SIGNED_IN",
        "200",
        _integer(0, 1_000_000),
        "Requests a second of one caller who signed in, and of one address that has not; 0: as many as they like",
    )
    rate_anyone: int = _setting(
        "PLIMSOLL_RATE_ANYONE",
        "0",
        _integer(0, 1_000_000),
        "Requests a second of one address where there is no sign-in; 0: as many as it likes",
    )
    trusted_documents: str = _setting(
        "PLIMSOLL_TRUSTED_DOCUMENTS",
        "",
        _path,
        "JSON file of GraphQL documents by id, which requests may name instead of stating them",
    )
    trusted_only: bool = _setting(
        "PLIMSOLL_TRUSTED_ONLY", "off", _switch, "on: no document is carried out but those of that file"
    )
    otlp_endpoint: str = _setting(
        "PLIMSOLL_OTLP_ENDPOINT",
        "off",
        _collector,
        "OpenTelemetry collector (OTLP over HTTP) that the API sends spans to, which needs the extra `otel`; off: none",
    )
    auth: str = _setting(
        "PLIMSOLL_AUTH",
        "off",
        _one_of("off", "on"),
        "off: no sign-in, and the API serves loopback only; on: a token or an API key for every request",
    )
    jwks: str = _setting(
        "PLIMSOLL_JWKS",
        "",
        _file_or_url_or_none,
        "Public keys that tokens are verified by (RFC 7517): a file, or an https URL of the identity provider",
    )
    jwks_seconds: int = _setting(
        "PLIMSOLL_JWKS_SECONDS",
        "300",
        _integer(5, 900),
        "How often that URL is read again; a file is whenever it changes",
    )
    jwt_algorithms: tuple[str, ...] = _setting(
        "PLIMSOLL_JWT_ALGORITHMS", ",".join(ALGORITHMS), _algorithms, "Signatures of tokens that are taken"
    )
    jwt_issuer: str = _setting("PLIMSOLL_JWT_ISSUER", "plimsoll", _text, "What a token's `iss` has to be")
    jwt_audience: str = _setting("PLIMSOLL_JWT_AUDIENCE", "plimsoll", _text, "What a token's `aud` has to name")
    jwt_roles_claim: str = _setting(
        "PLIMSOLL_JWT_ROLES_CLAIM", "roles", _text, "Claim with advisor, risk_manager or operator: a list or words"
    )
    jwt_advisor_claim: str = _setting(
        "PLIMSOLL_JWT_ADVISOR_CLAIM", "advisor_id", _text, "Claim with the id of the advisor that an advisor is"
    )
    api_keys: str = _setting(
        "PLIMSOLL_API_KEYS", "", _file_or_none, "File of API keys by their hashes; a line: `plimsoll token --api-key`"
    )
    token_secret: str = _setting(
        "PLIMSOLL_TOKEN_SECRET",
        "",
        _secret_or_none,
        "For trying sign-in on this machine: `plimsoll token` signs with it; 32 bytes or more, and no PLIMSOLL_JWKS",
        secret=True,
    )
    audit: str = _setting(
        "PLIMSOLL_AUDIT",
        "auto",
        _one_of("auto", "on", "off"),
        "Whether who asked for what is logged; auto: where there is sign-in",
    )
    sockets: int = _setting(
        "PLIMSOLL_SOCKETS", "10000", _integer(1, 1_000_000), "Websockets that one API process serves at once"
    )
    sockets_per_caller: int = _setting(
        "PLIMSOLL_SOCKETS_PER_CALLER",
        "100",
        _integer(1, 1_000_000),
        "Websockets of one signed-in caller for each API process",
    )
    subscriptions_per_caller: int = _setting(
        "PLIMSOLL_SUBSCRIPTIONS_PER_CALLER",
        "2000",
        _integer(1, 1_000_000),
        "Operations at once of one signed-in caller, over websockets and as HTTP streams, for each API process",
    )


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One row of the settings table in the documentation. `name` is the attribute of `Settings`."""

    key: str
    default: str
    about: str
    name: str
    takes: str
    secret: bool


def documented() -> list[SettingDoc]:
    """Every setting there is, in the order of the table above."""
    return [
        SettingDoc(
            key=f.metadata["key"],
            default=f.metadata["default"],
            about=f.metadata["about"],
            name=f.name,
            takes=f.metadata["read"].__doc__ or "",
            secret=f.metadata["secret"],
        )
        for f in fields(Settings)
    ]


def secret_files() -> dict[str, str]:
    """What names a file in place of a secret -> the secret's key: `REDIS_URL_FILE` -> `REDIS_URL`."""
    return {f"{f.metadata['key']}{_FILE}": f.metadata["key"] for f in fields(Settings) if f.metadata["secret"]}


def load(environ: Mapping[str, str], dotenv: Path | None = None, left_out: Collection[str] = ()) -> Settings:
    """Read the environment, and beneath it a `.env` file where there is one. Raises `BadSetting` naming the key.

    left_out   keys of `BadSetting`s that were raised before: what they name is passed over
    """
    known = {f.metadata["key"]: f for f in fields(Settings)}
    understood = (*known, *secret_files())
    ours = {k: v for k, v in environ.items() if k in understood or (k.startswith(_PREFIX) and k not in _CLIENTS_OWN)}
    above = {k: v for k, v in ours.items() if k not in left_out}
    stated = _with_secrets(above, ())
    stated = {**_with_secrets(_read_dotenv(dotenv, understood, left_out), stated), **stated}
    values = {}
    for key, text in stated.items():
        if key not in known:
            raise BadSetting(key, _no_such(understood, key))
        try:
            values[known[key].name] = known[key].metadata["read"](text)
        except ValueError as error:
            raise BadSetting(key, str(error)) from None
    settings = Settings(**values)
    transport.check(settings)
    return settings


def _with_secrets(stated: Mapping[str, str], outdone: Collection[str]) -> dict[str, str]:
    """What one place states, with the contents of files in place of their names; those of `outdone` are not read."""
    files = secret_files()
    told = {key: text for key, text in stated.items() if key not in files}
    for file_key, key in files.items():
        path = stated.get(file_key)
        if not path or key in outdone:
            continue
        if told.get(key):
            raise BadSetting(file_key, f"{key} is stated as well: leave one of them out")
        told[key] = _secret_in(path, file_key)
    return told


def _secret_in(path: str, file_key: str) -> str:
    """What a file holds, without the line break that editors leave at its end."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadSetting(file_key, f"{path} cannot be read ({reason}): name a file that this user may read") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise BadSetting(file_key, f"{path} is empty: it has to hold the secret and nothing else")
    return secret


def _no_such(known: Collection[str], key: str, place: str = "") -> str:
    named = ", ".join(get_close_matches(key, known, n=3) or known)
    return f"no such setting{place}; did you mean one of {named}?"


def _read_dotenv(path: Path | None, known: Collection[str], left_out: Collection[str]) -> dict[str, str]:
    """`KEY=value` lines; comments, blank lines, `export` and matching quotes are understood, nothing else is."""
    if path is None or path.name in left_out or not path.is_file():
        return {}
    try:
        content = path.read_text(encoding="utf-8-sig")  # Editors on Windows begin a file with a byte order mark.
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        detail = f"cannot be read ({reason}): save it as UTF-8 text that this user may read, or take it away"
        raise BadSetting(path.name, detail) from None
    stated: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip().removeprefix("export ").strip()
        place = f"{path.name} line {number}"
        if not text or text.startswith("#") or place in left_out:
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key.isidentifier():
            raise BadSetting(place, "not of the form KEY=value")
        if key.startswith(_FOREIGN_IN_DOTENV) or key in left_out:
            continue
        if key not in known:
            raise BadSetting(key, _no_such(known, key, f" (line {number} of {path.name})"))
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        stated[key] = value
    return stated
