"""64-bit identities of nodes and devices, stable across restarts and machines."""

from __future__ import annotations

from hashlib import blake2b
from typing import NewType

NodeId = NewType("NodeId", int)
DeviceId = NewType("DeviceId", int)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def node_id(host: str) -> NodeId:
    """Identity of a host by its name."""
    return NodeId(_hash(f"node/{host}"))


def device_id(host: str, kind: str, name: str) -> DeviceId:
    """Identity of a device of `kind` by a name that is unique on its host (UUID, port, URL)."""
    return DeviceId(_hash(f"device/{host}/{kind}/{name}"))


def node_key(node: int) -> bytes:
    """Kafka key of everything a node sends: 8 bytes, little-endian, so partitions line up."""
    return int(node).to_bytes(8, "little")
