"""A burst plan as a SkyPilot task file (fields: SkyPilot's YAML reference, checked with 0.14)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import yaml

from advisor.models.burst_plan import BurstPlan, Option
from ridgeline.errors import Misconfigured

CLOUDS: Mapping[str, str] = {
    "aws": "aws",
    "azure": "azure",
    "gcp": "gcp",
    "lambda": "lambda",
    "nebius": "nebius",
    "oracle": "oci",
    "runpod": "runpod",
    "verda": "verda",
}
"""Our provider to SkyPilot's cloud; hyperstack and others cannot be launched by SkyPilot."""

ACCELERATORS: Mapping[str, str] = {
    "A100-PCIe-80G": "A100-80GB",
    "A100-SXM-80G": "A100-80GB",
    "B200-SXM": "B200",
    "B300-SXM": "B300",
    "GB200": "GB200",
    "H100-PCIe": "H100",
    "H100-SXM": "H100",
    "H200-SXM": "H200",
    "L4": "L4",
    "L40S": "L40S",
    "MI300X": "MI300X",
}
"""Our accelerator to SkyPilot's name (`sky gpus list`)."""

IDLE_MINUTES = 15
PORT = 8000
SERVE = 'vllm serve "$MODEL" --port 8000 --tensor-parallel-size "$SKYPILOT_NUM_GPUS_PER_NODE"'
_NO_LABEL = re.compile(r"[^A-Za-z0-9._-]")  # of clusters and of labels


def launchable(option: Option) -> bool:
    """Whether SkyPilot knows the cloud and the accelerator of an option."""
    offer = option.offer
    return offer.provider in CLOUDS and offer.accelerator in ACCELERATORS


def task(plan: BurstPlan, serve: str = SERVE) -> str:
    """The file: the plan in comments, then the task; the cheapest launchable option comes first.

    Raises:
        Misconfigured: SkyPilot can launch none of the options.
    """
    options = [o for o in (plan.best, *plan.alternatives) if launchable(o)]
    if not options:
        places = ", ".join(sorted({o.offer.place for o in (plan.best, *plan.alternatives)}))
        known = ", ".join(sorted(CLOUDS))
        raise Misconfigured("--skypilot", f"cannot launch at {places}; SkyPilot clouds: {known}")
    return _comments(plan, options[0]) + yaml.safe_dump(
        _task(plan, options, serve), sort_keys=False, width=100
    )


def _task(plan: BurstPlan, options: list[Option], serve: str) -> dict[str, object]:
    first = options[0]
    pool = _NO_LABEL.sub("-", plan.need.pool)
    same = [o for o in options if o.offer.accelerator == first.offer.accelerator]
    places = [{"infra": _infra(o), "use_spot": o.spot} for o in same]
    minutes = math.ceil(plan.need.hours_per_peak.high * 60 + plan.ready_seconds.high / 60)
    gpus = {ACCELERATORS[first.offer.accelerator]: first.offer.gpus_per_node}
    return {
        "name": f"ridgeline-burst-{pool}",
        "num_nodes": first.nodes,
        "resources": {
            "accelerators": gpus,
            "ports": [PORT],
            "autostop": {"idle_minutes": IDLE_MINUTES, "down": True},
            "labels": {"ridgeline-pool": pool},
            "ordered": places,
        },
        "envs": {"MODEL": None},  # none: SkyPilot asks for it at launch
        "setup": "pip install vllm",
        "run": f"timeout {minutes}m {serve}",  # a server never idles: its end lets autostop act
    }


def _infra(option: Option) -> str:
    cloud = CLOUDS[option.offer.provider]
    return f"{cloud}/{option.offer.region}" if option.offer.region else cloud


def _comments(plan: BurstPlan, first: Option) -> str:
    need, usd = plan.need, first.usd_per_month
    hours, often, ready = need.hours_per_peak, need.peaks_per_month, plan.ready_seconds
    size = f"{first.nodes} nodes of {first.offer.gpus_per_node} x {first.offer.accelerator}"
    long = f"{hours.mid:.1f} h ({hours.low:.1f} to {hours.high:.1f}), {often.mid:.0f} times a month"
    soon = f"Ready after {ready.low / 60:.0f} to {ready.high / 60:.0f} min"
    ahead = "; start it that much before the peak" if plan.start_ahead else ""
    lines = (
        f"Burst of the {need.pool} pool: {size},",
        f"for {long}: {usd.low:,.0f} to {usd.high:,.0f} USD a month.",
        f"{soon}{ahead}.",
        *(f"Not known: {text}." for text in plan.unknown),
        "Start: sky launch -c NAME --env MODEL=... FILE; end: sky down NAME.",
    )
    return "".join(f"# {line}\n" for line in lines)
