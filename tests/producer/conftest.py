"""Coroutines in these tests run on asyncio, as the producer does."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
