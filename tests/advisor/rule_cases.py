"""Facts for every rule: one that must give advice, some that must not."""

from __future__ import annotations

import math
from dataclasses import replace

from advisor import facts as f
from advisor.catalog.carbon import Grid
from advisor.catalog.files import Source
from ridgeline.events import Detection, EpisodeState, Severity

NOW_MS = 1_800_000_000_000


def serving(pool: str, **changes: float | None) -> f.ServingLoad:
    """A pool of 8 busy engines that hold their objectives."""
    base = f.ServingLoad(
        pool=pool,
        engines=8,
        newest_ms=NOW_MS - 10_000,
        seconds=600,
        prompt_tokens_per_second=80_000,
        generation_tokens_per_second=2_000,
        requests_per_second=10,
        running=160,
        waiting=0,
        kv_usage_ratio=0.5,
        max_batch=2048,
        ttft_p99_seconds=1.0,
        tpot_p50_seconds=None,
        tpot_p99_seconds=0.015,
        prompt_tokens_p50=None,
        prompt_tokens_p99=None,
        output_tokens_p50=None,
        output_tokens_p99=None,
        preemptions_per_second=0,
        prefill_seconds_mean=None,
        queue_seconds_mean=None,
        overload_ratio=0.0,
        kv_transfer_bytes_per_second=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # test data: names are checked at run time


def gpus(group: str, **changes: float | str | None) -> f.GpuActivity:
    """64 H100 in one group, neither idle nor hot."""
    base = f.GpuActivity(
        group=group,
        gpus=64,
        nodes=8,
        model="NVIDIA H100 80GB HBM3",
        newest_ms=NOW_MS - 10_000,
        seconds=600,
        dram_ratio=0.3,
        tensor_ratio=0.3,
        sm_ratio=0.9,
        power_watts=500,
        power_limit_watts=700,
        thermal_ratio=0.0,
        power_throttled_ratio=0.0,
        clock_ratio=None,
        hottest_celsius=70,
        least_margin_celsius=15,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # likewise


def loop(**changes: float | None) -> f.LoopHeat:
    """Cooling loop a as it usually is."""
    base = f.LoopHeat(
        loop="loop-a",
        newest_ms=NOW_MS - 10_000,
        supply_celsius=32,
        return_celsius=42,
        flow_liters_per_minute=400,
        heat_watts=270e3,
        pump_speed_ratio=0.7,
        normal_supply_celsius=32,
        normal_flow_liters_per_minute=400,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # likewise


def found(condition: str, detector: str, **place: str) -> f.Found:
    """An open detection somewhere."""
    detection = Detection(
        id=f"{detector}-{condition}",
        detector=detector,
        condition=condition,
        state=EpisodeState.OPEN,
        severity=Severity.CRITICAL,
        node=1,
        device=2,
        subject="node07 mlx5_0/1",
        opened_ms=NOW_MS - 60_000,
        updated_ms=NOW_MS - 1_000,
        summary="seen",
    )
    where = {"host": "node07", "rack": "rack01", "loop": "loop-a", "rail": "rail0"} | place
    return f.Found(detection=detection, **where)


def rail(**changes: float | None) -> f.RailTraffic:
    """Rail 0 with a tenth of its time paused."""
    base = f.RailTraffic(
        rail="rail0",
        ports=8,
        nodes=8,
        newest_ms=NOW_MS - 10_000,
        utilisation_ratio=0.6,
        ecn_marked_per_second=1e4,
        cnp_per_second=1e3,
        pause_ratio=0.1,
        discards_per_second=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # likewise


def facts(**changes: object) -> f.Facts:
    """Facts of now."""
    return f.Facts(now_ms=NOW_MS, **changes)  # type: ignore[arg-type]  # likewise


BROKEN_MIXED = serving("mixed", ttft_p99_seconds=9.0, tpot_p99_seconds=0.2)
HOT = gpus("loop-a", thermal_ratio=0.2, clock_ratio=0.7)
QUEUE = serving("decode", waiting=80, overload_ratio=0.4, ttft_p99_seconds=9)
IDLE = f.IdleGpus(pool="training", gpus=64, idle=32, idle_power_watts=75, seconds=600)
FULL = serving(
    "decode",
    waiting=40,
    kv_usage_ratio=0.98,
    output_tokens_p50=1014,
    output_tokens_p99=15063,
    preemptions_per_second=0.2,
)
SMALL = f.SmallJob(memory_bytes=8e9, sm_ratio=0.1, dram_ratio=0.05, nvlink_bytes_per_second=0.0)
"""A job of a notebook's size: a 1g.10gb slice of an H100 holds it."""
NOTEBOOKS = replace(IDLE, idle=0, small=(SMALL,) * 28)
CHAT = (0.0, 100, 300, 700, 900, 960, 990, 1000, 1000, 1000, 1000, 1000)
REASONING = (0.0, 20, 60, 180, 400, 600, 800, 900, 970, 1000, 1000, 1000)
"""Answers by length, of 1,000: at most 50, 100, 200, ... tokens, and all."""
QUESTIONS = (0.0, 0, 100, 400, 800, 950, 1000, 1000, 1000, 1000, 1000, 1000)
"""Prompts by length, likewise: 500 tokens in the middle, none above 5,000."""
DOCUMENTS = (0.0, 0, 0, 100, 300, 500, 700, 850, 950, 990, 1000, 1000)


def week(before: f.Lengths, now: f.Lengths) -> tuple[f.Lengths, ...]:
    """Today, then seven days that hardly differ."""

    def nearly(counts: tuple[float, ...], day: int) -> tuple[float, ...]:
        return tuple(round(n * (1 + day / 50)) for n in counts)

    days = (
        f.Lengths(prompts=nearly(before.prompts, n), answers=nearly(before.answers, n))
        for n in range(7)
    )
    return (now, *days)


GREW = week(f.Lengths(answers=CHAT), f.Lengths(answers=REASONING))
ASKED = week(f.Lengths(prompts=QUESTIONS), f.Lengths(prompts=QUESTIONS))
WAITING = serving("decode", waiting=40, requests_per_second=20)
COUNTED = replace(FULL, output_tokens_p50=None, output_tokens_p99=None)
DAY_OF_QUIET = {"decode": (100.0,) * 1440}
IDLE_DECODE = f.IdleGpus(pool="decode", gpus=64, idle=32, idle_power_watts=75, seconds=600)
BUSY_PREFILL = serving(
    "prefill", prompt_tokens_per_second=250_000, requests_per_second=50, running=40
)
"""5,000 tokens a prompt, about what 64 H100 compute."""
BUSY_DECODE = serving(
    "decode",
    prompt_tokens_per_second=None,
    generation_tokens_per_second=50_000,
    requests_per_second=50,
    running=1600,
)
"""25 sequences a GPU of 5,500 tokens; the prompts are those of the prefill pool."""
CONGESTED = found("incast_receiver", "fabric_congestion")


def hall(days: int, growth_kw_per_day: float) -> tuple[float, ...]:
    """A hall of 900 kW that breathes by day and week, and grows."""
    hours = range(days * 24)
    weekend = [60e3 if (h // 24) % 7 >= 5 else 0.0 for h in hours]
    day = [30e3 * math.sin(h / 24 * 2 * math.pi) for h in hours]
    grown = [growth_kw_per_day * 1000 * h / 24 for h in hours]
    return tuple(900e3 + d - w + g for d, w, g in zip(day, weekend, grown, strict=True))


TRAINING = gpus("training", power_watts=400)
NIGHT_AND_DAY = {"training": (20e3,) * 24}  # of 44.8 kW; where work may wait, see CARBON_GRID
OVER_PCIE = gpus("mixed", model="NVIDIA L40S", pcie_bytes_per_second=1.6e9)


CARBON_GRID = Grid(
    region="test/solar",
    place="a grid with a clean noon",
    grams_per_kwh=400.0,
    source=Source(title="test", as_of="2026-11"),
    hourly_grams_per_kwh=(500.0,) * 9 + (150.0,) * 6 + (500.0,) * 9,
)

POSITIVE: dict[str, tuple[f.Facts, ...]] = {
    "serving.disaggregate": (
        facts(serving=(BROKEN_MIXED,), pools=(gpus("mixed"),)),
        facts(
            serving=(
                serving("prefill", engines=1),
                serving("decode", engines=15, prompt_tokens_per_second=None),
            ),
            pools=(gpus("prefill", gpus=8, nodes=1), gpus("decode", gpus=120, nodes=15)),
        ),
    ),
    "accelerator.choice": (
        facts(pools=(gpus("decode", dram_ratio=0.7, tensor_ratio=0.2),)),
        facts(serving=(BUSY_PREFILL,), pools=(gpus("prefill"),)),
        facts(serving=(BUSY_PREFILL, BUSY_DECODE), pools=(gpus("decode"),)),
    ),
    "cooling.throttling": (
        facts(gpu_loops=(HOT,), loops=(loop(flow_liters_per_minute=200),), pools=(HOT,)),
        facts(gpu_loops=(HOT,), loops=(loop(supply_celsius=41),), pools=(HOT,)),
        facts(gpu_loops=(HOT,), pools=(HOT,)),
    ),
    "capacity.cloud_burst": (
        facts(serving=(QUEUE,), pools=(gpus("decode"),)),
        facts(
            serving=(QUEUE,),
            pools=(gpus("decode"),),
            demand={"decode": (100.0,) * 1300 + (400.0,) * 300},
        ),
    ),
    "capacity.consolidate": (
        facts(idle=(IDLE,), pools=(gpus("training"),)),
        facts(idle=(replace(IDLE, nodes=8, busy_nodes=7),), pools=(gpus("training"),)),
        facts(idle=(NOTEBOOKS,), pools=(gpus("training"),)),
        facts(
            idle=(IDLE_DECODE,),
            pools=(gpus("decode"),),
            serving=(serving("decode"),),
            demand=DAY_OF_QUIET,
        ),
    ),
    "capacity.reasoning": (
        facts(serving=(FULL,), pools=(gpus("decode"),)),
        facts(
            serving=(COUNTED,),
            pools=(gpus("decode"),),
            lengths={"decode": f.Lengths(answers=REASONING)},
        ),
        facts(serving=(FULL,), pools=(gpus("decode", model="NVIDIA T4"),)),  # no price: no money
    ),
    "traffic.token_drift": (
        facts(
            serving=(WAITING,),
            pools=(gpus("decode"),),
            lengths_by_day={"decode": GREW, "prefill": ASKED},
        ),
        facts(
            serving=(serving("prefill", waiting=40),),
            pools=(gpus("prefill"),),
            lengths_by_day={
                "prefill": week(f.Lengths(prompts=QUESTIONS), f.Lengths(prompts=DOCUMENTS))
            },
        ),
        facts(
            serving=(serving("mixed", waiting=40),),
            pools=(gpus("mixed"),),
            lengths_by_day={
                "mixed": week(
                    f.Lengths(prompts=QUESTIONS, answers=CHAT),
                    f.Lengths(prompts=DOCUMENTS, answers=REASONING),
                )
            },
        ),
    ),
    "fabric.tensor_over_pcie": (
        facts(serving=(serving("mixed"),), pools=(OVER_PCIE,)),
        facts(  # NVLink there, but unused
            serving=(serving("mixed"),),
            pools=(replace(OVER_PCIE, model="NVIDIA H100 80GB HBM3", nvlink_bytes_per_second=0.0),),
        ),
    ),
    "power.headroom": (
        facts(hall_watts_hourly=hall(90, 0.5)),
        facts(hall_watts_hourly=hall(90, 0.5), pools=(gpus("decode", power_watts=600),)),
    ),
    "carbon.shift": (facts(pools=(TRAINING,), pool_watts_by_hour=NIGHT_AND_DAY),),
    "fabric.congestion": (
        facts(found=(CONGESTED,), rails=(rail(),), pools=(gpus("decode"),)),
        facts(found=(CONGESTED,)),
    ),
}
"""Rule id to facts that must give advice."""

NEGATIVE: dict[str, tuple[f.Facts, ...]] = {
    "serving.disaggregate": (
        facts(serving=(serving("mixed"),), pools=(gpus("mixed"),)),  # objectives are met
        facts(serving=(BROKEN_MIXED,), pools=(gpus("mixed", model=""),)),  # mixed models
        facts(serving=(replace(BROKEN_MIXED, seconds=20),), pools=(gpus("mixed"),)),  # a moment
        facts(serving=(replace(BROKEN_MIXED, engines=1),), pools=(gpus("mixed", gpus=8),)),
        facts(  # lopsided pools that carry a tenth of a request a second well enough
            serving=(
                serving("prefill", requests_per_second=0.1, prompt_tokens_per_second=800),
                serving(
                    "decode",
                    requests_per_second=0.1,
                    prompt_tokens_per_second=None,
                    generation_tokens_per_second=20,
                    running=1,
                ),
            ),
            pools=(gpus("prefill"), gpus("decode")),
        ),
    ),
    "accelerator.choice": (
        facts(pools=(gpus("decode"),)),  # no bound
        facts(pools=(gpus("decode", dram_ratio=None),)),
        facts(pools=(gpus("training", dram_ratio=0.7, tensor_ratio=0.2),)),
        facts(pools=(gpus("decode", dram_ratio=0.7, tensor_ratio=0.2, model="NVIDIA T4"),)),
        facts(  # memory bandwidth is busy, but the pool computes a twentieth of what it could
            serving=(
                replace(BUSY_PREFILL, prompt_tokens_per_second=12_500, requests_per_second=2.5),
            ),
            pools=(gpus("prefill", dram_ratio=0.7, tensor_ratio=0.2),),
        ),
        facts(  # a tenth of the answers in flight that its GPUs could hold
            serving=(
                BUSY_PREFILL,
                replace(
                    BUSY_DECODE,
                    generation_tokens_per_second=2_000,
                    requests_per_second=2,
                    running=64,
                ),
            ),
            pools=(gpus("decode", dram_ratio=0.7, tensor_ratio=0.2),),
        ),
        facts(serving=(replace(BUSY_DECODE, running=None),), pools=(gpus("decode"),)),
    ),
    "cooling.throttling": (
        facts(gpu_loops=(gpus("loop-a"),), loops=(loop(flow_liters_per_minute=200),)),
        facts(gpu_loops=(gpus("loop-a", thermal_ratio=None),)),
        facts(gpu_loops=(gpus("", thermal_ratio=0.5),)),  # no loop known
    ),
    "capacity.cloud_burst": (
        facts(serving=(serving("decode"),), pools=(gpus("decode"),)),
        facts(serving=(replace(QUEUE, overload_ratio=None),), pools=(gpus("decode"),)),
        facts(serving=(QUEUE,), pools=(gpus("decode", model="NVIDIA T4"),)),  # nobody rents it
        facts(serving=(QUEUE,)),
        facts(  # 64 idle H100 elsewhere come first
            serving=(QUEUE,),
            pools=(gpus("decode"), gpus("training")),
            idle=(replace(IDLE, idle=64),),
        ),
        facts(  # a setting holds the queue: the cap is reached, the cache is not
            serving=(replace(QUEUE, max_batch=160, kv_usage_ratio=0.4),), pools=(gpus("decode"),)
        ),
        facts(  # two peaks of four minutes in a day
            serving=(QUEUE,),
            pools=(gpus("decode"),),
            demand={"decode": ((100.0,) * 716 + (400.0,) * 4) * 2},
        ),
    ),
    "capacity.reasoning": (
        facts(serving=(replace(FULL, kv_usage_ratio=0.5),), pools=(gpus("decode"),)),
        facts(serving=(replace(FULL, kv_usage_ratio=None),), pools=(gpus("decode"),)),
        facts(serving=(replace(FULL, output_tokens_p99=2000),), pools=(gpus("decode"),)),  # no tail
        facts(serving=(replace(FULL, output_tokens_p50=None),), pools=(gpus("decode"),)),
        facts(
            serving=(replace(FULL, waiting=0, preemptions_per_second=0),), pools=(gpus("decode"),)
        ),
        facts(serving=(replace(FULL, seconds=60),), pools=(gpus("decode"),)),
        facts(  # no tail in what was counted, whatever the quantiles of a moment say
            serving=(FULL,),
            pools=(gpus("decode"),),
            lengths={"decode": f.Lengths(answers=(0.0,) * 4 + (1000.0,) * 8)},
        ),
        facts(
            serving=(COUNTED,),
            pools=(gpus("decode"),),
            lengths={"decode": f.Lengths(answers=(0.0,) * 11 + (9,))},
        ),
        facts(serving=(FULL,)),  # whose GPUs?
    ),
    "capacity.consolidate": (
        facts(  # a serving pool whose day is not known keeps its reserve
            idle=(IDLE_DECODE,), pools=(gpus("decode"),), serving=(serving("decode"),)
        ),
        facts(  # and one whose peak needs them
            idle=(IDLE_DECODE,),
            pools=(gpus("decode"),),
            serving=(serving("decode"),),
            demand={"decode": (100.0,) * 1400 + (400.0,) * 40},
        ),
        facts(idle=(replace(IDLE, idle=2),), pools=(gpus("training"),)),
        facts(idle=(NOTEBOOKS,), pools=(gpus("training", model="NVIDIA L40S"),)),  # has no MIG
        facts(idle=(NOTEBOOKS,), pools=(gpus("training", model=""),)),  # mixed models
        facts(idle=(replace(NOTEBOOKS, seconds=60),), pools=(gpus("training"),)),
        facts(  # an engine's cache, not a small job
            idle=(replace(NOTEBOOKS, pool="decode"),), pools=(gpus("decode"),)
        ),
        facts(  # a job over several GPUs: a slice has no NVLink
            idle=(replace(NOTEBOOKS, small=(replace(SMALL, nvlink_bytes_per_second=2e9),) * 28),),
            pools=(gpus("training"),),
        ),
        facts(  # nor is it known to be alone
            idle=(replace(NOTEBOOKS, small=(replace(SMALL, nvlink_bytes_per_second=None),) * 28),),
            pools=(gpus("training"),),
        ),
        facts(  # little memory, but half of the bandwidth of a GPU
            idle=(replace(NOTEBOOKS, small=(replace(SMALL, dram_ratio=0.6),) * 28),),
            pools=(gpus("training"),),
        ),
        facts(idle=(replace(NOTEBOOKS, small=(SMALL,) * 5),), pools=(gpus("training"),)),  # few
        facts(idle=(replace(IDLE, seconds=60),), pools=(gpus("training"),)),
        facts(idle=(replace(IDLE, pool="decode"),), pools=(gpus("decode"),), serving=(QUEUE,)),
    ),
    "traffic.token_drift": (
        facts(  # no request waits: a finding, nothing to change
            serving=(replace(WAITING, waiting=0),),
            pools=(gpus("decode"),),
            lengths_by_day={"decode": GREW, "prefill": ASKED},
        ),
        facts(  # the same as ever
            serving=(WAITING,),
            pools=(gpus("decode"),),
            lengths_by_day={"decode": week(GREW[1], GREW[1])},
        ),
        facts(  # two days are no history
            serving=(WAITING,),
            pools=(gpus("decode"),),
            lengths_by_day={"decode": (*GREW[:3], *(f.Lengths(),) * 5), "prefill": ASKED},
        ),
        facts(  # shorter answers
            serving=(WAITING,),
            pools=(gpus("decode"),),
            lengths_by_day={
                "decode": week(f.Lengths(answers=REASONING), f.Lengths(answers=CHAT)),
                "prefill": ASKED,
            },
        ),
        facts(  # nobody counted prompts: GPUs are not known
            serving=(WAITING,), pools=(gpus("decode"),), lengths_by_day={"decode": GREW}
        ),
        facts(serving=(WAITING,), lengths_by_day={"decode": GREW, "prefill": ASKED}),
        facts(pools=(gpus("decode"),), lengths_by_day={"decode": GREW, "prefill": ASKED}),
    ),
    "fabric.tensor_over_pcie": (
        facts(serving=(serving("mixed"),), pools=(replace(OVER_PCIE, pcie_bytes_per_second=None),)),
        facts(serving=(serving("mixed"),), pools=(replace(OVER_PCIE, pcie_bytes_per_second=1e8),)),
        facts(serving=(serving("mixed", engines=64),), pools=(OVER_PCIE,)),  # one GPU an engine
        facts(serving=(serving("mixed"),), pools=(replace(OVER_PCIE, seconds=60),)),  # loading
        facts(serving=(serving("mixed"),), pools=(replace(OVER_PCIE, model="NVIDIA T4"),)),
        facts(  # NVLink carries the reductions
            serving=(serving("mixed"),),
            pools=(
                replace(OVER_PCIE, model="NVIDIA H100 80GB HBM3", nvlink_bytes_per_second=90e9),
            ),
        ),
        facts(  # the cache is handed over through the network adapter
            serving=(serving("mixed", kv_transfer_bytes_per_second=1.5e9 * 64),),
            pools=(OVER_PCIE,),
        ),
        facts(  # NVLink is not read: PCIe may be moving cache to the host
            serving=(serving("mixed"),),
            pools=(replace(OVER_PCIE, model="NVIDIA H100 80GB HBM3"),),
        ),
        facts(pools=(OVER_PCIE,)),
    ),
    "power.headroom": (
        facts(hall_watts_hourly=hall(20, 0.5)),  # three weeks are no history
        facts(hall_watts_hourly=hall(90, 0.0)),  # no growth
        facts(hall_watts_hourly=hall(90, 0.01)),  # full in decades
        facts(hall_watts_hourly=(math.nan,) * 24 * 90),
    ),
    "carbon.shift": (
        facts(pools=(TRAINING,)),  # its hours are not known
        facts(pool_watts_by_hour=NIGHT_AND_DAY),  # nor its GPUs
        facts(pools=(replace(TRAINING, power_limit_watts=None),), pool_watts_by_hour=NIGHT_AND_DAY),
        facts(pools=(gpus("decode"),), pool_watts_by_hour={"decode": (20e3,) * 24}),  # cannot wait
        facts(pools=(TRAINING,), pool_watts_by_hour={"training": (44.8e3,) * 24}),  # no room
        facts(pools=(TRAINING,), pool_watts_by_hour={"training": (4.8e3,) * 24}),  # idle
        facts(pools=(TRAINING,), pool_watts_by_hour={"training": (math.nan,) * 24}),
    ),
    "fabric.congestion": (
        facts(found=(found("thermal_throttle", "thermal_limit"),)),
        facts(found=(found("pfc_storm", "fabric_congestion", rail=""),)),
        facts(rails=(rail(),)),
    ),
}
"""Rule id to facts that must not (KEEP, "change nothing", is no advice to change)."""
