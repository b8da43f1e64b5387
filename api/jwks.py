"""The public keys that tokens are verified by, read from one place that the settings name and from nowhere else.

A key has one algorithm, which follows from what kind of key it is: a token cannot choose another for it. The set is
read again every few minutes, so a key that its issuer withdraws stops counting, and once more for a key id that is not
in it, but at most every `UNKNOWN_EVERY_SECONDS`: a flood of invented ids makes no flood of questions. While the set
cannot be read, the last one serves for `AGE_SECONDS_MAX`, and the log says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from jwt import PyJWK, PyJWTError

from plimsoll.errors import BadSetting, Unavailable

FETCH_SECONDS = 5.0
"""Of silence from whoever has the keys."""
SIZE_MAX = 262_144
"""Bytes of a set; what follows is not read."""
KEYS_MAX = 100
UNKNOWN_EVERY_SECONDS = 10.0
FILE_EVERY_SECONDS = 5.0
AGE_SECONDS_MAX = 3600.0
RSA_BITS_MIN = 2048

_NANOSECONDS = 1_000_000_000
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What of each kind of key is public. A private part that got into a set is never looked at."""
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the one algorithm it is used with. `fingerprint` is the same wherever the key stands."""

    kid: str
    algorithm: str
    fingerprint: str
    jwk: PyJWK = field(repr=False, compare=False)


def parse(raw: bytes) -> dict[str, SigningKey]:
    """The keys of a set by their ids; those for other uses are left out. Raises `ValueError` where none is left.

    Of two keys under one id neither counts: nobody could say which one a token means.
    """
    try:
        stated = msgspec.json.decode(raw, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, RecursionError):
        raise ValueError('no JSON object of the form {"keys": [...]}') from None
    if not isinstance(stated, list) or len(stated) > KEYS_MAX:
        raise ValueError(f"no list of keys, or one of more than {KEYS_MAX}")
    found = [key for each in stated if isinstance(each, dict) and (key := _signing_key(each)) is not None]
    met = Counter(key.kid for key in found)
    keys = {key.kid: key for key in found if met[key.kid] == 1}
    if not keys:
        raise ValueError(
            f"no key that can be used: with a `kid` of its own, for signatures, and RSA of {RSA_BITS_MIN} bits or more,"
            " P-256 or Ed25519"
        )
    return keys


def _signing_key(stated: Mapping[str, Any]) -> SigningKey | None:
    kid, kty = stated.get("kid"), stated.get("kty")
    if not isinstance(kid, str) or kty not in _PUBLIC:
        return None
    algorithm = _ALGORITHMS.get((kty, stated.get("crv") if kty != "RSA" else None))
    use, operations = stated.get("use", "sig"), stated.get("key_ops", ["verify"])
    if algorithm is None or stated.get("alg", algorithm) != algorithm or use != "sig" or "verify" not in operations:
        return None
    public = {"kty": kty} | {name: stated.get(name) for name in _PUBLIC[kty]}
    try:
        jwk = PyJWK.from_dict(public, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        _log.warning("a key of the set is malformed and left out")
        return None
    if kty == "RSA" and jwk.key.key_size < RSA_BITS_MIN:
        return None
    return SigningKey(kid, algorithm, hashlib.sha256(msgspec.json.encode(public, order="sorted")).hexdigest(), jwk)


class Jwks:
    """The set as it was read last. `read` gives its bytes or raises; `clock` gives UTC nanoseconds."""

    def __init__(self, read: Callable[[], bytes], every_seconds: float, clock: Callable[[], int]) -> None:
        self._source = read
        self._every_seconds = every_seconds
        self._clock = clock
        self._keys: dict[str, SigningKey] = {}
        self._read_at_ns: int | None = None
        self._tried_at_ns: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Why the last reading failed; None after one that did not."""

    @classmethod
    def of(cls, where: str, every_seconds: float, clock: Callable[[], int]) -> Jwks:
        """The set at a URL, or in a file. Raises `BadSetting` for a file that holds none; a URL is read later."""
        if "://" in where:
            return cls(lambda: fetch(where), every_seconds, clock)
        made = cls(lambda: read_file(where), FILE_EVERY_SECONDS, clock)
        try:
            made._take(read_file(where))
        except (OSError, ValueError) as error:
            raise BadSetting("PLIMSOLL_JWKS", f"{where} cannot be used: {_told(error)}") from None
        return made

    async def find(self, kid: str) -> SigningKey | None:
        """The key of an id. Raises `Unavailable` while no set is known that is young enough to go by."""
        if kid not in self._young() and (self._is_reading() or self._age(self._tried_at_ns) >= UNKNOWN_EVERY_SECONDS):
            await self.refresh()
        keys = self._young()
        if not keys:
            raise Unavailable("sign-in", "the keys of tokens cannot be read at present; try again in a moment")
        return keys.get(kid)

    def trusts(self, fingerprint: str) -> bool:
        """Whether a key still stands."""
        return any(key.fingerprint == fingerprint for key in self._young().values())

    async def refresh_if_due(self) -> None:
        """Read the set where it was tried long enough ago. Raises nothing: `trouble` says how it went."""
        if self._age(self._tried_at_ns) >= self._every_seconds:
            await self.refresh()

    async def refresh(self) -> None:
        """Read the set. Who asks while it is being read waits for that reading."""
        if not self._is_reading():
            self._reading = asyncio.create_task(self._read(), name="jwks")
        if self._reading is not None:
            # Whoever gives up waiting does not end it for the others.
            await asyncio.shield(self._reading)

    def _is_reading(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def _read(self) -> None:
        self._tried_at_ns = self._clock()
        try:
            self._take(await asyncio.wait_for(asyncio.to_thread(self._source), 2 * FETCH_SECONDS))
        except (OSError, ValueError, TimeoutError, http.client.HTTPException) as error:
            trouble = _told(error)
            if trouble != self.trouble:
                _log.error(
                    "the keys of tokens cannot be read: %s; those known before serve until they are %d s old",
                    trouble,
                    AGE_SECONDS_MAX,
                )
            self.trouble = trouble

    def _take(self, raw: bytes) -> None:
        keys = parse(raw)
        if self.trouble is not None or keys.keys() != self._keys.keys():
            _log.info("%d keys of tokens are known", len(keys))
        self._keys, self._read_at_ns, self.trouble = keys, self._clock(), None
        self._tried_at_ns = self._read_at_ns

    def _young(self) -> dict[str, SigningKey]:
        return self._keys if self._age(self._read_at_ns) <= AGE_SECONDS_MAX else {}

    def _age(self, at_ns: int | None) -> float:
        return float("inf") if at_ns is None else (self._clock() - at_ns) / _NANOSECONDS


def read_file(path: str) -> bytes:
    """A set in a file. Raises `OSError`, and `ValueError` for one that is too large."""
    with Path(path).open("rb") as file:
        return _bounded(file.read(SIZE_MAX + 1))


def fetch(url: str) -> bytes:
    """A set at a URL, which the settings have checked. Blocks; follows no redirect. Raises `OSError`, `ValueError`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=FETCH_SECONDS, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=FETCH_SECONDS)
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "application/jwk-set+json, application/json"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"{host} answers {answer.status} where 200 is wanted")
        return _bounded(answer.read(SIZE_MAX + 1))
    finally:
        connection.close()


def _bounded(raw: bytes) -> bytes:
    if len(raw) > SIZE_MAX:
        raise ValueError(f"larger than {SIZE_MAX:,} bytes")
    return raw


def _told(error: BaseException) -> str:
    """A reason for the log; the kind of error where its text says nothing."""
    return str(error) or type(error).__name__
