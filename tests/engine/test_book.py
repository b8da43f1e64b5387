"""The array book against the obvious one: a dictionary of dictionaries."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.book
from engine.book import Book
from plimsoll.errors import BadMessage, Reason
from plimsoll.messages import PortfolioUpdate, Position, RiskTolerance

SYMBOLS = ["AAPL", "BAC", "CVX", "GE", "KO"]
PORTFOLIOS = [f"p-{n}" for n in range(6)]
holdings = st.dictionaries(st.sampled_from(SYMBOLS), st.floats(-1e6, 1e6), max_size=5)
changes = st.lists(st.tuples(st.sampled_from(PORTFOLIOS), st.one_of(st.none(), holdings)), max_size=60)


def update(portfolio_id: str, held: dict[str, float], **stated: object) -> PortfolioUpdate:
    return PortfolioUpdate(
        id=portfolio_id,
        advisor_id="advisor-1",
        positions=[Position(symbol, quantity) for symbol, quantity in held.items()],
        **stated,  # type: ignore[arg-type]
    )


def after(steps: list[tuple[str, dict[str, float] | None]]) -> tuple[Book, dict[str, dict[str, float]]]:
    """The book and the plain dictionary after the same changes; None closes a portfolio."""
    book, plain = Book(), {}
    for offset, (portfolio_id, held) in enumerate(steps):
        if held is None:
            book.close(portfolio_id, offset)
            plain.pop(portfolio_id, None)
        else:
            assert book.apply(update(portfolio_id, held), 0, partition=0, offset=offset)
            plain[portfolio_id] = held
    return book, plain


def as_dict(book: Book) -> dict[str, dict[str, float]]:
    records = [book.record(row) for row in book.open_rows().tolist()]
    return {r.portfolio_id: dict(zip(r.symbols, r.quantities, strict=True)) for r in records}


@given(changes)
@settings(deadline=None)
def test_the_book_holds_what_a_dictionary_would(steps: list[tuple[str, dict[str, float] | None]]) -> None:
    book, plain = after(steps)
    assert as_dict(book) == plain
    assert len(book) == len(plain)


@given(changes)
@settings(deadline=None)
def test_the_position_matrix_says_what_the_records_say(steps: list[tuple[str, dict[str, float] | None]]) -> None:
    book, plain = after(steps)
    rows = book.open_rows()
    dense = book.positions(rows).toarray()
    for i, row in enumerate(rows.tolist()):
        for number, symbol in enumerate(book.symbols.known):
            assert dense[i, number] == plain[book.ids[row]].get(symbol, 0.0)


@given(changes, st.sets(st.sampled_from(SYMBOLS)))
@settings(deadline=None)
def test_exactly_the_holders_of_a_moved_symbol_are_touched(
    steps: list[tuple[str, dict[str, float] | None]], moved: set[str]
) -> None:
    book, plain = after(steps)
    book.rows["touched"] = False
    book.touch_holders(np.array([symbol in moved for symbol in book.symbols.known], np.bool_))
    touched = {book.ids[row] for row in np.flatnonzero(book.rows["touched"]).tolist()}
    assert touched == {portfolio_id for portfolio_id, held in plain.items() if moved & held.keys()}


@given(changes, changes)
@settings(deadline=None)
def test_a_recovered_book_goes_on_as_the_lost_one_would_have(
    before: list[tuple[str, dict[str, float] | None]], later: list[tuple[str, dict[str, float] | None]]
) -> None:
    book, _ = after(before)
    recovered = Book.recovered(pickle.loads(pickle.dumps(book.recovery_state())))
    for each in (book, recovered):
        for offset, (portfolio_id, held) in enumerate(later, start=len(before)):
            if held is None:
                each.close(portfolio_id, offset)
            else:
                each.apply(update(portfolio_id, held), 0, 0, offset)
    assert as_dict(recovered) == as_dict(book)


def test_a_saved_state_does_not_change_when_the_book_does() -> None:
    book, _ = after([("p-0", {"AAPL": 1.0})])
    state = book.recovery_state()
    book.apply(update("p-0", {"AAPL": 2.0}), 0, 0, 9)
    assert as_dict(Book.recovered(state)) == {"p-0": {"AAPL": 1.0}}


def test_abandoned_positions_do_not_pile_up() -> None:
    book = Book()
    for offset in range(20_000):
        book.apply(update("p-0", dict.fromkeys(SYMBOLS, 1.0)), 0, 0, offset)
    assert len(book.arena.row) <= 2048
    assert as_dict(book) == {"p-0": dict.fromkeys(SYMBOLS, 1.0)}


def test_an_older_record_of_the_same_portfolio_is_stale() -> None:
    book = Book()
    assert book.apply(update("p-0", {"AAPL": 1.0}), 0, 0, offset=7)
    assert not book.apply(update("p-0", {"AAPL": 2.0}), 0, 0, offset=7)
    assert not book.apply(update("p-0", {"AAPL": 2.0}), 0, 0, offset=3)
    assert as_dict(book) == {"p-0": {"AAPL": 1.0}}


def test_a_closing_from_before_the_last_update_is_stale() -> None:
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0}), 0, 0, offset=7)
    assert not book.close("p-0", offset=6)
    assert book.close("p-0", offset=8)
    assert as_dict(book) == {}


def test_an_older_version_is_stale_and_a_reused_one_is_a_conflict() -> None:
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0}, version=5), 0, 0, 0)
    assert not book.apply(update("p-0", {"AAPL": 9.0}, version=4), 0, 0, 1)
    assert not book.apply(update("p-0", {"AAPL": 1.0}, version=5), 0, 0, 2)
    with pytest.raises(BadMessage, match="version 5 of p-0") as refused:
        book.apply(update("p-0", {"AAPL": 2.0}, version=5), 0, 0, 3)
    assert (refused.value.reason, refused.value.field) == (Reason.VERSION_CONFLICT, "version")
    assert book.apply(update("p-0", {"AAPL": 2.0}, version=6), 0, 0, 4)


def test_a_record_says_everything_the_owner_stated() -> None:
    book = Book()
    stated = PortfolioUpdate(
        id="p-0", advisor_id="advisor-9", client_id="c-1", account_type="IRA", cash=-5.0, version=3,
        risk_tolerance=RiskTolerance.AGGRESSIVE, positions=[Position("AAPL", -2.0, sector="Technology")],
    )  # fmt: skip
    book.apply(stated, event_time_ns=123, partition=4, offset=56)
    record = book.record(0)
    assert (record.portfolio_id, record.advisor_id, record.client_id) == ("p-0", "advisor-9", "c-1")
    assert (record.account_type, record.cash, record.version) == ("IRA", -5.0, 3)
    assert (record.risk_tolerance, record.event_time_ns) == (RiskTolerance.AGGRESSIVE, 123)
    assert (record.symbols, record.quantities, record.sectors) == (["AAPL"], [-2.0], ["Technology"])
    assert (record.source_partition, record.source_offset) == (4, 56)


def test_a_full_book_names_the_symbol_it_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.book, "SYMBOLS_MAX", 2)
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0, "BAC": 1.0}), 0, 0, 0)
    with pytest.raises(BadMessage, match="CVX is new") as refused:
        book.apply(update("p-1", {"AAPL": 1.0, "CVX": 1.0}), 0, 0, 1)
    assert (refused.value.reason, refused.value.field) == (Reason.OUT_OF_RANGE, "positions[1].symbol")
    assert as_dict(book) == {"p-0": {"AAPL": 1.0, "BAC": 1.0}}
