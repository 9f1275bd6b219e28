"""Which scopes of advice hold the same GPUs: pool, rack, loop and node by the inventory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ridgeline.events import Advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The GPUs of one node: how many, and everything they belong to."""

    host: str
    rack: str
    cooling_loop: str
    pool: str
    gpus: int


_OF_KIND = {"pool": "pool", "rack": "rack", "cooling_loop": "cooling_loop", "node": "host"}


def names(advice: Advice) -> frozenset[str]:
    """What a scope is made of: "prefill+decode" is two pools, a device is on its host."""
    if advice.scope_kind == "device":
        return frozenset(advice.scope.split()[:1])
    return frozenset(advice.scope.split("+"))


def within(advice: Advice, places: Iterable[Place]) -> frozenset[str]:
    """Hosts that the advice touches; a scope over the whole cluster touches all."""
    if advice.scope_kind == "cluster":
        return frozenset(place.host for place in places)
    kind = _OF_KIND.get(advice.scope_kind, "host")
    wanted = names(advice)
    return frozenset(place.host for place in places if getattr(place, kind) in wanted)


def overlap(one: Advice, other: Advice, places: Sequence[Place]) -> bool:
    """Whether following one touches GPUs of the other; by name alone where nothing is known.

    What belongs to the whole cluster (a rail, a hall's feed) is a thing of its own: it meets only
    advice about itself.
    """
    if one.scope_kind == other.scope_kind:
        return bool(names(one) & names(other))
    if "cluster" in (one.scope_kind, other.scope_kind):
        return False
    return bool(within(one, places) & within(other, places))


def share_ratio(advice: Advice, places: Sequence[Place]) -> float | None:
    """Share of all GPUs within a scope; None where the inventory says nothing."""
    total = sum(place.gpus for place in places)
    if not total:
        return None
    hosts = within(advice, places)
    return sum(place.gpus for place in places if place.host in hosts) / total
