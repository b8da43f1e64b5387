"""The tests of the web pages' sources. Node and npm are those of the client tests, from the wheel."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))
