"""What the common XIDs mean and what NVIDIA says to do at once.

Facts from NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors, "Analyzing XID Catalog").
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RESTART_HOST = "restart the host"
RESET_GPU = "reset the GPU"
RESTART_APP = "restart the application"
WORKFLOW = "follow NVIDIA's workflow for this XID"
NOTHING = "nothing at once"
LOOK_UP = "look it up in NVIDIA's XID catalogue"

_MEANINGS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        RESTART_HOST: {79: "GPU has fallen off the bus"},
        RESET_GPU: {
            46: "GPU stopped processing",
            62: "internal micro-controller halt",
            64: "row remapping failed",
            95: "uncontained memory error",
            109: "context switch timeout",
            119: "GSP RPC timeout",
            120: "GSP error",
            136: "link training failed",
            140: "unrecovered ECC error",
            143: "GPU initialisation failed",
        },
        WORKFLOW: {
            48: "double-bit ECC error",
            74: "NVLink error",
            **dict.fromkeys(range(144, 151), "NVLink 5 error"),
        },
        RESTART_APP: {
            8: "GPU stopped processing",
            11: "invalid or corrupted push buffer",
            13: "graphics engine exception",
            25: "invalid or illegal push buffer",
            31: "GPU memory page fault",
            32: "invalid or corrupted push buffer stream",
            80: "corrupted data sent to the GPU",
            94: "contained memory error",
        },
        NOTHING: {
            43: "GPU stopped processing for one application",
            45: "preemptive clean-up after earlier errors",
            63: "row remapping recorded",
            121: "corrected C2C link error",
            137: "NVLink fault of one application",
            154: "recovery action changed: read the kernel log",
        },
    }
)
XIDS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {code: (text, action) for action, codes in _MEANINGS.items() for code, text in codes.items()}
)
"""Meaning and immediate action by code."""


def describe(code: int) -> str:
    """One line for a person: code, meaning, what to do."""
    meaning, action = XIDS.get(code, ("not in the short list", LOOK_UP))
    return f"XID {code}: {meaning}; {action}"
