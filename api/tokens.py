"""Tokens (JWT): who bears one is who it says, if it was signed by a key that we chose and says so for us and for now.

The token chooses nothing. Its algorithm has to be the one of the key that its key id names in our own set, and no
address in it is ever followed. HS256 is verified with the secret of demonstrations alone, never with a public key.
What we tell of a token that is refused is why, in a few words, and nothing of the keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jwt
from jwt import PyJWK, PyJWS, PyJWTError

from api.errors import NotAdmitted
from api.identity import Caller, Role
from api.jwks import Jwks
from plimsoll.refusals import is_identifier

LEEWAY_SECONDS = 5.0
"""By which the clock of an issuer may differ from ours."""
TOKEN_SIZE_MAX = 8_192
SUBJECT_SIZE_MAX = 256
KNOWN_MAX = 4_096
"""Tokens verified before that are not verified again; the one used longest ago gives way."""
DEMO_ALGORITHM = "HS256"
DEMO_CREDENTIAL = "demo"

_NANOSECONDS = 1_000_000_000
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = (None, "JWT", "AT+JWT", "APPLICATION/AT+JWT")
_NOT_VALID = "the token is not valid"
_ROLES = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token has to say, and by which names. `secret` signs demo tokens; empty where there are none."""

    issuer: str
    audience: str
    roles_claim: str = "roles"
    advisor_claim: str = "advisor_id"
    algorithms: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)


def issue(terms: Terms, caller: Caller, now: float) -> str:
    """A demo token that says who `caller` is, from `now` (seconds since 1970) until it ends."""
    claims: dict[str, Any] = {
        "iss": terms.issuer,
        "aud": terms.audience,
        "sub": caller.subject,
        "iat": int(now),
        "nbf": int(now),
        "exp": math.ceil(caller.expires_at or now),
        terms.roles_claim: sorted(caller.roles),
    }
    if caller.advisor_id is not None:
        claims[terms.advisor_claim] = caller.advisor_id
    return jwt.encode(claims, terms.secret, algorithm=DEMO_ALGORITHM)


class Tokens:
    """Verifies tokens by `keys`, by the secret of `terms`, or neither. `clock` gives UTC nanoseconds."""

    def __init__(self, terms: Terms, keys: Jwks | None, clock: Callable[[], int]) -> None:
        self._terms = terms
        self._keys = keys
        self._clock = clock
        self._jws = PyJWS()
        self._demo_key = _symmetric(terms.secret) if terms.secret else None
        # By hash, so that no token lies about in memory for longer than its request.
        self._known: OrderedDict[bytes, Caller] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Who bears a token. Raises `NotAdmitted`, and `Unavailable` while our keys cannot be read."""
        if len(token) > TOKEN_SIZE_MAX:
            raise NotAdmitted(f"the token is longer than {TOKEN_SIZE_MAX:,} characters")
        digest = _digest(token)
        caller = self._known.get(digest)
        if caller is None or not self.stands(caller):
            self._known.pop(digest, None)
            caller = await self._read(token)
            self._known[digest] = caller
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(digest)
        return caller

    def knows(self, token: str) -> bool:
        """Whether a token was verified before and still stands."""
        caller = self._known.get(_digest(token)) if len(token) <= TOKEN_SIZE_MAX else None
        return caller is not None and self.stands(caller)

    def stands(self, caller: Caller) -> bool:
        """Whether the key that a caller was let in by would still let them in, and their time is not over."""
        if caller.expires_at is None or self._clock() >= caller.expires_at * _NANOSECONDS:
            return False
        if caller.credential == DEMO_CREDENTIAL:
            return self._demo_key is not None
        return self._keys is not None and self._keys.trusts(caller.credential)

    async def _read(self, token: str) -> Caller:
        key, credential = await self._key_for(token)
        try:
            signed = self._jws.decode_complete(token, key, algorithms=[key.algorithm_name])
            claims = _object(signed["payload"])
        except (PyJWTError, ValueError, TypeError, RecursionError):
            raise NotAdmitted(_NOT_VALID) from None
        return self._caller(claims, credential)

    async def _key_for(self, token: str) -> tuple[PyJWK, str]:
        """The key that a token has to be signed with, and the name under which we ask for it again."""
        if not _SHAPE.fullmatch(token):
            raise NotAdmitted(_NOT_VALID)
        head = token.partition(".")[0]
        try:
            header = _object(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        except (ValueError, RecursionError):
            raise NotAdmitted(_NOT_VALID) from None
        kind, algorithm, kid = header.get("typ"), header.get("alg"), header.get("kid")
        # An extension that has to be understood (`crit`) is one that we do not understand.
        if "crit" in header or (kind.upper() if isinstance(kind, str) else kind) not in _TYPES:
            raise NotAdmitted(_NOT_VALID)
        if algorithm == DEMO_ALGORITHM and self._demo_key is not None:
            return self._demo_key, DEMO_CREDENTIAL
        if algorithm not in self._terms.algorithms or not isinstance(kid, str) or self._keys is None:
            raise NotAdmitted(_NOT_VALID)
        found = await self._keys.find(kid)
        if found is None or found.algorithm != algorithm:
            raise NotAdmitted(_NOT_VALID)
        return found.jwk, found.fingerprint

    def _caller(self, claims: dict[str, Any], credential: str) -> Caller:
        """Who the claims of a verified token name."""
        now, terms = self._clock() / _NANOSECONDS, self._terms
        expires = _moment(claims, "exp")
        if expires is None:
            raise NotAdmitted("the token has no end; one with `exp` is wanted")
        if now >= expires + LEEWAY_SECONDS:
            raise NotAdmitted("the token is expired")
        if max(_moment(claims, "nbf") or 0.0, _moment(claims, "iat") or 0.0) > now + LEEWAY_SECONDS:
            raise NotAdmitted("the token is not valid yet")
        if claims.get("iss") != terms.issuer:
            raise NotAdmitted("the token is of another issuer")
        audience = claims.get("aud")
        if terms.audience not in (audience if isinstance(audience, list) else [audience]):
            raise NotAdmitted("the token is for another audience")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_SIZE_MAX or not subject.isprintable():
            raise NotAdmitted("the token names no subject")
        roles = roles_of(claims.get(terms.roles_claim))
        if not roles:
            raise NotAdmitted("the token names no role of ours")
        advisor_id = claims.get(terms.advisor_claim) if Role.ADVISOR in roles else None
        if Role.ADVISOR in roles and not (isinstance(advisor_id, str) and is_identifier(advisor_id)):
            raise NotAdmitted("the token names no advisor")
        return Caller(subject, roles, advisor_id, expires + LEEWAY_SECONDS, credential)


def roles_of(stated: object) -> frozenset[Role]:
    """The roles among a list or among the words of a text; those that are none of ours are somebody else's."""
    words: Iterable[object] = stated.split() if isinstance(stated, str) else stated if isinstance(stated, list) else ()
    return frozenset(_ROLES[word] for word in words if isinstance(word, str) and word in _ROLES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _moment(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate. Raises `NotAdmitted` for what is none."""
    value = claims.get(name)
    if name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise NotAdmitted(_NOT_VALID)
    return float(value)


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object in which every name stands once: of two readings, we could take the wrong one."""
    found = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _symmetric(secret: str) -> PyJWK:
    encoded = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return PyJWK.from_dict({"kty": "oct", "k": encoded}, DEMO_ALGORITHM)
