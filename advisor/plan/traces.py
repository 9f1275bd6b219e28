"""Request traces from files, read as a stream: Azure LLM CSV, Mooncake JSONL, a CSV with a header.

The generic CSV has the columns timestamp (seconds or ISO 8601), input_tokens, output_tokens.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from advisor.models.workload import DAY_SECONDS
from advisor.plan.progress import bar
from ridgeline.errors import Misconfigured

MOST_TOKENS = 100_000_000
LATEST_SECONDS = 1e11  # year 5138: what is later counts milliseconds, or less
_BAR_EVERY = 5_000  # rows between two moves of the bar
_BLOCK_TOKENS = 512  # of one prefix block in Mooncake's traces (its README)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests in the order of arrival; seconds count from the first.

    `reused_prompt_ratio` is the share of prompt tokens whose prefix block came before, which is
    what a prefix cache without limit finds; None where the file says nothing about prefixes.
    """

    name: str
    arrival_seconds: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    reused_prompt_ratio: float | None = None
    first_second_of_day: float = 0.0  # UTC; 0 where a file counts from its own beginning

    @property
    def requests_per_second(self) -> float:
        """Mean arrival rate."""
        return (len(self.arrival_seconds) - 1) / float(self.arrival_seconds[-1])

    @property
    def arrival_cv(self) -> float:
        """Coefficient of variation of the gaps between arrivals; 1 for a Poisson process."""
        gaps = np.diff(self.arrival_seconds)
        return float(gaps.std() / gaps.mean())


class _WrongRow(Exception):
    """A field cannot be right; `read` adds file and line."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name}={value!r}; allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class _Format:
    """Names of the three fields in one kind of file, and what a timestamp is there."""

    timestamp: str
    prompt: str
    output: str
    seconds_per_unit: float = 1.0

    @property
    def names(self) -> tuple[str, str, str]:
        """The fields a file of this kind must have."""
        return self.timestamp, self.prompt, self.output


AZURE = _Format("TIMESTAMP", "ContextTokens", "GeneratedTokens")
GENERIC = _Format("timestamp", "input_tokens", "output_tokens")
MOONCAKE = _Format("timestamp", "input_length", "output_length", 1e-3)
_ALLOWED = (
    "an Azure LLM CSV (TIMESTAMP,ContextTokens,GeneratedTokens), a Mooncake JSONL (timestamp in ms,"
    " input_length, output_length) or a CSV with timestamp,input_tokens,output_tokens"
)

_Rows = Iterator[tuple[int, Mapping[str, Any]]]
"""Line number and fields by name."""


@dataclass(slots=True)
class _Columns:
    """What was read so far: 24 bytes a request."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    prompts: array[float] = field(default_factory=lambda: array("d"))
    outputs: array[float] = field(default_factory=lambda: array("d"))
    blocks: set[int] = field(default_factory=set)
    reused_tokens: float = 0.0

    def add(self, kind: _Format, row: Mapping[str, Any]) -> None:
        """One more request; raises _WrongRow."""
        prompt = _tokens(kind.prompt, row, least=1)
        seconds = _seconds(kind.timestamp, row) * kind.seconds_per_unit
        if abs(seconds) > LATEST_SECONDS:
            unit = "seconds, not milliseconds" if kind.seconds_per_unit == 1 else "milliseconds"
            raise _WrongRow(kind.timestamp, row.get(kind.timestamp), unit)
        self.seconds.append(seconds)
        self.prompts.append(prompt)
        self.outputs.append(_tokens(kind.output, row, least=0))
        blocks = _blocks(row)
        known = next((n for n, b in enumerate(blocks) if b not in self.blocks), len(blocks))
        self.reused_tokens += min(prompt, known * _BLOCK_TOKENS)
        self.blocks.update(blocks)

    def trace(self, path: Path) -> Trace:
        """All of it, sorted by arrival."""
        seconds = np.array(self.seconds)
        if len(seconds) < 2 or seconds.max() == seconds.min():
            problem = f"{path} has {len(seconds)} requests at one instant; needed: 2 at different"
            raise Misconfigured("--trace", f"{problem} times")
        order = np.argsort(seconds, kind="stable")
        prompts = np.array(self.prompts)
        return Trace(
            name=path.name,
            arrival_seconds=seconds[order] - seconds.min(),
            prompt_tokens=prompts[order],
            output_tokens=np.array(self.outputs)[order],
            reused_prompt_ratio=self.reused_tokens / float(prompts.sum()) if self.blocks else None,
            first_second_of_day=float(seconds.min() % DAY_SECONDS),
        )


