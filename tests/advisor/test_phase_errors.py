"""How far the models are from what was measured: bounds on the tables of docs/models/latency.md."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.catalog import ceilings
from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import Format
from benchmarks.disaggregation import measure_errors
from tests import published


@pytest.mark.parametrize(
    ("name", "median", "ninth"),
    [
        ("ml-energy ITL, dense", 0.12, 0.25),
        ("ml-energy J/token, dense", 0.13, 0.25),
        ("ml-energy J/token, mixtures", 0.20, 0.40),
        ("ml-energy tokens/s, dense", 0.13, 0.45),
        ("ml-energy tokens/s, mixtures", 0.16, 0.40),
        ("ml-energy power", 0.10, 0.30),
        ("ml-energy ITL, mixtures", 0.12, 0.30),
    ],
)
def test_ml_energy(name: str, median: float, ninth: float) -> None:
    """VLLM on H100 and B200: latency, energy and power stay as near as published."""
    off = np.abs(measure_errors.errors(measure_errors.ml_energy())[name] - 1)

    assert len(off) >= 25
    assert np.median(off) <= median
    assert np.quantile(off, 0.9) <= ninth


@pytest.mark.parametrize(
    ("name", "median", "ninth"),
    [("Splitwise token", 0.10, 0.32), ("Splitwise prompt", 0.20, 0.45)],
)
def test_splitwise(name: str, median: float, ninth: float) -> None:
    """llama2-70b and BLOOM-176B at TP2 to TP8 on A100 and H100, 104 cells."""
    published.data("splitwise-sim/perf_model.csv")
    off = np.abs(measure_errors.errors(measure_errors.splitwise())[name] - 1)

    assert len(off) > 90
    assert np.median(off) <= median
    assert np.quantile(off, 0.9) <= ninth


@pytest.mark.parametrize(
    ("name", "median", "ninth"),
    [("DistServe decode", 0.15, 0.35), ("DistServe prefill", 0.19, 0.35)],
)
def test_distserve(name: str, median: float, ninth: float) -> None:
    """OPT-13B, 66B and 175B on A100."""
    published.data("distserve/profiler-a100-80g.distserve.json")
    off = np.abs(measure_errors.errors(measure_errors.distserve())[name] - 1)

    assert len(off) >= 20
    assert np.median(off) <= median
    assert np.quantile(off, 0.9) <= ninth


def test_rtx_4090() -> None:
    """VLLM 0.19 with a full cache on a card the catalogue does not have."""
    published.data("llmservingsim/RTX4090_Llama-3.1-8B/timeseries.csv")
    (ratios,) = measure_errors.errors(measure_errors.rtx_4090()).values()

    assert np.median(np.abs(ratios - 1)) <= 0.15


@pytest.mark.parametrize(
    ("file", "accelerator", "stored", "name", "bound"),
    [
        ("a100_sxm_vllm-0.14.0", "A100-SXM-80G", Format.BF16, "bfloat16", 0.08),
        ("h100_sxm_vllm-0.24.0", "H100-SXM", Format.BF16, "bfloat16", 0.08),
        ("h100_sxm_vllm-0.24.0", "H100-SXM", Format.FP8, "fp8", 0.17),
        ("b200_sxm_vllm-0.24.0", "B200-SXM", Format.BF16, "bfloat16", 0.09),
        ("b200_sxm_vllm-0.24.0", "B200-SXM", Format.FP4, "nvfp4", 0.17),
    ],
)
def test_ceilings_of_matrix_products(
    file: str, accelerator: str, stored: Format, name: str, bound: float
) -> None:
    """Four figures stand for a table of thousands of measured products."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = published.data(f"aiconfigurator-perf/{file}_gemm.parquet")
    columns = ["gemm_dtype", "m", "n", "k", "latency"]
    rows = parquet.read_table(path, columns=columns, filters=[("gemm_dtype", "=", name)])
    m, n, k, ms = (rows[c].to_numpy().astype(float) for c in columns[1:])
    large = (n * k >= 8e6) & (n <= 16_384) & (k <= 16_384) & (n >= 1024) & (k >= 1024)
    m, n, k, ms = (v[large] for v in (m, n, k, ms))
    gpu = BY_NAME[accelerator]
    size = stored.bytes_per_element
    flops = 2 * m * n * k / ceilings.peak_flops(gpu, ceilings.computes_in(gpu, stored))
    traffic = (size * (n * k + m * k) + 2 * m * n) / ceilings.peak_bytes_per_second(gpu)

    ours = ceilings.gemm(gpu, stored).seconds(flops, traffic) * 1e3

    assert len(ms) > 2000
    assert np.median(np.abs(ours / ms - 1)) <= bound
