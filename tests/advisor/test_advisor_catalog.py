"""The catalogue's data, and the operator's corrections of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor.catalog import accelerators, carbon, files, prices
from advisor.catalog.accelerators import ACCELERATORS, BY_NAME, by_device_name
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence

NAMED_IN_THE_MISSION = [
    "H100-SXM",
    "H200-SXM",
    "B200-SXM",
    "GB200",
    "B300-SXM",
    "GB300",
    "MI300X",
    "MI325X",
    "MI355X",
    "TPU-v5e",
    "TPU-v5p",
    "TPU-v6e",
    "TPU-v7x",
    "Trainium1",
    "Trainium2",
    "Inferentia2",
    "Gaudi2",
    "Gaudi3",
    "Maia-100",
    "MTIA-v2",
    "Groq-LPU",
    "WSE-3",
    "Bow-2000",
    "SN40L",
    "A100-SXM-80G",
    "L4",
    "L40S",
    "RTX-PRO-6000",
    "H20",
]


@pytest.mark.parametrize("name", NAMED_IN_THE_MISSION)
def test_every_system_of_the_mission_is_there(name: str) -> None:
    """Each figure of each entry has a source and a date."""
    entry = BY_NAME[name]
    figures = [
        n
        for n in (*(f for f in entry.__slots__ if f.endswith(("_tflops", "_ratio", "_w", "_s"))),)
        if getattr(entry, n) is not None
    ]

    assert set(figures) <= set(entry.sources)
    assert "memory_gb" in entry.sources
    assert all(s.title and s.as_of != "not stated" for s in entry.sources.values())


def test_peaks_are_ordered_and_shares_are_shares() -> None:
    """A narrower format is never slower, what is reached never exceeds the peak."""
    for a in ACCELERATORS:
        assert a.bf16_tflops is None or (a.fp8_tflops or a.bf16_tflops) >= a.bf16_tflops
        assert a.fp8_tflops is None or (a.fp4_tflops or a.fp8_tflops) >= a.fp8_tflops
        assert a.measured_bandwidth_ratio is None or 0 < a.measured_bandwidth_ratio < 1
        assert a.serving_ratio is None or 0.5 < a.serving_ratio < 1.5


def test_peak_by_width_of_weights() -> None:
    """FP4 on B200, the next wider format where there is no FP4, nothing where nothing is known."""
    assert BY_NAME["B200-SXM"].tflops(0.5) == 9000
    assert BY_NAME["H100-SXM"].tflops(0.5) == 1979
    assert BY_NAME["A100-SXM-80G"].tflops(1) == 312
    assert BY_NAME["Groq-LPU"].tflops(2) is None


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", None),  # half the memory: not the 80 GB part
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80G"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA GB300", "GB300"),
        ("AMD Instinct MI355X", "MI355X"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA L40", None),
    ],
)
def test_drivers_names(device: str, name: str | None) -> None:
    """Whole words only: L4 is not L40, H20 is not H200, 40 GB is not 80 GB."""
    found = by_device_name(device)

    assert name == (found.name if found else None)


def test_operators_file_corrects_and_extends() -> None:
    """A bare number counts as the operator's own; a new accelerator is added; others stay."""
    own: dict[str, Any] = {
        "as_of": "2026-11-01",
        "sources": {"lab": {"title": "our lab", "as_of": "2026-10"}},
        "accelerators": [
            {"name": "B300-SXM", "serving_ratio": 0.5, "power_w": [1050.0, "lab"]},
            {"name": "NPU-1", "memory_gb": 64, "bandwidth_tb_s": 1.0},
        ],
        "prices": [
            {"provider": "verda", "accelerator": "H100-SXM", "usd_per_hour": 1.99},
            {"provider": "own hall", "accelerator": "NPU-1", "usd_per_hour": 0.7},
        ],
    }
    found = {a.name: a for a in accelerators.load(own)}
    sold = {(p.provider, p.accelerator): p for p in prices.load(own)}

    assert found["B300-SXM"].serving_ratio == 0.5
    assert found["B300-SXM"].bf16_tflops == BY_NAME["B300-SXM"].bf16_tflops
    assert found["B300-SXM"].sources["power_w"].title == "our lab"
    assert found["B300-SXM"].sources["serving_ratio"].as_of == "2026-11-01"
    assert found["NPU-1"].bf16_tflops is None
    assert found["H100-SXM"] == BY_NAME["H100-SXM"]
    assert sold["verda", "H100-SXM"].usd_per_hour == 1.99
    assert files.SETTING in sold["own hall", "NPU-1"].source.title
    assert Confidence.MEASURED is sold["own hall", "NPU-1"].source.confidence


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"accelerators": [{"name": "H100-SXM", "power_w": -5}]}, r"power_w.*-5"),
        ({"accelerators": [{"name": "H100-SXM", "bf16_tflops": "fast"}]}, "bf16_tflops.*'fast'"),
        ({"accelerators": [{"name": "H100-SXM", "tdp": 5}]}, r"accelerators\.0\.tdp=5"),
        ({"accelerators": [{"name": "NPU-1"}]}, "'NPU-1': memory_gb is missing"),
        ({"accelerators": [{"name": "L4", "power_w": [70.0, "lab"]}]}, "source='lab'"),
        ({"accelerators": [{"name": "L4", "power_w": float("inf")}]}, "power_w.*inf"),
    ],
)
def test_errors_name_field_and_value(own: dict[str, Any], message: str) -> None:
    """What is wrong in the operator's file is said with its field and value."""
    with pytest.raises(Misconfigured, match=message):
        accelerators.load(own)


def test_operators_file_is_read_from_disk(tmp_path: Path) -> None:
    """No file is no content; a missing, broken or odd one is an error with its path."""
    broken, odd = tmp_path / "broken.yaml", tmp_path / "odd.yaml"
    broken.write_text("a: [1")
    odd.write_text("- 1")

    assert files.operators(None) == {}
    with pytest.raises(Misconfigured, match="cannot read"):
        files.operators(tmp_path / "none.yaml")
    with pytest.raises(Misconfigured, match="not YAML"):
        files.operators(broken)
    with pytest.raises(Misconfigured, match="found list"):
        files.operators(odd)


def test_operators_spot_above_on_demand_is_refused() -> None:
    """TPU v4 pods were listed at 3.686 spot and 3.22 on demand (gpuhunt): bad data, ours or not."""
    row = {"provider": "x", "accelerator": "L4", "usd_per_hour": 3.22, "spot_usd_per_hour": 3.686}

    assert not [p for p in prices.load({"prices": [row]}) if p.provider == "x"]


def test_the_example_of_the_manual_is_a_catalogue() -> None:
    """The YAML in docs/models.md loads: an own measurement ranks Gaudi 3, own price and grid."""
    manual = Path(__file__).parents[2] / "docs" / "models.md"
    example = yaml.safe_load(manual.read_text("utf-8").split("```yaml")[1].split("```")[0])

    found = {a.name: a for a in accelerators.load(example)}
    assert found["Gaudi3"].serving_ratio is not None
    assert "own hall" in {p.provider for p in prices.load(example)}
    assert "own" in carbon.load(example)
