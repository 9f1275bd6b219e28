"""Which serving software a pool is reckoned with, and what a person is told of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.catalog import stacks
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.stacks import Running
from advisor.facts import Facts, Software
from advisor.rules.served import Served
from ridgeline.events import Confidence, Evidence

NAME = "serving software"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoned:
    """The model and the release that an arrangement is reckoned with, and what its engines run."""

    served: Served
    running: Running
    engines: int
    most: Software | None
    others: tuple[Software, ...] = ()

    @property
    def confidence(self) -> Confidence:
        """Assumed where the release is not the one that telemetry names."""
        return Confidence.ASSUMED if self.running.assumed else Confidence.MODELLED

    @property
    def words(self) -> str:
        """What runs and what it is modelled as, in one line."""
        release = self.running.release
        taken = f"modelled as {release.engine}, {release.versions}"
        if self.most is None:
            return taken
        return f"{_named(self.most)} on {self.most.engines} of {self.engines} engines; {taken}"

    def evidence(self) -> tuple[Evidence, ...]:
        """What is served, and what telemetry says of the software where it says anything."""
        model = self.served.evidence()
        if self.most is None:
            return (model,)
        return model, _evidence(self.most.engines, self.words, Confidence.MEASURED)

    def counter_evidence(self) -> tuple[Evidence, ...]:
        """What is assumed, and engines that serve or run something else."""
        found = [*self.served.counter_evidence()]
        if self.running.assumed:
            engines = self.most.engines if self.most else 0
            found.append(_evidence(engines, self.running.assumed, Confidence.ASSUMED))
        if self.others:
            what = ", ".join(f"{_named(one)} on {one.engines}" for one in self.others)
            count = sum(one.engines for one in self.others)
            note = f"not what the others run: {what}; modelled like them"
            found.append(_evidence(count, note, Confidence.MEASURED))
        return tuple(found)


def reckoned(
    facts: Facts, pools: Sequence[str], accelerator: Accelerator, served: Served
) -> Reckoned:
    """By what most engines of the pools run; what is not known counts only where nothing is."""
    counted: Counter[tuple[str, str]] = Counter()
    for pool in dict.fromkeys(pools):
        for one in facts.software.get(pool, ()):
            counted[one.name, one.version] += one.engines
    every = [Software(name=n, version=v, engines=k) for (n, v), k in counted.most_common()]
    known = [one for one in every if one.name]
    most = known[0] if known else None
    name, version = (most.name, most.version) if most else ("", "")
    return Reckoned(
        served=served,
        running=stacks.running(name, version, accelerator, served.model),
        engines=sum(one.engines for one in every),
        most=most,
        others=tuple(one for one in every if one is not most) if most else (),
    )


def _named(one: Software) -> str:
    return f"{one.name or 'unknown'} {one.version or 'of unknown version'}"


def _evidence(engines: int, note: str, confidence: Confidence) -> Evidence:
    return Evidence(
        name=NAME, value=float(engines), unit="engines", note=note, confidence=confidence
    )
