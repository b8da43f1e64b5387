"""Redis says which log its contents come from, and contents of another are refused."""

from __future__ import annotations

import pytest

from engine.redis_sink import connect
from engine.same_log import AnotherLog, Log, claim_redis, differences
from plimsoll import keys
from plimsoll.transport import Redis

HERE = Log("cluster-a", {"market-data": "id-1", "portfolio-updates": "id-2"})


def test_redis_belongs_to_the_cluster_that_claimed_it_first(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        assert not claim_redis(client, Log("cluster-a"))
        assert claim_redis(client, Log("cluster-a"))
        with pytest.raises(AnotherLog, match=r"that of Kafka cluster cluster-a, and this is cluster-b.*FLUSHDB"):
            claim_redis(client, Log("cluster-b"))
        client.flushdb()
        claim_redis(client, Log("cluster-b"))


def test_a_topic_that_was_made_anew_is_another_log(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        claim_redis(client, HERE)
        with pytest.raises(AnotherLog, match="topic market-data was deleted and made anew"):
            claim_redis(client, Log("cluster-a", {**HERE.topics, "market-data": "id-3"}))


def test_ids_that_were_not_told_before_are_learnt_and_those_not_told_now_are_kept(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        claim_redis(client, Log("cluster-a"))
        assert claim_redis(client, HERE)
        assert claim_redis(client, Log("cluster-a"))
        with pytest.raises(AnotherLog, match="topic portfolio-updates"):
            claim_redis(client, Log("cluster-a", {"portfolio-updates": "id-3"}))


def test_the_claim_of_an_older_version_is_honoured_and_replaced(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        client.set(keys.KAFKA_CLUSTER, "cluster-a")
        with pytest.raises(AnotherLog):
            claim_redis(client, Log("cluster-b"))
        assert claim_redis(client, HERE)
        assert client.get(keys.KAFKA_CLUSTER) is None
        with pytest.raises(AnotherLog, match="market-data"):
            claim_redis(client, Log("cluster-a", {"market-data": "id-3"}))


@pytest.mark.parametrize(
    ("told", "here", "said"),
    [
        (HERE, HERE, ""),
        (HERE, Log("cluster-a"), ""),
        (Log("cluster-a"), HERE, ""),
        (HERE, Log("cluster-a", {"market-closes": "id-9"}), ""),
        (HERE, Log("cluster-a", {"market-data": "x", "portfolio-updates": "y"}), "market-data and portfolio-updates"),
        (HERE, Log("other", HERE.topics), "cluster-a, and this is other"),
    ],
)
def test_only_what_both_know_is_compared(told: Log, here: Log, said: str) -> None:
    found = differences(told, here)
    assert (said in found) if said else found == ""
