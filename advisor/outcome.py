"""What became of the thing a piece of advice was about: its evidence then and now."""

from __future__ import annotations

from collections.abc import Callable

from advisor.facts import Facts
from ridgeline.events import Advice


def measured(advice: Advice, facts: Facts) -> str:
    """The advice's first measured number before and after, in words."""
    before = next(iter(advice.evidence), None)
    now = _now(advice, facts)
    if before is None or now is None:
        return "the condition is gone"
    return f"the condition is gone: {before.name} {before.value:.3g} before, {now:.3g} now"


def _now(advice: Advice, facts: Facts) -> float | None:
    reader = _READERS.get(advice.rule)
    return reader(advice.scope, facts) if reader else None


def _throttled(scope: str, facts: Facts) -> float | None:
    return next((g.thermal_ratio for g in facts.gpu_loops if g.group == scope), None)


def _idle(scope: str, facts: Facts) -> float | None:
    return next((i.idle / i.gpus for i in facts.idle if i.pool == scope), None)


def _queue(scope: str, facts: Facts) -> float | None:
    load = facts.serving_of(scope)
    return load.overload_ratio if load else None


def _dram(scope: str, facts: Facts) -> float | None:
    gpus = facts.gpus_of(scope)
    return gpus.dram_ratio if gpus else None


def _episodes(scope: str, facts: Facts) -> float | None:
    return float(sum(f.rail == scope for f in facts.found))


_READERS: dict[str, Callable[[str, Facts], float | None]] = {
    "cooling.throttling": _throttled,
    "capacity.consolidate": _idle,
    "capacity.cloud_burst": _queue,
    "accelerator.choice": _dram,
    "fabric.congestion": _episodes,
}
"""Each reads what the first piece of its rule's evidence measured."""
