"""What pieces of advice bring together: no GPU's cost is saved twice.

Each rule prices its own change as if nothing else were done. Of two on the same GPUs the second
saves of what the first has left: a pool that costs 100, of which one change saves 40 % and another
one 50 %, costs 30 after both, not 10. So gains are counted in the order in which the advice would
be followed (put right, arrange, buy), each of what is left of the cost of its GPUs; then their sum
is never more than the cluster costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advisor import conflicts, places
from advisor.facts import Facts
from advisor.models.periods import HOURS_PER_MONTH
from advisor.places import Place
from advisor.rules.pricing import USD_PER_MONTH, Catalog, accelerator_of, gpu_hour
from ridgeline.events import Action, Advice, Evidence
from ridgeline.settings import AdvisorSettings

NAME = "counted once"
_BESIDE = frozenset({Action.SHIFT_LOAD})  # priced by the tonne, which no GPU-hour holds
_LEAST_RATIO = 0.005  # less is not worth a line
_BOUNDS = ("low", "mid", "high")
Bounds = tuple[float, float, float]


@dataclass(slots=True)
class _Node:
    """What is left of the cost of a node's GPUs, USD a month: low, likely, high."""

    cost: Bounds
    left: Bounds
    told: list[str]


def counted_once(
    advice: Sequence[Advice], facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> dict[str, Advice]:
    """The pieces by id, with gains of what those before them leave.

    Where the inventory is not known a pool stands for its nodes, and gains on racks, loops or rails
    stay as they are; so does what has no price or is not paid for by the hour of a GPU.
    """
    where = facts.places or _pools(facts)
    nodes = _costs(where, facts, catalog, settings)
    return {
        piece.id: _counted(piece, [nodes[h] for h in places.within(piece, where) if h in nodes])
        for piece in sorted(advice, key=lambda a: (conflicts.turn(a), a.id))
    }


def _pools(facts: Facts) -> tuple[Place, ...]:
    return tuple(
        Place(host=p.group, rack="", cooling_loop="", pool=p.group, gpus=p.gpus)
        for p in facts.pools
    )


def _costs(
    where: Sequence[Place], facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Mapping[str, _Node]:
    prices = {p.group: gpu_hour(accelerator_of(p, catalog), catalog, settings) for p in facts.pools}
    found: dict[str, _Node] = {}
    for place in where:
        price = prices.get(place.pool)
        if price is not None:
            hours = place.gpus * HOURS_PER_MONTH
            cost = price.low * hours, price.mid * hours, price.high * hours
            found[place.host] = _Node(cost, cost, [])
    return found


def _counted(piece: Advice, nodes: Sequence[_Node]) -> Advice:
    gain = piece.gain
    if gain is None or gain.unit != USD_PER_MONTH or piece.action in _BESIDE or not nodes:
        return piece
    alone = (gain.low, gain.mid, gain.high)
    shares, bounds = [], []
    for i, usd in enumerate(alone):
        cost, left = (sum(n.cost[i] for n in nodes), sum(n.left[i] for n in nodes))
        share = min(1.0, max(0.0, usd) / cost) if cost else 0.0
        shares.append(share)
        bounds.append(min(usd, share * left))
    others = list(dict.fromkeys(title for n in nodes for title in n.told))
    for node in nodes:
        node.left = tuple(x * (1 - s) for x, s in zip(node.left, shares, strict=True))  # type: ignore[assignment]  # three of three
        node.told.append(piece.title)
    high = bounds[2]
    mid = min(bounds[1], high)
    counted = dict(zip(_BOUNDS, (min(bounds[0], mid), mid, high), strict=True))
    said = piece.model_copy(update={"gain": gain.model_copy(update=counted)})
    taken = [(whole, whole - left) for whole, left in ((alone[1], mid), (alone[2], high))]
    material = [t for t in taken if t[1] > _LEAST_RATIO * abs(t[0])]
    if not material:
        return said
    by_itself, less = material[0]
    note = f"by itself it would bring {by_itself:,.0f} USD/month"
    if others:
        note += f"; part of what these GPUs cost is saved already by: {'; '.join(others)}"
    evidence = Evidence(
        name=NAME,
        value=1 - less / by_itself,
        unit="ratio",
        note=note,
        confidence=gain.confidence,
    )
    return said.model_copy(update={"counter_evidence": (*piece.counter_evidence, evidence)})
