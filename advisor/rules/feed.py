"""Whether what a piece of advice brings can be powered: what it draws beside what the feed has."""

from __future__ import annotations

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.facts import Facts
from advisor.models.headroom import USABLE_RATIO
from advisor.models.power import HOST_WATTS
from advisor.rules.pricing import seen
from ridgeline.events import Confidence, Evidence
from ridgeline.settings import AdvisorSettings

WEEK_HOURS = 168


def drawn_kw(accelerator: Accelerator | None, gpus: float) -> float:
    """Power of GPUs at their limit with their share of the servers, in kW; 0 where unknown."""
    if accelerator is None or not accelerator.power_w:
        return 0.0
    return gpus * (accelerator.power_w + HOST_WATTS.mid) / 1000


def free_kw(facts: Facts, settings: AdvisorSettings) -> float | None:
    """What the hall's feed has left above the last week's peak (p99); None where unknown."""
    hours = np.array(facts.hall_watts_hourly[-WEEK_HOURS:])
    known = hours[np.isfinite(hours)]
    if settings.hall_kw <= 0 or not known.size:
        return None
    return max(0.0, settings.hall_kw * USABLE_RATIO - float(np.quantile(known, 0.99)) / 1000)


def against(facts: Facts, settings: AdvisorSettings, kw: float) -> tuple[Evidence, ...]:
    """What speaks against drawing so much more: nothing where it fits or the feed is not known."""
    free = free_kw(facts, settings)
    if free is None or not kw or kw <= free:
        return ()
    note = f"it would draw {kw:,.0f} kW at the limit of its GPUs: it cannot be switched on here"
    return seen("free of the hall's feed", free, "kW", kw, note, Confidence.MODELLED)
