"""What the running store says about heat and network, as options of their plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.catalog.fabric import SETTINGS
from advisor.facts import Facts, GpuActivity
from advisor.models import cooling as model
from advisor.plan.report import Table
from advisor.rules import cooling
from advisor.rules.pricing import Catalog, accelerator_of, estimate, gpu_hour
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence, Estimate
from ridgeline.settings import AdvisorSettings

_NOT_READ = (
    "not measured, so assumed where not given: --rail-gbps, --communication-share, --message-mb"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """One cooling loop as measured; `options` are those of the plan by name."""

    options: Mapping[str, Any]
    state: model.Loop
    numbers: dict[str, Estimate]
    warnings: tuple[str, ...]
    hall_watts_hourly: tuple[float, ...]
    origin: str


def heat_of(seen: Facts, loop: str | None) -> Heat:
    """A loop's racks, GPUs and throttling; of the loop that is throttled most when None.

    Raises:
        Misconfigured: no such loop, or none with GPUs.
    """
    loops = [g for g in seen.gpu_loops if g.group and loop in {None, g.group}]
    if not loops:
        there = ", ".join(sorted(g.group for g in seen.gpu_loops if g.group)) or "none"
        raise Misconfigured(
            "--loop", f"no GPUs on loop {loop or 'of any name'}; there are: {there}"
        )
    gpus = max(loops, key=lambda g: (g.thermal_ratio or 0.0, g.gpus))
    racks = [r for r in seen.racks if r.loop == gpus.group]
    found = cooling.found_hot(seen, gpus.group)
    coolant = next((line for line in seen.loops if line.loop == gpus.group), None)
    state = cooling.state_of(coolant, racks, {f.detection.condition for f in found})
    price = gpu_hour(accelerator_of(gpus), Catalog(), AdvisorSettings.load())
    options: dict[str, Any] = {
        "throttled_ratio": gpus.thermal_ratio,
        "clock_ratio": gpus.clock_ratio,
        "gpus": gpus.gpus,
        "rack_kw": state.rack_kw or None,
        "racks": len(racks) or None,
        "technology": state.technology.name if state.technology else None,
        "usd_per_gpu_hour": price.mid if price else None,
        "phase": cooling.phase_of(found),
    }
    missing = [name for name in ("throttled_ratio", "rack_kw", "racks") if options[name] is None]
    return Heat(
        options={name: value for name, value in options.items() if value is not None},
        state=state,
        numbers=_heat_numbers(gpus),
        warnings=tuple(f"not measured on {gpus.group}: {n.replace('_', ' ')}" for n in missing),
        hall_watts_hourly=seen.hall_watts_hourly,
        origin=f"measured: the store, {gpus.seconds / 60:.0f} minutes of {gpus.group}",
    )


def _heat_numbers(gpus: GpuActivity) -> dict[str, Estimate]:
    origin = f"the store, {gpus.group}"
    read = (
        ("GPU time throttled by heat", gpus.thermal_ratio, "ratio"),
        ("hottest GPU", gpus.hottest_celsius, "degC"),
        ("power of a GPU", gpus.power_watts, "W"),
    )
    return {
        name: estimate(value, value, value, unit, Confidence.MEASURED, origin)
        for name, value, unit in read
        if value is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The network of a pool as measured; `options` are those of the plan by name."""

    options: Mapping[str, Any]
    table: Table
    numbers: dict[str, Estimate]
    warnings: tuple[str, ...]
    congested: bool
    origin: str


def fabric_of(seen: Facts, pool: str | None) -> Fabric:
    """Nodes and GPUs of a pool, the largest when None, and what every rail carries.

    Raises:
        Misconfigured: no such pool, or one whose GPUs are of several or unknown models.
    """
    pools = [g for g in seen.pools if pool in {None, g.group}]
    if not pools:
        there = ", ".join(sorted(g.group for g in seen.pools)) or "none"
        raise Misconfigured("--pool", f"no pool {pool or 'of GPUs'}; there are: {there}")
    gpus = max(pools, key=lambda g: g.gpus)
    accelerator = accelerator_of(gpus)
    if accelerator is None:
        named = gpus.model or "several models"
        raise Misconfigured("--pool", f"{gpus.group} has {named}: not in the catalogue")
    found = sorted({f.detection.condition for f in seen.found} & set(SETTINGS))
    rails = tuple(
        (
            rail.rail,
            rail.ports,
            rail.nodes,
            rail.utilisation_ratio,
            rail.pause_ratio,
            rail.ecn_marked_per_second,
            rail.discards_per_second,
        )
        for rail in seen.rails
    )
    used = [rail.utilisation_ratio for rail in seen.rails if rail.utilisation_ratio is not None]
    busiest = max(used, default=None)
    origin = f"the store, {gpus.seconds / 60:.0f} minutes"
    return Fabric(
        options={
            "accelerator": accelerator.name,
            "nodes": gpus.nodes,
            "gpus_per_node": max(2, round(gpus.gpus / max(gpus.nodes, 1))),
        },
        table=Table(
            title="Rails as measured",
            columns=("rail", "ports", "nodes", "used", "time paused", "marked/s", "discards/s"),
            rows=rails,
            note=f"open findings: {', '.join(found) or 'none'}",
        ),
        numbers={}
        if busiest is None
        else {
            "busiest rail": estimate(*(busiest,) * 3, "ratio", Confidence.MEASURED, origin),
        },
        warnings=(_NOT_READ,) if rails else (_NOT_READ, "no rail is known"),
        congested=bool(found),
        origin=f"measured: {origin} of {gpus.group}",
    )