def _blocks(row: Mapping[str, Any]) -> list[int]:
    """Prefix blocks of a prompt; only the leading ones that are known are found in a cache."""
    blocks = row.get("hash_ids", [])
    if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
        raise _WrongRow("hash_ids", blocks, "a list of whole numbers")
    return blocks


def _tokens(name: str, row: Mapping[str, Any], *, least: int) -> int:
    value = row.get(name)
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if not least <= number <= MOST_TOKENS:
        raise _WrongRow(name, value, f"a whole number from {least} to {MOST_TOKENS:,}")
    return number


def _seconds(name: str, row: Mapping[str, Any]) -> float:
    """A number, or a time in ISO 8601 (UTC where no zone is given) as seconds of the epoch."""
    value = str(row.get(name))
    try:
        return _finite(float(value))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _WrongRow(name, row.get(name), "a number, or date and time in ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _finite(number: float) -> float:
    if not np.isfinite(number):
        raise ValueError(number)
    return number


def read(path: Path) -> Trace:
    """The trace in a file, whichever of the known kinds it is.

    Raises:
        Misconfigured: the file cannot be read, is of no known kind, or a row is wrong; says which
            line, field and value, and what is allowed.
    """
    try:
        with path.open("rb") as raw:
            return _read(path, raw)
    except OSError as error:
        raise Misconfigured("--trace", f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured("--trace", f"{path} is not text; allowed: {_ALLOWED}") from error


def _read(path: Path, raw: BinaryIO) -> Trace:
    columns, line = _Columns(), 1
    with bar(f"reading {path.name}", path.stat().st_size) as advance:
        kind, rows = _detected(path, io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""))
        try:
            for line, row in _moving(rows, raw, advance):  # noqa: B007 - the error names it
                columns.add(kind, row)
        except (_WrongRow, csv.Error) as error:
            raise Misconfigured("--trace", f"{path} line {line}: {error}") from error
    return columns.trace(path)


def _moving(rows: _Rows, raw: BinaryIO, advance: Callable[[float], None]) -> _Rows:
    """The rows; moves the bar by the bytes read."""
    reached = 0
    for n, row in enumerate(rows):
        if n % _BAR_EVERY == 0:
            advance(raw.tell() - reached)
            reached = raw.tell()
        yield row


def _detected(path: Path, text: io.TextIOWrapper) -> tuple[_Format, _Rows]:
    first = text.readline()
    if first.lstrip().startswith("{"):
        return MOONCAKE, _json_rows(first, text)
    columns = next(csv.reader([first]), [])
    for kind in (AZURE, GENERIC):
        spelled = {name.lower(): name for name in kind.names}
        named = [spelled.get(name.strip().lower(), name) for name in columns]
        if set(kind.names) <= set(named):
            return kind, _csv_rows(named, text)
    if not first.strip():
        raise Misconfigured("--trace", f"{path} is empty or begins so; allowed: {_ALLOWED}")
    found = {name.strip().lower() for name in columns}
    lacking = [[n for n in kind.names if n.lower() not in found] for kind in (AZURE, GENERIC)]
    nearest = min(lacking, key=len)
    if len(nearest) == 1:
        raise Misconfigured("--trace", f"{path} lacks the column {nearest[0]}; allowed: {_ALLOWED}")
    raise Misconfigured("--trace", f"{path} begins with {first[:80]!r}; allowed: {_ALLOWED}")


def _csv_rows(columns: list[str], text: io.TextIOWrapper) -> _Rows:
    reader = csv.reader(text)
    return ((reader.line_num + 1, dict(zip(columns, row, strict=False))) for row in reader if row)


def _json_rows(first: str, text: io.TextIOWrapper) -> _Rows:
    for number, line in enumerate(itertools.chain((first,), text), 1):
        if line.strip():
            yield number, _json_object(line)


def _json_object(line: str) -> Mapping[str, Any]:
    """The object in a line; what is none has no fields, and the first one asked for is wrong."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    return row if isinstance(row, dict) else {"timestamp": line.strip()[:60]}
