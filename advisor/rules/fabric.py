"""fabric.congestion: what open congestion episodes on a rail cost, and where to look."""

from __future__ import annotations

from collections import Counter

from advisor.catalog.fabric import SETTINGS
from advisor.facts import Facts, Found, RailTraffic
from advisor.models import network
from advisor.rules.pricing import Catalog, Draft, accelerator_of, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "fabric.congestion"
VERSION = "fabric/2"
_HARDWARE = frozenset({"lossy_link"})
_SUFFERED = frozenset({"victim_sender", "credit_starved"})
"""Found on ports that are slowed down by what happens at another one."""
_LOOK = {
    "incast_receiver": "spread the senders or raise the number of rails a collective uses",
    "victim_sender": "find the receiver that pauses it: it is not the fault of this port",
    "pfc_storm": "find the host that pauses without end and take it off the fabric",
    "lossy_link": "change cable or transceiver",
    "cc_disabled": "switch congestion control on: it ignores the marks it gets",
    "credit_starved": "look for a slow receiver downstream",
}


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a rail with open episodes."""
    by_rail: dict[str, list[Found]] = {}
    for found in facts.found:
        if found.detection.detector == "fabric_congestion" and found.rail:
            by_rail.setdefault(found.rail, []).append(found)
    drafts = (_judge(r, found, facts, catalog, settings) for r, found in sorted(by_rail.items()))
    return tuple(d.advice(facts, catalog) for d in drafts)


def _judge(
    rail: str, found: list[Found], facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft:
    traffic = next((t for t in facts.rails if t.rail == rail), None)
    conditions = Counter(f.detection.condition for f in found)
    main = _main(conditions)
    hosts = sorted({f.host for f in found if f.detection.condition == main})
    price = _price(facts, catalog, settings)
    share = (traffic.pause_ratio if traffic else None) or 0.0
    nodes = traffic.nodes if traffic else len(hosts)
    gpus = sum(p.gpus for p in facts.pools)
    all_nodes = sum(p.nodes for p in facts.pools)
    held = gpus / all_nodes * nodes if all_nodes else 0.0
    gain = None
    if price is not None and share > 0 and held:
        # a paused sender stops its collective at worst, and is hidden by overlap at best
        lost = (0.1 * share, 0.5 * share, share)
        source = "pause time measured on the rail's ports; its cost in work assumed 10 to 100 %"
        gain = monthly(held, lost, price, Confidence.ASSUMED, source)
    return Draft(
        rule=RULE,
        action=Action.INSPECT_HARDWARE if main in _HARDWARE else Action.FIX_FABRIC,
        scope_kind="cluster",
        scope=rail,
        title=f"{rail}: {main.replace('_', ' ')} on {_some(hosts)}",
        reason=(
            f"{len(found)} open finding{'s' * (len(found) != 1)} on {rail}: "
            f"{_LOOK.get(main, 'see the detections')}."
            f"{_settings(main)}"
        ),
        evidence=(
            *seen("open findings", float(len(found)), "1", 1.0),
            *_seen(traffic),
            *_imbalance(facts),
        ),
        counter_evidence=_others(conditions, main),
        detections=tuple(f.detection.id for f in found),
        cost_today=gain,
        gain=gain,
        needs=Needs(lead_time_days=1),
        confidence=Confidence.MEASURED,
        verify=f"No open finding and no pause time on {rail} for an hour at the same traffic.",
        model_version=VERSION,
    )


def _main(conditions: Counter[str]) -> str:
    """The most frequent cause; what is only suffered elsewhere leads where no cause is seen."""
    causes = Counter({name: n for name, n in conditions.items() if name not in _SUFFERED})
    return (causes or conditions).most_common(1)[0][0]


def _others(conditions: Counter[str], main: str) -> tuple[Evidence, ...]:
    rest = {name: n for name, n in conditions.items() if name != main}
    note = ", ".join(f"{name.replace('_', ' ')} x{n}" for name, n in rest.items())
    return seen("other conditions on the rail", float(len(rest)), "1", note=note)


def _settings(condition: str) -> str:
    """Where to look, as a sentence; empty for a condition nobody described."""
    found = [f"{s.name} ({s.where}): {s.look_for}" for s in SETTINGS.get(condition, ())]
    return f" Look at {'; '.join(found)}." if found else ""


def _imbalance(facts: Facts) -> tuple[Evidence, ...]:
    used = [r.utilisation_ratio for r in facts.rails if r.utilisation_ratio is not None]
    note = "0: all rails carry the same; rail-optimised placement keeps collectives on their rail"
    return seen(
        "busiest rail over the mean, less one",
        network.rail_imbalance_ratio(used),
        "ratio",
        note=note,
    )


def _seen(traffic: RailTraffic | None) -> tuple[Evidence, ...]:
    if traffic is None:
        return ()
    return (
        *seen("rail utilisation", traffic.utilisation_ratio, "ratio"),
        *seen("ECN marks", traffic.ecn_marked_per_second, "1/s"),
        *seen("CNPs", traffic.cnp_per_second, "1/s"),
        *seen("time paused by PFC", traffic.pause_ratio, "ratio"),
    )


def _price(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Estimate | None:
    first = next(iter(facts.pools), None)
    return gpu_hour(accelerator_of(first) if first else None, catalog, settings)


def _some(hosts: list[str]) -> str:
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
