"""All services of the cluster: each with engines and users of its own, on its own nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from collectors.simulator.requests import Demand
from collectors.simulator.roofline import MODELS
from collectors.simulator.scenario import Scenario, TrafficPart
from collectors.simulator.serving import Activity, Engines
from collectors.simulator.topology import Service, Topology
from collectors.simulator.workload import TRAFFIC, Floats, diurnal_factor


def topology_of(scenario: Scenario) -> Topology:
    """What stands where; a service without nodes is left out."""
    cluster = scenario.cluster
    parts = [("", cluster), *((part.name, part) for part in cluster.services)]
    services = (
        Service(name=name, model=p.model, prefill=p.prefill, decode=p.decode, mixed=p.mixed)
        for name, p in parts
    )
    return Topology(tuple(s for s in services if s.pools), cluster.training)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    at: slice  # of the engines of the cluster
    engines: Engines
    traffic: TrafficPart


class Services:
    """Engines of all services, in the order of their nodes."""

    def __init__(self, topology: Topology, scenario: Scenario, rng: np.random.Generator) -> None:
        self.traffic: Mapping[str, TrafficPart] = {"": scenario.traffic} | {
            part.name: part.traffic for part in scenario.cluster.services
        }
        self._parts: list[_Part] = []
        self._count = 0
        for service in topology.services:
            traffic = self.traffic[service.name]
            engines = Engines(service.pools, MODELS[service.model], TRAFFIC[traffic.trace], rng)
            at = slice(self._count, self._count + engines.count)
            self._parts.append(_Part(service.name, at, engines, traffic))
            self._count += engines.count

    def step(
        self,
        now: float,
        seconds: float,
        clock: Floats,
        demand: Mapping[str, Demand],
        kv_rate: Floats,
    ) -> Activity:
        """Advance by `seconds`; `demand` by service, else as `Engines.step` takes and gives."""
        rates = [f.name for f in fields(Activity) if f.name != "transfers"]
        found = {name: np.zeros(self._count) for name in rates}
        transfers = np.zeros((self._count, self._count))
        for part in self._parts:
            asked = demand[part.name]
            asked.requests_per_second *= diurnal_factor(now, part.traffic.diurnal_amplitude)
            one = part.engines.step(now, seconds, clock[part.at], asked, kv_rate[part.at])
            for name in rates:
                found[name][part.at] = getattr(one, name)
            transfers[part.at, part.at] = one.transfers
        return Activity(**found, transfers=transfers)

    def fill(self, rows: np.ndarray) -> None:
        """Write the state of every engine into SERVING rows; latencies start anew."""
        for part in self._parts:
            part.engines.fill(rows[part.at])
