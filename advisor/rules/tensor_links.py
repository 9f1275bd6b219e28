"""fabric.tensor_over_pcie: engines of several GPUs that reduce over PCIe."""

from __future__ import annotations

from advisor.catalog.fabric import PCIE, Op
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import collectives, network
from advisor.models.throughput import SLOW_LINK_GB_S
from advisor.rules.pricing import Catalog, Draft, accelerator_of, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "fabric.tensor_over_pcie"
LEAST_SECONDS = 300.0  # loading a model fills PCIe for a minute or two
LEAST_GPUS_AN_ENGINE = 2.0
BUSY_BYTES_PER_SECOND = 0.5e9  # a quarter of what an all-reduce over PCIe 4 reaches (AIC, L40S)
IDLE_NVLINK_RATIO = 0.1  # of the PCIe traffic: below it NVLink is not what engines reduce over
PCIE_BYTES_PER_SECOND = 32e9  # PCIe 4.0 x16, one direction


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool whose engines reduce over PCIe."""
    drafts = (
        _judge(pool, load, catalog, settings)
        for load in facts.serving
        if (pool := facts.gpus_of(load.pool)) is not None
    )
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(
    pool: GpuActivity, load: ServingLoad, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    which, carried = accelerator_of(pool, catalog), pool.pcie_bytes_per_second
    if carried is None or which is None or not load.engines or pool.seconds < LEAST_SECONDS:
        return None
    # a hand-over of cache to another pool leaves through the network adapter, over PCIe
    used = carried - (load.kv_transfer_bytes_per_second or 0.0) / pool.gpus
    each = pool.gpus / load.engines
    slow = which.link_gb_s is not None and which.link_gb_s <= SLOW_LINK_GB_S
    fast = pool.nvlink_bytes_per_second
    bypassed = fast is not None and fast < IDLE_NVLINK_RATIO * used
    if each < LEAST_GPUS_AN_ENGINE or used < BUSY_BYTES_PER_SECOND or not (slow or bypassed):
        return None
    price = gpu_hour(which, catalog, settings)
    return _draft(pool, each, used, price, slow=slow)


def _draft(
    pool: GpuActivity, each: float, used: float, price: Estimate | None, *, slow: bool
) -> Draft:
    busy = network.busy_share(used, PCIE_BYTES_PER_SECOND)
    least = 0.0 if busy is None else busy[0]
    reached = collectives.best_known(PCIE, Op.ALL_REDUCE, round(each))
    likely = min(0.95, used / reached.bus_bytes_per_second) if reached else least
    share = (least, max(least, 0.5 * likely), max(least, likely))
    source = (
        "PCIe traffic measured; all-reduces over PCIe 4 reach 20 GB/s at 2 GPUs, 18 at 4 of one "
        "socket, 2 at 8 of two (L40S)"
    )
    gain = monthly(pool.gpus, share, price, Confidence.MODELLED, source) if price else None
    remedy = (
        "split the model by layers (pipeline) or store its weights narrower on fewer GPUs"
        if slow
        else "NVLink is there but idle: check topology, NCCL_P2P_LEVEL and NCCL_P2P_DISABLE"
    )
    return Draft(
        rule=RULE,
        action=Action.FIX_FABRIC,
        scope_kind="pool",
        scope=pool.group,
        title=f"{pool.group}: tensor parallelism over {each:.0f} GPUs goes through PCIe",
        reason=(
            f"Each GPU moves {used / 1e9:.1f} GB/s over PCIe and an engine spans {each:.0f} GPUs. "
            f"Over PCIe such engines reached 8 % of the speed of their GPUs (70B, TP8 on L40S), "
            f"over NVLink 75 %. Remedy: {remedy}."
        ),
        evidence=(
            *seen("PCIe traffic of a GPU", used / 1e9, "GB/s", BUSY_BYTES_PER_SECOND / 1e9),
            *seen("GPUs of an engine", each, "1", LEAST_GPUS_AN_ENGINE),
        ),
        counter_evidence=(
            *seen(
                "NVLink traffic of a GPU",
                None
                if pool.nvlink_bytes_per_second is None
                else pool.nvlink_bytes_per_second / 1e9,
                "GB/s",
            ),
            Evidence(
                name="other uses of PCIe",
                confidence=Confidence.ASSUMED,
                value=least,
                unit="ratio of the link",
                note="KV cache moved to host memory and model loading fill PCIe too",
            ),
        ),
        cost_today=gain,
        gain=gain,
        needs=Needs(lead_time_days=1, note="a restart of the engines"),
        confidence=Confidence.MODELLED,
        verify="PCIe traffic falls to a tenth and tokens/s rise at the same load within an hour.",
        model_version=network.VERSION,
    )
