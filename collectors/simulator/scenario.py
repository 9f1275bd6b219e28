"""Scenarios: a YAML file with a cluster, its traffic and a labelled timeline of events.

The timeline is in script seconds; `RIDGELINE_COLLECT_SPEED` script seconds pass in one real
second. It repeats for ever, with `calm_seconds` between the end of one round and the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from ridgeline.errors import Misconfigured
from ridgeline.pools import service_name

SETTING = "RIDGELINE_COLLECT_SCENARIO"
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrafficPart(_Part):
    """Requests before any event; `trace` names the published lengths they are drawn from."""

    trace: Literal["azure-conv", "azure-code", "mooncake-conversation"] = "azure-conv"
    requests_per_second: NonNegativeFloat = 140.0
    prefix_hit_ratio: Ratio = 0.25
    diurnal_amplitude: Ratio = 0.0


class _Served(_Part):
    """A model and how many nodes serve it in each role."""

    model: Literal["llama3-70b", "qwen3-32b"] = "llama3-70b"
    prefill: NonNegativeInt = 0
    decode: NonNegativeInt = 0
    mixed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.prefill > 0) != (self.decode > 0):
            raise ValueError("prefill and decode nodes need each other")
        return self


class ServicePart(_Served):
    """A service with a name of its own: its pools are `name/prefill` and so on."""

    name: Annotated[str, AfterValidator(service_name)]
    traffic: TrafficPart = TrafficPart()

    @model_validator(mode="after")
    def _served(self) -> Self:
        if not self.prefill + self.mixed:
            raise ValueError("a service needs nodes: prefill and decode, or mixed")
        return self


class ClusterPart(_Served):
    """How many nodes of each pool of the service without a name, and of other services."""

    prefill: NonNegativeInt = 8
    decode: NonNegativeInt = 16
    training: NonNegativeInt = 8
    services: tuple[ServicePart, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.prefill + self.mixed + self.training and not self.services:
            raise ValueError("a cluster needs nodes")
        names = [service.name for service in self.services]
        if len(set(names)) < len(names):
            raise ValueError(f"services need names of their own, found {', '.join(names)}")
        return self


class _EventPart(_Part):
    """What every event of the timeline has.

    `target` names nodes, racks, cooling loops, pools or services; `label` is the detector condition
    that is true on the target meanwhile, empty for a look-alike that must not be detected.
    """

    at: NonNegativeFloat
    for_: PositiveFloat = Field(alias="for")
    name: str = ""
    label: str = ""


class DemandEvent(_EventPart):
    """Users ask the services that the targets work for for more, less or other work."""

    kind: Literal["demand"]
    target: tuple[str, ...] = ("decode",)
    rate_factor: NonNegativeFloat = 1.0
    prompt_scale: PositiveFloat = 1.0
    output_scale: PositiveFloat = 1.0
    prefix_hit_ratio: Ratio | None = None


class IncastEvent(_EventPart):
    """Many nodes send to each target's port on one rail at once.

    `congestion_control: false` switches it off in the whole fabric meanwhile.
    """

    kind: Literal["incast"]
    target: tuple[str, ...]
    senders: tuple[str, ...] = ("prefill",)
    rail: Literal[0, 1] = 0
    load: PositiveFloat = 1.6  # offered over the rate of the target's link
    congestion_control: bool = True


class CoolingEvent(_EventPart):
    """The cooling loops of the targets get warmer or slower; the label is of the targets."""

    kind: Literal["cooling"]
    target: tuple[str, ...]
    supply_rise_celsius: float = 0.0
    flow_ratio: PositiveFloat = 1.0


class PowerCapEvent(_EventPart):
    """The GPUs of the targets are held to a power limit; `brake`: by the feed, not by software."""

    kind: Literal["power_cap"]
    target: tuple[str, ...]
    limit_watts: PositiveFloat
    brake: bool = False


class LossyLinkEvent(_EventPart):
    """The targets' port on one rail loses packets; ratio 1 means that it is down."""

    kind: Literal["lossy_link"]
    target: tuple[str, ...]
    rail: Literal[0, 1] = 0
    loss_ratio: Ratio = 1e-3


