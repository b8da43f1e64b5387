"""Documents that a request names instead of stating: those that clients taught us, and those that we were given.

Automatic persisted queries (Apollo's protocol): a client sends the SHA-256 of a document, and the document itself only
when we say that we do not know it. It saves bytes and proves nothing: anyone can teach us anything that is valid, so
what we remember is bounded. Trusted documents: a file made when the clients were built says what may be asked at all,
by whatever name the build gives it; with `PLIMSOLL_TRUSTED_ONLY=on` nothing else is carried out.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from api import execution
from api.documents import Prepared, RefusedDocument, prepare
from api.graphql_request import QUERY_SIZE_MAX, Asked, RefusedRequest
from api.schema.operation import Session
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings

LEARNT_MAX = 1_000
LEARNT_SIZE_MAX = 8_000_000
"""Characters of all documents learnt. Of both, the document asked for the longest ago gives way."""

_PREFIX = "sha256:"
"""Some builds write it before a hash."""
_FILE_KEY = "PLIMSOLL_TRUSTED_DOCUMENTS"


class Documents:
    """What is known by name. `trusted` is text by id."""

    def __init__(self, trusted: Mapping[str, str] | None = None, *, trusted_only: bool = False) -> None:
        self._trusted = {each.removeprefix(_PREFIX): text for each, text in (trusted or {}).items()}
        self._trusted_texts = frozenset(self._trusted.values())
        self._trusted_only = trusted_only
        self._learnt: OrderedDict[str, str] = OrderedDict()
        self._learnt_size = 0

    def prepared(self, asked: Asked, session: Session) -> Prepared:
        """The document of a request, read. Raises `RefusedRequest` and `RefusedDocument`."""
        if asked.text is None:
            session.backend.telemetry.looked_up("persisted", found=self._find(asked) is not None)
        text = self.text_of(asked)
        prepared = execution.read(session, text)
        self.learn(asked)
        return prepared

    def text_of(self, asked: Asked) -> str:
        """The document a request means. Raises `RefusedRequest`."""
        text = asked.text
        if text is None:
            text = self._find(asked)
            if text is None:
                raise self._not_found(asked)
        elif asked.sha256 is not None and hashlib.sha256(text.encode()).hexdigest() != asked.sha256:
            raise RefusedRequest(
                "PERSISTED_QUERY_HASH_MISMATCH",
                "extensions.persistedQuery.sha256Hash: is not the SHA-256 of query; send the one of the same text",
            )
        if self._trusted_only and text not in self._trusted_texts:
            raise RefusedRequest(
                "DOCUMENT_NOT_TRUSTED",
                "this server carries out only the documents it was given; name one of them in documentId",
            )
        return text

    def _find(self, asked: Asked) -> str | None:
        name = asked.document_id or asked.sha256 or ""
        text = self._trusted.get(name.removeprefix(_PREFIX))
        if text is None and not self._trusted_only and asked.sha256 is not None:
            text = self._known(asked.sha256)
        return text

    def learn(self, asked: Asked) -> None:
        """Remember a document that was stated with its hash, and has been found valid since."""
        if asked.sha256 is None or asked.text is None or self._trusted_only or asked.sha256 in self._learnt:
            return
        self._learnt[asked.sha256] = asked.text
        self._learnt_size += len(asked.text)
        while len(self._learnt) > LEARNT_MAX or self._learnt_size > LEARNT_SIZE_MAX:
            _, forgotten = self._learnt.popitem(last=False)
            self._learnt_size -= len(forgotten)

    def _known(self, sha256: str) -> str | None:
        if sha256 not in self._learnt:
            return None
        self._learnt.move_to_end(sha256)
        return self._learnt[sha256]

    def _not_found(self, asked: Asked) -> RefusedRequest:
        if asked.sha256 is not None and asked.document_id is None and not self._trusted_only:
            # Clients compare the message and the code; both are the protocol's.
            return RefusedRequest("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        name = asked.document_id or asked.sha256 or ""
        return RefusedRequest("DOCUMENT_NOT_FOUND", f"no document is known as {name[:80]!r}; check the id")


def documents_of(settings: Settings) -> Documents:
    """What the settings trust. Raises `BadSetting` for a file that cannot be used."""
    if not settings.trusted_documents:
        if settings.trusted_only:
            raise BadSetting("PLIMSOLL_TRUSTED_ONLY", f"nothing is trusted: name a file in {_FILE_KEY}, or say off")
        return Documents()
    return Documents(_read(Path(settings.trusted_documents)), trusted_only=settings.trusted_only)


def _read(path: Path) -> dict[str, str]:
    try:
        trusted = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except OSError as error:
        raise BadSetting(_FILE_KEY, f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadSetting(_FILE_KEY, f"{path} is not a JSON object of documents by id: {error}") from None
    if not trusted:
        raise BadSetting(_FILE_KEY, f"{path} holds no document")
    for name, text in trusted.items():
        if len(text.encode()) > QUERY_SIZE_MAX:
            raise BadSetting(_FILE_KEY, f"document {name!r} of {path} is larger than {QUERY_SIZE_MAX:,} bytes")
        try:
            prepare(text)
        except RefusedDocument as refused:
            raise BadSetting(_FILE_KEY, f"document {name!r} of {path} is none of this schema's: {refused}") from None
    return trusted
