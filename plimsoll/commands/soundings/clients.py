"""The one place where these commands open a connection to Kafka or Redis."""

from __future__ import annotations

from dataclasses import replace

import redis

from embedded.store import connect
from engine.topics import Client
from plimsoll.settings import Settings
from plimsoll.transport import Kafka, Redis


def redis_client(settings: Settings, seconds: float) -> redis.Redis:
    """A client that waits so long for a connection or an answer, and asks once."""
    return connect(Redis.of(settings), seconds)


def kafka_client(settings: Settings, brokers: str | None = None) -> Client:
    """A client of all brokers, or of these alone. Its questions state how long they wait."""
    kafka = Kafka.of(settings)
    return Client(replace(kafka, brokers=brokers) if brokers else kafka)
