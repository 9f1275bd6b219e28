"""The part of the compose specification that we use, closed to everything else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[str, Field(pattern=r"^\d+(ms|s|m|h)$")]
Text = Annotated[str, Field(strict=True)]


class Part(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid")


class Build(Part):
    """How an image is made."""

    context: Text


class Logging(Part):
    """Where a container's output goes."""

    driver: Literal["json-file"]
    options: dict[str, Text]


class Dependency(Part):
    """What must be so before a service starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Healthcheck(Part):
    """How Docker knows that a service works."""

    test: Annotated[list[Text], Field(min_length=2)]
    interval: Duration
    timeout: Duration
    retries: Annotated[int, Field(gt=0)]
    start_period: Duration


class Limit(Part):
    """One ulimit."""

    soft: int
    hard: int


class Device(Part):
    """A reservation of accelerators."""

    driver: Literal["nvidia"]
    count: int | Literal["all"]
    capabilities: list[Text]


class Reservations(Part):
    """What is set aside for a service."""

    devices: list[Device]


class Resources(Part):
    """Resources of a service."""

    reservations: Reservations


class Deploy(Part):
    """Placement of a service."""

    resources: Resources


class Override(Part):
    """What an additional file may change in a service."""

    environment: dict[str, Text] = {}
    deploy: Deploy | None = None


class Service(Override):
    """One service; what every service must have is not optional."""

    image: Text
    build: Build | None = None
    restart: Literal["unless-stopped", "on-failure"]
    user: Annotated[Text, Field(pattern=r"^\d+:\d+$")]
    read_only: bool = False
    tmpfs: list[Text] = []
    cap_drop: list[Text]
    security_opt: list[Text]
    stop_grace_period: Duration | None = None
    entrypoint: list[Text] = []
    command: list[Text] = []
    secrets: list[Text] = []
    ports: list[Annotated[Text, Field(pattern=r"^[\d.]+:\d+:\d+$")]] = []
    volumes: list[Text] = []
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None
    ulimits: dict[str, Limit] = {}
    logging: Logging


class SecretFile(Part):
    """A secret that is a file."""

    file: Text


class Compose(BaseModel):
    """The whole file; only `x-` keys may be more."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    services: dict[str, Service]
    secrets: dict[str, SecretFile]
    volumes: dict[str, None]
