"""Where the keys of tokens come from, and what becomes of them when their place is silent or floods us."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api.jwks import AGE_SECONDS_MAX, SIZE_MAX, UNKNOWN_EVERY_SECONDS, Jwks, fetch, parse
from plimsoll.errors import BadSetting, Unavailable

if TYPE_CHECKING:
    from tests.api.conftest import Issuer

pytestmark = pytest.mark.anyio
NANOSECONDS = 1_000_000_000


class Place:
    """Where a set is read: counts readings, and may be away."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.read = 0
        self.away = False
        self.now_ns = 1_000 * NANOSECONDS

    def __call__(self) -> bytes:
        self.read += 1
        if self.away:
            raise OSError("nobody answers")
        return self.issuer.path.read_bytes()

    def later(self, seconds: float) -> None:
        self.now_ns += int(seconds * NANOSECONDS)

    def clock(self) -> int:
        return self.now_ns


@pytest.fixture
def place(issuer: Issuer) -> Place:
    return Place(issuer)


@pytest.fixture
def keys(place: Place) -> Jwks:
    return Jwks(place, 300.0, place.clock)


async def test_a_flood_of_unknown_ids_is_no_flood_of_readings(keys: Jwks, place: Place) -> None:
    found = await asyncio.gather(*(keys.find(f"unknown-{number}") for number in range(500)))
    assert set(found) == {None}
    assert place.read == 1
    for number in range(500):
        assert await keys.find(f"unknown-{number}") is None
    assert place.read == 1
    place.later(UNKNOWN_EVERY_SECONDS)
    await keys.find("unknown")
    assert place.read == 2


async def test_a_key_that_is_new_is_found_at_its_first_token(keys: Jwks, place: Place, issuer: Issuer) -> None:
    issuer.publish("ec-1")
    assert await keys.find("rsa-1") is None
    issuer.publish()
    place.later(UNKNOWN_EVERY_SECONDS)
    found = await keys.find("rsa-1")
    assert found is not None
    assert found.algorithm == "RS256"


async def test_a_key_that_is_gone_is_gone_after_the_next_reading(keys: Jwks, place: Place, issuer: Issuer) -> None:
    before = await keys.find("rsa-1")
    assert before is not None
    issuer.publish("ec-1")
    await keys.refresh_if_due()
    assert keys.trusts(before.fingerprint)
    place.later(300)
    await keys.refresh_if_due()
    assert not keys.trusts(before.fingerprint)
    assert await keys.find("rsa-1") is None


async def test_old_keys_serve_while_their_place_is_silent_but_not_for_ever(
    keys: Jwks, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    before = await keys.find("rsa-1")
    assert before is not None
    place.away = True
    for _ in range(3):
        place.later(300)
        await keys.refresh_if_due()
    assert keys.trouble == "nobody answers"
    assert await keys.find("rsa-1") == before
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]
    place.later(AGE_SECONDS_MAX)
    assert not keys.trusts(before.fingerprint)
    with pytest.raises(Unavailable):
        await keys.find("rsa-1")
    place.away = False
    place.later(UNKNOWN_EVERY_SECONDS)
    assert await keys.find("rsa-1") == before
    assert keys.trouble is None


async def test_a_set_that_is_none_leaves_the_old_keys(keys: Jwks, place: Place, issuer: Issuer) -> None:
    assert await keys.find("rsa-1") is not None
    issuer.path.write_text("<html>", encoding="utf-8")
    place.later(300)
    await keys.refresh_if_due()
    assert keys.trouble is not None
    assert await keys.find("rsa-1") is not None


async def test_the_loop_is_free_while_a_set_is_read(place: Place) -> None:
    may_answer = threading.Event()

    def slow() -> bytes:
        assert may_answer.wait(10)
        return place()

    keys = Jwks(slow, 300.0, place.clock)
    asking = [asyncio.create_task(keys.find("rsa-1")) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in asking)
    may_answer.set()
    assert all(await asyncio.gather(*asking))
    assert place.read == 1


# --- what a set may hold ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"key_ops": ["sign"]},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"n": "AQAB"},
        {"n": 7},
        {"kid": 7},
        {"kid": None},
    ],
)
def test_a_key_for_anything_else_is_left_out(issuer: Issuer, change: dict[str, Any]) -> None:
    others = [issuer.jwk("ec-1")]
    assert set(parse(json.dumps({"keys": [issuer.jwk("rsa-1", **change), *others]}).encode())) == {"ec-1"}


def test_of_two_keys_under_one_id_neither_counts(issuer: Issuer) -> None:
    keys = [issuer.jwk("rsa-1"), issuer.jwk("ec-1", kid="rsa-1"), issuer.jwk("ed-1")]
    assert set(parse(json.dumps({"keys": keys}).encode())) == {"ed-1"}


def test_a_private_part_is_not_looked_at(issuer: Issuer) -> None:
    plain, private = issuer.jwk("ed-1"), issuer.jwk("ed-1", d="AAAA")
    (one,), (two,) = (parse(json.dumps({"keys": [each]}).encode()).values() for each in (plain, private))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [7]}', b"\xff", b"[" * 10_000]
)
def test_a_set_without_a_key_is_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        parse(raw)


def test_a_file_that_holds_none_stops_the_start(tmp_path: Path) -> None:
    for content in (None, "{}", "x" * (SIZE_MAX + 1)):
        path = tmp_path / "jwks.json"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(BadSetting, match=r"jwks\.json") as refused:
            Jwks.of(str(path), 300, lambda: 0)
        assert refused.value.key == "PLIMSOLL_JWKS"


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def provider(issuer: Issuer) -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "/keys?v=1")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/keys?v=1" else 404)
            self.end_headers()
            self.wfile.write(issuer.path.read_bytes())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_set_is_read_from_its_url_when_it_is_first_asked_for(provider: str) -> None:
    keys = Jwks.of(f"{provider}/keys?v=1", 300, lambda: 0)
    found = await keys.find("ed-1")
    assert found is not None


def test_neither_another_status_nor_another_place_is_followed(provider: str) -> None:
    for path, status in (("/elsewhere", "302"), ("/nothing", "404")):
        with pytest.raises(ValueError, match=status):
            fetch(provider + path)
