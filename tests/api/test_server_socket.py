"""uvicorn's connection as a wire: frames as the standard has them, and plain ASGI where uvicorn is not what we know."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from api import server_socket
from api.__main__ import socket_protocol as chosen_protocol
from api.server_socket import SEND_BUFFER_SIZE, FrameProtocol, header

if TYPE_CHECKING:
    from tests.api.conftest import Make, Seed, Served

pytestmark = pytest.mark.anyio


@given(st.one_of(st.integers(0, 300), st.integers(65_500, 65_600), st.just(1_000_000)))
def test_a_header_is_that_of_a_whole_text_message(size: int) -> None:
    whole = Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)
    assert header(size) + b"x" * size == whole


async def test_the_kernel_keeps_little_for_a_client(served: Served) -> None:
    await served.socket()
    (connection,) = served.app.state.sockets._open
    kept = connection._frames.transport.get_extra_info("socket").getsockopt(1, 7)  # SOL_SOCKET, SO_SNDBUF
    assert kept <= 2 * SEND_BUFFER_SIZE


async def test_a_uvicorn_that_lacks_a_part_is_served_plain_asgi(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_socket, "_PARTS", ("transport", "part_of_another_version"))
    await seed.write(make.snapshot(sequence="4"))
    socket = await served.socket()
    (connection,) = served.app.state.sockets._open
    assert connection._frames is None
    assert "part_of_another_version" in caplog.text
    await socket.start('subscription { portfolioRisk(portfolioId: "p-1") { risk { sequence } } }')
    assert await socket.event() == {"risk": {"sequence": "4"}}


def test_without_the_module_of_uvicorn_its_own_sockets_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_protocol() == "api.server_socket:FrameProtocol"
    monkeypatch.setitem(sys.modules, "api.server_socket", None)
    assert chosen_protocol() == "auto"


async def test_pings_of_who_does_not_read_are_not_answered(served: Served, make: Make) -> None:
    socket = await served.socket()
    (connection,) = served.app.state.sockets._open
    wire: FrameProtocol = connection._frames
    client = socket.connection.transport
    client.pause_reading()
    pings = b"\x89\xfd\0\0\0\0" + b"x" * 125
    for _ in range(20):
        client.write(pings * 5_000)
        await make.eventually(lambda: client.get_write_buffer_size() == 0)
    assert not wire.writable.is_set()
    assert wire.transport.get_write_buffer_size() < 1_000_000
    client.resume_reading()
    await make.eventually(wire.writable.is_set)
    await (await socket.connection.ping())


async def test_what_a_client_has_read_grows_while_it_reads_and_only_then(served: Served, make: Make) -> None:
    socket = await served.socket()
    (connection,) = served.app.state.sockets._open
    wire: FrameProtocol = connection._frames
    socket.connection.transport.pause_reading()

    def read() -> int:
        return wire.read_so_far(wire.unread())

    before, unread = -1, 0
    # What its buffers take is acknowledged a little later, and makes room for more.
    while wire.is_clear or (before, unread) != (read(), wire.unread()):
        while wire.is_clear:
            connection.outbox.say(b'{"type":"pong","payload":{"x":"%s"}}' % (b"x" * 10_000))
            await asyncio.sleep(0)
        before, unread = read(), wire.unread()
        await asyncio.sleep(0.1)
    assert before > 0
    assert unread > 0
    connection.outbox.say(b'{"type":"pong"}')
    assert (len(connection.outbox), read(), wire.unread()) == (1, before, unread)
    socket.connection.transport.resume_reading()
    await make.eventually(lambda: wire.unread() == 0 and len(connection.outbox) == 0)
    assert read() > before
