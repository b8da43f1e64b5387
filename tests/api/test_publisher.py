"""The API's producer, where what it stands on does not behave."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from api.publisher import Publisher
from plimsoll.transport import Kafka

pytestmark = pytest.mark.anyio


async def test_it_ends_when_told_to_though_its_client_takes_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    async def connect(_: Publisher) -> None:
        connecting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # As aiokafka does where the end meets it while it closes what did not connect.
            raise KafkaConnectionError from None

    monkeypatch.setattr(Publisher, "_connect", connect)
    running = asyncio.create_task(Publisher(Kafka("127.0.0.1:1"), 1).run())
    await connecting.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=10)
    assert running.cancelled()
