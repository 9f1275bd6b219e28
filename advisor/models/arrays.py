"""Types of the vectorised models: every quantity is a number or an array of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = float | Sequence[float] | Floats
"""What models take; they answer with `Floats` of the broadcast shape (0-dimensional of numbers)."""


def floats(values: Numbers) -> Floats:
    """The values as an array."""
    return np.asarray(values, dtype=np.float64)
