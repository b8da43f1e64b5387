"""What the web pages know by themselves, held to the code that it is taken from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from nodes import NODE, environment

from engine.revalue import WATERMARK_DIGITS, sequence_of
from plimsoll.messages import QUANTITY_MAX
from plimsoll.refusals import IDENTIFIER_PATTERN
from plimsoll.risk import score

SOURCES = Path(__file__).parents[2] / "dashboard" / "src"


def evaluated(module: str, expression: str) -> Any:
    """What an expression is worth, where `it` is a module of the pages."""
    program = (
        f"import * as it from {json.dumps((SOURCES / module).as_uri())}; console.log(JSON.stringify({expression}))"
    )
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", program], env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_risk_number_is_in_the_band_that_the_mathematics_puts_it_in() -> None:
    bands = evaluated("store/risk_scale.ts", "Array.from({length: 99}, (_, index) => it.bandAt(index + 1))")
    assert bands == [score.risk_band(number).value for number in range(1, 100)]


def test_the_scale_begins_and_ends_and_is_at_risk_where_the_mathematics_has_it() -> None:
    scale = evaluated("store/risk_scale.ts", "it")
    assert scale["AT_RISK_FROM"] == score.AT_RISK_NUMBER
    assert scale["MODERATE_FROM"] == next(number for number in range(1, 100) if score.risk_band(number) != "LOW")
    anchors = [number for _, number in score.ANCHORS]
    assert (scale["NUMBER_MIN"], scale["NUMBER_MAX"]) == (anchors[0], anchors[-1])


def test_a_symbol_and_a_quantity_are_refused_where_the_api_would_refuse_them() -> None:
    known = evaluated("store/trades.ts", "{symbol: it.SYMBOL.source, most: it.QUANTITY_MAX}")
    # In JavaScript `$` is the very end; in Python it stands before a last line feed as well.
    assert known == {"symbol": IDENTIFIER_PATTERN.removesuffix(r"(?!\n)"), "most": QUANTITY_MAX}


def test_a_sequence_tells_of_which_statement_it_is() -> None:
    assert evaluated("elements/tabs/whatif_sending.ts", "it.WATERMARK_DIGITS") == WATERMARK_DIGITS
    assert sequence_of(34, 12_540)[:-WATERMARK_DIGITS] == "34"
