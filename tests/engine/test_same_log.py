from __future__ import annotations

from pathlib import Path

import pytest

from engine.redis_sink import connect
from engine.same_log import AnotherLog, claim_directory, claim_redis


def test_redis_belongs_to_the_cluster_that_claimed_it_first(redis_url: str) -> None:
    with connect(redis_url) as client:
        claim_redis(client, "cluster-a")
        claim_redis(client, "cluster-a")
        with pytest.raises(AnotherLog, match=r"results of Kafka cluster cluster-a.*FLUSHDB"):
            claim_redis(client, "cluster-b")
        client.flushdb()
        claim_redis(client, "cluster-b")


def test_a_recovery_directory_belongs_to_the_cluster_that_claimed_it_first(tmp_path: Path) -> None:
    claim_directory(tmp_path, "cluster-a")
    claim_directory(tmp_path, "cluster-a")
    with pytest.raises(AnotherLog, match=r"continues Kafka cluster cluster-a.*empty --recovery-directory"):
        claim_directory(tmp_path, "cluster-b")
