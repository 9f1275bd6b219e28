"""Through what caches go from prefill to decode, by what is known of it; the rest is assumed.

Within one scale-up domain (the NVLink of a node, the rack of an NVL72) a cache crosses no network.
Elsewhere it crosses that of the nodes, whose rate for caches nobody measures: it is a setting, or
at least what is seen to be handed over. How large a cache is the servers may count: what they do
not hand over (found in the cache of the pool that decodes) needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models.collectives import Link
from advisor.models.decision import Fleet
from advisor.models.disaggregation import GPUS_A_NODE, handover_gbps_per_request
from advisor.models.slo import Workload
from advisor.rules.pricing import seen
from ridgeline.events import Confidence, Evidence
from ridgeline.settings import AdvisorSettings

_SETTING = "RIDGELINE_ADVISOR_NETWORK_GBPS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What one request hands over, and through what."""

    fleet: Fleet
    nodes: int
    """Whose network hands caches over: those that prefill."""
    modelled_gbit: float
    measured_gbit: float | None
    network_set: bool

    @property
    def gbit(self) -> float:
        """Of one request."""
        return self.modelled_gbit if self.measured_gbit is None else self.measured_gbit

    @property
    def inside(self) -> bool:
        """Whether no network is crossed."""
        return self.fleet.handover_gbps > self.fleet.network_gbps

    @property
    def reckoned_gbps(self) -> float:
        """Of a node, for caches as large as the model takes them."""
        return self.fleet.handover_gbps * self.modelled_gbit / self.gbit

    def evidence(self, rate_per_second: float) -> tuple[Evidence, ...]:
        """What is handed over at a rate, and through what."""
        if self.inside:
            way = "inside one NVLink domain: no network is needed for it"
        else:
            known = "" if self.network_set else f" (assumed; {_SETTING} says otherwise)"
            network = f"{self.fleet.network_gbps:,.0f} Gbit/s{known}"
            way = f"from {self.nodes} node{'s' * (self.nodes != 1)} of {network}"
        measured = self.measured_gbit is not None
        return seen(
            "KV caches handed from prefill to decode" if measured else "KV hand-over it would take",
            self.gbit * rate_per_second,
            "Gbit/s",
            note=f"of all requests, {way}",
            confidence=Confidence.MEASURED if measured else Confidence.MODELLED,
        )


def handover_of(  # noqa: PLR0917 - of rules and plans alike
    fleet: Fleet,
    work: Workload,
    loads: Sequence[ServingLoad],
    gpus: Sequence[GpuActivity],
    facts: Facts,
    settings: AdvisorSettings,
    rate_per_second: float,
) -> Handover:
    """How caches go in a service.

    Args:
        fleet: Its engines; network and domain are set here.
        work: Its requests.
        loads: Its pools as they serve, prefill first; one where engines do both.
        gpus: Of these pools.
        facts: Where they stand.
        settings: The network of a node.
        rate_per_second: Requests.
    """
    bytes_per_second = loads[0].kv_transfer_bytes_per_second if len(loads) > 1 else None
    gbps = (bytes_per_second or 0.0) * 8 / 1e9
    carried = gbps / max(1, gpus[0].nodes)
    here = replace(
        fleet,
        network_gbps=max(settings.network_gbps, carried),
        one_domain=_one_domain(fleet, gpus, facts),
    )
    return Handover(
        fleet=here,
        nodes=gpus[0].nodes,
        modelled_gbit=handover_gbps_per_request(fleet.replica, work),
        measured_gbit=gbps / rate_per_second if gbps > 0 and rate_per_second > 0 else None,
        network_set="network_gbps" in settings.model_fields_set,
    )


def _one_domain(fleet: Fleet, gpus: Sequence[GpuActivity], facts: Facts) -> bool:
    """Whether all GPUs of the pools share NVLink: in one node, or in one rack that is a domain."""
    inside = fleet.replica.wires[0]
    total = sum(g.gpus for g in gpus)
    if inside.link is not Link.NVLINK or total > inside.domain_gpus:
        return False
    pools = {g.group for g in gpus}
    # of a node that several pools share the inventory names one
    where = [p for p in facts.places if p.pool in pools]
    if sum(p.gpus for p in where) < total:
        return len(gpus) == 1 and gpus[0].nodes == 1
    if len({p.host for p in where}) == 1:
        return True
    racks = {p.rack for p in where}
    return inside.domain_gpus > GPUS_A_NODE and len(racks) == 1 and "" not in racks
