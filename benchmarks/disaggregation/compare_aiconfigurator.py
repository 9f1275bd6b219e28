"""Disaggregate or not: our planner beside PyPI `aiconfigurator` on a grid of questions.

Usage: `python -m benchmarks.disaggregation.compare_aiconfigurator PYTHON [ANSWERS]`. PYTHON is the
interpreter of another environment with `aiconfigurator` (0.12.0 made docs/models.md); it is asked
through `aic_runner.py`, some 20 s a question, unless ANSWERS already holds its JSON lines. Prints a
row a question: gain of apart over together and decision of both, then how often they agree, also
with random arrivals: AIConfigurator takes 1.8 times the prefill as a pool's TTFT, its queue.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import decision as dc
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload

RUNNER = Path(__file__).with_name("aic_runner.py")
SHAPES = ((8000, 200), (4000, 500), (2000, 200), (1000, 1000), (500, 4000))
OBJECTIVES_MS = ((300, 10), (600, 20), (1000, 30), (2000, 50))
CASES = (  # served model, ours, format, system, ours, GPUs, shapes
    ("Qwen/Qwen3-32B-FP8", "qwen3-32b", "fp8", "h200_sxm", "H200-SXM", 32, (0, 1, 2, 3, 4)),
    (
        "nvidia/Llama-3.1-70B-Instruct-FP8",
        "llama3-70b",
        "fp8",
        "h100_sxm",
        "H100-SXM",
        32,
        (0, 1, 3, 4),
    ),
    ("nvidia/Llama-3.1-70B-Instruct-FP8", "llama3-70b", "fp8", "b200_sxm", "B200-SXM", 16, (0, 3)),
    ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b", "fp8", "h200_sxm", "H200-SXM", 32, (0, 1, 3)),
)
MARGIN = dc.MARGIN_RATIO
ARRIVAL_CVS = (0.0, 0.5, 1.0)


def questions() -> Iterator[dict[str, Any]]:
    """The grid."""
    for model, ours, stored, system, accelerator, gpus, shapes in CASES:
        for isl, osl in (SHAPES[i] for i in shapes):
            for ttft, tpot in OBJECTIVES_MS:
                yield {
                    "model": model,
                    "ours": ours,
                    "format": stored,
                    "system": system,
                    "accelerator": accelerator,
                    "gpus": gpus,
                    "isl": isl,
                    "osl": osl,
                    "ttft_ms": ttft,
                    "tpot_ms": tpot,
                }


def theirs(python: str) -> Iterator[dict[str, Any]]:
    """AIConfigurator's answers, one process for all questions."""
    asked = "".join(json.dumps(q) + "\n" for q in questions())
    done = subprocess.run(
        [python, str(RUNNER)], input=asked, text=True, capture_output=True, check=True
    )
    yield from (json.loads(line) for line in done.stdout.splitlines())


def ours(question: dict[str, Any], arrival_cv: float = 0.0) -> tuple[dc.Decision, float]:
    """Our decision in AIConfigurator's terms: means, steady load unless told so; seconds taken."""
    replica = Replica(
        model=MODELS[question["ours"]],
        accelerator=BY_NAME[question["accelerator"]],
        layout=Layout(tensor=8),
        weights=Format(question["format"]),
        cache=Format.FP8,
    )
    work = Workload(
        prompt_tokens=question["isl"],
        output_tokens=question["osl"],
        slo_ttft_seconds=question["ttft_ms"] / 1e3,
        slo_tpot_seconds=question["tpot_ms"] / 1e3,
        arrival_cv=arrival_cv,
        attainment_ratio=0.5,
    )
    start = time.perf_counter()
    fleet = dc.Fleet(replica=replica, engines=question["gpus"] // 8, network_gbps=3200)
    return dc.decide(fleet, work), time.perf_counter() - start


def _rates(answer: dict[str, Any]) -> tuple[float, float]:
    agg, disagg = (float(answer["best"].get(k, [0.0])[0]) for k in ("agg", "disagg"))
    return agg, disagg


def _theirs(answer: dict[str, Any]) -> bool:
    agg, disagg = _rates(answer)
    return _ratio(disagg, agg) >= 1 + MARGIN


def _ratio(apart: float, together: float) -> float:
    if together > 0:
        return apart / together
    return float("inf") if apart > 0 else 0.0


def main() -> None:
    """Print the comparison."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    answers = (
        [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
        if len(sys.argv) > 2
        else list(theirs(sys.argv[1]))
    )
    print(
        "model,system,isl,osl,ttft_ms,tpot_ms,aic_agg,aic_disagg,our_agg,our_disagg,aic,ours,same"
    )
    same, rows = 0, 0
    speed: list[tuple[float, float]] = []
    errors: list[float] = []
    for answer in answers:
        if "best" not in answer:
            continue
        found, seconds = ours(answer)
        agg, disagg = _rates(answer)
        osl = answer["osl"]
        here = (
            found.together.rate_per_gpu * osl if found.together else 0.0,
            found.apart.rate_per_gpu * osl if found.apart else 0.0,
        )
        aic, mine = _ratio(disagg, agg), _ratio(here[1], here[0])
        agree = _theirs(answer) is found.advised
        same, rows = same + agree, rows + 1
        speed.append((answer["seconds"], seconds))
        errors.extend(m / t for m, t in zip(here, (agg, disagg), strict=True) if t > 0 and m > 0)
        cells = (agg, disagg, *here, aic, mine)
        print(
            answer["ours"],
            answer["system"],
            *(answer[k] for k in ("isl", "osl", "ttft_ms", "tpot_ms")),
            *(f"{c:.4g}" for c in cells),
            "yes" if agree else "NO",
            sep=",",
        )
    took = np.array(speed)
    ratio = np.array(errors)
    print(f"decisions that agree: {same} of {rows}")
    for cv in ARRIVAL_CVS[1:]:
        agreed = sum(_theirs(a) is ours(a, cv)[0].advised for a in answers if "best" in a)
        print(f"with gaps between arrivals of CV {cv:g}: {agreed} of {rows}")
    print(
        f"tokens/s/GPU, ours over theirs: median {np.median(ratio):.2f}, 80 % between "
        f"{np.quantile(ratio, 0.1):.2f} and {np.quantile(ratio, 0.9):.2f}"
    )
    print(f"time a question: theirs {took[:, 0].mean():.1f} s, ours {took[:, 1].mean():.3f} s")


if __name__ == "__main__":
    main()
