"""Strings numbered when first met, so that arrays can hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plimsoll.errors import BadMessage, Reason
from plimsoll.refusals import IDENTIFIER_RULE, is_identifier

SYMBOLS_MAX = 20_000
"""Distinct symbols in one book. Each costs rows of returns, some 9 KB, so a stream of made-up ones must end."""
NO_NAME = -1


class Names:
    """Strings numbered from 0 in the order they were first met: `known[number]`, and `numbered[name]` back."""

    def __init__(self, known: list[str] | None = None) -> None:
        self.known: list[str] = list(known or ())
        self.numbered = {name: number for number, name in enumerate(self.known)}
        self._array = np.empty(0, object)

    def __len__(self) -> int:
        return len(self.known)

    def number(self, name: str) -> int:
        """The name's number, a new one if it is new."""
        number = self.numbered.get(name)
        if number is None:
            number = self.numbered[name] = len(self.known)
            self.known.append(name)
        return number

    def number_of_optional(self, name: str | None) -> int:
        """The same, `NO_NAME` for none."""
        return NO_NAME if name is None else self.number(name)

    def name(self, number: int) -> str | None:
        """The name of a number, None for `NO_NAME`."""
        return None if number == NO_NAME else self.known[number]

    def names(self, numbers: NDArray[np.integer]) -> list[Any]:
        """The names of many numbers at once, None for each `NO_NAME`."""
        if len(self._array) != len(self.known) + 1:
            self._array = np.array([*self.known, None], object)  # NO_NAME is -1, and so the last
        listed: list[Any] = self._array[numbers].tolist()
        return listed

    def find(self, name: str) -> int | None:
        """The name's number, None if it was never met."""
        return self.numbered.get(name)


def admit(symbols: Names, symbol: str, field: str) -> int:
    """A symbol's number, a new one if it is new.

    Raises `BadMessage` naming `field` where it is no identifier, or where the book is full.
    """
    known = symbols.find(symbol)
    if known is not None:
        return known
    if not is_identifier(symbol):
        raise BadMessage(Reason.SCHEMA, IDENTIFIER_RULE, field)
    if len(symbols) >= SYMBOLS_MAX:
        raise BadMessage(
            Reason.OUT_OF_RANGE, f"{symbol} is new, and the book knows {SYMBOLS_MAX} symbols, its most", field
        )
    return symbols.number(symbol)
