"""Reads the catalogue's YAML: ours from the package, the operator's corrections from a file.

A figure in a file is `[value, source]`, where `sources` says what the source is and as of when, or
a bare number, which then counts as the operator's own. Every error names the field and its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ridgeline.errors import Misconfigured

SETTING = "RIDGELINE_ADVISOR_CATALOG"
OWN = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where figures come from and as of when."""

    title: str
    as_of: str


OWN_SOURCE = Source(title=f"{SETTING}, the operator's own file", as_of="not stated")


class Entry(BaseModel):
    """Base of everything read from a catalogue file: closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceEntry(Entry):
    """One entry of `sources`."""

    title: str
    as_of: Annotated[str, BeforeValidator(str)]


class FileHead(Entry):
    """What every catalogue file may begin with."""

    sources: dict[str, SourceEntry] = Field(default_factory=dict)
    as_of: Annotated[str, BeforeValidator(str)] = "not stated"

    def source(self, key: str) -> Source:
        """The source called `key`; an unknown key is an error of the file."""
        if key == OWN:
            return Source(title=OWN_SOURCE.title, as_of=self.as_of)
        if key not in self.sources:
            known = ", ".join(sorted(self.sources)) or "none"
            raise Misconfigured(SETTING, f"source={key!r}: not in `sources` (known: {known})")
        return Source(title=self.sources[key].title, as_of=self.sources[key].as_of)


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
