"""What Redis may say or do on the one connection that everything comes through, and a burst that is too much."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis
import pytest
import redis as plain_redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.exceptions import InvalidResponse, ResponseError

from api import fanout as fanout_module
from api import pubsub
from api.fanout import Fanout, Gap, Mailbox
from api.pubsub import Line
from embedded.store import EmbeddedStore
from plimsoll import keys, transport
from plimsoll.messages import RiskBatch, encode

if TYPE_CHECKING:
    from tests.api.conftest import Make

pytestmark = pytest.mark.anyio
CHANNEL = keys.risk_channel("advisor-1")
BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
OURS = pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
"""The loop that the API runs on."""


# --- a line by itself -------------------------------------------------------------------------------------------------


@dataclass
class Transport:
    """Notes what a line does to it."""

    calls: list[str] = field(default_factory=list)

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "abort" in self.calls

    def writelines(self, parts: list[bytes]) -> None:
        self.calls.append(b"".join(parts).decode())


def a_line(hear: Callable[[Any], None]) -> tuple[Line, Transport]:
    line, transport = Line(hear, lambda *command: [" ".join(command).encode()]), Transport()
    line.connection_made(transport)
    return line, transport


def bulk(*parts: bytes | int) -> bytes:
    """An array as Redis writes it."""
    told = [b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]
    return b"*%d\r\n%s" % (len(parts), b"".join(told))


def message(payload: bytes, channel: str = CHANNEL) -> bytes:
    return bulk(b"message", channel.encode(), payload)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_replies_arrive_whole_however_they_were_cut_on_the_way(payloads: list[bytes], chance: Any) -> None:
    wire = b"".join(message(payload) for payload in payloads)
    cuts = sorted({0, len(wire), *(chance.randrange(len(wire)) for _ in range(chance.randrange(30)))})
    heard: list[Any] = []

    async def receive() -> None:
        line, _ = a_line(heard.append)
        for start, end in itertools.pairwise(cuts):
            line.data_received(wire[start:end])

    asyncio.run(receive())
    assert [reply[2] for reply in heard] == payloads


async def test_no_more_than_so_much_is_taken_in_before_others_get_their_turn(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "AT_ONCE_SIZE", 1_000)
    line, transport = a_line(lambda _reply: None)
    for _ in range(20):
        line.data_received(message(b"x" * 200))
    assert transport.calls == ["pause"]
    assert line.is_behind
    await make.eventually(lambda: transport.calls == ["pause", "resume"])
    await make.eventually(lambda: not line.is_behind)


async def test_a_command_waits_while_redis_does_not_read() -> None:
    line, transport = a_line(lambda _reply: None)
    line.pause_writing()
    saying = asyncio.create_task(line.say("SUBSCRIBE", "a"))
    done, _ = await asyncio.wait({saying}, timeout=0.05)
    assert transport.calls == ["SUBSCRIBE a"]
    assert not done
    line.resume_writing()
    await asyncio.wait_for(saying, 10)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"-NOPERM no permissions\r\n", ResponseError),
        (b"what is this?\r\n", InvalidResponse),
        (b"$9000\r\n" + b"x" * 2_000, InvalidResponse),
    ],
    ids=["an error", "no reply at all", "a reply without end"],
)
async def test_what_is_no_reply_ends_the_line(
    wire: bytes, why: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "REPLY_SIZE_MAX", 1_000)
    line, transport = a_line(lambda _reply: None)
    line.data_received(wire)
    assert transport.calls == ["abort"]
    with pytest.raises(why):
        await asyncio.wait_for(line.hold(), 10)
    with pytest.raises(why):
        await asyncio.wait_for(line.say("PING"), 10)


# --- against a Redis that says what the test wants --------------------------------------------------------------------


@dataclass
class ScriptedRedis:
    """Confirms what is subscribed to; the rest is up to the test."""

    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    answers_pings: bool = True

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}?protocol=2"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                parser.feed(data)
                while command := parser.gets():
                    self.commands.append(command[0])
                    writer.write(self.answer(command))
        writer.close()

    def answer(self, command: list[bytes]) -> bytes:
        match command:
            case [b"SUBSCRIBE", *names]:
                return b"".join(bulk(b"subscribe", name, 1) for name in names)
            case [b"PING"]:
                return bulk(b"pong", b"") if self.answers_pings else b""
        return b"+OK\r\n"


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedRedis]:
    told = ScriptedRedis()
    server = await asyncio.start_server(told.serve, "127.0.0.1")
    told.port = server.sockets[0].getsockname()[1]
    yield told
    server.close()
    for writer in told.writers:
        writer.close()


@contextlib.asynccontextmanager
async def running(url: str) -> AsyncIterator[Fanout]:
    fanout = Fanout(transport.Redis(url), jitter=lambda: 0.0)
    task = asyncio.create_task(fanout.run())
    try:
        yield fanout
    finally:
        task.cancel()
        await asyncio.wait({task})


async def taken(mailbox: Mailbox) -> Any:  # a test says what it expects
    return await asyncio.wait_for(mailbox.take(), 10)


ODD = [
    b":7\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"+PONG\r\n",
    bulk(b"message"),
    bulk(b"message", b"\xff\xfe", b"x"),
    bulk(b"message", CHANNEL.encode(), 7),
    bulk(b"pmessage", b"risk:*", b"x"),
    bulk(b"subscribe", 1, 1),
    bulk(b"smessage", CHANNEL.encode(), b"{}"),
    b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n-ERR inside\r\n" % (len(CHANNEL), CHANNEL.encode()),
    b"*1\r\n" * 6 + b":1\r\n",
]


@BOTH_LOOPS
async def test_replies_that_say_nothing_are_passed_over(scripted: ScriptedRedis, make: Make) -> None:
    async with running(scripted.url) as fanout, fanout.watch(CHANNEL) as mailbox:
        (writer,) = scripted.writers
        writer.write(b"".join(ODD) + message(encode(RiskBatch([make.snapshot()]))))
        assert (await taken(mailbox)).portfolio_id == "p-1"
        assert (fanout.traffic.gaps, len(scripted.writers)) == (0, 1)


@BOTH_LOOPS
@pytest.mark.parametrize("wire", [b"-ERR out of sorts\r\n", b"garbage\r\n", b""], ids=["error", "garbage", "hung up"])
async def test_a_line_that_ended_is_made_anew_and_its_readers_hear_of_a_gap(
    scripted: ScriptedRedis, make: Make, wire: bytes
) -> None:
    async with running(scripted.url) as fanout, fanout.watch(CHANNEL) as mailbox:
        scripted.writers[0].write(wire)
        if not wire:
            scripted.writers[0].close()
        assert await taken(mailbox) == Gap()
        scripted.writers[1].write(message(encode(RiskBatch([make.snapshot()]))))
        assert (await taken(mailbox)).portfolio_id == "p-1"
        assert fanout.traffic.gaps == 1


async def test_a_silent_connection_is_asked_and_kept_while_it_answers(
    scripted: ScriptedRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout_module, "QUIET_SECONDS", 0.5)
    async with running(scripted.url) as fanout, fanout.watch(CHANNEL) as mailbox:
        await make.eventually(lambda: scripted.commands.count(b"PING") >= 3, "three questions")
        assert (len(scripted.writers), fanout.connected) == (1, True)
        scripted.answers_pings = False
        assert await taken(mailbox) == Gap()
        assert len(scripted.writers) == 2


# --- against a real one -----------------------------------------------------------------------------------------------


@BOTH_LOOPS
@pytest.mark.parametrize("protocol", [2, 3])
async def test_whoever_has_to_sign_in_does_in_both_protocols(protocol: int, make: Make) -> None:
    with EmbeddedStore.start() as store, plain_redis.Redis.from_url(store.url) as client:
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">word", "resetchannels", f"&{keys.ALL_RISK_CHANNELS}", "+@all"
        )
        url = store.url.replace("//", "//reader:word@") + f"?protocol={protocol}"
        async with running(url) as fanout, fanout.watch(CHANNEL) as one, fanout.watch(keys.ALL_RISK_CHANNELS) as all_:
            client.publish(CHANNEL, encode(RiskBatch([make.snapshot()])))
            assert [(await taken(each)).portfolio_id for each in (one, all_)] == ["p-1", "p-1"]


def self_signed(directory: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / "redis.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


@BOTH_LOOPS
async def test_everything_arrives_through_tls(make: Make, tmp_path: Path, redis_url: str) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    where = urlsplit(redis_url)
    pumps: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def terminate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_redis, from_redis = await asyncio.open_connection(where.hostname, where.port)
        pumps.add(asyncio.create_task(carry(to_redis, writer)))
        await carry(reader, from_redis)

    server = await asyncio.start_server(terminate, "127.0.0.1", ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with running(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}") as fanout, fanout.watch(CHANNEL) as one:
        with plain_redis.Redis.from_url(redis_url) as client:
            wide = make.snapshot(incomplete_symbols=["X" * 50] * 400)
            for sequence in range(100):
                pipeline = client.pipeline(transaction=False)
                batch = RiskBatch([replace(wide, sequence=str(sequence)), make.snapshot("p-2")])
                pipeline.publish(CHANNEL, encode(batch)).execute()
        await make.eventually(lambda: fanout.traffic.received == 200, "everything that was published")
        assert (await taken(one)).sequence == "99"
    server.close()
    await asyncio.wait(pumps)


PORTFOLIOS, MESSAGE_OF, ROUNDS, BURSTS = 200, 25, 6, 20


@OURS
async def test_more_than_can_be_carried_out_is_conflated_and_nothing_is_cut_off(make: Make) -> None:
    ids = [f"p-{number}" for number in range(PORTFOLIOS)]
    newest: dict[str | None, Any] = {}
    carried_out = published = 0

    async def read(mailbox: Mailbox) -> None:
        nonlocal carried_out
        while True:
            newest[mailbox.portfolio_id] = await mailbox.take()
            carried_out += 1

    def burst(client: plain_redis.Redis, first: int) -> None:
        for sequence in range(first, first + ROUNDS):
            pipeline = client.pipeline(transaction=False)
            round_ = [make.snapshot(each, sequence=str(sequence)) for each in ids]
            for start in range(0, PORTFOLIOS, MESSAGE_OF):
                pipeline.publish(CHANNEL, encode(RiskBatch(round_[start : start + MESSAGE_OF])))
            pipeline.execute()

    with EmbeddedStore.start() as store, plain_redis.Redis.from_url(store.url) as client:
        async with running(store.url) as fanout, contextlib.AsyncExitStack() as stack:
            mailboxes = [await stack.enter_async_context(fanout.watch(CHANNEL, each)) for each in ids]
            readers = [asyncio.create_task(read(mailbox)) for mailbox in mailboxes]
            stack.callback(lambda: [reader.cancel() for reader in readers])
            for number in range(BURSTS):
                # The loop stands still meanwhile, as if it were busy: all of it waits when it goes on.
                burst(client, number * ROUNDS)
                published += ROUNDS * PORTFOLIOS
                await make.eventually(lambda: fanout.traffic.received == published)  # noqa: B023
            last = str(BURSTS * ROUNDS - 1)
            await make.eventually(lambda: all(getattr(each, "sequence", "") == last for each in newest.values()))
        assert fanout.traffic.gaps == 0
        assert fanout.traffic.conflated == published - carried_out > published / 2
