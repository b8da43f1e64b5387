"""Documents by name: taught by Apollo's protocol, or given in a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api import persisted
from api.app import create_app
from api.graphql_request import Asked, RefusedRequest
from api.persisted import Documents, documents_of
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Client

pytestmark = pytest.mark.anyio

TEXT = "query Name { __typename }"
ANSWER = {"data": {"__typename": "Query"}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def by_hash(text: str) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}}


def asked(text: str | None, sha: str | None = None, document_id: str | None = None) -> Asked:
    return Asked(text, {}, None, document_id, sha)


def code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


# --- what clients teach -----------------------------------------------------------------------------------------------


async def test_a_document_is_sent_once_and_named_from_then_on(client: Client) -> None:
    unknown = await client.http.post("/graphql", json=by_hash(TEXT))
    assert unknown.status_code == 200
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert code(unknown) == "PERSISTED_QUERY_NOT_FOUND"

    assert (await client.http.post("/graphql", json=by_hash(TEXT) | {"query": TEXT})).json() == ANSWER
    assert (await client.http.post("/graphql", json=by_hash(TEXT))).json() == ANSWER
    assert (await client.http.post("/graphql", json=[by_hash(TEXT)])).json() == [ANSWER]
    params = {"extensions": json.dumps(by_hash(TEXT)["extensions"])}
    assert (await client.http.get("/graphql", params=params)).json() == ANSWER


async def test_a_hash_of_another_text_teaches_nothing(client: Client) -> None:
    wrong = await client.http.post("/graphql", json=by_hash("{ other }") | {"query": TEXT})
    assert (wrong.status_code, code(wrong)) == (400, "PERSISTED_QUERY_HASH_MISMATCH")
    assert code(await client.http.post("/graphql", json=by_hash("{ other }"))) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_document_that_is_refused_is_not_remembered(client: Client) -> None:
    bad = "{ nobodyKnows }"
    assert code(await client.http.post("/graphql", json=by_hash(bad) | {"query": bad})) == "GRAPHQL_VALIDATION_FAILED"
    assert code(await client.http.post("/graphql", json=by_hash(bad))) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_mutation_that_is_known_by_name_is_still_none_for_get(client: Client) -> None:
    text = "mutation { __typename }"
    await client.http.post("/graphql", json=by_hash(text) | {"query": text})
    params = {"extensions": json.dumps(by_hash(text)["extensions"])}
    assert (await client.http.get("/graphql", params=params)).status_code == 405


def taught(documents: Documents, text: str) -> None:
    documents.learn(asked(text, sha256(text)))


def knows(documents: Documents, text: str) -> bool:
    with contextlib.suppress(RefusedRequest):
        return documents.text_of(asked(None, sha256(text))) == text
    return False


def test_what_is_remembered_is_bounded_and_the_least_asked_for_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persisted, "LEARNT_MAX", 3)
    documents = Documents()
    for text in ("{ a }", "{ b }", "{ c }"):
        taught(documents, text)
    assert knows(documents, "{ a }")
    taught(documents, "{ d }")
    assert [knows(documents, f"{{ {each} }}") for each in "abcd"] == [True, False, True, True]


def test_large_documents_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persisted, "LEARNT_SIZE_MAX", 100)
    documents = Documents()
    large = ["{" + letter * 58 + "}" for letter in "ab"]
    for text in (*large, "{ c }"):
        taught(documents, text)
        taught(documents, text)
    assert [knows(documents, text) for text in (*large, "{ c }")] == [False, True, True]


# --- what a file trusts -----------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "documents.json"
    path.write_text(json.dumps({"name-1": TEXT, f"sha256:{sha256('{ __typename }')}": "{ __typename }"}))
    return path


@pytest.fixture
def settings(redis_url: str, file: Path) -> Settings:
    return Settings(redis_url=redis_url, kafka_brokers="127.0.0.1:1", trusted_documents=str(file))


@pytest.fixture
async def strict(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A server that carries out nothing but what the file holds."""
    app = create_app(
        Settings(
            redis_url=settings.redis_url,
            kafka_brokers=settings.kafka_brokers,
            trusted_documents=settings.trusted_documents,
            trusted_only=True,
        )
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield http


async def test_a_trusted_document_is_named_as_each_client_names_it(client: Client) -> None:
    for name in ("documentId", "doc_id", "id"):
        assert (await client.http.post("/graphql", json={name: "name-1"})).json() == ANSWER
        assert (await client.http.get("/graphql", params={name: "name-1"})).json() == ANSWER
    hashed = sha256("{ __typename }")
    for named in ({"documentId": hashed}, {"documentId": f"sha256:{hashed}"}, by_hash("{ __typename }")):
        assert (await client.http.post("/graphql", json=named)).json() == ANSWER
    unknown = await client.http.post("/graphql", json={"documentId": "name-2"})
    assert (unknown.status_code, code(unknown)) == (400, "DOCUMENT_NOT_FOUND")


async def test_others_are_carried_out_too_until_told_otherwise(client: Client, strict: httpx.AsyncClient) -> None:
    body = {"query": "{ a: __typename }"}
    assert (await client.http.post("/graphql", json=body)).json() == {"data": {"a": "Query"}}
    refused = await strict.post("/graphql", json=body)
    assert (refused.status_code, code(refused)) == (400, "DOCUMENT_NOT_TRUSTED")


async def test_a_strict_server_learns_nothing_and_knows_its_own_texts(strict: httpx.AsyncClient) -> None:
    text = "{ a: __typename }"
    assert code(await strict.post("/graphql", json=by_hash(text) | {"query": text})) == "DOCUMENT_NOT_TRUSTED"
    assert code(await strict.post("/graphql", json=by_hash(text))) == "DOCUMENT_NOT_FOUND"
    assert (await strict.post("/graphql", json={"query": TEXT})).json() == ANSWER
    assert (await strict.post("/graphql", json={"documentId": "name-1"})).json() == ANSWER


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"a": 1}', "not a JSON object"),
        ("{}", "holds no document"),
        ('{"a": "{ nobodyKnows }"}', "'a'"),
        ('{"a": "{"}', "'a'"),
        (json.dumps({"a": "{ __typename }" + " " * 65_536}), "larger than"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadSetting, match=reason) as refused:
        documents_of(Settings(trusted_documents=str(path)))
    assert refused.value.key == "PLIMSOLL_TRUSTED_DOCUMENTS"


def test_trusting_nothing_else_needs_a_file() -> None:
    with pytest.raises(BadSetting) as refused:
        documents_of(Settings(trusted_only=True))
    assert refused.value.key == "PLIMSOLL_TRUSTED_ONLY"
