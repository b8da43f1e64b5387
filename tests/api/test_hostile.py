"""A running server under what nobody sends by mistake: each is refused, and it lives on and logs no traceback."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from embedded.child import Child
from embedded.store import free_port

if TYPE_CHECKING:
    from tests.conftest import Processes, RedisServer

JSON = {"content-type": "application/json"}
DIGITS = "9" * 5_000
DEADLINE_SECONDS = 20.0


class Server:
    """A running API, and how to speak to it without a client's good manners."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, self.url + path, content=body, headers=names, timeout=DEADLINE_SECONDS)

    def raw(self, *parts: bytes) -> bytes:
        """What comes back, until the server closes, for bytes as they are."""
        with self.connection() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as connection:
            yield connection

    def is_well(self) -> bool:
        return httpx.get(self.url + "/live", timeout=DEADLINE_SECONDS).json() == {"status": "alive"}

    def log(self) -> str:
        return self.child.log.read_text(encoding="utf-8", errors="replace")


def read_all(connection: socket.socket) -> bytes:
    heard = b""
    while chunk := connection.recv(65_536):
        heard += chunk
    return heard


@pytest.fixture(scope="module")
def running(processes_of_file: Processes, redis_server: RedisServer) -> Server:
    """One for all of this: what one test does to it, it has to stand for the next."""
    port = free_port()
    child = processes_of_file.python(
        "-m", "api", "--port", str(port), environ={"REDIS_URL": redis_server.url, "KAFKA_BROKERS": "127.0.0.1:1"}
    )
    server = Server(child, port)

    def answers() -> bool:
        try:
            return server.is_well()
        except httpx.TransportError:
            return False

    processes_of_file.wait_for(answers, "an answer", 30)
    return server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The running one, which is well afterwards and has logged no traceback meanwhile."""
    logged = running.log()
    yield running
    assert running.is_well()
    assert "Traceback" not in running.log().removeprefix(logged)


def query(text: str, **variables: Any) -> bytes:
    return json.dumps({"query": text, "variables": variables}).encode()


def bomb(fragments: int) -> str:
    """A document that is twice as large with each fragment, to whoever follows them naively."""
    doubled = "".join(f" fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(fragments))
    return f"{{ ...F0 }}{doubled} fragment F{fragments} on Query {{ nobodyKnows }}"


DOCUMENTS = {
    "20,000 aliases": "{" + " ".join(f"a{n}: __typename" for n in range(20_000)) + "}",
    "3,000 aliases": "{" + " ".join(f"a{n}: __typename" for n in range(3_000)) + "}",
    "a depth of 3,000": "{a" * 3_000 + "}" * 3_000,
    "a list 3,000 deep": "{ portfolio(id: " + "[" * 3_000 + "]" * 3_000 + ") { id } }",
    "5,000 directives": "{ __typename " + "@skip(if: false) " * 5_000 + "}",
    "900 directives": "{ __typename " + "@unknown " * 900 + "}",
    "a fragment bomb": bomb(90),
    "fragments in a ring": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "a large literal": f"{{ portfolios(first: {DIGITS}) {{ totalCount }} }}",
    "a large default": f"query($n: Int = {DIGITS}) {{ portfolios(first: $n) {{ totalCount }} }}",
    "a lone surrogate": '{ portfolio(id: "\\ud800") { id } }',
    "nothing but commas": "," * 60_000,
    "a string of 64 KiB": '{ portfolio(id: "' + "x" * 65_600 + '") { id } }',
}


def test_no_document_is_too_much(server: Server) -> None:
    for name, text in DOCUMENTS.items():
        response = server.send("POST", "/graphql", query(text), **JSON)
        assert response.status_code in (200, 400), name
        assert response.json()["errors"], name
        strict = server.send("POST", "/graphql", query(text), accept="application/graphql-response+json", **JSON)
        assert strict.status_code == 400, name


BODIES = {
    "deep JSON": b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 400_000 + b"]" * 400_000 + b"}}",
    "open brackets": b"[" * 900_000,
    "many objects": b'{"query": "{ __typename }", "variables": {"a": [' + b"{}," * 300_000 + b"{}]}}",
    "a large variable": query("query($n: Int) { portfolios(first: $n) { totalCount } }", n=0).replace(
        b'"n": 0', b'"n": ' + DIGITS.encode()
    ),
    "no text": b'{"query": "{ __typename \xff }"}',
    "another encoding": '{"query": "{ __typename }"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + query("{ __typename }"),
    "a lone surrogate": b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
    "NaN": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "a name twice": b'{"query": "{ __typename }", "query": "{ __typename }"}',
    "a name twice behind 90,000 others": b"{" + b"".join(b'"%d":0,' % n for n in range(90_000)) + b'"89999":0}',
}


def test_no_body_is_too_much(server: Server) -> None:
    for name, body in BODIES.items():
        assert server.send("POST", "/graphql", body, **JSON).status_code == 400, name
        assert server.send("POST", "/portfolio/update", body, **JSON).status_code == 422, name


@pytest.mark.parametrize("path", ["/graphql", "/portfolio/update", "/simulate/portfolio-update?portfolio_id=p"])
def test_a_body_of_20_mb_is_refused_and_its_sender_hears_why(server: Server, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000_000

    assert server.send("POST", path, b"x" * 20_000_000, **JSON).status_code == 413
    if "simulate" not in path:
        refused = httpx.post(server.url + path, content=chunks(), headers=JSON, timeout=DEADLINE_SECONDS)
        assert refused.status_code == 413


def test_who_waits_for_our_word_is_refused_at_once(server: Server) -> None:
    head = b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20000000\r\nexpect: 100-continue\r\n\r\n"
    answer = server.raw(head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_gzip_bomb_is_not_opened(server: Server) -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    for path in ("/graphql", "/portfolio/update"):
        assert server.send("POST", path, packed, content_encoding="gzip", **JSON).status_code == 415


def test_addresses_of_every_kind(server: Server) -> None:
    for path, status in (
        (f"/graphql?query={{portfolios(first:{DIGITS}){{totalCount}}}}", 200),
        (f"/graphql?query={{__typename}}&variables={{%22a%22:{DIGITS}}}", 400),
        ("/graphql?query=%ff%fe", 400),
        ("/graphql?" + "&".join(f"p{n}=1" for n in range(5_000)), 400),
        (f"/portfolios/at-risk?risk_threshold={DIGITS}", 422),
        ("/risk/" + "a" * 50_000, 422),
        ("/risk/%00", 422),
        ("/risk/%ff%fe", 422),
        ("/pages/..%2f..%2fetc%2fpasswd", 404),
        ("/no/such/route", 404),
    ):
        assert server.send("GET", path).status_code == status, path[:60]


def test_an_address_or_headers_without_end(server: Server) -> None:
    begun = b"GET /live HTTP/1.1\r\nhost: localhost\r\n"
    for parts in (
        (b"GET /" + b"a" * 60_000, *[b"a" * 60_000] * 20),
        (begun, *[b"x-a: " + b"y" * 1_000 + b"\r\n"] * 1_000),
        (begun, b"x-a: ", *[b"y" * 60_000] * 20),
    ):
        try:
            answer = server.raw(*parts)
        except ConnectionError:
            continue  # It was closed while we still sent.
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_methods_of_every_kind(server: Server) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        for path in ("/graphql", "/risk/p-1", "/portfolio/update"):
            response = server.send(method, path)
            assert response.status_code == 405
            assert response.headers["allow"]
    assert server.raw(b"BREW /graphql HTTP/1.1\r\nhost: localhost\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_socket_is_opened_where_there_are_sockets_alone(server: Server) -> None:
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path in ("/risk/p-1", "/live", "/no/such/route"):
        assert 400 <= server.send("GET", path, **upgrade).status_code < 500


def test_a_handshake_that_cannot_be_read_is_refused(server: Server) -> None:
    lines = {
        "host": "localhost", "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", "sec-websocket-protocol": "graphql-transport-ws",
    }  # fmt: skip
    many = {f"x-{n}": "" for n in range(150)}
    for more in ({"content-length": "5"}, {"cookie": "x" * 9_000}, many):
        head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **more}.items())
        answer = server.raw(
            f"GET /graphql HTTP/1.1\r\n{head}\r\n".encode(), b"hello" if "content-length" in more else b""
        )
        assert answer.startswith(b"HTTP/1.1 400 "), next(iter(more))
        stated, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in stated.lower()


def test_a_request_that_trickles_is_cut_off(server: Server) -> None:
    """Both at once, because each takes its deadline."""
    head = b"GET /live HTTP/1.1\r\nhost: localhost\r\n"
    body = (
        b'POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"'
    )
    answers = {}

    def trickle(name: str, begun: bytes, drop: bytes) -> None:
        with server.connection() as connection:
            connection.sendall(begun)
            connection.settimeout(0.2)
            deadline = time.monotonic() + DEADLINE_SECONDS
            heard = b""
            while not heard and time.monotonic() < deadline:
                try:
                    heard = connection.recv(65_536)
                except TimeoutError:
                    connection.sendall(drop)
            answers[name] = heard

    threads = [
        threading.Thread(target=trickle, args=each)
        for each in (("head", head, b"x: y\r\n"), ("body", body, b"a"), ("silence", b"", b""), ("lines", b"", b"\r\n"))
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert server.is_well()
        threads[0].join(0.1)
    assert {name: heard[:13] for name, heard in answers.items()} == dict.fromkeys(
        ("head", "body", "silence", "lines"), b"HTTP/1.1 408 "
    )


def test_who_leaves_in_the_middle_leaves_nothing(server: Server) -> None:
    for path in ("/graphql", "/portfolio/update"):
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        for _ in range(5):
            with server.connection() as connection:
                connection.sendall(head.encode() + b"content-length: 900\r\n\r\n{")
    assert server.is_well()
