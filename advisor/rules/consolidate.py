"""capacity.consolidate: GPUs that did nothing for the whole history."""

from __future__ import annotations

from advisor.facts import Facts, IdleGpus
from advisor.rules.pricing import Catalog, Draft, accelerator_of, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "capacity.consolidate"
VERSION = "consolidate/1"
IDLE_RATIO = 0.10
LEAST_SECONDS = 300.0


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a pool with idle GPUs and no queue."""
    drafts = (_judge(pool, facts, catalog, settings) for pool in facts.idle)
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(
    pool: IdleGpus, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    share = pool.idle / pool.gpus
    serving, gpus = facts.serving_of(pool.pool), facts.gpus_of(pool.pool)
    queueing = serving is not None and bool(serving.waiting and serving.waiting >= 1)
    if share < IDLE_RATIO or pool.seconds < LEAST_SECONDS or queueing or gpus is None:
        return None
    price = gpu_hour(accelerator_of(gpus), catalog, settings)
    source = "GPUs with every SM idle through the history"
    spread = (0.5, 0.8, 1.0)  # some of the idle ones are wanted as reserve: assumed
    return Draft(
        rule=RULE,
        action=Action.CONSOLIDATE,
        scope_kind="pool",
        scope=pool.pool,
        title=f"{pool.idle} of {pool.gpus} GPUs of the {pool.pool} pool do nothing",
        reason=(
            f"{pool.idle} GPUs had idle SMs for {pool.seconds / 60:.0f} minutes while nothing "
            "waited: give them to other work or switch their nodes off."
        ),
        evidence=(
            *seen("idle GPUs", share, "ratio", IDLE_RATIO),
            *seen("power of an idle GPU", pool.idle_power_watts, "W"),
        ),
        counter_evidence=(
            Evidence(
                name="history",
                value=pool.seconds,
                unit="s",
                note="a reserve for bursts looks idle too: look at a whole day before acting",
            ),
        ),
        gain=monthly(pool.idle, spread, price, Confidence.MEASURED, source) if price else None,
        needs=Needs(lead_time_days=1),
        confidence=Confidence.MEASURED,
        verify="Idle GPUs of the pool fall below 10 %; queues stay empty for a week.",
        model_version=VERSION,
    )
