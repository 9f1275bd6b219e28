"""Reads the catalogue's YAML: ours from the package, the operator's corrections from a file.

A figure in a file is `[value, source]`, where `sources` says what the source is, as of when and of
which class (published unless it says otherwise: what is our fit or our guess is not), or a bare
number, which then counts as the operator's own. Every error names the field and its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence

SETTING = "RIDGELINE_ADVISOR_CATALOG"
OWN = "operator"
DATE = r"20\d\d(-\d\d(-\d\d)?)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where figures come from, as of when, and how sure that makes them.

    Raises:
        ValueError: published, but without a title or a date.
    """

    title: str
    as_of: str
    confidence: Confidence = Confidence.PUBLISHED

    def __post_init__(self) -> None:
        dated = self.title.strip() and re.fullmatch(DATE, self.as_of)
        if self.confidence is Confidence.PUBLISHED and not dated:
            raise ValueError(f"{self}: what is published has a title and a date (2026-11-26)")

    @property
    def cited(self) -> str:
        """Title and date on one line."""
        return f"{self.title} ({self.as_of})"


OWN_SOURCE = Source(
    title=f"{SETTING}, the operator's own file",
    as_of="not stated",
    confidence=Confidence.MEASURED,  # nobody knows better what it costs or does here
)


def together(sources: Iterable[Source]) -> Source:
    """One source of several: all titles, the oldest date, the weakest class; one at least."""
    found = tuple(dict.fromkeys(sources))
    return Source(
        title="; ".join(dict.fromkeys(s.title for s in found)),
        as_of=min(s.as_of for s in found),
        confidence=max((s.confidence for s in found), key=tuple(Confidence).index),
    )


class Entry(BaseModel):
    """Base of everything read from a catalogue file: closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceEntry(Entry):
    """One entry of `sources`."""

    title: Annotated[str, Field(min_length=1)]
    as_of: Annotated[str, BeforeValidator(str), Field(pattern=f"^{DATE}$")]
    confidence: Confidence = Confidence.PUBLISHED


class FileHead(Entry):
    """What every catalogue file may begin with."""

    sources: dict[str, SourceEntry] = Field(default_factory=dict)
    as_of: Annotated[str, BeforeValidator(str)] = "not stated"

    def source(self, key: str) -> Source:
        """The source called `key`; an unknown key is an error of the file."""
        if key == OWN:
            return replace(OWN_SOURCE, as_of=self.as_of)
        if key not in self.sources:
            known = ", ".join(sorted(self.sources)) or "none"
            raise Misconfigured(SETTING, f"source={key!r}: not in `sources` (known: {known})")
        return Source(**self.sources[key].model_dump())


def _paired(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value, OWN)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SourcedPositive = Annotated[tuple[Positive, str], BeforeValidator(_paired)]
Model = TypeVar("Model", bound=BaseModel)


def shipped(name: str) -> Mapping[str, Any]:
    """The content of one of our own data files."""
    text = resources.files("advisor.catalog").joinpath("data", name).read_text("utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


def operators(path: Path | None) -> Mapping[str, Any]:
    """The content of the operator's file; empty without one."""
    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise Misconfigured(SETTING, f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Misconfigured(SETTING, f"{path} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise Misconfigured(SETTING, f"{path}: a mapping is expected, found {type(found).__name__}")
    return found


def parsed(model: type[Model], content: Mapping[str, Any], file: str) -> Model:
    """The content as `model`; errors name file, field and value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        problem = f"{file}: {where}={first['input']!r}: {first['msg']}{more}"
        raise Misconfigured(SETTING, problem) from error
