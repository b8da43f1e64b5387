"""How many full revaluations one core makes in a second: `uv run python benchmarks/kernel.py`.

A full revaluation is a portfolio of 20 positions lived through 500 scenarios in float32, from quantities and marks to
exposures, value at risk at 95 % and 99 % and expected shortfall at 97.5 %: `plimsoll.risk.valuation.tails`, the code of
the engine. Beside it, in the same run and on the same numbers, stands the loop that one would write first: portfolio by
portfolio, numpy within. Both are run in turn, so a machine that slows down slows both; medians are printed, and the
loop's answers are compared with the kernel's.

Two universes: the 20 bundled stocks, of which every portfolio holds all, and 500 drawn names, of which each holds 20.
The first is a dense product, the second a sparse one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from engine.book import Book, Origin
from plimsoll.messages import PortfolioUpdate, Position
from plimsoll.risk.scenarios import Closes, build
from plimsoll.risk.valuation import Market, market_of, tails
from producer import closes

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
POSITIONS = 20
PORTFOLIOS = 20_000
BOOK = 10_000
"""Portfolios whose memory is counted."""
BATCH = 1_000
LOOPED = 2_000
"""Portfolios that the loop is timed over; it takes the same time for each."""


def bundled() -> Market:
    """The last 500 scenarios of the bundled stocks; the index is not held."""
    read = closes.load()
    stocks = sorted(closes.SECTORS)
    columns = [read.symbols.index(symbol) for symbol in [*stocks, closes.BENCHMARK]]
    order = np.argsort([*stocks, closes.BENCHMARK])
    symbols = tuple(np.array([*stocks, closes.BENCHMARK])[order].tolist())
    known = Closes(read.sessions, symbols, read.matrix[:, columns][:, order])
    marks = dict(zip(symbols, known.price[-1].tolist(), strict=True))
    mark = np.array([marks[symbol] for symbol in stocks])
    return market_of(build(known, closes.BENCHMARK, 500), stocks, {}, mark, mark, np.float32)


def drawn(symbols: int) -> Market:
    """Invented names with one common factor."""
    rng = np.random.default_rng(7)
    common = rng.standard_normal((1261, 1)) * 0.01
    returns = common * rng.uniform(0.5, 1.5, symbols) + rng.standard_normal((1261, symbols)) * 0.015
    names = tuple(f"N{number:04d}" for number in range(symbols))
    days = np.arange(1261) + np.datetime64("2018-01-01")
    known = Closes(tuple(map(str, days)), names, 100.0 * np.cumprod(1.0 + returns, axis=0))
    mark = known.price[-1].copy()
    return market_of(build(known, None, 500), names, {}, mark, mark, np.float32)


def book(symbols: int) -> csr_array:
    """Portfolios of 20 positions each, a tenth of them short."""
    rng = np.random.default_rng(11)
    held = np.argsort(rng.random((PORTFOLIOS, symbols)), axis=1)[:, :POSITIONS]
    held.sort(axis=1)
    quantity = rng.integers(1, 500, held.shape) * np.where(rng.random(held.shape) < 0.1, -1.0, 1.0)
    starts = np.arange(PORTFOLIOS + 1, dtype=np.int32) * POSITIONS
    return csr_array((quantity.ravel(), held.ravel().astype(np.int32), starts), shape=(PORTFOLIOS, symbols))


def loop(quantity: csr_array, market: Market) -> np.ndarray:
    """The same, portfolio by portfolio: (portfolio, 3)."""
    answers = np.empty((quantity.shape[0], 3))
    for row in range(quantity.shape[0]):
        where = slice(quantity.indptr[row], quantity.indptr[row + 1])
        symbols = quantity.indices[where]
        exposure = (quantity.data[where] * market.mark[symbols]).astype(np.float32)
        pnl = exposure @ market.filtered[symbols]
        worst = np.sort(np.partition(pnl, 25)[:26])
        answers[row] = -worst[25], -worst[5], -(worst[:12].sum() + 0.5 * worst[12]) / 12.5
    return answers


def measure(name: str, market: Market, rounds: int) -> dict[str, object]:
    """Kernel and loop in turn."""
    quantity = book(len(market.mark))
    some = quantity[:LOOPED]
    kernel_seconds, loop_seconds = [], []
    tails(quantity, market)
    for number in range(rounds):
        if sys.stderr.isatty():
            print(f"\r{name}: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        began = time.perf_counter()
        var_95, var_99, es_975 = tails(quantity, market)
        kernel_seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        answers = loop(some, market)
        loop_seconds.append(time.perf_counter() - began)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    ours = np.column_stack([var_95.value_at_risk, var_99.value_at_risk, es_975.expected_shortfall])[:LOOPED]
    worst = float(np.max(np.abs(ours - answers) / np.abs(answers)))
    if worst > 1e-5:
        raise SystemExit(f"{name}: the loop and the kernel differ by {worst:.1e}")
    kernel, looped = PORTFOLIOS / statistics.median(kernel_seconds), LOOPED / statistics.median(loop_seconds)
    return {
        "universe": name,
        "kernel_per_second": round(kernel),
        "kernel_per_second_best": round(PORTFOLIOS / min(kernel_seconds)),
        "loop_per_second": round(looped),
        "ratio": round(kernel / looped, 1),
        "largest_difference": worst,
    }


def memory() -> dict[str, object]:
    """Bytes of engine state for a portfolio of 20 positions, as Python and numpy allocate them, and of the market."""
    positions = [Position(symbol, 1.0, sector=sector) for symbol, sector in sorted(closes.SECTORS.items())]
    tracemalloc.start()
    held = Book()
    for number in range(BOOK):
        update = PortfolioUpdate(
            f"portfolio-{number:06d}", f"advisor-{number % 500}", positions, f"client-{number:06d}"
        )
        held.apply(update, 0, Origin(0, number))
        if number % BATCH == 0:
            held.open_rows()  # as the engine does after each poll: only then it is all in arrays
    held.open_rows()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    market = bundled()
    arrays = (market.historical, market.filtered, market.long_run, market.long_run_factor)
    return {
        "bytes_per_portfolio": round(taken / BOOK),
        "bytes_per_symbol_of_the_market": round(sum(array.nbytes for array in arrays) / len(market.mark)),
    }


def processor() -> str:
    """What this ran on, as far as the system tells."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    vectors = "AVX-512" if any("avx512f" in line for line in lines) else "no AVX-512"
    return f"{model}, {vectors}, numpy {np.__version__}"


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(description="Full revaluations a second on one core, beside a plain loop.")
    options.add_argument("--rounds", type=int, default=15, help="how often each is timed (default 15)")
    options.add_argument("--json", type=Path, help="write the figures to this file as well")
    told = options.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():
        # Per core: numpy hears it only before it is imported, so we begin again.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    figures = [
        measure("20 bundled stocks", bundled(), told.rounds),
        measure("500 drawn names", drawn(500), told.rounds),
    ]
    state = memory()
    print(f"{processor()}; {POSITIONS} positions x 500 scenarios, float32, one thread, median of {told.rounds}\n")
    print(f"{'universe':<20}{'kernel/s':>12}{'best':>12}{'loop/s':>12}{'ratio':>8}")
    for row in figures:
        print(
            f"{row['universe']:<20}{row['kernel_per_second']:>12,}{row['kernel_per_second_best']:>12,}"
            f"{row['loop_per_second']:>12,}{row['ratio']:>8}"
        )
    print(
        f"\nengine state: {state['bytes_per_portfolio']} bytes for each of {BOOK:,} portfolios of {POSITIONS}"
        f" positions; {state['bytes_per_symbol_of_the_market']:,} bytes a symbol of the market"
    )
    if told.json:
        told.json.write_text(
            json.dumps({"processor": processor(), "kernel": figures, "memory": state}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
