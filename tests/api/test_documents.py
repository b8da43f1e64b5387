import gc
import time
from collections.abc import Iterator

import pytest
from graphql import OperationType, get_introspection_query

from api.documents import Kept, Prepared, RefusedDocument, prepare

RISK = "query Risk($id: ID!) { portfolioRisk(portfolioId: $id) { var95 } }"
CPU_SECONDS_MAX = 0.1


def refused(text: str, **how: bool) -> RefusedDocument:
    with pytest.raises(RefusedDocument) as caught:
        prepare(text, **how)
    return caught.value


def codes(refusal: RefusedDocument) -> set[object]:
    return {(each.extensions or {}).get("code") for each in refusal.errors}


# --- what is read -----------------------------------------------------------------------------------------------------


def test_what_a_document_asks_for_is_known_before_anything_is_done() -> None:
    prepared = prepare(f"{RISK} mutation Shock {{ ...top }} fragment top on Mutation {{ ... {{ __typename }} }}")
    assert prepared.kind("Risk") is OperationType.QUERY
    assert prepared.root_fields("Risk") == {"portfolioRisk"}
    assert prepared.kind("Shock") is OperationType.MUTATION
    assert prepared.root_fields("Shock") == {"__typename"}


def test_the_only_operation_needs_no_name() -> None:
    assert prepare(RISK).kind(None) is OperationType.QUERY
    assert prepare("{ __typename }").kind(None) is OperationType.QUERY


@pytest.mark.parametrize(("text", "name"), [(RISK, "Other"), ("query A { __typename } query B { __typename }", None)])
def test_an_operation_that_is_not_there_is_refused_with_those_that_are(text: str, name: str | None) -> None:
    with pytest.raises(RefusedDocument, match=r"Risk|A, B"):
        prepare(text).operation(name)


@pytest.mark.parametrize("full", [False, True])
def test_introspection_of_the_usual_tools_passes(full: bool) -> None:
    text = get_introspection_query(
        specified_by_url=full, directive_is_repeatable=full, schema_description=full, input_value_deprecation=full
    )
    assert prepare(text).asks_schema(None)
    assert not prepare(RISK).asks_schema(None)


def test_production_suggests_no_names() -> None:
    text = '{ portfolioRisk(portfolioId: "p") { var96 } }'
    assert "Did you mean" in str(refused(text))
    assert "Did you mean" not in str(refused(text, is_production=True))


