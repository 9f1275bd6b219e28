"""What the events of a timeline do to the cluster at one moment, and what is then true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from collectors.simulator.fabric import LINK_BYTES_PER_SECOND, RAIL_COUNT
from collectors.simulator.facility import SUPPLY_CELSIUS
from collectors.simulator.gpu import LIMIT_WATTS
from collectors.simulator.requests import Demand
from collectors.simulator.scenario import (
    SETTING,
    CoolingEvent,
    DemandEvent,
    IncastEvent,
    LossyLinkEvent,
    PowerCapEvent,
    TimelineEvent,
    TrafficPart,
    XidEvent,
)
from collectors.simulator.topology import GPUS_PER_NODE, LOOPS, Topology
from collectors.simulator.workload import Bools, Floats, Ints
from ridgeline.errors import Misconfigured
from ridgeline.pools import service_of

# Milder events exist, but nobody should be scored on them.
CLEAR_RISE_CELSIUS, CLEAR_FLOW_RATIO = 5.0, 0.75


@dataclass(slots=True)
class Conditions:
    """Everything an event can change, as it is now."""

    demand: dict[str, Demand]  # by service
    streams: Floats  # bytes/s [rail, from, to]
    loss_ratio: Floats  # [node, rail]
    link_up: Bools  # [node, rail]
    congestion_control: bool
    supply_celsius: Floats  # [loop]
    flow_ratio: Floats  # [loop]
    limit_watts: Floats  # [node]
    brake: Bools  # [node]

    @classmethod
    def calm(cls, topology: Topology, traffic: Mapping[str, TrafficPart]) -> Conditions:
        """Nothing out of the ordinary; `traffic` by service."""
        n, loops = topology.nodes, len(LOOPS)
        return cls(
            demand={
                service: Demand(t.requests_per_second, prefix_hit_ratio=t.prefix_hit_ratio)
                for service, t in traffic.items()
            },
            streams=np.zeros((RAIL_COUNT, n, n)),
            loss_ratio=np.zeros((n, RAIL_COUNT)),
            link_up=np.ones((n, RAIL_COUNT), dtype=bool),
            congestion_control=True,
            supply_celsius=np.full(loops, SUPPLY_CELSIUS),
            flow_ratio=np.ones(loops),
            limit_watts=np.full(n, LIMIT_WATTS),
            brake=np.zeros(n, dtype=bool),
        )

    def apply(self, event: TimelineEvent, topology: Topology) -> None:
        """Let one event take effect."""
        where = targets(topology, event.target)
        match event:
            case DemandEvent():
                for service in _services(topology, where):
                    _ask(self.demand[service], event)
            case IncastEvent():
                self._incast(event, where, targets(topology, event.senders))
            case CoolingEvent():
                loops = np.unique(topology.loop_of_node[where])
                self.supply_celsius[loops] += event.supply_rise_celsius
                self.flow_ratio[loops] *= event.flow_ratio
            case PowerCapEvent():
                self.limit_watts[where] = event.limit_watts
                self.brake[where] = event.brake
            case LossyLinkEvent():
                self.loss_ratio[where, event.rail] = event.loss_ratio
                self.link_up[where, event.rail] = event.loss_ratio < 1.0
            case XidEvent():
                pass  # strikes once; the cluster counts it

    def _incast(self, event: IncastEvent, where: Ints, senders: Ints) -> None:
        self.congestion_control &= event.congestion_control
        for node in where:
            others = senders[senders != node]
            rate = event.load * LINK_BYTES_PER_SECOND / max(len(others), 1)
            self.streams[event.rail, others, node] += rate


def _ask(demand: Demand, event: DemandEvent) -> None:
    demand.requests_per_second *= event.rate_factor
    demand.prompt_scale *= event.prompt_scale
    demand.output_scale *= event.output_scale
    if event.prefix_hit_ratio is not None:
        demand.prefix_hit_ratio = event.prefix_hit_ratio


def _services(topology: Topology, nodes: Ints) -> list[str]:
    """Services that the nodes work for."""
    return [s.name for s in topology.services if np.isin(topology.nodes_of(s), nodes).any()]


def targets(topology: Topology, names: tuple[str, ...]) -> Ints:
    """Nodes that names of nodes, racks, cooling loops, pools or services stand for.

    Raises:
        Misconfigured: naming what the cluster does not have.
    """
    mask = np.zeros(topology.nodes, dtype=bool)
    for name in names:
        found = _nodes_of(topology, name)
        if not found.any():
            problem = f"target {name!r}: no such node, rack, loop, pool or service here"
            raise Misconfigured(SETTING, problem)
        mask |= found
    return np.flatnonzero(mask).astype(np.int64)


def _nodes_of(topology: Topology, name: str) -> Bools:
    places = zip(topology.hosts, topology.rack_of_node, topology.pools, strict=True)
    return np.array(
        [
            name
            in (
                host,
                topology.rack_names[rack],
                LOOPS[topology.loop_of_rack[rack]],
                pool,
                service_of(pool) or pool,
            )
            for host, rack, pool in places
        ],
        dtype=bool,
    )


def truths(topology: Topology, event: TimelineEvent) -> list[tuple[str, tuple[int, ...]]]:
    """Conditions that hold while an event goes on, each with the ids of its devices."""
    where = targets(topology, event.target)
    if isinstance(event, DemandEvent) and not _services(topology, where):
        raise Misconfigured(SETTING, f"demand: no service runs on {', '.join(event.target)}")
    if isinstance(event, IncastEvent):
        senders = _ports(topology, targets(topology, event.senders), event.rail)
        effects = ("victim_sender",) if event.congestion_control else ("cc_disabled", "pfc_storm")
        found = [(event.label, _ports(topology, where, event.rail))]
        return found + [(effect, senders) for effect in effects]
    if isinstance(event, LossyLinkEvent):
        return [(event.label, _ports(topology, where, event.rail))]
    if isinstance(event, XidEvent):
        return [(event.label, _ints(topology.gpu_ids[where * GPUS_PER_NODE + event.gpu]))]
    gpus = topology.gpu_ids.reshape(-1, GPUS_PER_NODE)[where]
    found = [(event.label, _ints(gpus.ravel()))]
    if isinstance(event, CoolingEvent):
        loops = np.unique(topology.loop_of_node[where])
        cdus = _ints(topology.facility_ids[topology.racks + loops])
        if event.supply_rise_celsius >= CLEAR_RISE_CELSIUS:
            found.append(("coolant_supply_hot", cdus))
        if event.flow_ratio <= CLEAR_FLOW_RATIO:
            found.append(("coolant_flow_low", cdus))
    return found


def _ports(topology: Topology, nodes: Ints, rail: int) -> tuple[int, ...]:
    return _ints(topology.port_ids[nodes * RAIL_COUNT + rail])


def _ints(found: np.ndarray) -> tuple[int, ...]:
    return tuple(int(device) for device in found)
