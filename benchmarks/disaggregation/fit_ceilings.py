"""Fits the four figures of a ceiling to measured kernel tables; prints them with their error.

Usage: `PYTHON benchmarks/disaggregation/fit_ceilings.py TABLES`, in an environment with numpy,
pandas, pyarrow and scipy (that of `aiconfigurator` has the first three). TABLES is `systems/data`
of `aiconfigurator_core` 0.12.0, or any folder with its `SYSTEM/gemm/BACKEND/VERSION/*.parquet`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

# Peak FLOP/s in 16 bit and bytes/s: aiconfigurator's system files
PEAKS = {
    "a100_sxm": (312e12, 2.039e12),
    "h100_sxm": (989e12, 3.35e12),
    "h200_sxm": (989e12, 4.8e12),
    "b200_sxm": (2250e12, 7.7e12),
    "l40s": (362.05e12, 0.864e12),
    "rtx_pro_6000_server": (467.8e12, 1.792e12),
}
FORMATS = {"bfloat16": (1, 2.0), "fp8": (2, 1.0), "nvfp4": (4, 0.5625)}  # peak factor, bytes
LOW, HIGH = np.log([1e-6, 0.1, 0.2, 1]), np.log([15e-6, 1, 1, 6])
FIRST = np.log([4e-6, 0.7, 0.8, 2])


def seconds(logs: np.ndarray, compute: np.ndarray, traffic: np.ndarray) -> np.ndarray:
    """`launch + (compute^p + bytes^p)^(1/p)`, both at their share of the peak."""
    launch, share, bandwidth, p = np.exp(logs)
    total: np.ndarray = launch + ((compute / share) ** p + (traffic / bandwidth) ** p) ** (1 / p)
    return total


def fit(table: pd.DataFrame, peak: float, bandwidth: float, width: float) -> tuple[np.ndarray, ...]:
    """The four figures and the relative errors they leave, of products as large as a model's."""
    fastest = table.groupby(["m", "n", "k"], as_index=False).latency.min()
    size = fastest.n * fastest.k
    inside = (fastest[["n", "k"]].min(axis=1) >= 1024) & (fastest[["n", "k"]].max(axis=1) <= 16_384)
    fastest = fastest[inside & (size >= 8e6)]
    m, n, k, ms = (fastest[c].to_numpy(float) for c in ("m", "n", "k", "latency"))
    compute = 2 * m * n * k / peak
    traffic = (width * (n * k + m * k) + 2 * m * n) / bandwidth

    def off(logs: np.ndarray) -> np.ndarray:
        errors: np.ndarray = np.log(seconds(logs, compute, traffic) / ms * 1e3)
        return errors

    found = least_squares(off, FIRST, bounds=(LOW, HIGH), loss="soft_l1", f_scale=0.1)
    return np.exp(found.x), np.abs(np.expm1(off(found.x)))


def main() -> None:
    """Print a row for each system, backend and format."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("system,backend,format,launch_us,compute,bandwidth,sharpness,median_error,p90_error,rows")
    for system, (peak, bandwidth) in PEAKS.items():
        for path in sorted(Path(sys.argv[1], system, "gemm").glob("*/*/*.parquet")):
            table = pd.read_parquet(path)
            for name, (factor, width) in FORMATS.items():
                rows = table[table.gemm_dtype == name]
                if len(rows) < 1000:
                    continue
                figures, errors = fit(rows, peak * factor, bandwidth, width)
                launch, share, reached, sharp = figures
                print(
                    f"{system},{path.parts[-3]},{name},{launch * 1e6:.1f},{share:.3f},"
                    f"{reached:.3f},{sharp:.2f},{np.median(errors):.3f},"
                    f"{np.quantile(errors, 0.9):.3f},{len(errors)}"
                )


if __name__ == "__main__":
    main()
