"""What is wrong with bytes from outside: the reason that a sender needs, in place of what a decoder says.

Decoders name neither the field as we call it nor the reason as our contract has it, and one of them stops at the first
byte that is no JSON without saying that it was `NaN`. Here their words are turned into a `BadMessage`.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

import msgspec

from plimsoll.errors import BadMessage, Reason

IDENTIFIER_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$(?!\n)"
IDENTIFIER_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-"
IDENTIFIER_SIZE_MAX = 64
IDENTIFIER_RULE = "no identifier: 1 to 64 letters, digits and . _ : - are, like portfolio_123"
NESTING_MAX = 32
"""Brackets within brackets. Ours nest three deep."""


def is_identifier(text: str) -> bool:
    """Whether a text is an identifier: what the pattern says, several times quicker."""
    return 0 < len(text) <= IDENTIFIER_SIZE_MAX and not text.encode("utf-8", "replace").translate(
        None, IDENTIFIER_BYTES
    )


def refuse(error: Exception, raw: bytes) -> NoReturn:
    """Turn what the decoder says into the reason that the sender needs."""
    field, detail = _where(str(error))
    if isinstance(error, RecursionError) or _nesting(raw) > NESTING_MAX:
        raise BadMessage(Reason.TOO_DEEP, f"brackets nest deeper than {NESTING_MAX}") from None
    if isinstance(error, UnicodeDecodeError) or "surrogate" in detail:
        raise BadMessage(Reason.INVALID_UTF8, detail, field) from None
    if "out of range" in detail:
        raise BadMessage(Reason.OUT_OF_RANGE, "the number is too large for a float", field) from None
    if found := re.fullmatch(r"Expected `float` ([<>]=?) (.*)", detail):
        side = {">=": "below", ">": "not above", "<=": "above"}[found[1]]
        raise BadMessage(Reason.OUT_OF_RANGE, f"a number {side} {float(found[2]):g}", field) from None
    if isinstance(error, msgspec.ValidationError):
        raise BadMessage(Reason.SCHEMA, detail, field) from None
    if literal := _non_finite_literal(raw):
        raise BadMessage(Reason.NON_FINITE, f"{literal[1]} is not a number", literal[0]) from None
    try:
        raw.decode()
    except UnicodeDecodeError as undecodable:
        raise BadMessage(Reason.INVALID_UTF8, str(undecodable)) from None
    raise BadMessage(Reason.MALFORMED_JSON, detail) from None


def _where(text: str) -> tuple[str, str]:
    """The decoder's `what - at `$.where`` as (where, what)."""
    found = re.fullmatch(r"(?s)(.*?) - at `(?:key` in `)?\$\.?(.*)`", text)
    return (found[2], in_words(found[1])) if found else ("", in_words(text))


def in_words(detail: str) -> str:
    """What msgspec says of a value, with a sentence in place of our identifier's regular expression."""
    return IDENTIFIER_RULE if "matching regex" in detail else detail


_BRACKET = re.compile(rb"[\[\]{}]")


def _nesting(raw: bytes) -> int:
    """A bound on how deep the brackets nest, as far as it matters; strings are not looked into, so it may be high."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(raw):
        if bracket[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > NESTING_MAX:
                break
        else:
            depth -= 1
    return deepest


def _non_finite_literal(raw: bytes) -> tuple[str, str] | None:
    """The field and text of a `NaN` or `Infinity` in what is otherwise JSON, as Python's own writer emits them."""
    met: list[str] = []

    def constant(text: str) -> float:
        met.append(text)
        return math.nan if text == "NaN" else math.inf

    try:
        tree = json.loads(raw, parse_constant=constant)
    except (ValueError, RecursionError):
        return None
    return ((_path_of_non_finite(tree) or "").removeprefix("."), met[0]) if met else None


def _path_of_non_finite(tree: object) -> str | None:
    """Where the first number that is none stands: `.positions[2].price`; None where all are numbers.

    Put together on the way back, so that what is not on the way costs no text: a name may be as long as the record.
    """
    if isinstance(tree, dict):
        steps = ((f".{key}", branch) for key, branch in tree.items())
    elif isinstance(tree, list):
        steps = ((f"[{index}]", branch) for index, branch in enumerate(tree))
    else:
        return "" if isinstance(tree, float) and not math.isfinite(tree) else None
    return next((step + end for step, branch in steps if (end := _path_of_non_finite(branch)) is not None), None)
