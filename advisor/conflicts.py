"""No contradictory advice: which actions cannot both be followed, and which of the two is said.

Two pieces contradict when their actions do (`CONFLICTS`) and their scopes hold the same GPUs. Of
two that do, the one that spends less is said: put right, then arrange differently, then buy, then
"keep"; within one of these the one of more value. What another needs first goes before it whatever
either is worth: a feed before what it is to power (`advisor.preconditions`), cooling before more
heat in the same racks. What is held back is named on what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from advisor import places, preconditions, ranking
from advisor.format import spaced
from advisor.places import Place
from ridgeline.events import Action, Advice, Evidence

HELD_BACK = "held back: "
"""How the evidence of a contradiction is named on what is said instead."""
INCUMBENT_FACTOR = 1.2
"""Worth of what is said already: two of nearly the same worth must not take turns."""
_RIGHT = frozenset(
    {Action.FIX_COOLING, Action.FIX_FABRIC, Action.INSPECT_HARDWARE, Action.CONSOLIDATE}
)
_FIRST = frozenset({Action.ADD_POWER})  # holds back only what it is to power
_ENABLING = frozenset({Action.RETROFIT_COOLING})
_SHAPE = frozenset({Action.DISAGGREGATE, Action.AGGREGATE})
_ARRANGE = _SHAPE | {Action.REBALANCE_POOLS}
_MORE = frozenset({Action.ADD_CAPACITY, Action.BURST_TO_CLOUD})
_ORDER: Mapping[Action, int] = MappingProxyType(
    dict.fromkeys(_RIGHT | _FIRST, 0)
    | dict.fromkeys(_ARRANGE | {Action.CAP_POWER, Action.SHIFT_LOAD}, 1)
    | dict.fromkeys(_ENABLING, 2)
    | dict.fromkeys(_MORE | {Action.CHANGE_ACCELERATOR}, 3)
    | {Action.KEEP: 4}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Any action of one set against any other of the other set, on GPUs they share."""

    one: frozenset[Action]
    other: frozenset[Action]
    why: str
    itself: bool = False
    """Whether the same action twice, for two reasons, is one too many as well."""
    across: bool = False
    """Whether what belongs to the whole cluster (a rail) is in the way of every pool's."""

    def between(self, a: Action, b: Action) -> bool:
        """Whether it is about these two, in either order."""
        pair = (a in self.one and b in self.other) or (b in self.one and a in self.other)
        return pair and (self.itself or a is not b)


CONFLICTS: tuple[Conflict, ...] = (
    Conflict(
        one=frozenset({Action.CAP_POWER}),
        other=_ARRANGE | _MORE | {Action.CONSOLIDATE},
        why="a capped pool has no speed left for the load the other brings or pays for",
    ),
    Conflict(
        one=frozenset({Action.CONSOLIDATE}),
        other=_MORE | {Action.CHANGE_ACCELERATOR},
        why="GPUs that do nothing come before GPUs that cost money",
    ),
    Conflict(one=_ARRANGE, other=_ARRANGE, why="a pool is arranged in one way at a time"),
    Conflict(one=_MORE, other=_MORE, why="the same queue would be paid for twice", itself=True),
    Conflict(one=_ARRANGE, other=_MORE, why="the same queue, once for free and once for money"),
    Conflict(
        one=frozenset({Action.CHANGE_ACCELERATOR}),
        other=_MORE,
        why="more of what is about to be replaced",
    ),
    Conflict(
        one=frozenset({Action.RETROFIT_COOLING}),
        other=frozenset({Action.FIX_COOLING, Action.CAP_POWER}),
        why="the cheaper remedy comes first, and may make the dear one needless",
    ),
    Conflict(
        one=frozenset({Action.CAP_POWER}),
        other=frozenset({Action.FIX_COOLING}),
        why="heat that is put right needs no cap",
    ),
    Conflict(
        one=frozenset({Action.FIX_COOLING, Action.FIX_FABRIC}),
        other=_MORE | {Action.CHANGE_ACCELERATOR},
        why="speed that a fault takes comes back for nothing before more is paid for",
    ),
    Conflict(
        one=frozenset({Action.FIX_FABRIC}),
        other=frozenset({Action.DISAGGREGATE}),
        why="the cache would be handed over through the network that is to be put right",
        across=True,
    ),
    Conflict(
        one=frozenset({Action.CONSOLIDATE}),
        other=_ARRANGE,
        why="one gives away the GPUs that the other counts on",
    ),
    Conflict(
        one=frozenset({Action.CHANGE_ACCELERATOR}),
        other=_ARRANGE,
        why="the arrangement is made for GPUs that are about to be replaced",
    ),
    Conflict(
        one=frozenset({Action.RETROFIT_COOLING}),
        other=frozenset({Action.ADD_CAPACITY, Action.CHANGE_ACCELERATOR}),
        why="racks that shed no more heat take no more of it: cooling comes first, made for both",
    ),
    Conflict(
        one=frozenset({Action.RETROFIT_COOLING}),
        other=frozenset({Action.CONSOLIDATE}),
        why="new cooling is made for the heat of these racks, which the other changes",
    ),
    *(
        Conflict(
            one=frozenset({twice}),
            other=frozenset({twice}),
            why="the same GPUs would have it done to them twice",
            itself=True,
        )
        for twice in (Action.CAP_POWER, Action.RETROFIT_COOLING, Action.CHANGE_ACCELERATOR)
    ),
    Conflict(
        one=frozenset({Action.SHIFT_LOAD}),
        other=frozenset({Action.FIX_COOLING}),
        why="more work in fewer hours is more heat where heat already takes speed",
    ),
    Conflict(
        one=frozenset({Action.SHIFT_LOAD}),
        other=_MORE | {Action.CONSOLIDATE, Action.CAP_POWER},
        why="work in fewer hours needs the speed and the room that the other takes or pays for",
    ),
)

