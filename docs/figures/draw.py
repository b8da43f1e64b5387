"""The figures of RISK-MODEL.md, from the bundled closes: `make figures`, or `uv run python docs/figures/draw.py`.

Plain SVG, written here: three axes and a few lines need no library, a text can be compared in a diff, and its style
follows whether the reader's page is light or dark. Prints the counts that the text quotes. The same closes draw the
same bytes.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.backtest import Hold, rolling
from plimsoll.risk.measures import SESSIONS_IN_YEAR
from plimsoll.risk.methods import Method, Model
from plimsoll.risk.score import risk_score
from plimsoll.risk.tails import TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99, tail_risk
from plimsoll.risk.volatility import ewma_volatility, filtered_returns

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLOSES = ROOT / "producer" / "data" / "sp500_dataset.csv.gz"
POSITIONS = ROOT / "examples" / "portfolios.csv"
PORTFOLIO = "broad"
WINDOW = 500
MODEL = Model()
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 860, 320, 56, 30, 28
STYLE = """
text{font:12px system-ui,sans-serif;fill:#57606a}.axis{stroke:#8c959f;fill:none}.bar{fill:#8c959f}
.plain{stroke:#bc4c00;fill:none;stroke-width:1.4}.filtered{stroke:#0969da;fill:none;stroke-width:1.4}
.plain-dot{fill:#bc4c00}.filtered-dot{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#9198a1}.plain{stroke:#f0883e}.filtered{stroke:#58a6ff}
.plain-dot{fill:#f0883e}.filtered-dot{fill:#58a6ff}}
"""
Point: TypeAlias = tuple[float, float]


class Plane:
    """A rectangle of numbers on the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = x, y
        self._parts: list[str] = []

    def at(self, x: float, y: float) -> Point:
        """Where a pair of numbers lies on the picture."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return LEFT + across * (WIDTH - LEFT - 16), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    def line(self, points: Iterable[Point], style: str) -> None:
        """Straight from each point to the next."""
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*each) for each in points))
        self._parts.append(f'<polyline class="{style}" points="{told}"/>')

    def dot(self, point: Point, style: str) -> None:
        """A point that is looked at."""
        x, y = self.at(*point)
        self._parts.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>')

    def bars(self, bars: Iterable[tuple[float, float, float]]) -> None:
        """From zero upwards or downwards, each (left, right, height): one path, which is a third of as many boxes."""
        told = ""
        for left, right, height in bars:
            (x, y), (end, zero) = self.at(left, height), self.at(right, 0.0)
            told += f"M{x:.1f} {zero:.1f}V{y:.1f}H{end:.1f}V{zero:.1f}"
        self._parts.append(f'<path class="bar" d="{told}"/>')

    def text(self, point: Point, told: str, anchor: str = "middle") -> None:
        """Words, a little above a point."""
        x, y = self.at(*point)
        self._parts.append(f'<text x="{x:.1f}" y="{y - 5:.1f}" text-anchor="{anchor}">{told}</text>')

    def axes(self, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]]) -> None:
        """Both axes with their marks."""
        self.line([(self._x[0], self._y[1]), (self._x[0], self._y[0]), (self._x[1], self._y[0])], "axis")
        for value, told in x:
            across, up = self.at(value, self._y[0])
            self._parts.append(f'<text x="{across:.1f}" y="{up + 18:.1f}" text-anchor="middle">{told}</text>')
        for value, told in y:
            across, up = self.at(self._x[0], value)
            self._parts.append(f'<text x="{across - 6:.1f}" y="{up + 4:.1f}" text-anchor="end">{told}</text>')

    def save(self, name: str, title: str) -> None:
        """Write the picture."""
        parts = "\n".join(self._parts)
        (HERE / name).write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n"
            f'<text x="{LEFT}" y="16">{title}</text>\n{parts}\n</svg>\n',
            encoding="utf-8",
        )


def main() -> None:
    """Draw everything."""
    sessions, closes, quantity = read()
    draw_years(sessions, closes, quantity, "2007-01-01", "2010-12-31", "var-2007-2010.svg")
    draw_years(sessions, closes, quantity, "2020-01-01", "2020-12-31", "var-2020.svg")
    draw_distribution(sessions, closes, quantity, "2020-02-19")
    draw_risk_number()


def read() -> tuple[list[str], FloatArray, FloatArray]:
    """Sessions, closes (session, symbol), and the portfolio's quantities (1, symbol)."""
    with gzip.open(CLOSES, "rt", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    with POSITIONS.open(encoding="utf-8", newline="") as file:
        held = {
            row["symbol"]: float(row["quantity"]) for row in csv.DictReader(file) if row["portfolio_id"] == PORTFOLIO
        }
    quantity = np.array([[held.get(symbol, 0.0) for symbol in head[1:]]])
    return [row[0][:10] for row in rows], np.array([row[1:] for row in rows], np.float64), quantity


def draw_years(
    sessions: Sequence[str], closes: FloatArray, quantity: FloatArray, first: str, last: str, name: str
) -> None:
    """Each session's P&L, and 99 % value at risk of the evening before by two methods."""
    # Rolling begins with the first judged session; the years before it warm the volatilities up.
    end = sum(session <= last for session in sessions)
    begin = max(0, sum(session < first for session in sessions) - WINDOW - SESSIONS_IN_YEAR)
    judged = (Method.HISTORICAL, Method.FILTERED_HISTORICAL)
    rolled = rolling(
        closes[begin:end], quantity, window=WINDOW, methods=judged, probabilities=[TAIL_VAR_99], model=MODEL,
        hold=Hold.WEIGHTS,
    )  # fmt: skip
    value = float(quantity[0] @ closes[end - 1])
    days = sessions[begin + rolled.first : end]
    shown = slice(sum(day < first for day in days), None)
    pnl = 100 * rolled.pnl[0, shown] / value
    plane = Plane((0, len(pnl)), (-14.0, 14.0))
    marks = [(number, day[:7]) for number, day in enumerate(days[shown]) if number % (len(pnl) // 6) == 0]
    plane.axes(marks, [(each, f"{each:g}%") for each in (-10, -5, 0, 5, 10)])
    plane.bars((number, number + 0.6, made) for number, made in enumerate(pnl.tolist()))
    counts = {}
    for method, style in zip(judged, ("plain", "filtered"), strict=True):
        at_risk = 100 * rolled.value_at_risk[method][0, 0, shown] / value
        plane.line([(number + 0.3, -each) for number, each in enumerate(at_risk.tolist())], style)
        beyond = np.flatnonzero(pnl < -at_risk)
        counts[method] = len(beyond)
        for number in beyond.tolist():
            # Side by side where both were exceeded.
            plane.dot((number + 0.3, pnl[number] - (0.5 if style == "filtered" else 0.0)), f"{style}-dot")
    told = ", ".join(f"{method.label.lower()}: {counts[method]}" for method in judged)
    print(f"{name}: {len(pnl)} sessions, due {len(pnl) * TAIL_VAR_99:.0f}, beyond: {told}")
    plane.save(name, f"99 % value at risk and P&amp;L of {PORTFOLIO}: plain (orange), filtered (blue); dots lie beyond")


def draw_distribution(sessions: Sequence[str], closes: FloatArray, quantity: FloatArray, as_of: str) -> None:
    """Filtered scenario P&L of the portfolio on one evening, with its value at risk and expected shortfall."""
    known = closes[: sum(session <= as_of for session in sessions)]
    returns = known[1:] / known[:-1] - 1.0
    volatility = ewma_volatility(returns, MODEL.decay)
    filtered = filtered_returns(returns[-WINDOW:], volatility[-WINDOW - 1 : -1], volatility[-1])
    exposure = quantity * known[-1]
    pnl = 100 * (exposure @ filtered.T) / exposure.sum()
    counts, edges = np.histogram(pnl, bins=60)
    plane = Plane((float(edges[0]), float(edges[-1])), (0.0, float(counts.max()) * 1.15))
    plane.axes([(each, f"{each:g}%") for each in range(-3, 4) if edges[0] < each < edges[-1]], [])
    plane.bars(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))
    found = tail_risk(pnl, [TAIL_VAR_95, TAIL_VAR_99, TAIL_ES_975])
    measures = (
        ("VaR 95 %", found[0].value_at_risk, "plain", 1.1),
        ("ES 97.5 %", found[2].expected_shortfall, "filtered", 0.9),
        ("VaR 99 %", found[1].value_at_risk, "plain", 0.7),
    )
    for label, loss, style, height in measures:
        at = -float(loss[0])
        top = float(counts.max()) * height
        plane.line([(at, 0.0), (at, top)], style)
        plane.text((at, top), f"{label} {-at:.2f}%")
        print(f"pnl-distribution.svg: {label} {-at:.2f} % of market value")
    plane.save("pnl-distribution.svg", f"What {PORTFOLIO} would make of {WINDOW} filtered scenarios, {as_of}")


def draw_risk_number() -> None:
    """The risk number of a portfolio without a drift, by its annual volatility."""
    volatility = np.linspace(0.0, 0.6, 241)
    score = risk_score(volatility / np.sqrt(SESSIONS_IN_YEAR), np.zeros_like(volatility))
    plane = Plane((0.0, 60.0), (0.0, 100.0))
    plane.axes([(each, f"{each}%") for each in range(0, 61, 10)], [(each, str(each)) for each in (1, 30, 70, 99)])
    for bound in (30.0, 70.0):
        plane.line([(0.0, bound), (60.0, bound)], "axis")
    plane.line(zip((100 * volatility).tolist(), score.tolist(), strict=True), "filtered")
    plane.save("risk-number.svg", "Risk number by annual volatility, for a mean of zero; lines at 30 and 70")


if __name__ == "__main__":
    main()
