"""What a partition's detectors remember beyond what a replay of the last seconds brings back.

Baselines, peaks, states and the hysteresis of episodes reach back for hours. They are saved with
the progress, and offsets are committed only as far as a replay onto them is exact: a successor
continues as if nothing had happened.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import cramjam
import numpy as np
import structlog

log = structlog.get_logger()
Arrays = Mapping[str, np.ndarray]
_LAYOUT = "layout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Arrays by name as they were when every hop up to `at_ms` had been judged."""

    at_ms: int
    arrays: Arrays

    def part(self, prefix: str) -> Arrays:
        """Those whose name starts with `prefix` and a dot, under the rest of their name."""
        head = f"{prefix}."
        return {n.removeprefix(head): a for n, a in self.arrays.items() if n.startswith(head)}


def named(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays under names that start with `prefix` and a dot."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def array_bytes(*states: object) -> int:
    """Bytes of the arrays that some objects hold themselves."""
    held = (value for state in states for value in vars(state).values())
    flat = (a for value in held for a in (value if isinstance(value, tuple) else (value,)))
    return sum(a.nbytes for a in flat if isinstance(a, np.ndarray))


def as_text(text: str) -> np.ndarray:
    """A text as an array."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def text_of(array: np.ndarray) -> str:
    """The text that `as_text` made an array of."""
    return array.tobytes().decode()


def packed(arrays: Arrays, layout: str) -> bytes:
    """Arrays as compressed bytes; `layout` names what their columns mean."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **(dict(arrays) | {_LAYOUT: as_text(layout)}))
    return bytes(cramjam.zstd.compress(out.getvalue(), level=1))


def unpacked(at_ms: int, body: bytes, layout: str) -> Memory | None:
    """The memory in some bytes; None, said in the log, when they are of another layout."""
    try:
        with np.load(io.BytesIO(bytes(cramjam.zstd.decompress(body))), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (cramjam.DecompressionError, ValueError, OSError, EOFError) as error:
        log.warning("what detectors remembered cannot be read: starting afresh", error=str(error))
        return None
    if text_of(arrays.pop(_LAYOUT, as_text(""))) != layout:
        log.warning("what detectors remembered is of another version: starting afresh")
        return None
    return Memory(at_ms=at_ms, arrays=arrays)
