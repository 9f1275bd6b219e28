"""The analytic planner beside a discrete-event simulation, on recorded and on generated requests.

Usage: `python -m benchmarks.disaggregation.simulate_traces [requests]`. Traces: Azure 2023 (code,
conversation) and Mooncake (conversation, synthetic) in `../shared/data`; llama3-70b in FP8 on 64
H100. Prints the rate at which 90 % of requests hold both objectives, simulated over analytic, for
engines that do both and for the pools, and the gain of apart by both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import decision as dc
from advisor.models import event_simulation as es
from advisor.models import length_shape
from advisor.models.arrays import Floats
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload
from advisor.models.token_sources import from_samples
from advisor.plan import traces

SHARED = Path(__file__).parents[3] / "shared" / "data"
TRACES = (
    "azure-llm-2023/AzureLLMInferenceTrace_conv.csv",
    "azure-llm-2023/AzureLLMInferenceTrace_code.csv",
    "mooncake/conversation_trace.jsonl",
    "mooncake/synthetic_trace.jsonl",
)
OBJECTIVES = ((2.0, 0.05), (2.0, 0.025))
NETWORK_GBPS = 3200
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.8)


def _cv(values: Floats) -> float:
    return float(values.std() / values.mean())


def workloads(requests: int) -> Iterator[tuple[str, Workload, es.Arrivals]]:
    """Every trace at every pair of objectives, and generated Poisson and bursty requests."""
    for path in TRACES:
        if not (SHARED / path).exists():
            print(f"left out: {path} is not in ../shared/data")
            continue
        trace = traces.read(SHARED / path)
        prompts = trace.prompt_tokens[:requests]
        outputs = np.maximum(1.0, trace.output_tokens[:requests])
        arrivals = es.Arrivals(trace.arrival_seconds[:requests], prompts, outputs)
        gaps = np.diff(arrivals.seconds)
        for ttft, tpot in OBJECTIVES:
            slack = 5 * ttft if "mooncake" in path else ttft  # prompts of 12,000 tokens and more
            work = Workload(
                prompt_tokens=float(prompts.mean()),
                output_tokens=float(outputs.mean()),
                slo_ttft_seconds=slack,
                slo_tpot_seconds=tpot,
                arrival_cv=_cv(gaps),
                prompt_cv=_cv(prompts),
                output_cv=_cv(outputs),
                attainment_ratio=0.9,
                prompts=length_shape.of_histogram(from_samples(prompts)),
            )
            yield Path(path).stem.removeprefix("AzureLLMInferenceTrace_"), work, arrivals
    for cv in (1.0, 3.0):
        for ttft, tpot in OBJECTIVES:
            work = Workload(
                prompt_tokens=2000,
                output_tokens=250,
                slo_ttft_seconds=ttft,
                slo_tpot_seconds=tpot,
                arrival_cv=cv,
                prompt_cv=0.8,
                output_cv=0.8,
                attainment_ratio=0.9,
            )
            yield f"generated, CV {cv:g}", work, es.generated(work, requests, 1.0, seed=5)


def main() -> None:
    """Print the table."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    replica = Replica(
        model=MODELS["llama3-70b"],
        accelerator=BY_NAME["H100-SXM"],
        layout=Layout(tensor=4),
        weights=Format.FP8,
    )
    fleet = dc.Fleet(replica=replica, engines=16, network_gbps=NETWORK_GBPS)
    print(
        "| requests | gaps' CV | TTFT s | TPOT ms | together, req/s | simulated over it "
        "| apart, req/s | simulated over it | gain | gain, simulated |"
    )
    print("| --- |" + " ---: |" * 9)
    for name, work, arrivals in workloads(requests):
        found = dc.decide(fleet, work)
        rates, ratios = [], []
        for arrangement in (found.together, found.apart):
            rate = arrangement.rate_per_second if arrangement else 0.0
            rates.append(rate)
            ratios.append(_simulated(found, work, arrivals, apart=arrangement is found.apart))
        together, apart = (r or 0.0 for r in ratios)
        cells = [
            f"{rates[0]:.1f}",
            f"{together / rates[0]:.2f}" if rates[0] else "-",
            f"{rates[1]:.1f}",
            f"{apart / rates[1]:.2f}" if rates[1] else "-",
            f"{found.gain_ratio:+.0%}",
            f"{apart / together - 1:+.0%}" if together else "-",
        ]
        print(
            f"| {name} | {work.arrival_cv:.1f} | {work.slo_ttft_seconds:g} "
            f"| {work.slo_tpot_seconds * 1e3:g} | {' | '.join(cells)} |"
        )


def _simulated(
    found: dc.Decision, work: Workload, arrivals: es.Arrivals, *, apart: bool
) -> float | None:
    """The rate at which the simulated requests leave their objectives."""
    arrangement = found.apart if apart else found.together
    if arrangement is None:
        return None
    at = {}
    for share in SHARES:
        rate = share * arrangement.rate_per_second
        if apart and found.apart is not None:
            outcome = es.simulate_apart(found.apart, work, arrivals.at_rate(rate), NETWORK_GBPS)
        elif found.together is not None:
            outcome = es.simulate_together(found.together, work, arrivals.at_rate(rate))
        at[rate] = outcome.attained_ratio(work)
    return es.rate_at_attainment(at, work.attainment_ratio)


if __name__ == "__main__":
    main()