@pytest.fixture
def as_served() -> Iterator[None]:
    """As `risk-api` does: what other tests left is not searched for garbage while a text is timed."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# --- hostile texts ----------------------------------------------------------------------------------------------------

WIDE = "".join(f"fragment f{n} on Query {{ a{n}: __typename }}" for n in range(48))
ALL = " ".join(f"...f{n}" for n in range(20))
WHAT_IF = '{{ whatIf(portfolioId: "p", trades: {}) {{ after {{ var95 }} }} }}'
RISKS = '{{ portfolioRisk(portfolioId: "p") {{ {} }} }}'
PAGE = "{{ portfolios({}) {{ nodes {{ id }} }} }}"
HOSTILE = {
    "aliases": "{" + " ".join(f"a{n}: __typename" for n in range(20_000)) + "}",
    "aliases within the tokens": "{" + " ".join(f"a{n}: __typename" for n in range(240)) + "}",
    "depth": "{a" * 3_000 + "}" * 3_000,
    "depth within the parser's": "".join(f"{{ a{n} " for n in range(190)) + "}" * 190,
    "directives": "{ __typename " + "@skip(if: false) " * 5_000 + "}",
    "fragments, each spread twice": "{ ...f0 }"
    + "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(90))
    + "fragment f90 on Query { __typename }",
    "a thousand fragments": "{ ...f0 }" + "".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(1_000)),
    "fragments in a circle": "{ ...f0 }"
    + "".join(f"fragment f{n} on Query {{ {ALL} }}" for n in range(20)),
    "digits of a whole number": "{ portfolios(first: " + "9" * 5_000 + ") { edges { cursor } } }",
    "digits of a whole number, negative": "{ atRiskPortfolios(riskThreshold: -" + "9" * 5_000 + ") { nodes { id } } }",
    "a string without an end": '{ portfolioRisk(portfolioId: "' + "x" * 60_000,
    "a string beyond all bounds": '{ portfolioRisk(portfolioId: "' + "x" * 1_000_000 + '") { var95 } }',
    "lists in lists": WHAT_IF.format("[" * 190 + "]" * 190),
    "objects in objects": WHAT_IF.format("{a: " * 190 + "1" + "}" * 190),
    "a type in lists": "query($a: " + "[" * 900 + "Int" + "]" * 900 + ") { __typename }",
    "variables": "query(" + " ".join(f"$v{n}: Int" for n in range(190)) + ") { __typename }",
    "a name": "{" + "a" * 60_000 + "}",
    "names that are nearly right": RISKS.format(" ".join(f"varr9{n}" for n in range(400))),
    "arguments that are nearly right": PAGE.format(" ".join(f"firs{n}: 1" for n in range(190))),
    "operations": "".join(f"query q{n} {{ __typename }}" for n in range(150)),
    "the schema of the schema": "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
    "lines": "\n" * 60_000 + "{ __typename",
    "no text": "",
    "a character that is none": "{ a(b: \"\\uD800\") }",
}  # fmt: skip


@pytest.mark.usefixtures("as_served")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_refused_in_no_time_and_with_few_words(name: str) -> None:
    began = time.thread_time()
    refusal = refused(HOSTILE[name])
    assert time.thread_time() - began < CPU_SECONDS_MAX
    assert codes(refusal) <= {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "TOO_COMPLEX"}
    assert len(refusal.errors) <= 11
    assert all(len(each.message) <= 510 for each in refusal.errors)


@pytest.mark.usefixtures("as_served")
@pytest.mark.parametrize(
    "text",
    [
        '{ portfolioRisk(portfolioId: "' + "x" * 60_000 + '") { var95 } }',
        "{ portfolioRisk(portfolioId: " + "9" * 5_000 + ") { var95 } }",
        '{ shock(portfolioId: "p", parallelFraction: ' + "9" * 5_000 + ") { pnl } }",
        "{" + " ".join(f"...f{n}" for n in range(48)) + "}" + WIDE,
        "{" + 'portfolio(id: "p") { risk { var95 } }' * 50 + "}",
    ],
    ids=["string", "id", "float", "fragments", "the same again"],
)
def test_what_is_odd_and_within_the_limits_is_read_in_no_time_too(text: str) -> None:
    began = time.thread_time()
    prepare(text)
    assert time.thread_time() - began < CPU_SECONDS_MAX


# --- what is kept -----------------------------------------------------------------------------------------------------


def read(text: str) -> Prepared:
    return prepare(f"{{ {text}: __typename }}")


def test_a_text_is_kept_from_the_second_time_on() -> None:
    kept = Kept()
    once = read("once")
    kept.put(once, False)
    assert kept.get(once.text, False) is None
    kept.put(once, False)
    assert kept.get(once.text, False) is once
    assert kept.get(once.text, True) is None, "one that suggested names, to production"


def test_ever_new_texts_drive_out_none_that_comes_again() -> None:
    kept = Kept(kept_max=2, seen_max=10)
    good = read("good")
    kept.put(good, False)
    kept.put(good, False)
    for number in range(50):
        kept.put(read(f"new{number}"), False)
    assert kept.get(good.text, False) is good


def test_the_one_asked_for_the_longest_ago_gives_way() -> None:
    kept = Kept(kept_max=2)
    first, second, third = (read(name) for name in ("first", "second", "third"))
    for each in (first, second):
        kept.put(each, False)
        kept.put(each, False)
    kept.get(first.text, False)
    kept.put(third, False)
    kept.put(third, False)
    assert [kept.get(each.text, False) for each in (first, second, third)] == [first, None, third]


def test_what_is_kept_is_bounded_in_size() -> None:
    kept = Kept(size_max=100)
    for number in range(20):
        for _ in range(3):
            kept.put(read(f"number{number}"), False)
    assert 0 < kept.size <= 100
    assert len(kept) == kept.size // len(read("number10").text)


def test_a_document_is_read_once_however_often_it_comes() -> None:
    prepare(RISK)
    assert prepare(RISK) is prepare(RISK)


def test_refused_texts_are_not_kept() -> None:
    refused("{ nothing }")
    assert refused("{ nothing }") is not refused("{ nothing }")
