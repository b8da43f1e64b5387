"""Types of the schema that are read off a message when a field is asked for, instead of being filled beforehand.

A snapshot has 45 fields, and most questions are about some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self


class View:
    """A message, under the names of the schema: a field is `derived` of it where that says so, else its own."""

    derived: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """Field -> what it is, from the view."""

    message: Any

    @classmethod
    def over(cls, message: object) -> Self:
        """A view of a message. What `derived` needs besides is for the caller to set."""
        view = cls.__new__(cls)
        view.message = message
        return view

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the schema says it is
        # Asked only for what is not set. Names of Python's own are probed for, and are no fields.
        if name.startswith("__") or name == "message":
            raise AttributeError(name)
        derive = self.derived.get(name)
        return getattr(self.message, name) if derive is None else derive(self)
