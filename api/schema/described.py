"""Fields whose docstring is their description: one text for whoever reads the code and whoever reads the schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry

_Resolver = TypeVar("_Resolver", bound=Callable[..., Any])


def field(resolver: _Resolver) -> _Resolver:
    """A resolver as a field of a type, or as a mutation."""
    return cast("_Resolver", strawberry.field(resolver, description=inspect.getdoc(resolver)))


def subscription(resolver: _Resolver) -> _Resolver:
    """An async generator as a subscription."""
    return cast("_Resolver", strawberry.subscription(resolver, description=inspect.getdoc(resolver)))
