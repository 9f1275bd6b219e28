"""What a partition of another topic says, by event time: a function of that log alone.

A verdict about event time E uses the newest fact that took effect by E, and is given only when the
facts up to E are complete (`until_ms`): then it does not matter which topic was read first. Who has
waited long enough appends a message to the silent partition ("verdicts up to M go on without you").
Whatever is said after it in that log takes effect after M, for everybody who ever reads it.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from streams.memory import Arrays, as_text, text_of
from streams.slots import NEVER

Source = tuple[str, int]
"""Topic and partition that facts come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Numbers by key (a node, a cooling loop), the keys sorted, each of its own time.

    `values` is (names, keys).
    """

    keys: np.ndarray
    ends_ms: np.ndarray
    values: np.ndarray

    def packed(self) -> bytes:
        """As bytes."""
        out = io.BytesIO()
        np.savez(out, keys=self.keys, ends=self.ends_ms, values=self.values)
        return out.getvalue()

    @classmethod
    def unpacked(cls, body: bytes) -> Numbers:
        """From the bytes."""
        with np.load(io.BytesIO(body), allow_pickle=False) as found:
            return cls(keys=found["keys"], ends_ms=found["ends"], values=found["values"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a partition may be read from to say the same as before about all after `at_ms`."""

    at_ms: int
    offset: int
    memory: bytes


@dataclass(slots=True)
class Facts:
    """Facts in the order in which they took effect.

    Args:
        before: Who speaks about the time up to `since_ms`: the same partition, read again.
        from_ms: What was said before is not here any more.
    """

    until_ms: int = NEVER
    before: Facts | None = None
    since_ms: int = NEVER
    from_ms: int = NEVER
    snapshots: deque[Snapshot] = field(default_factory=deque)
    _at: list[int] = field(default_factory=list)
    _said: list[Numbers] = field(default_factory=list)

    def post(self, end_ms: int, said: Numbers) -> None:
        """Take a fact about the window that ends then; in time order."""
        self._at.append(max(end_ms, self.until_ms + 1))
        self._said.append(said)

    def reached(self, ms: int) -> None:
        """Facts up to here are complete: by the watermark, or because nobody waits any longer."""
        self.until_ms = max(self.until_ms, ms)

    def give_up(self, ms: int) -> None:
        """Wait for nothing before this, whoever should have said it."""
        for facts in (self, self.before):
            if facts is not None:
                facts.reached(ms)

    @property
    def complete_ms(self) -> int:
        """How far verdicts may go."""
        if self.before is not None and self.before.until_ms < self.since_ms:
            return self.before.until_ms
        return max(self.until_ms, self.since_ms)

    @property
    def newest(self) -> Numbers | None:
        """What was said last."""
        return self._said[-1] if self._said else None

    def at(self, ms: int) -> Numbers | None:
        """The newest fact in effect then."""
        place = bisect_right(self._at, ms)
        if place:
            return self._said[place - 1]
        return None if self.before is None else self.before.at(ms)

    def __len__(self) -> int:
        return len(self._at)

    def forget(self, ms: int) -> None:
        """Drop what no verdict after `ms` uses."""
        if self.before is not None:
            self.before.forget(ms)
        place = bisect_right(self._at, ms) - 1
        if place > 0:
            del self._at[:place], self._said[:place]
            self.from_ms = max(self.from_ms, self._at[0])
        while len(self.snapshots) > 1 and self.snapshots[1].at_ms <= ms:
            self.snapshots.popleft()

    def snapshot(self, ms: int) -> Snapshot | None:
        """The newest of that time or before."""
        known = (s for f in (self, self.before) if f is not None for s in reversed(f.snapshots))
        return next((s for s in known if s.at_ms <= ms), None)

    def memory(self, at_ms: int) -> dict[str, np.ndarray]:
        """What a reader has to know that goes on from here: what is in effect, and what will be."""
        first = max(0, bisect_right(self._at, at_ms) - 1)
        return {
            "until": np.array([self.until_ms], dtype=np.int64),
            "at": np.array(self._at[first:], dtype=np.int64),
            "said": framed([said.packed() for said in self._said[first:]]),
        }

    def restore(self, memory: Arrays, at_ms: int) -> None:
        """Go on from a memory, all of whose facts are about windows that end by `at_ms`."""
        self.reached(int(memory["until"][0]))
        self._at = [int(at) for at in memory["at"]]
        self._said = [Numbers.unpacked(body) for body in unframed(memory["said"])]
        self.from_ms = at_ms


def framed(bodies: Iterable[bytes]) -> np.ndarray:
    """Some bytes one after the other, each after its length, as an array."""
    parts = [len(body).to_bytes(8, "little") + body for body in bodies]
    return np.frombuffer(b"".join(parts), dtype=np.uint8)


def unframed(array: np.ndarray) -> list[bytes]:
    """What `framed` was given."""
    whole, out, at = array.tobytes(), [], 0
    while at < len(whole):
        size = int.from_bytes(whole[at : at + 8], "little")
        out.append(whole[at + 8 : at + 8 + size])
        at += 8 + size
    return out


def snapshots_memory(snapshots: Iterable[tuple[Source, Snapshot]]) -> dict[str, np.ndarray]:
    """Snapshots of some sources as arrays."""
    found = [*snapshots]
    where = [f"{topic} {number} {s.at_ms} {s.offset}" for (topic, number), s in found]
    return {
        "where": as_text("\n".join(where)),
        "memory": framed([snapshot.memory for _, snapshot in found]),
    }


def snapshots_of(memory: Arrays) -> dict[Source, Snapshot]:
    """The snapshots that `snapshots_memory` made arrays of."""
    out: dict[Source, Snapshot] = {}
    lines = text_of(memory["where"]).splitlines()
    for line, body in zip(lines, unframed(memory["memory"]), strict=True):
        topic, number, at_ms, offset = line.split()
        out[topic, int(number)] = Snapshot(at_ms=int(at_ms), offset=int(offset), memory=body)
    return out
