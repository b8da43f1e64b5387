from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.columns import COLUMNS, ROWS_LEAST, Arena, Columns, roomy, stretches


def test_growing_keeps_what_was_there_and_adds_zeros() -> None:
    table = Columns()
    table["cash"][3] = 7.5
    table.grow(ROWS_LEAST + 10)
    assert len(table) == ROWS_LEAST + 10
    assert table["cash"][3] == 7.5
    assert not table["recent_95"][-1].any()


def test_a_cleared_row_is_as_new() -> None:
    table = Columns()
    for name in COLUMNS:
        table[name] = 1
    table.clear(5)
    assert all(not np.any(table[name][5]) for name in COLUMNS)
    assert all(np.all(table[name][4]) for name in COLUMNS)


def test_a_copy_of_the_first_rows_is_a_table_again_and_shares_nothing() -> None:
    table = Columns()
    table["offset"][:2] = 4, 5
    copied = Columns.holding(table.first(2))
    table["offset"] = 9
    assert copied["offset"][:3].tolist() == [4, 5, 0]


@given(st.lists(st.integers(0, 4), max_size=8))
def test_stretches_lie_where_their_starts_say_one_after_another(lengths: list[int]) -> None:
    starts = np.arange(len(lengths)) * 10
    where, cut = stretches(starts, np.array(lengths, np.int64))
    expected = [start + i for start, length in zip(starts.tolist(), lengths, strict=True) for i in range(length)]
    assert where.tolist() == expected
    assert cut.tolist() == [sum(lengths[:n]) for n in range(len(lengths) + 1)]


def test_an_arena_resized_keeps_only_what_is_asked_for() -> None:
    arena = Arena(end=4)
    arena.row[:4], arena.symbol[:4], arena.quantity[:4] = (7, -1, 8, 8), (1, 2, 3, 4), (10.0, 20.0, 30.0, 40.0)
    packed = arena.resized(np.array([0, 2, 3]), 8)
    assert (len(packed), packed.end, len(packed.row)) == (3, 3, 8)
    assert packed.quantity[:3].tolist() == [10.0, 30.0, 40.0]
    assert packed.row.tolist() == [7, 8, 8, -1, -1, -1, -1, -1]


def test_arrays_leave_a_fifth_to_spare() -> None:
    assert roomy(100_000) == 120_000
    assert roomy(1) == 1024
