"""The simulated cluster: what stands where, and the inventory that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from collectors.simulator.workload import Bools, Ints
from ridgeline import ids
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.pools import Role, pool_of, role_of

GPUS_PER_NODE = 8
RAILS = ("rail0", "rail1")
PORTS = ("mlx5_0/1", "mlx5_1/1")
LOOPS = ("loop-a", "loop-b")
FACILITY_HOST = "facility"
GPU_MODEL = "NVIDIA H100 80GB HBM3"
SOFTWARE = {"engine": "vLLM", "version": "0.12.0"}
"""What simulated engines say they are; the advisor reads it as it reads a real server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A model and how many nodes serve it in each role."""

    name: str
    model: str
    prefill: int
    decode: int
    mixed: int

    @property
    def pools(self) -> tuple[str, ...]:
        """The pool of each of its nodes."""
        counts = (
            (Role.PREFILL, self.prefill),
            (Role.DECODE, self.decode),
            (Role.MIXED, self.mixed),
        )
        return tuple(pool_of(self.name, role) for role, count in counts for _ in range(count))


@dataclass(frozen=True)
class Topology:
    """Nodes of each service in turn (prefill, decode, mixed), then training; two cooling loops."""

    services: tuple[Service, ...]
    training: int = 8
    nodes_per_rack: int = 4
    pools: tuple[str, ...] = field(init=False)
    models: tuple[str, ...] = field(init=False)
    """What each node serves; empty for training."""

    def __post_init__(self) -> None:
        pools = [pool for service in self.services for pool in service.pools]
        models = [service.model for service in self.services for _ in service.pools]
        rest = self.training
        object.__setattr__(self, "pools", (*pools, *(Role.TRAINING.value,) * rest))
        object.__setattr__(self, "models", (*models, *("",) * rest))

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.pools)

    @property
    def racks(self) -> int:
        """Number of racks, the last one perhaps not full."""
        return -(-self.nodes // self.nodes_per_rack)

    def role_mask(self, *roles: Role) -> Bools:
        """Which nodes do this, for whichever service."""
        return np.array([role_of(pool) in roles for pool in self.pools], dtype=bool)

    @cached_property
    def rack_of_node(self) -> Ints:
        """Rack index of every node."""
        return np.arange(self.nodes, dtype=np.int64) // self.nodes_per_rack

    @cached_property
    def loop_of_rack(self) -> Ints:
        """Cooling-loop index of every rack: the first half on loop-a."""
        half = -(-self.racks // 2)
        return (np.arange(self.racks, dtype=np.int64) >= half).astype(np.int64)

    @cached_property
    def loop_of_node(self) -> Ints:
        """Cooling-loop index of every node."""
        return self.loop_of_rack[self.rack_of_node]

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """Host names, `node00` onwards."""
        return tuple(f"node{n:02d}" for n in range(self.nodes))

    @cached_property
    def rack_names(self) -> tuple[str, ...]:
        """Rack names, `rack00` onwards."""
        return tuple(f"rack{r:02d}" for r in range(self.racks))

    @cached_property
    def cdu_names(self) -> tuple[str, ...]:
        """Coolant distribution units, one a loop."""
        return tuple(f"cdu-{loop.removeprefix('loop-')}" for loop in LOOPS)

    @cached_property
    def node_ids(self) -> np.ndarray:
        """64-bit ids of the nodes."""
        return np.array([ids.node_id(h) for h in self.hosts], dtype=np.uint64)

    @cached_property
    def gpu_ids(self) -> np.ndarray:
        """Device ids, node by node."""
        pairs = [(h, gpu_name(h, g)) for h in self.hosts for g in range(GPUS_PER_NODE)]
        return _ids(DeviceKind.GPU, pairs)

    @cached_property
    def port_ids(self) -> np.ndarray:
        """Device ids, node by node, both rails of each."""
        return _ids(DeviceKind.PORT, [(h, p) for h in self.hosts for p in PORTS])

    @cached_property
    def engine_nodes(self) -> Ints:
        """Nodes that run a serving engine."""
        serving = self.role_mask(Role.PREFILL, Role.DECODE, Role.MIXED)
        return np.flatnonzero(serving).astype(np.int64)

    def nodes_of(self, service: Service) -> Ints:
        """Nodes that serve for a service."""
        first = sum(len(s.pools) for s in self.services[: self.services.index(service)])
        return np.arange(first, first + len(service.pools), dtype=np.int64)

    @cached_property
    def engine_ids(self) -> np.ndarray:
        """Device ids of the serving engines."""
        return _ids(DeviceKind.SERVING, [(self.hosts[n], "engine") for n in self.engine_nodes])

    @cached_property
    def facility_ids(self) -> np.ndarray:
        """Device ids of the racks, then the CDUs."""
        names = (*self.rack_names, *self.cdu_names)
        return _ids(DeviceKind.FACILITY, [(FACILITY_HOST, name) for name in names])

    def inventory(self, now_ms: int) -> list[InventoryItem]:
        """Everything there is."""
        items: list[InventoryItem] = []
        for node in range(self.nodes):
            items += self._node_items(node, now_ms)
        return items + self._facility_items(now_ms)

    def _node_items(self, node: int, now_ms: int) -> list[InventoryItem]:
        host, pool, model = self.hosts[node], self.pools[node], self.models[node]
        rack = int(self.rack_of_node[node])
        place = InventoryItem(
            device=ids.device_id(host, DeviceKind.NODE, host),
            node=ids.node_id(host),
            kind=DeviceKind.NODE,
            host=host,
            name=host,
            pool=pool,
            rack=self.rack_names[rack],
            row="row0",
            cooling_loop=LOOPS[int(self.loop_of_rack[rack])],
            pdu=f"pdu{rack:02d}",
            job="pretrain" if pool == Role.TRAINING else "",
            seen_ms=now_ms,
        )
        items = [place]
        items += [
            _part(place, DeviceKind.GPU, gpu_name(host, g), model=GPU_MODEL, index=g)
            for g in range(GPUS_PER_NODE)
        ]
        items += [
            _part(place, DeviceKind.PORT, port, model="ConnectX-7 400G RoCE", index=i, rail=rail)
            for i, (port, rail) in enumerate(zip(PORTS, RAILS, strict=True))
        ]
        if model:
            attributes = SOFTWARE | {"model": model, "tensor_parallel": str(GPUS_PER_NODE)}
            items.append(
                _part(place, DeviceKind.SERVING, "engine", model=model, attributes=attributes)
            )
        return items

    def _facility_items(self, now_ms: int) -> list[InventoryItem]:
        racks = [
            _facility(
                name, "rack", LOOPS[int(self.loop_of_rack[r])], now_ms, rack=name, pdu=f"pdu{r:02d}"
            )
            for r, name in enumerate(self.rack_names)
        ]
        cdus = [
            _facility(name, "cdu", loop, now_ms)
            for name, loop in zip(self.cdu_names, LOOPS, strict=True)
        ]
        return racks + cdus


def gpu_name(host: str, index: int) -> str:
    """A UUID-like name that stays the same over restarts."""
    return f"GPU-{host}-{index}"


def _ids(kind: DeviceKind, pairs: list[tuple[str, str]]) -> np.ndarray:
    return np.array([ids.device_id(h, kind.value, name) for h, name in pairs], dtype=np.uint64)


def _part(
    place: InventoryItem,
    kind: DeviceKind,
    name: str,
    *,
    model: str,
    index: int | None = None,
    rail: str = "",
    attributes: dict[str, str] | None = None,
) -> InventoryItem:
    return place.model_copy(
        update={
            "device": ids.device_id(place.host, kind.value, name),
            "kind": kind,
            "name": name,
            "model": model,
            "index": index,
            "rail": rail,
            "attributes": attributes or {},
        }
    )


def _facility(
    name: str, model: str, loop: str, now_ms: int, *, rack: str = "", pdu: str = ""
) -> InventoryItem:
    return InventoryItem(
        device=ids.device_id(FACILITY_HOST, DeviceKind.FACILITY.value, name),
        node=ids.node_id(FACILITY_HOST),
        kind=DeviceKind.FACILITY,
        host=FACILITY_HOST,
        name=name,
        model=model,
        rack=rack,
        row="row0",
        cooling_loop=loop,
        pdu=pdu,
        seen_ms=now_ms,
    )
