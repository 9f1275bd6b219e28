"""What others measured: throughput (and power) of models on accelerators, with source and date.

The throughput model is fitted to and tested against these; where a row is near the operator's own
workload the advisor shows it beside its estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.files import Entry, FileHead, Positive, Source, parsed, shipped

FILE = "measured.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One published run; rates are of all `devices` together."""

    model: str
    accelerator: str
    devices: int
    bytes_per_weight: float
    prompt_tokens: float
    output_tokens: float
    tokens_per_second: float
    scenario: str
    source: Source
    system_watts: float | None = None
    tpot_seconds: float | None = None

    @property
    def tokens_per_second_per_device(self) -> float:
        """Output tokens per second of one device."""
        return self.tokens_per_second / self.devices


class _Table(Entry):
    model: str
    accelerator: str
    devices: int
    bytes_per_weight: Positive
    source: str
    scenario: str = "offline"
    tpot_seconds: Positive | None = None
    rows: tuple[tuple[float, float, float] | tuple[float, float, float, float], ...]


class _MeasuredFile(FileHead):
    tables: tuple[_Table, ...]


def _load() -> tuple[Measurement, ...]:
    file = parsed(_MeasuredFile, shipped(FILE), FILE)
    return tuple(
        Measurement(
            **table.model_dump(exclude={"rows", "source"}),
            prompt_tokens=row[0],
            output_tokens=row[1],
            tokens_per_second=row[2],
            system_watts=row[3] if len(row) > 3 else None,
            source=file.source(table.source),
        )
        for table in file.tables
        for row in table.rows
    )


MEASURED = _load()
NEAR_RATIO = 2.0


def near(
    accelerator: str, model: str, prompt_tokens: float, output_tokens: float
) -> Measurement | None:
    """The published run nearest to a workload, within a factor of two in both lengths, or None."""

    def distance(m: Measurement) -> float:
        return max(_factor(m.prompt_tokens, prompt_tokens), _factor(m.output_tokens, output_tokens))

    same = [m for m in MEASURED if m.accelerator == accelerator and m.model == model]
    best = min(same, key=distance, default=None)
    return best if best is not None and distance(best) <= NEAR_RATIO else None


def _factor(one: float, other: float) -> float:
    return max(one, other) / max(min(one, other), 1.0)
