"""The simulator collector: steps the parts together and reads them out as telemetry."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from collectors.protocol import Batch
from collectors.simulator.conditions import Conditions, targets, truths
from collectors.simulator.fabric import LINK_BYTES_PER_SECOND, Fabric, Flows
from collectors.simulator.facility import Facility
from collectors.simulator.gpu import Gpus, Load
from collectors.simulator.repairs import Repairs
from collectors.simulator.scenario import Label, Scenario, Script, XidEvent
from collectors.simulator.services import Services, topology_of
from collectors.simulator.serving import Activity
from collectors.simulator.topology import FACILITY_HOST, GPUS_PER_NODE
from collectors.simulator.workload import Floats
from ridgeline import ids
from ridgeline.events import DeviceEvent, InventoryItem
from ridgeline.pools import Role
from ridgeline.schema import FABRIC, FACILITY, GPU, SERVING, Schema

STEP_SECONDS = 0.5
WARM_UP_SECONDS = 30.0
LONGEST_GAP_SECONDS = 30.0  # a sleep of the machine is not made up for
INVENTORY_MS = 30_000
TRAIN_PERIOD_SECONDS, TRAIN_EXCHANGE_SHARE = 5.0, 0.4
TRAIN_SM, TRAIN_TENSOR, TRAIN_DRAM = 0.92, 0.56, 0.42
TRAIN_LINK_LOAD = 0.8  # of a port while gradients are exchanged
TRAIN_NVLINK_BYTES_PER_SECOND = 300e9
SERVING_MEMORY_RATIO, TRAINING_MEMORY_RATIO = 0.9, 0.8


class Simulator:
    """A cluster as a collector. The same seed and the same times give the same telemetry.

    Args:
        scenario: Cluster, traffic and timeline.
        speed: Script seconds in one real second.
        repairs: File that says what was put right, see `collectors.simulator.repairs`.
    """

    def __init__(self, scenario: Scenario, speed: float = 1.0, repairs: Path | None = None) -> None:
        self.topology = topology_of(scenario)
        self.scenario, self.speed = scenario, speed
        rng = np.random.default_rng(scenario.seed)
        self.services = Services(self.topology, scenario, rng)
        self.gpus = Gpus(self.topology.nodes * GPUS_PER_NODE, rng)
        self.fabric = Fabric(self.topology.nodes)
        self.facility = Facility(self.topology, speed)
        self._repairs = Repairs(repairs, self.topology)
        self._training = self.topology.role_mask(Role.TRAINING)
        self._script: Script | None = None
        self._now = 0.0
        self._inventory: list[InventoryItem] = []
        self._events: list[DeviceEvent] = []
        for event in scenario.timeline:
            truths(self.topology, event)  # refuses unknown targets at the start

    def collect(self, now_ms: int) -> Batch:
        """Advance to `now_ms` and read everything; the first call warms the cluster up."""
        now = now_ms / 1e3
        if self._script is None:
            self._script = Script(self.scenario, now_ms, self.speed)
            self._now = now - WARM_UP_SECONDS
        self._now = max(self._now, now - max(LONGEST_GAP_SECONDS, WARM_UP_SECONDS))
        self._repairs.read(self._script.active(now))
        self._advance(now, self._script)
        events, self._events = self._events, []
        return Batch(self._frames(now_ms), self._items(now_ms), events)

    def close(self) -> None:
        """Nothing to let go of."""

    def labels(self, now_ms: int) -> list[Label]:
        """What is true of the cluster at a time, look-alikes included; nothing before `collect`."""
        if self._script is None:
            return []
        out = []
        for event, round_ in self._repairs.left(self._script.active(now_ms / 1e3)):
            start, end = self._script.span_ms(event, round_)
            name = event.name or event.kind
            out += [
                Label(condition, name, devices, start, end)
                for condition, devices in truths(self.topology, event)
            ]
        return out

    def _items(self, now_ms: int) -> list[InventoryItem]:
        """The inventory, made anew now and then for the time of sight."""
        if not self._inventory or abs(now_ms - self._inventory[0].seen_ms) >= INVENTORY_MS:
            self._inventory = self.topology.inventory(now_ms)
        return self._inventory

    def _advance(self, now: float, script: Script) -> None:
        span = now - self._now
        if span <= 0:
            return
        steps = math.ceil(span / STEP_SECONDS)
        seconds = span / steps
        for _ in range(steps):
            self._step(self._now, seconds, script)
            self._now += seconds
        self._now = now

    def _conditions(self, now: float, script: Script) -> Conditions:
        conditions = Conditions.calm(self.topology, self.services.traffic)
        if now * 1e3 < script.start_ms:  # warming up
            return conditions
        for event, _ in self._repairs.left(script.active(now)):
            conditions.apply(event, self.topology)
        return conditions

    def _strike(self, event: XidEvent, now: float) -> None:
        for node in targets(self.topology, event.target):
            gpu = int(node) * GPUS_PER_NODE + event.gpu
            self.gpus.xid(gpu, event.code)
            self._events.append(
                DeviceEvent(
                    device=int(self.topology.gpu_ids[gpu]),
                    node=int(self.topology.node_ids[node]),
                    kind="xid",
                    code=event.code,
                    message=f"XID {event.code} on {self.topology.hosts[node]} gpu{event.gpu}",
                    ts=round(now * 1e3),
                )
            )

    def _step(self, now: float, seconds: float, script: Script) -> None:
        now_is = self._conditions(now, script)
        for event in script.started(now, now + seconds):
            if isinstance(event, XidEvent):
                self._strike(event, now)
        nodes = self.topology.engine_nodes
        # a tensor-parallel group waits for its slowest GPU
        clock = self.gpus.clock.reshape(-1, GPUS_PER_NODE).min(axis=1)
        work = self.services.step(
            now, seconds, clock[nodes], now_is.demand, self.fabric.kv_rate[nodes]
        )
        exchanging = (now / TRAIN_PERIOD_SECONDS) % 1.0 < TRAIN_EXCHANGE_SHARE
        self._step_fabric(seconds, now_is, work.transfers, exchanging=exchanging)
        self._step_gpus(seconds, now_is, work, exchanging=exchanging)
        watts = self.gpus.power.reshape(-1, GPUS_PER_NODE).sum(axis=1)
        self.facility.step(seconds, watts, now_is.supply_celsius, now_is.flow_ratio)

    def _step_fabric(
        self, seconds: float, now_is: Conditions, transfers: Floats, *, exchanging: bool
    ) -> None:
        nodes, count = self.topology.engine_nodes, self.topology.nodes
        between = np.zeros((count, count))
        between[np.ix_(nodes, nodes)] = transfers
        np.fill_diagonal(between, 0.0)
        ring = np.flatnonzero(self._training)
        if exchanging and len(ring) > 1:
            rate = TRAIN_LINK_LOAD * LINK_BYTES_PER_SECOND
            now_is.streams[:, ring, np.roll(ring, -1)] += rate
        self.fabric.step(
            seconds,
            Flows(
                between,
                now_is.streams,
                now_is.loss_ratio,
                now_is.link_up,
                now_is.congestion_control,
            ),
        )

    def _step_gpus(
        self, seconds: float, now_is: Conditions, work: Activity, *, exchanging: bool
    ) -> None:
        topology, facility = self.topology, self.facility
        train, loop = self._training, topology.loop_of_node
        pace = 0.6 if exchanging else 1.0
        nvlink = TRAIN_NVLINK_BYTES_PER_SECOND if exchanging else 40e9
        each = np.repeat  # every GPU of a node does the same work
        self.gpus.step(
            seconds,
            Load(
                duty=each(self._per_node(work.duty, 1.0), GPUS_PER_NODE),
                sm=each(self._per_node(work.sm, TRAIN_SM), GPUS_PER_NODE),
                tensor=each(self._per_node(work.tensor, TRAIN_TENSOR * pace), GPUS_PER_NODE),
                dram=each(self._per_node(work.dram, TRAIN_DRAM * pace), GPUS_PER_NODE),
                nvlink_bytes_per_second=each(
                    self._per_node(work.nvlink_bytes_per_second, nvlink), GPUS_PER_NODE
                ),
                pcie_tx_bytes_per_second=each(
                    self.fabric.tx_rate.sum(axis=1) / GPUS_PER_NODE, GPUS_PER_NODE
                ),
                pcie_rx_bytes_per_second=each(
                    self.fabric.rx_rate.sum(axis=1) / GPUS_PER_NODE, GPUS_PER_NODE
                ),
                memory_used_ratio=each(
                    np.where(train, TRAINING_MEMORY_RATIO, SERVING_MEMORY_RATIO), GPUS_PER_NODE
                ),
                coolant_celsius=each(facility.supply[loop], GPUS_PER_NODE),
                flow_ratio=each(facility.flow_ratio[loop], GPUS_PER_NODE),
                limit_watts=each(now_is.limit_watts, GPUS_PER_NODE),
                brake=each(now_is.brake, GPUS_PER_NODE),
            ),
        )

    def _per_node(self, of_engine: Floats, of_training: float) -> Floats:
        out = np.where(self._training, of_training, 0.0)
        out[self.topology.engine_nodes] = of_engine
        return out

    def _frames(self, now_ms: int) -> list[tuple[Schema, np.ndarray]]:
        topology, nodes = self.topology, self.topology.node_ids
        gpu = _rows(GPU, now_ms, np.repeat(nodes, GPUS_PER_NODE), topology.gpu_ids)
        self.gpus.fill(gpu)
        fabric = _rows(FABRIC, now_ms, np.repeat(nodes, 2), topology.port_ids)
        self.fabric.fill(fabric)
        serving = _rows(SERVING, now_ms, nodes[topology.engine_nodes], topology.engine_ids)
        self.services.fill(serving)
        home = np.full(len(topology.facility_ids), ids.node_id(FACILITY_HOST), dtype=np.uint64)
        facility = _rows(FACILITY, now_ms, home, topology.facility_ids)
        self.facility.fill(facility)
        return [(GPU, gpu), (FABRIC, fabric), (SERVING, serving), (FACILITY, facility)]


def _rows(schema: Schema, now_ms: int, node: np.ndarray, device: np.ndarray) -> np.ndarray:
    rows = schema.empty(len(device))
    rows["ts"], rows["node"], rows["device"] = now_ms, node, device
    return rows
