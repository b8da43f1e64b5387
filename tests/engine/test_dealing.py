import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dealing import partitions_of, worker_name


@given(workers=st.integers(1, 12), partitions=st.integers(1, 48))
def test_every_partition_has_exactly_one_owner(workers: int, partitions: int) -> None:
    dealt = [p for index in range(workers) for p in partitions_of(index, workers, partitions)]
    assert sorted(dealt) == list(range(partitions))


@given(workers=st.integers(1, 12))
def test_no_worker_has_more_than_one_partition_over_another(workers: int) -> None:
    shares = [len(partitions_of(index, workers, 12)) for index in range(workers)]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("index", "workers"), [(-1, 2), (2, 2), (0, 0)])
def test_a_worker_that_does_not_exist_is_refused(index: int, workers: int) -> None:
    with pytest.raises(ValueError, match="none of"):
        partitions_of(index, workers, 12)


def test_a_worker_is_named_by_its_index_and_how_many_there_are() -> None:
    assert worker_name(1, 3) == "1/3"
