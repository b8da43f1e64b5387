"""The array book against the obvious one: a dictionary of dictionaries."""

from __future__ import annotations

import pickle
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.names
from engine.book import Book, Origin
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
            book.close(portfolio_id, Origin(0, offset))
            plain.pop(portfolio_id, None)
        else:
            assert book.apply(update(portfolio_id, held), 0, Origin(0, offset))
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
    book.touch_holders(np.array([float(symbol in moved) for symbol in book.symbols.known]))
    touched = {book.ids[row] for row in np.flatnonzero(book.rows["touched"]).tolist()}
    assert touched == {portfolio_id for portfolio_id, held in plain.items() if any(map(held.get, moved))}


def test_the_movement_of_a_portfolio_is_the_money_that_marks_have_moved_in_it_ups_and_downs_added() -> None:
    book, _ = after([("p-0", {"AAPL": 2.0, "BAC": -3.0}), ("p-1", {"BAC": 1.0}), ("p-0", {"AAPL": 4.0, "BAC": -3.0})])
    book.rows["movement"] = 0.0
    for moved in ([10.0, 0.0], [1.0, 5.0]):
        book.touch_holders(np.array(moved))
    assert book.rows["movement"][[book.row_of["p-0"], book.row_of["p-1"]]].tolist() == [59.0, 5.0]


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
                each.close(portfolio_id, Origin(0, offset))
            else:
                each.apply(update(portfolio_id, held), 0, Origin(0, offset))
    assert as_dict(recovered) == as_dict(book)


def test_a_saved_state_does_not_change_when_the_book_does() -> None:
    book, _ = after([("p-0", {"AAPL": 1.0})])
    state = book.recovery_state()
    book.apply(update("p-0", {"AAPL": 2.0}), 0, Origin(0, 9))
    assert as_dict(Book.recovered(state)) == {"p-0": {"AAPL": 1.0}}


def test_abandoned_positions_do_not_pile_up() -> None:
    book = Book()
    for offset in range(20_000):
        book.apply(update("p-0", dict.fromkeys(SYMBOLS, 1.0)), 0, Origin(0, offset))
    assert len(book.arena.row) <= 2048
    assert as_dict(book) == {"p-0": dict.fromkeys(SYMBOLS, 1.0)}


def test_an_older_record_of_the_same_portfolio_is_stale() -> None:
    book = Book()
    assert book.apply(update("p-0", {"AAPL": 1.0}), 0, Origin(0, 7))
    assert not book.apply(update("p-0", {"AAPL": 2.0}), 0, Origin(0, 7))
    assert not book.apply(update("p-0", {"AAPL": 2.0}), 0, Origin(0, 3))
    assert as_dict(book) == {"p-0": {"AAPL": 1.0}}


def test_a_closing_from_before_the_last_update_is_stale() -> None:
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0}), 0, Origin(0, 7))
    assert book.close("p-0", Origin(0, 6)) is None
    assert book.close("p-0", Origin(0, 8)) == 9
    assert as_dict(book) == {}


def test_an_older_version_is_stale_and_a_reused_one_is_a_conflict() -> None:
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0}, version=5), 0, Origin(0, 0))
    assert not book.apply(update("p-0", {"AAPL": 9.0}, version=4), 0, Origin(0, 1))
    assert not book.apply(update("p-0", {"AAPL": 1.0}, version=5), 0, Origin(0, 2))
    with pytest.raises(BadMessage, match="version 5 of p-0") as refused:
        book.apply(update("p-0", {"AAPL": 2.0}, version=5), 0, Origin(0, 3))
    assert (refused.value.reason, refused.value.field) == (Reason.VERSION_CONFLICT, "version")
    assert book.apply(update("p-0", {"AAPL": 2.0}, version=6), 0, Origin(0, 4))


