"""Tokens only grow, whatever the clocks say."""

from __future__ import annotations

import pytest

from engine.fence import Fenced, take
from engine.redis_sink import connect
from plimsoll import keys
from plimsoll.errors import EXIT_SUPERSEDED
from plimsoll.transport import Redis


def stored(redis_url: str) -> dict[int, int]:
    with connect(Redis(redis_url)) as client:
        found = client.hgetall(keys.FENCES)
        return {int(partition): int(token) for partition, token in found.items()}


def test_the_first_token_is_the_time_and_is_stored_for_each_partition(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        assert take(client, [0, 2, 11], 1_700_000_000_000_000_000) == 1_700_000_000_000_000_000
    assert stored(redis_url) == dict.fromkeys((0, 2, 11), 1_700_000_000_000_000_000)


def test_a_later_engine_takes_only_what_it_asks_for(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        take(client, [0, 1], 100)
        assert take(client, [1, 2], 200) == 200
    assert stored(redis_url) == {0: 100, 1: 200, 2: 200}


@pytest.mark.parametrize(
    "largest",
    [0, 8, 9, 99, 1_700_000_000_000_000_000, 9_007_199_254_740_993, 1_799_999_999_999_999_999, 2**63 - 2],
)
def test_a_clock_that_went_back_still_gives_a_larger_token(redis_url: str, largest: int) -> None:
    with connect(Redis(redis_url)) as client:
        client.hset(keys.FENCES, "5", str(largest))
        client.hset(keys.FENCES, "6", "0")
        assert take(client, [6], 0) == largest + 1
    assert stored(redis_url) == {5: largest, 6: largest + 1}


def test_tokens_are_compared_as_numbers_although_they_are_text(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        client.hset(keys.FENCES, "0", "9")
        assert take(client, [0], 1_000) == 1_000, "as text, 9 is larger"


def test_the_same_time_twice_gives_two_tokens(redis_url: str) -> None:
    with connect(Redis(redis_url)) as client:
        assert [take(client, [0], 50) for _ in range(3)] == [50, 51, 52]


def test_a_fenced_engine_ends_with_a_code_of_its_own_and_says_why() -> None:
    assert Fenced(3).exit_code == EXIT_SUPERSEDED
    assert "another engine has taken partition 3" in str(Fenced(3))
