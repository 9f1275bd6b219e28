"""The rules: facts in, advice out. `RULES` is the whole list, in order."""

from __future__ import annotations

from collections.abc import Callable

from advisor.facts import Facts
from advisor.rules import (
    accelerator,
    burst,
    carbon,
    consolidate,
    cooling,
    disaggregate,
    fabric,
    headroom,
    reasoning,
    tensor_links,
    token_drift,
)
from advisor.rules.pricing import Catalog
from ridgeline.events import Advice
from ridgeline.settings import AdvisorSettings

Rule = Callable[[Facts, Catalog, AdvisorSettings], tuple[Advice, ...]]

RULES: tuple[tuple[str, Rule], ...] = (
    (disaggregate.RULE, disaggregate.rule),
    (accelerator.RULE, accelerator.rule),
    (cooling.RULE, cooling.rule),
    (consolidate.RULE, consolidate.rule),
    (reasoning.RULE, reasoning.rule),
    (token_drift.RULE, token_drift.rule),
    (burst.RULE, burst.rule),
    (fabric.RULE, fabric.rule),
    (headroom.RULE, headroom.rule),
    (tensor_links.RULE, tensor_links.rule),
    (carbon.RULE, carbon.rule),
)
