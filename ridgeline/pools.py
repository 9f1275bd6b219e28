"""Pools: what devices do, and of which service where a cluster has several.

A pool is named by its role ("decode"), or by its service and its role ("chat/decode").
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator


class Role(StrEnum):
    """What a device works on."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"
    TRAINING = "training"
    UNKNOWN = "unknown"


SERVING = frozenset({Role.PREFILL, Role.DECODE, Role.MIXED})
"""Roles of engines that answer requests."""
_SERVICE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def pool_of(service: str, role: str) -> str:
    """The name of a service's pool; that of the only service is its role."""
    return f"{service}/{role}" if service else str(role)


def service_of(pool: str) -> str:
    """The service of a pool; empty where there is only one."""
    return pool.rpartition("/")[0]


def role_of(pool: str) -> str:
    """The role of a pool."""
    return pool.rpartition("/")[2]


def service_name(value: str) -> str:
    """The same; ValueError where a service cannot have that name."""
    if not _SERVICE.fullmatch(value):
        allowed = "small letters, digits, '.', '_' and '-', beginning with a letter or digit"
        raise ValueError(f"service {value!r} is not made of {allowed}")
    return value


def _checked(value: str) -> str:
    """The same; ValueError where it is not a role or a service and a role."""
    service, slash, role = value.rpartition("/")
    if role not in set(Role):
        raise ValueError(f"role {role!r} is not one of {', '.join(Role)}")
    if slash:
        service_name(service)
    return str(value)


PoolName = Annotated[str, AfterValidator(_checked)]
"""A role, or service/role."""
