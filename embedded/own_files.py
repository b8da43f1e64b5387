"""A demo of somebody's own prices and positions: the files are read before anything is started.

What is wrong with them is said at once, with file, row and column, and not by a program that died; what they leave to
choose is settled here, so that producer, engine and API are told the same. The files are those of `plimsoll risk`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from plimsoll import settings
from plimsoll.errors import BadSetting

if TYPE_CHECKING:
    from embedded.demo import Demo
    from plimsoll.reports.positions import Positions
    from plimsoll.reports.prices import Series
    from plimsoll.settings import Settings

TICK_EVERY_SECONDS = 5.0
"""Of many symbols each ticks at least as often."""
CLOSES_SIZE_MAX = 4_000_000
"""Bytes of closes, compressed: the embedded broker keeps 5 MiB of their one partition, and drops the oldest."""
COMPRESSED_SHARE = 0.6
"""What lz4 leaves of closes: 0.40 to 0.54 for prices with two to fifteen digits."""


def settled(demo: Demo, told: Settings, bundled: Collection[str]) -> Demo:
    """The demo with what its files say: how many portfolios, which sessions, which benchmark, what is worth a word.

    bundled  the symbols that have prices where nobody brings any

    Raises `BadFile` and `BadSetting`.
    """
    # Imported late: they bring numpy and scipy, which a demo of the bundled prices need not wait for here.
    from plimsoll.reports import streamed  # noqa: PLC0415
    from plimsoll.reports.positions import read_positions  # noqa: PLC0415

    if demo.benchmark is not None and not demo.prices:
        raise BadSetting("--benchmark", "a column of --prices, and there are none; PLIMSOLL_BENCHMARK names another")
    held = None if demo.positions is None else read_positions(demo.positions)
    if held is not None:
        count = len(streamed.updates_of(held))
        ignored = [f"{held.path}: ignored {', '.join(held.ignored)}"] if held.ignored else []
        demo = dataclasses.replace(demo, portfolios=count, notices=(*demo.notices, *ignored))
    if demo.prices:
        return _priced(demo, held, told)
    return demo if held is None else _noticing(demo, streamed.unpriced(held, bundled))


def _priced(demo: Demo, held: Positions | None, told: Settings) -> Demo:
    """The demo with what its prices settle."""
    from plimsoll.reports import streamed  # noqa: PLC0415
    from plimsoll.reports.prices import read_prices  # noqa: PLC0415
    from plimsoll.risk.scenarios import history_sessions  # noqa: PLC0415

    asked = told.benchmark
    if demo.benchmark is not None:
        asked = settings.load({"PLIMSOLL_BENCHMARK": demo.benchmark}).benchmark
    prices = read_prices(demo.prices)
    planned = streamed.plan(prices, demo.first_session, asked, window=told.scenarios, decay=told.decay)
    said = [] if held is None else streamed.unvalued(held, planned)
    if planned.benchmark is None:
        said.append(f"no benchmark among the columns of {prices.named}, so beta is unknown: --benchmark names one")
    history = planned.first if demo.kafka is not None else min(planned.first, _sessions_kept(prices))
    scenarios = min(planned.set_before.observations, history - 1)
    if history < min(planned.first, history_sessions(told.scenarios, told.decay) + 1):
        said.append(
            f"the embedded broker keeps the newest {history} sessions of so many symbols; --kafka a real one, all"
        )
    elif scenarios < told.scenarios:
        said.append(f"{scenarios} scenarios and not {told.scenarios}, which is all that {prices.named} gives")
    plays = planned.first < len(prices.sessions)
    return dataclasses.replace(
        _noticing(demo, said),
        first_session=planned.opens_at if plays else streamed.LATEST,
        benchmark=planned.benchmark or "none",
        history=history,
        ticks_per_second=max(demo.ticks_per_second, len(prices.symbols) / TICK_EVERY_SECONDS),
    )


def _sessions_kept(prices: Series) -> int:
    """How many sessions of these prices the embedded broker holds. Raises `BadSetting` where they are too few."""
    from plimsoll.reports.streamed import SESSIONS_MIN  # noqa: PLC0415

    newest = zip(prices.symbols, prices.value[-1].tolist(), strict=True)
    size = COMPRESSED_SHARE * sum(len(f'"{symbol}":{price},') for symbol, price in newest)
    kept = int(CLOSES_SIZE_MAX / size)
    if kept < SESSIONS_MIN:
        raise BadSetting(
            "--prices",
            f"{len(prices.symbols)} symbols are more than the embedded broker keeps; point --kafka at a real one",
        )
    return kept


def _noticing(demo: Demo, sentences: Collection[str]) -> Demo:
    return dataclasses.replace(demo, notices=(*demo.notices, *sentences))
