"""Published data beside the repository (`../shared/data`): tests that use it skip without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).parents[2] / "shared" / "data"


def data(path: str) -> Path:
    """A file of the published data; skips the test, with a line, where it is not there."""
    found = DATA / path
    if not found.exists():
        pytest.skip(f"published data {path} is not beside the repository (../shared/data)")
    return found


def table(path: str) -> NDArray[np.float64]:
    """A CSV file of numbers under one line of names."""
    return np.atleast_2d(np.genfromtxt(data(path), delimiter=",", skip_header=1))


def azure(kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Arrival seconds, prompt tokens and answer tokens of an Azure 2023 trace: code or conv."""
    rows = np.loadtxt(
        data(f"azure-llm-2023/AzureLLMInferenceTrace_{kind}.csv"),
        delimiter=",",
        skiprows=1,
        dtype=str,
    )
    times = rows[:, 0].astype("datetime64[ns]").astype(np.int64) / 1e9
    return times, rows[:, 1].astype(float), rows[:, 2].astype(float)
