"""Errors of the phase and power models against everything measured that is at hand.

Usage: `python -m benchmarks.disaggregation.measure_errors [SILICON_CSV]`. SILICON_CSV is
`aiconfigurator_core/systems/silicon_sample.csv` of PyPI `aiconfigurator-core` 0.12.0 (5,221 points
measured end to end). Other sets are in `../shared/data`; what is absent is left out with a line.
`ml_energy.csv` beside this file is 54 points of the public ML.ENERGY leaderboard, written down as
figures (vLLM, steady state: latency between tokens, power of all GPUs, tokens a second). Prints
model over measurement: median, median error, 90th percentile, worst.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS, Format, by_name
from advisor.models import closed_loop, energy, kv, phases
from advisor.models.replica import (
    BALANCED_RANKS,
    EAGER,
    MODERN,
    PREFILL_FIRST,
    SYNCHRONOUS,
    Layout,
    Replica,
    Stack,
)

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "data"
SYSTEMS = {
    "h100_sxm": "H100-SXM",
    "h200_sxm": "H200-SXM",
    "b200_sxm": "B200-SXM",
    "b300_sxm": "B300-SXM",
}
POOL_SYSTEMS = SYSTEMS | {"gb200": "GB200", "gb300": "GB300"}
STACKS = {"sglang": PREFILL_FIRST, "trtllm": BALANCED_RANKS}
# SGLang looks for requests every 30 steps from 16 in flight on, every 10 below, in InferenceX's
# scripts for these models on Blackwell (--scheduler-recv-interval of dsr1_fp8_b200.sh and others)
POLLED = ("DeepSeek", "Qwen3.5")
POLLED_SYSTEMS = {"b200_sxm", "b300_sxm"}
FORMATS = {"fp8": Format.FP8, "fp4": Format.FP4, "bf16": Format.BF16, "int4": Format.INT4}

Point = tuple[str, float]
"""Name of a set and model over measurement."""


def silicon(path: Path) -> Iterator[Point]:
    """TPOT of engines that prefill and decode at a fixed concurrency (co-located rows)."""
    for row in csv.DictReader(path.open(encoding="utf-8")):
        model = by_name(row["model_path"])
        if row["mode"] != "agg" or row["system"] not in SYSTEMS or model is None:
            continue
        if not row["batch_size"]:
            continue
        tp, pp, dp, ep = (
            max(1, int(float(row[k] or 1)))
            for k in ("tp_size", "pp_size", "attention_dp_size", "moe_ep_size")
        )
        if ep > 1 and max(tp, dp) > 8:  # written down as the product with `ep`
            tp, dp = (tp // ep, dp) if tp > dp else (tp, dp // ep)
        ep = ep if model.experts is not None and (tp * dp) % ep == 0 else 1
        weights = FORMATS.get(row["precision"]) or (
            Format.FP8 if "fp8" in row["gemm_quant_mode"] else Format.BF16
        )
        narrow = row["precision"] in {"fp8", "fp4"}
        fp8_cache = narrow and ("70B" in row["model_path"] or row["backend"] == "trtllm")
        one = Replica(
            model=model,
            accelerator=BY_NAME[SYSTEMS[row["system"]]],
            layout=Layout(tensor=tp, pipeline=pp, data=dp, expert=ep),
            weights=weights,
            cache=Format.FP8 if fp8_cache else Format.BF16,
            stack=_stack(row, dp),
        )
        prompt, output = float(row["isl"]), float(row["osl"])
        batch = int(float(row["batch_size"])) * dp
        # AIConfigurator's own sweeps ask for one length, InferenceX draws from 0.8 of it on
        alike = "aic-auto-gap-analysis" in row["silicon_data_source"]
        found = float(closed_loop.tpot_seconds(one, batch, prompt, output, alike=alike))
        kind = "mixtures of experts" if model.experts else "dense"
        kind = "hybrids" if model.recurrent else kind
        yield f"silicon TPOT, {kind}", found * 1e3 / float(row["silicon_tpot_ms"])
        if float(row["silicon_ttft_ms"] or 0) > 0:
            first = float(closed_loop.ttft_seconds(one, batch, prompt, output, alike=alike))
            yield f"silicon TTFT, {row['backend']}", first * 1e3 / float(row["silicon_ttft_ms"])


def _stack(row: dict[str, str], ranks: int) -> Stack:
    """The engine of a co-located row, as its script sets it."""
    stack = STACKS.get(row["backend"], MODERN)
    polled = any(name in row["model_path"] for name in POLLED) and ranks == 1
    if row["backend"] != "sglang" or not polled or row["system"] not in POLLED_SYSTEMS:
        return stack
    return replace(stack, poll_steps=30 if float(row["batch_size"]) >= 16 else 10)


def silicon_pools(path: Path) -> Iterator[Point]:
    """TPOT of decode pools (disaggregated rows); nothing of ours is fitted to them."""
    for row in csv.DictReader(path.open(encoding="utf-8")):
        model = by_name(row["model_path"])
        if row["mode"] != "disagg" or model is None or not row["decode_batch_size"]:
            continue
        tp, dp, ep = (
            max(1, int(float(row[f"decode_{k}"] or 1)))
            for k in ("tp_size", "attention_dp_size", "moe_ep_size")
        )
        one = Replica(
            model=model,
            accelerator=BY_NAME[POOL_SYSTEMS[row["system"]]],
            layout=Layout(tensor=tp, data=dp, expert=ep if (tp * dp) % ep == 0 else 1),
            weights=FORMATS.get(row["precision"]) or Format.FP8,
            cache=Format.FP8 if row["backend"] == "trtllm" else Format.BF16,
        )
        batch = float(row["decode_batch_size"]) * dp
        context = float(row["isl"]) + float(row["osl"]) / 2
        found = float(phases.decode_step_seconds(one, batch, context))
        kind = "wide expert parallelism" if dp >= 16 else "up to 16 GPUs"
        yield f"silicon pools TPOT, {kind}", found * 1e3 / float(row["silicon_tpot_ms"])


def splitwise() -> Iterator[Point]:
    """Prompt and token times of llama2-70b and BLOOM-176B, engines of 2023; no synthetic rows."""
    path = SHARED / "splitwise-sim" / "perf_model.csv"
    cells: dict[tuple[str, str, int, int, int], list[tuple[float, float]]] = defaultdict(list)
    for row in csv.DictReader(path.open(encoding="utf-8")):
        if row["hardware"].endswith("pcap"):
            continue
        key = (row["model"], row["hardware"], int(row["tensor_parallel"]))
        size = (int(row["prompt_size"]), int(row["batch_size"]))
        cells[*key, *size].append((float(row["prompt_time"]), float(row["token_time"])))
    names = {"a100-80gb": "A100-SXM-80G", "h100-80gb": "H100-SXM"}
    for (model, hardware, tp, prompt, batch), times in cells.items():
        one = Replica(
            model=MODELS[model],
            accelerator=BY_NAME[names[hardware]],
            layout=Layout(tensor=tp),
            stack=EAGER,
        )
        bare = replace(one, memory_ratio=1.0, overhead_bytes_per_gpu=0.0)
        if float(kv.most_sequences(bare, prompt + 128)) < batch:
            continue  # did not fit at once: what was timed is another thing
        first, token = np.median(np.array(times), axis=0) / 1e3
        ours = phases.prefill_seconds(one, prompt, prompts=batch)
        yield "Splitwise prompt", float(ours) / first
        yield "Splitwise token", float(phases.decode_step_seconds(one, batch, prompt + 64)) / token


def distserve() -> Iterator[Point]:
    """Prefill and decode fits of OPT on A100, evaluated at a few sizes."""
    path = SHARED / "distserve" / "profiler-a100-80g.distserve.json"
    profile = json.loads(path.read_text(encoding="utf-8"))
    for name, by_tp in profile.items():
        model = by_name(name)
        for tp, fits in by_tp.items():
            if model is None:
                continue
            one = Replica(
                model=model,
                accelerator=BY_NAME["A100-SXM-80G"],
                layout=Layout(tensor=int(tp)),
                stack=replace(MODERN, step_seconds=1e-3),
            )
            a, b, c = fits["prefill"]
            for n in (128, 512, 1024, 2048):
                measured = (a + b * n + c * n * n) / 1e3
                yield "DistServe prefill", float(phases.prefill_seconds(one, n)) / measured
            for batch, key in ((1, "smallbs"), (32, "smallbs"), (128, "largebs")):
                a, b, c = fits[f"decoding_{key}"]
                measured = (a + b * batch * 512 + c * batch) / 1e3
                ours = phases.decode_step_seconds(one, batch, 512)
                yield "DistServe decode", float(ours) / measured


def ml_energy() -> Iterator[Point]:
    """Inter-token latency and power of vLLM on H100 and B200."""
    for row in csv.DictReader((HERE / "ml_energy.csv").open(encoding="utf-8")):
        yield from ml_energy_points(row)


def ml_energy_points(row: dict[str, str]) -> Iterator[Point]:
    """Latency, throughput and power of one row; prompts of its tasks are some 200 tokens."""
    gpus, batch = int(row["gpus"]), float(row["batch"])
    output, prompt = float(row["output_tokens"]), 200.0
    one = Replica(
        model=MODELS[row["model"]],
        accelerator=BY_NAME[row["accelerator"]],
        layout=Layout(tensor=gpus, expert=int(row["expert"])),
        weights=Format(row["format"]),
        stack=SYNCHRONOUS,
    )
    context = prompt + output / 2
    step = float(phases.decode_step_seconds(one, batch, context))
    kind = "mixtures" if one.model.experts else "dense"
    yield f"ml-energy ITL, {kind}", step * 1e3 / float(row["itl_ms"])
    seconds = batch / float(row["tokens_per_second"])
    done, first = phases.decode_work(one, batch, context), phases.prefill_work(one, prompt)
    work = phases.Work(done.flops + batch / output * first.flops, done.traffic_bytes)
    watts = float(energy.work_power_watts(one, work, seconds))
    yield "ml-energy power", watts / float(row["power_watts"])
    joules = float(closed_loop.joules_per_token(one, batch, prompt, output))
    measured = float(row["power_watts"]) / float(row["tokens_per_second"])
    yield f"ml-energy J/token, {kind}", joules / measured
    rate = float(closed_loop.tokens_per_second(one, batch, prompt, output))
    yield f"ml-energy tokens/s, {kind}", rate / float(row["tokens_per_second"])


def rtx_4090() -> Iterator[Point]:
    """Steady decode of vLLM 0.19 with a full cache (LLMServingSim): tokens/s by running batch."""
    folder = SHARED / "llmservingsim" / "RTX4090_Llama-3.1-8B"
    card = Accelerator(
        name="RTX-4090", bf16_tflops=165.2, memory_gb=25.25, bandwidth_tb_s=1.008, link_gb_s=32
    )
    one = Replica(model=MODELS["llama3-8b"], accelerator=card, overhead_bytes_per_gpu=1.24e9)
    for row in csv.DictReader((folder / "timeseries.csv").open(encoding="utf-8")):
        batch, rate = float(row["running"]), float(row["gen_throughput"])
        if float(row["prompt_throughput"]) > 0 or batch < 4 or rate <= 0:
            continue
        context = float(row["kv_cache_pct"]) / 100 * 41_408 / batch
        yield (
            "RTX 4090 tokens/s",
            float(phases.decode_tokens_per_second(one, batch, context)) / rate,
        )


def errors(points: Iterable[Point]) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Ratios by set."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, ratio in points:
        found[name].append(ratio)
    return {name: np.array(ratios) for name, ratios in found.items()}


def main() -> None:
    """Print the table."""
    given = [Path(p) for p in sys.argv[1:]]
    sources = [ml_energy]
    for source, folder in (
        (splitwise, "splitwise-sim"),
        (distserve, "distserve"),
        (rtx_4090, "llmservingsim"),
    ):
        if (SHARED / folder).exists():
            sources.append(source)
        else:
            print(f"left out: {folder} is not in ../shared/data")
    points = [p for source in sources for p in source()]
    for path in given:
        points.extend(silicon(path))
        points.extend(silicon_pools(path))
    print("| set | points | model/measured | median error | 90 % within | worst |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, ratios in sorted(errors(points).items()):
        off = np.abs(ratios - 1)
        worst = max(float(ratios.max()), float(1 / ratios.min()))
        print(
            f"| {name} | {len(ratios)} | {np.median(ratios):.2f} | {np.median(off):.0%} "
            f"| {np.quantile(off, 0.9):.0%} | {worst:.1f}x |"
        )


if __name__ == "__main__":
    main()
