"""The one place where these commands open a connection to Kafka or Redis."""

from __future__ import annotations

import redis
from confluent_kafka.admin import AdminClient

from embedded.store import connect
from engine.topics import client_of
from plimsoll.settings import Settings


def redis_client(settings: Settings, seconds: float) -> redis.Redis:
    """A client that waits so long for a connection or an answer, and asks once."""
    return connect(settings.redis_url, seconds)


def kafka_client(settings: Settings, brokers: str | None = None) -> AdminClient:
    """A client of all brokers, or of these alone. Its questions state how long they wait."""
    return client_of(brokers or settings.kafka_brokers)