def test_a_record_says_everything_the_owner_stated() -> None:
    book = Book()
    stated = PortfolioUpdate(
        id="p-0", advisor_id="advisor-9", client_id="c-1", account_type="IRA", cash=-5.0, version=3,
        risk_tolerance=RiskTolerance.AGGRESSIVE, positions=[Position("AAPL", -2.0, sector="Technology")],
    )  # fmt: skip
    book.apply(stated, 123, Origin(4, 56))
    record = book.record(0)
    assert (record.portfolio_id, record.advisor_id, record.client_id) == ("p-0", "advisor-9", "c-1")
    assert (record.account_type, record.cash, record.version) == ("IRA", -5.0, 3)
    assert (record.risk_tolerance, record.event_time_ns) == (RiskTolerance.AGGRESSIVE, 123)
    assert (record.symbols, record.quantities, record.sectors) == (["AAPL"], [-2.0], ["Technology"])
    assert (record.source_partition, record.source_offset) == (4, 56)


def test_a_position_without_a_sector_leaves_that_which_another_states() -> None:
    book = Book()
    for offset, sector in enumerate([None, "Technology", None]):
        held = Position("AAPL", 1.0, sector=sector)
        book.apply(PortfolioUpdate(id=f"p-{offset}", advisor_id="a", positions=[held]), 0, Origin(0, offset))
    assert book.sectors() == {book.symbols.number("AAPL"): "Technology"}
    book.close("p-1", Origin(0, 3))
    assert book.sectors() == {}


def test_a_full_book_names_the_symbol_it_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.names, "SYMBOLS_MAX", 2)
    book = Book()
    book.apply(update("p-0", {"AAPL": 1.0, "BAC": 1.0}), 0, Origin(0, 0))
    with pytest.raises(BadMessage, match="CVX is new") as refused:
        book.apply(update("p-1", {"AAPL": 1.0, "CVX": 1.0}), 0, Origin(0, 1))
    assert (refused.value.reason, refused.value.field) == (Reason.OUT_OF_RANGE, "positions[1].symbol")
    assert as_dict(book) == {"p-0": {"AAPL": 1.0, "BAC": 1.0}}


# --- one portfolio through several partitions -------------------------------------------------------------------------

through = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(st.none(), holdings)), min_size=1, max_size=12
)  # fmt: skip


def in_time(records: list[tuple[int, dict[str, float] | None]]) -> list[tuple[Origin, dict[str, float] | None]]:
    """Records of one portfolio as their partitions number them, each written a millisecond after the one before."""
    ends = [0, 0, 0]
    numbered = []
    for time_ms, (partition, held) in enumerate(records):
        numbered.append((Origin(partition, ends[partition], time_ms), held))
        ends[partition] += 1
    return numbered


def read(book: Book, numbered: list[tuple[Origin, dict[str, float] | None]]) -> None:
    for origin, held in numbered:
        if held is None:
            book.close("p-0", origin)
        else:
            book.apply(update("p-0", held), 0, origin)


@given(through, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_senders_that_choose_other_partitions_end_in_the_last_statement_however_the_log_is_read(
    records: list[tuple[int, dict[str, float] | None]], chance: Random
) -> None:
    numbered = in_time(records)
    shuffled = sorted(numbered, key=lambda each: (chance.random(), each))
    in_order_within = {partition: [n for n in numbered if n[0].partition == partition] for partition in range(3)}
    interleaved = [in_order_within[origin.partition].pop(0) for origin, _ in shuffled]
    live, rebuilt = Book(), Book()
    read(live, numbered)
    read(rebuilt, interleaved)

    last = numbered[-1][1]
    assert as_dict(live) == as_dict(rebuilt) == ({} if last is None else {"p-0": last})
    if last is not None:
        assert live.rows["statement"][live.row_of["p-0"]] == rebuilt.rows["statement"][rebuilt.row_of["p-0"]]


@given(through)
@settings(deadline=None)
def test_the_statement_number_grows_with_every_record_of_the_portfolio(
    records: list[tuple[int, dict[str, float] | None]],
) -> None:
    book, seen = Book(), []
    for origin, held in in_time(records):
        if held is None:
            seen.append(book.close("p-0", origin))
        else:
            assert book.apply(update("p-0", held), 0, origin)
            seen.append(int(book.rows["statement"][book.row_of["p-0"]]))
    assert seen == sorted(set(seen))