KEPT_BY: Mapping[str, frozenset[Action]] = MappingProxyType(
    {
        "serving": _ARRANGE,
        "accelerator": frozenset({Action.CHANGE_ACCELERATOR}),
        "cooling": frozenset({Action.FIX_COOLING, Action.RETROFIT_COOLING, Action.CAP_POWER}),
        "power": frozenset({Action.CAP_POWER}),
        "carbon": frozenset({Action.SHIFT_LOAD}),
        "capacity": _MORE | {Action.CONSOLIDATE},
        "fabric": frozenset({Action.FIX_FABRIC, Action.INSPECT_HARDWARE}),
        "traffic": frozenset(),  # a finding about requests; what others advise of it stands
    }
)
"""By the domain of its rule, the changes that "keep" speaks against."""


def contradiction(one: Advice, other: Advice, cluster: Sequence[Place] = ()) -> str:
    """Why both cannot be followed; empty when they can."""
    said = _kept(one, other)
    if said and places.overlap(one, other, cluster):
        return said
    if unpowered := preconditions.unpowered(one, other):
        return unpowered
    touching = (
        c.why
        for c in CONFLICTS
        if c.between(one.action, other.action)
        and ((c.across and _of_cluster(one, other)) or places.overlap(one, other, cluster))
    )
    return next(touching, "")


def _of_cluster(one: Advice, other: Advice) -> bool:
    return "cluster" in (one.scope_kind, other.scope_kind)


def _kept(one: Advice, other: Advice) -> str:
    for keep, change in ((one, other), (other, one)):
        domain = keep.rule.partition(".")[0]
        if keep.action is Action.KEEP and change.action in KEPT_BY.get(domain, frozenset()):
            return "one says change nothing where the other says change"
    return ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is said, best first, and why each other piece is not, by its id."""

    kept: list[Advice]
    held_back: Mapping[str, str]


def resolved(
    found: Iterable[Advice],
    cluster: Sequence[Place] = (),
    incumbents: frozenset[str] = frozenset(),
) -> Resolution:
    """The advice without what contradicts it; independent of the order given.

    Greedy over a total order: each piece is kept unless it contradicts one that is kept already.

    Args:
        found: Pieces with their ranks, each id once.
        cluster: Where the GPUs are.
        incumbents: Ids already said; a rival must be worth `INCUMBENT_FACTOR` times as much.
    """
    kept: list[Advice] = []
    held: dict[str, str] = {}
    for advice in sorted(found, key=lambda a: _precedence(a, incumbents)):
        reasons = ((i, contradiction(k, advice, cluster)) for i, k in enumerate(kept))
        rival = next(((i, why) for i, why in reasons if why), None)
        if rival is None:
            kept.append(advice)
        else:
            i, why = rival
            held[advice.id] = f"{HELD_BACK}{why}; said instead: {kept[i].title}"
            kept[i] = _noting(kept[i], advice, why)
    return Resolution(ranking.ordered(kept), held)


def turn(advice: Advice) -> int:
    """When it is followed: put right, then arrange, then buy; the lowest first."""
    return _ORDER[advice.action]


def _precedence(advice: Advice, incumbents: frozenset[str]) -> tuple[int, float, str]:
    worth = ranking.value_usd(advice) * (INCUMBENT_FACTOR if advice.id in incumbents else 1.0)
    return turn(advice), -worth, advice.id


def _noting(kept: Advice, dropped: Advice, why: str) -> Advice:
    gain = dropped.gain
    note = Evidence(
        name=f"{HELD_BACK}{dropped.rule}",
        value=gain.mid if gain else 1.0,
        unit=gain.unit if gain else "piece",
        note=f"{spaced(dropped.action)} on {dropped.scope}: {dropped.title}; "
        f"not said too, because {why}",
        confidence=gain.confidence if gain else dropped.confidence,
    )
    return kept.model_copy(update={"counter_evidence": (*kept.counter_evidence, note)})
