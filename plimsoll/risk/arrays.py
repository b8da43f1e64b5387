"""The kinds of array that the mathematics takes and gives. Axes are named in each docstring, singular, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Sparse: TypeAlias = "csr_array[Any, tuple[int, int]]"
"""Compressed sparse rows without duplicate entries; a row is a portfolio, a column a symbol."""
