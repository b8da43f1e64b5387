"""Readers are told that the engine fell silent, and that it came back, though no event says so: once a process.

Whoever follows a stream would otherwise believe the last thing it heard for as long as nothing else comes, which is
just when it should not.
"""

from __future__ import annotations

import asyncio
import contextlib

from api.engine_state import EngineState
from api.fanout import Fanout
from plimsoll.errors import PlimsollError

LOOK_SECONDS = 1.0
"""As often as a worker's heart beats."""


async def watch(engine: EngineState, fanout: Fanout, seconds: float = LOOK_SECONDS) -> None:
    """Look at the heartbeats and tell every reader. Ends only by being cancelled."""
    while True:
        if fanout.readers:
            # A heartbeat that cannot be read says nothing, and what was known ages.
            with contextlib.suppress(PlimsollError):
                fanout.tell_state(stale=await engine.is_stale())
        await asyncio.sleep(seconds)
