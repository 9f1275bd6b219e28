"""Options of the plans: pydantic models with a word for every mistake, shared by all plans."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from advisor.catalog import stacks
from advisor.catalog.accelerators import BY_NAME, by_device_name
from advisor.catalog.models import MODELS, by_name
from advisor.rules.pricing import weaker
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence


class Options(BaseModel):
    """Parent of every plan's options: a field is a command-line option, its class a help panel."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )
    panel: ClassVar[str] = "Options"

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """The options; those not given (None) take their defaults.

        Raises:
            Misconfigured: names the option, the value and what is allowed.
        """
        try:
            return cls.model_validate({k: v for k, v in given.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            option = option_name(str(first["loc"][0])) if first["loc"] else "options"
            if first["type"] == "missing":
                raise Misconfigured(option, "is needed") from error
            text = first["msg"].removeprefix("Value error, ")
            raise Misconfigured(option, f"{text} (found {first['input']!r})") from error

    def with_measured(self, found: Mapping[str, Any]) -> Self:
        """These options with what was measured wherever nothing was given."""
        return self.model_copy(
            update={k: v for k, v in found.items() if k not in self.model_fields_set}
        )


def sureness(options: Options, used: Iterable[str], known: Mapping[str, Confidence]) -> Confidence:
    """How sure a number is that a model makes of options: no surer than any of them.

    Args:
        options: As they are used.
        used: Fields that the number is made of; one without a value is covered by the interval.
        known: What was measured or cited; all else was typed or is a default, which is assumed.
    """
    weakest = Confidence.MODELLED
    for name in used:
        if getattr(options, name) is not None:
            weakest = weaker(weakest, known.get(name, Confidence.ASSUMED))
    return weakest


def option_name(field: str) -> str:
    """How a field is written on the command line."""
    return "--" + field.replace("_", "-")


def catalogued(value: str, names: Iterable[str], what: str) -> str:
    """The catalogue's spelling of `value`, whatever its case; a ValueError suggests the nearest."""
    by_lower = {name.lower(): name for name in names}
    found = by_lower.get(value.lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(value.lower(), by_lower, n=3, cutoff=0.5)
    guess = f"did you mean {' or '.join(by_lower[n] for n in near)}? " if near else ""
    raise ValueError(f"no {what} of that name; {guess}there are: {', '.join(by_lower.values())}")


def _model(value: str) -> str:
    known = by_name(value)
    return known.name if known else catalogued(value, MODELS, "model")


def _accelerator(value: str) -> str:
    known = by_device_name(value) if " " in value else None  # a driver's name has several words
    return known.name if known else catalogued(value, BY_NAME, "accelerator")


ModelName = Annotated[str, AfterValidator(_model)]
"""A model of the catalogue (`advisor/catalog/models.py`), by its name there or as it is served."""

AcceleratorName = Annotated[str, AfterValidator(_accelerator)]
"""An accelerator of the catalogue, by its name there or by the driver's."""


EngineName = Annotated[str, AfterValidator(lambda v: catalogued(v, stacks.BY_NAME, "engine"))]
"""Serving software of the catalogue (`advisor/catalog/stacks.py`)."""


class WorkloadOptions(Options):
    """Where the workload comes from: described by numbers, recorded in a file, or live."""

    panel: ClassVar[str] = "Workload"

    requests_per_second: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        None, description="arrivals; with --trace: replay the trace at this rate"
    )
    prompt_tokens: Annotated[float, Field(gt=0, le=1e8)] | None = Field(
        None, description="mean prompt tokens a request"
    )
    output_tokens: Annotated[float, Field(gt=0, le=1e8)] | None = Field(
        None, description="mean output tokens a request"
    )
    burstiness: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None,
        description="coefficient of variation of the gaps between arrivals; 1: Poisson",
    )
    prefix_hit_ratio: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="share of prompt tokens found in the prefix cache"
    )
    trace: Path | None = Field(
        None, description="trace file: Azure LLM CSV, Mooncake JSONL, or a CSV (see docs/plan.md)"
    )
    live: bool = Field(default=False, description="take it from the running stack's store")
    pool: str | None = Field(
        None,
        description="with --live: serving pool, or service (its mixed pool, else prefill and "
        "decode); default: the only service",
    )
