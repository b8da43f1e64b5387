"""API keys, for programs that cannot fetch tokens: a file of hashes, a JSON object a line.

A key is 256 random bits, so nobody can try their way through all of them, and a plain SHA-256 keeps it: salt and slow
hashing are for what people make up. Only keys of our own making are therefore taken. The file is read again when it
changes. What cannot be read leaves the keys as they were, and the log says so: an empty file lets nobody in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from api.errors import NotAdmitted
from api.identity import Caller, Role
from plimsoll.errors import BadSetting
from plimsoll.messages import Identifier
from plimsoll.refusals import in_words

SIZE_MAX = 4_000_000
"""Bytes of the file: some 20,000 keys."""
CREDENTIAL = "api-key:"

_PREFIX = "plim_"
_SHAPE = re.compile(_PREFIX + r"[A-Za-z0-9_-]{43}")
_NANOSECONDS = 1_000_000_000
_log = logging.getLogger(__name__)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key: whose it is, and the hash to know it by. `expires` is a time with its zone."""

    name: Identifier
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]+$", min_length=64, max_length=64)]
    roles: Annotated[list[Role], Meta(min_length=1)]
    advisor_id: Identifier | None = None
    expires: Annotated[datetime, Meta(tz=True)] | None = None


def make() -> tuple[str, str]:
    """A new key, and the hash that the file knows it by."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def parse(raw: bytes) -> dict[bytes, Caller]:
    """Who each key lets in, by its hash. Raises `ValueError` naming the line; empty ones and `#` comments are none."""
    if len(raw) > SIZE_MAX:
        raise ValueError(f"larger than {SIZE_MAX:,} bytes")
    found: dict[bytes, Caller] = {}
    names: set[str] = set()
    for number, text in enumerate(raw.splitlines(), start=1):
        if not text.strip() or text.lstrip().startswith(b"#"):
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"line {number}: {in_words(str(error))}") from None
        if (Role.ADVISOR in line.roles) != (line.advisor_id is not None):
            raise ValueError(f"line {number}: the role advisor and an `advisor_id` go together")
        digest = bytes.fromhex(line.sha256)
        if line.name in names or digest in found:
            raise ValueError(f"line {number}: its name or its hash stands in a line before")
        names.add(line.name)
        expires_at = None if line.expires is None else line.expires.timestamp()
        found[digest] = Caller(line.name, frozenset(line.roles), line.advisor_id, expires_at, CREDENTIAL + line.sha256)
    return found


class ApiKeys:
    """The file as it was read last. Raises `BadSetting` where it cannot be read at all. `clock`: UTC nanoseconds."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock
        self._mark: tuple[int, ...] | None = None
        self.trouble: str | None = None
        """Why the last reading failed; None after one that did not."""
        try:
            self._callers = self._changed() or {}
        except (OSError, ValueError) as error:
            raise BadSetting("PLIMSOLL_API_KEYS", f"{path} cannot be used: {error}") from None

    def verify(self, key: str) -> Caller:
        """Who a key lets in. Raises `NotAdmitted`."""
        if not _SHAPE.fullmatch(key):
            raise NotAdmitted("the API key is not valid")
        digest = hashlib.sha256(key.encode()).digest()
        caller = self._callers.get(digest)
        # The look-up sees a hash, which whoever tries keys cannot steer; what is compared takes the same time anyhow.
        if caller is None or not hmac.compare_digest(CREDENTIAL + digest.hex(), caller.credential):
            raise NotAdmitted("the API key is not valid")
        if self._is_over(caller):
            raise NotAdmitted("the API key is expired")
        return caller

    def stands(self, caller: Caller) -> bool:
        """Whether a caller's key is still in the file, for the same name, roles and advisor."""
        present = self._callers.get(bytes.fromhex(caller.credential.removeprefix(CREDENTIAL)))
        return present == caller and not self._is_over(caller)

    async def refresh(self) -> None:
        """Read the file where it has changed. Raises nothing: `trouble` says how it went."""
        try:
            found = await asyncio.to_thread(self._changed)
        except (OSError, ValueError) as error:
            if str(error) != self.trouble:
                _log.error("%s cannot be read: %s; the API keys stay as they were", self._path, error)
            self.trouble = str(error)
            return
        if found is not None:
            _log.info("%d API keys are known", len(found))
            self._callers = found
        self.trouble = None

    def _changed(self) -> dict[bytes, Caller] | None:
        """What the file says; None where it has not changed since it was last read well."""
        stated = self._path.stat()
        mark = (stated.st_mtime_ns, stated.st_size, stated.st_ino)
        if mark == self._mark:
            return None
        with self._path.open("rb") as file:
            found = parse(file.read(SIZE_MAX + 1))
        self._mark = mark
        return found

    def _is_over(self, caller: Caller) -> bool:
        return caller.expires_at is not None and self._clock() >= caller.expires_at * _NANOSECONDS
