"""Racks and coolant distribution units: heat follows power, coolant follows heat.

Heat removed is rho x cp x Q x dT (water). The figures of the plant are assumed.
"""

from __future__ import annotations

import numpy as np

from collectors.simulator.groups import sums
from collectors.simulator.topology import Topology
from collectors.simulator.workload import Floats

WATER_J_PER_LITER_K = 0.994 * 4180.0  # at about 35 degC
NODE_WATTS = 1800.0  # processors, memory, NICs, fans of one node
RACK_LIMIT_WATTS = 48_000.0
LIQUID_SHARE = 0.85  # of a rack's heat that goes into the coolant
SUPPLY_CELSIUS = 32.0
FACILITY_SUPPLY_CELSIUS = 24.0
ROOM_CELSIUS = 24.0
LITERS_PER_MINUTE_PER_RACK = 30.0
NOMINAL_PRESSURE_KPA = 150.0
NOMINAL_PUMP_SPEED = 0.6
NOMINAL_PUMP_WATTS = 2500.0
SUPPLY_SECONDS, FLOW_SECONDS, RETURN_SECONDS = 40.0, 10.0, 15.0


class Facility:
    """The plant of the cluster: one CDU a loop, racks of nodes."""

    def __init__(self, topology: Topology, speed: float) -> None:
        self._loop_of_rack = topology.loop_of_rack
        self._rack_of_node = topology.rack_of_node
        self._speed = speed
        loops = len(topology.cdu_names)
        self._racks_of_loop = np.maximum(np.bincount(self._loop_of_rack, minlength=loops), 1)
        self.supply: Floats = np.full(loops, SUPPLY_CELSIUS)
        self.flow_ratio: Floats = np.ones(loops)
        self.rise: Floats = np.full(loops, 6.0)
        self.rack_watts: Floats = np.zeros(topology.racks)
        self.rack_joules: Floats = np.zeros(topology.racks)
        self.cdu_joules: Floats = np.zeros(loops)

    def step(
        self, seconds: float, node_gpu_watts: Floats, supply_goal: Floats, flow_goal: Floats
    ) -> None:
        """Advance by `seconds`; goals are of each loop: degC, and flow over nominal."""
        node_watts = node_gpu_watts + NODE_WATTS
        self.rack_watts = sums(self._rack_of_node, node_watts, len(self.rack_watts))
        self.supply += self._share(seconds, SUPPLY_SECONDS) * (supply_goal - self.supply)
        self.flow_ratio += self._share(seconds, FLOW_SECONDS) * (flow_goal - self.flow_ratio)
        heat = LIQUID_SHARE * sums(self._loop_of_rack, self.rack_watts, len(self.supply))
        goal = heat / (WATER_J_PER_LITER_K * self.liters_per_minute / 60.0)
        self.rise += self._share(seconds, RETURN_SECONDS) * (goal - self.rise)
        self.rack_joules += self.rack_watts * seconds
        self.cdu_joules += self.pump_watts * seconds

    @property
    def liters_per_minute(self) -> Floats:
        """Coolant flow of each loop."""
        return self.flow_ratio * LITERS_PER_MINUTE_PER_RACK * self._racks_of_loop

    @property
    def pump_watts(self) -> Floats:
        """Power of each CDU: the cube of its speed."""
        return NOMINAL_PUMP_WATTS * self.flow_ratio**3

    @property
    def heat_removed_watts(self) -> Floats:
        """Heat each loop carries away."""
        return self.rise * WATER_J_PER_LITER_K * self.liters_per_minute / 60.0

    def fill(self, rows: np.ndarray) -> None:
        """Write FACILITY rows: racks, then CDUs."""
        racks, cdus = rows[: len(self.rack_watts)], rows[len(self.rack_watts) :]
        racks["power_watts"], racks["power_limit_watts"] = self.rack_watts, RACK_LIMIT_WATTS
        racks["inlet_celsius"] = ROOM_CELSIUS
        air_watts = (1.0 - LIQUID_SHARE) * self.rack_watts
        racks["outlet_celsius"] = ROOM_CELSIUS + air_watts / 600.0  # 0.5 m3/s of air
        racks["energy_joules"] = self.rack_joules.astype(np.uint64)
        racks["leak_state"] = 0
        cdus["power_watts"] = self.pump_watts
        cdus["supply_celsius"] = self.supply
        cdus["return_celsius"] = self.supply + self.rise
        cdus["facility_supply_celsius"] = FACILITY_SUPPLY_CELSIUS
        cdus["flow_liters_per_minute"] = self.liters_per_minute
        cdus["delta_pressure_kpa"] = NOMINAL_PRESSURE_KPA * self.flow_ratio**2
        cdus["pump_speed_ratio"] = NOMINAL_PUMP_SPEED * self.flow_ratio
        cdus["heat_removed_watts"] = self.heat_removed_watts
        cdus["energy_joules"] = self.cdu_joules.astype(np.uint64)
        cdus["leak_state"] = 0

    def _share(self, seconds: float, constant: float) -> float:
        return float(1.0 - np.exp(-seconds * self._speed / constant))
