"""The five topics: what other programs rely on, spelled out once more by hand."""

from __future__ import annotations

import pytest

from plimsoll import topics


def test_the_contract_by_hand() -> None:
    assert [(topic.name, topic.partitions, topic.config()["cleanup.policy"]) for topic in topics.ALL] == [
        ("portfolio-updates", 12, "compact"),
        ("market-data", 3, "compact"),
        ("market-closes", 1, "compact"),
        ("risk-updates", 12, "delete"),
        ("dead-letters", 3, "delete"),
    ]


def test_a_topic_is_found_by_its_name() -> None:
    assert all(topics.BY_NAME[topic.name] is topic for topic in topics.ALL)
    assert len(topics.BY_NAME) == len(topics.ALL)


def test_the_list_of_topics_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        topics.BY_NAME["another"] = topics.MARKET_DATA  # type: ignore[index]


def test_what_a_portfolio_says_and_what_we_say_of_it_have_as_many_partitions() -> None:
    """Both are keyed by portfolio, so a reader of one partition of risk finds its portfolios in the same of updates."""
    assert topics.RISK_UPDATES.partitions == topics.PORTFOLIO_UPDATES.partitions
