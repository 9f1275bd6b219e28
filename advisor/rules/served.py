"""Which model a pool serves: as set, else as its servers name it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.catalog.models import Model, by_name
from advisor.facts import Facts
from ridgeline.events import Confidence, Evidence
from ridgeline.settings import AdvisorSettings

NAME = "served model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The model that a pool is reckoned with, and what else its engines serve."""

    model: Model
    name: str  # as set, or as the servers say
    configured: bool
    engines: int = 0  # that say so
    others: tuple[tuple[str, int], ...] = ()

    def evidence(self) -> Evidence:
        """Where the model is from."""
        where = "as set" if self.configured else "as its servers name it"
        taken = "" if self.name == self.model.name else f"; modelled as {self.model.name}"
        return Evidence(
            name=NAME,
            value=float(self.engines),
            unit="engines",
            note=f"{self.name}, {where}{taken}",
            confidence=Confidence.ASSUMED if self.configured else Confidence.MEASURED,
        )

    def counter_evidence(self) -> tuple[Evidence, ...]:
        """Engines of the pool that serve something else."""
        if not self.others:
            return ()
        told = ", ".join(f"{name} on {engines}" for name, engines in self.others)
        return (
            Evidence(
                name=NAME,
                value=float(sum(engines for _, engines in self.others)),
                unit="engines",
                note=f"serve another model: {told}; modelled like the others",
                confidence=Confidence.MEASURED,
            ),
        )


def served(facts: Facts, pools: Sequence[str], settings: AdvisorSettings) -> Served | None:
    """What most engines of the pools serve; None where its shape is not in the catalogue.

    A model that is set wins: servers may call it by any name.
    """
    counted: Counter[str] = Counter()
    for pool in dict.fromkeys(pools):
        for one in facts.software.get(pool, ()):
            if one.model:
                counted[one.model] += one.engines
    (name, engines), *others = counted.most_common() or [("", 0)]
    if settings.model:
        name, engines, others = settings.model, sum(counted.values()), []
    model = by_name(name)
    if model is None:
        return None
    return Served(
        model=model,
        name=name,
        configured=bool(settings.model),
        engines=engines,
        others=tuple(others),
    )