class XidEvent(_EventPart):
    """One GPU of each target reports an XID error at `at`."""

    kind: Literal["xid"]
    target: tuple[str, ...]
    for_: PositiveFloat = Field(1.0, alias="for")
    gpu: Annotated[int, Field(ge=0, le=7)] = 0
    code: Annotated[int, Field(ge=1)] = 94


TimelineEvent = Annotated[
    DemandEvent | IncastEvent | CoolingEvent | PowerCapEvent | LossyLinkEvent | XidEvent,
    Field(discriminator="kind"),
]


class Scenario(_Part):
    """A whole scenario file."""

    description: str = ""
    seed: int = 1
    cluster: ClusterPart = ClusterPart()
    traffic: TrafficPart = TrafficPart()
    calm_seconds: NonNegativeFloat = 0.0
    timeline: tuple[TimelineEvent, ...] = ()

    @property
    def round_seconds(self) -> float:
        """Script time of one round of the timeline; 0: nothing ever happens."""
        end = max((e.at + e.for_ for e in self.timeline), default=0.0)
        return end + self.calm_seconds if self.timeline else 0.0


@dataclass(frozen=True, slots=True)
class Label:
    """Ground truth: `condition` holds on `devices` from `start_ms` until `end_ms`.

    An empty condition is a look-alike: nothing should be detected because of it.
    """

    condition: str
    name: str
    devices: tuple[int, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Script:
    """A scenario on the wall clock: started at `start_ms`, `speed` script seconds a second."""

    scenario: Scenario
    start_ms: int
    speed: float

    def active(self, now: float) -> list[tuple[TimelineEvent, int]]:
        """Events going on at `now` (s since the epoch), each with the round it belongs to."""
        round_, seconds = self._place(now)
        return [(e, round_) for e in self.scenario.timeline if e.at <= seconds < e.at + e.for_]

    def started(self, begin: float, end: float) -> list[TimelineEvent]:
        """Events whose beginning lies in [begin, end) (s since the epoch), however short."""
        first, last = self._place(begin)[0], self._place(end)[0]
        return [
            event
            for round_ in range(first, last + 1)
            for event in self.scenario.timeline
            if begin * 1e3 <= self._start_ms(event, round_) < end * 1e3
        ]

    def span_ms(self, event: TimelineEvent, round_: int) -> tuple[int, int]:
        """Wall-clock interval of an event in a round."""
        first = self._start_ms(event, round_)
        return round(first), round(first + event.for_ / self.speed * 1e3)

    def _start_ms(self, event: TimelineEvent, round_: int) -> float:
        begin = round_ * self.scenario.round_seconds + event.at
        return self.start_ms + begin / self.speed * 1e3

    def _place(self, now: float) -> tuple[int, float]:
        elapsed = max(0.0, (now - self.start_ms / 1e3) * self.speed)
        length = self.scenario.round_seconds
        if length <= 0:
            return 0, elapsed
        return math.floor(elapsed / length), elapsed % length


def load(name: str) -> Scenario:
    """A scenario of ours by name, or a YAML file by path.

    Raises:
        Misconfigured: there is none, or its text is wrong; says where and what is allowed.
    """
    text = _text(name)
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Misconfigured(SETTING, f"{name} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise Misconfigured(SETTING, f"{name} must be a mapping, found {type(raw).__name__}")
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "scenario"
        problem = f"{name}: {where}: {first['msg']} (found {first.get('input')!r})"
        raise Misconfigured(SETTING, problem) from error


def names() -> list[str]:
    """Scenarios that come with the package."""
    return sorted(
        item.name.removesuffix(".yaml")
        for item in _folder().iterdir()
        if item.name.endswith(".yaml")
    )


def _folder() -> resources.abc.Traversable:
    return resources.files("collectors.simulator").joinpath("scenarios")


def _text(name: str) -> str:
    if name in names():
        return _folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    if not name.endswith((".yaml", ".yml")):
        known = ", ".join(names())
        raise Misconfigured(SETTING, f"no scenario {name!r}; known: {known}, or a .yaml file")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(SETTING, f"cannot read {name}: {error}") from error
