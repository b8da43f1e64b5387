from __future__ import annotations

import numpy as np
import pytest

import engine.names
from engine.names import NO_NAME, Names, admit
from plimsoll.errors import BadMessage, Reason


def test_a_name_keeps_its_number_and_a_number_its_name() -> None:
    names = Names()
    assert [names.number(name) for name in ("b", "a", "b", "c")] == [0, 1, 0, 2]
    assert names.known == ["b", "a", "c"]
    assert (names.find("a"), names.find("z")) == (1, None)


def test_many_numbers_are_named_at_once_also_after_new_ones_came() -> None:
    names = Names(["a", "b"])
    assert names.names(np.array([1, NO_NAME, 0])) == ["b", None, "a"]
    names.number("c")
    assert names.names(np.array([2, NO_NAME])) == ["c", None]
    assert [names.name(number) for number in (2, NO_NAME)] == ["c", None]


@pytest.mark.parametrize("symbol", ["", "A B", "x" * 65, "é", "A\n"])
def test_what_is_no_identifier_is_not_admitted(symbol: str) -> None:
    names = Names()
    with pytest.raises(BadMessage) as refused:
        admit(names, symbol, "positions[3].symbol")
    assert (refused.value.reason, refused.value.field) == (Reason.SCHEMA, "positions[3].symbol")
    assert len(names) == 0


def test_a_full_book_takes_the_symbols_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.names, "SYMBOLS_MAX", 1)
    names = Names()
    assert admit(names, "AAPL", "symbol") == admit(names, "AAPL", "symbol") == 0
    with pytest.raises(BadMessage, match="KO is new") as refused:
        admit(names, "KO", "symbol")
    assert refused.value.reason is Reason.OUT_OF_RANGE
