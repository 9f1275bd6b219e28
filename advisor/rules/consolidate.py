"""capacity.consolidate: GPUs that did nothing, or little, for the whole history.

GPUs with small jobs are a hint, never money: no telemetry says whether a job bears a slice (MIG).
"""

from __future__ import annotations

import math

from advisor.facts import Facts, IdleGpus
from advisor.models import packing, slicing
from advisor.models.interval import Interval
from advisor.rules.consolidate_slices import ISOLATION, Slices, slices_of
from advisor.rules.pricing import (
    Catalog,
    Draft,
    accelerator_of,
    estimate,
    gpu_hour,
    monthly,
    seen,
)
from ridgeline.events import Action, Advice, Confidence, Evidence, Needs
from ridgeline.pools import SERVING, role_of
from ridgeline.settings import AdvisorSettings

RULE = "capacity.consolidate"
IDLE_RATIO = 0.10
LEAST_SECONDS = 300.0
DAY_MINUTES = 24 * 60
HEADROOM = 1.25  # a serving pool is kept large enough for its peak at 80 % load
RESERVE = Interval(low=0.5, mid=0.8, high=1.0)
"""Share of idle GPUs of other work that nobody keeps as a reserve: assumed."""


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a pool with idle GPUs and no queue."""
    drafts = (_judge(pool, facts, catalog, settings) for pool in facts.idle)
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(
    pool: IdleGpus, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    serving, gpus = facts.serving_of(pool.pool), facts.gpus_of(pool.pool)
    queueing = serving is not None and bool(serving.waiting and serving.waiting >= 1)
    if pool.gpus < 1 or pool.seconds < LEAST_SECONDS or queueing or gpus is None:
        return None
    accelerator = accelerator_of(gpus, catalog)
    # an engine's cache takes the memory it is given, whatever its load
    slices = None if role_of(pool.pool) in SERVING else slices_of(pool, accelerator)
    spare = _spare(pool, facts)
    if spare is None or spare.mid / pool.gpus < IDLE_RATIO:
        return None if slices is None else _sliced(pool, slices, facts)
    price = gpu_hour(accelerator, catalog, settings)
    count = math.floor(spare.high)
    if count < 1:
        return None
    idle = packing.idle_ratio(float(pool.gpus), [float(pool.gpus - pool.idle)])
    shares = (spare.low / spare.high, spare.mid / spare.high, 1.0)
    source = "GPUs with every SM idle through the history; idle cost as OpenCost defines it"
    return Draft(
        rule=RULE,
        action=Action.CONSOLIDATE,
        scope_kind="pool",
        scope=pool.pool,
        title=f"{pool.idle} of {pool.gpus} GPUs of the {pool.pool} pool do nothing",
        reason=(
            f"{pool.idle} GPUs had idle SMs for {pool.seconds / 60:.0f} minutes while nothing "
            f"waited: give {_some(count, pool.idle)} to other work or switch their nodes off."
            f"{_nodes(pool)}{'' if slices is None else ' ' + slices.words}"
        ),
        evidence=(
            *seen("idle GPUs", idle, "ratio", IDLE_RATIO),
            *seen("power of an idle GPU", pool.idle_power_watts, "W"),
            *seen("nodes without work", *_idle_nodes(pool)),
            *(() if slices is None else slices.evidence),
        ),
        counter_evidence=(*_against(pool, facts), *(() if slices is None else ISOLATION)),
        cost_today=monthly(pool.idle, (1, 1, 1), price, Confidence.MEASURED, "idle GPUs")
        if price
        else None,
        gain=monthly(count, shares, price, Confidence.MEASURED, source) if price else None,
        needs=Needs(lead_time_days=1),
        confidence=Confidence.MEASURED,
        verify="Idle GPUs of the pool fall below 10 %; queues stay empty for a week.",
        model_version=packing.VERSION,
    )


def _sliced(pool: IdleGpus, slices: Slices, facts: Facts) -> Draft:
    source = "peaks of memory, SMs and bandwidth against MIG profiles; half to all jobs may move"
    freed = RESERVE.scaled(slices.freed)
    return Draft(
        rule=RULE,
        action=Action.CONSOLIDATE,
        scope_kind="pool",
        scope=pool.pool,
        title=f"{slices.small} of {pool.gpus} GPUs of the {pool.pool} pool do the work of slices",
        reason=f"Through {pool.seconds / 60:.0f} minutes {slices.words}",
        evidence=slices.evidence,
        counter_evidence=(*_against(pool, facts), *ISOLATION),
        effects=(
            estimate(
                freed.low, freed.mid, freed.high, "GPUs for other work", Confidence.ASSUMED, source
            ),
        ),
        needs=Needs(lead_time_days=1, note="drain the GPUs, cut them, start the jobs on slices"),
        confidence=Confidence.ASSUMED,
        verify="Jobs on slices take no longer than before; the GPUs they left are idle.",
        model_version=slicing.VERSION,
    )


def _idle_nodes(pool: IdleGpus) -> tuple[float | None, str]:
    return (float(pool.nodes - pool.busy_nodes) if pool.nodes else None), "1"


def _nodes(pool: IdleGpus) -> str:
    """What the spread over nodes adds: whole idle nodes, and how few the work would fit on."""
    if not pool.nodes:
        return ""
    whole = pool.nodes - pool.busy_nodes
    each = math.ceil(pool.gpus / pool.nodes)
    fewest = packing.fewest_nodes([1] * (pool.gpus - pool.idle), each)
    said = f" Nodes without any work: {whole}." if whole else ""
    if fewest < pool.busy_nodes:
        said += (
            f" The {pool.gpus - pool.idle} busy GPUs lie in {pool.busy_nodes} nodes and would fit "
            f"in {fewest}, where jobs may move."
        )
    return said


def _some(count: int, idle: int) -> str:
    return "them" if count >= idle else f"{count} of them"


def _spare(pool: IdleGpus, facts: Facts) -> Interval | None:
    """Idle GPUs that may go; of a serving pool only what its highest load of a day leaves over.

    None for a serving pool with less than a day of history: a reserve for bursts looks idle too.
    """
    if role_of(pool.pool) not in SERVING:
        return RESERVE.scaled(pool.idle)
    demand, serving = facts.demand.get(pool.pool, ()), facts.serving_of(pool.pool)
    now = (serving.running or 0.0) + (serving.waiting or 0.0) if serving else 0.0
    if len(demand) < DAY_MINUTES or now <= 0:
        return None
    at_peak = (pool.gpus - pool.idle) * max(demand) / now  # load moves with busy GPUs
    kept = min(float(pool.gpus), HEADROOM * at_peak)
    spare = min(float(pool.idle), pool.gpus - kept)
    return Interval(low=0.8 * spare, mid=spare, high=min(float(pool.idle), 1.2 * spare))


def _against(pool: IdleGpus, facts: Facts) -> tuple[Evidence, ...]:
    note = "a reserve for bursts looks idle too: look at a whole day before acting"
    history = Evidence(
        name="history", value=pool.seconds, unit="s", note=note, confidence=Confidence.MEASURED
    )
    demand = facts.demand.get(pool.pool, ())
    if not demand:
        return (history,)
    return (
        history,
        Evidence(
            name="highest demand in the history",
            confidence=Confidence.MEASURED,
            value=max(demand),
            unit="1",
            note=f"concurrent requests, {len(demand) / DAY_MINUTES:.1f} days",
        ),
    )
