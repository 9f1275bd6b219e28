"""One settings class per service, from the environment only: `RIDGELINE_<SERVICE>_<NAME>`.

A wrong value stops the process at start with the variable's name. Secrets may also come from a
file: `RIDGELINE_STORE_PASSWORD_FILE` names one whose text is the password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ridgeline.errors import Misconfigured
from ridgeline.pools import PoolName

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=1, le=20_000)]
"""Days that rows are kept; past 2106, where ClickHouse's DateTime ends, a TTL would wrap around."""
Words = Annotated[tuple[str, ...], NoDecode]
"""A list written with commas."""


class Settings(BaseSettings):
    """Parent of every service's settings."""

    @classmethod
    def load(cls) -> Self:
        """Settings from the environment.

        Raises:
            Misconfigured: naming the variable, the value found and what is allowed.
        """
        prefix = cls.model_config.get("env_prefix", "")
        _read_secret_files(cls, prefix)
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = prefix + "_".join(str(part) for part in first["loc"]).upper()
            problem = f"{first['msg']} (found {first.get('input')!r})"
            raise Misconfigured(name, problem) from error


def _read_secret_files(cls: type[BaseSettings], prefix: str) -> None:
    for name, field in cls.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if field.annotation is SecretStr and path is not None:
            try:
                os.environ[variable] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Misconfigured(f"{variable}_FILE", f"cannot read {path}: {error}") from error


def _from_json(value: object) -> object:
    """A text as JSON; ValueError where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from error


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class KafkaSettings(Settings):
    """Where Kafka is; read by every service that streams."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_KAFKA_", frozen=True)

    servers: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port with commas")
    partitions: PositiveInt = Field(4, description="partitions of each telemetry topic")
    replication: PositiveInt = Field(1, description="replicas of each topic")
    compression: Literal["none", "lz4", "zstd"] = Field("zstd", description="producer compression")
    idempotent: bool = Field(
        default=True, description="idempotent producers; the embedded broker cannot, Kafka can"
    )


class MetricsSettings(Settings):
    """Where every service serves its own metrics."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_METRICS_", frozen=True)

    host: str = Field("127.0.0.1", description="address /metrics binds; 0.0.0.0: every one")


class LogSettings(Settings):
    """What every service writes to its log, and `ridgeline plan` to standard error."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_LOG_", frozen=True)

    level: Literal["", "debug", "info", "warning", "error"] = Field(
        "", description="least that is logged; empty: info, of plans warning"
    )


class StoreSettings(Settings):
    """Where ClickHouse is."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_STORE_", frozen=True)

    url: str = Field("http://127.0.0.1:8123", description="ClickHouse HTTP address")
    user: str = Field("default", description="ClickHouse user")
    password: SecretStr = Field(SecretStr(""), description="ClickHouse password")
    database: str = Field("ridgeline", pattern=r"^[A-Za-z_]\w*$", description="database name")
    raw_days: Days = Field(1, description="days raw samples are kept (when stored)")
    window_days: Days = Field(14, description="days base windows are kept")
    minute_days: Days = Field(90, description="days 1-minute rollups are kept")
    hour_days: Days = Field(1095, description="days 1-hour rollups are kept")
    raw: bool = Field(default=False, description="also store raw samples")


class CollectSettings(Settings):
    """The node agent."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_COLLECT_", frozen=True)

    host: str = Field("", description="host name to report; empty: the machine's own")
    collectors: Words = Field(
        ("nvml", "infiniband", "netdev"), description="collectors to run, with commas"
    )
    interval_seconds: PositiveFloat = Field(1.0, description="time between samples")
    timeout_seconds: PositiveFloat = Field(5.0, description="longest one sample may take")
    sysfs: Path = Field(Path("/sys"), description="root of sysfs")
    procfs: Path = Field(Path("/proc"), description="root of procfs")
    serving: Words = Field((), description="metrics URLs of LLM servers, with commas")
    serving_pool: PoolName = Field(
        "unknown",
        description="pool of the LLM servers and of this machine's GPUs: prefill, decode, mixed, "
        "training; of one service of several: chat/decode",
    )
    rack: str = Field("", description="rack this machine stands in")
    cooling_loop: str = Field("", description="cooling loop of this machine")
    buffer_mb: PositiveInt = Field(64, description="bound of unsent frames in memory")
    hold_file: Path | None = Field(
        None, description="while this file exists frames wait in the buffer"
    )
    scenario: str = Field("demo", description="simulator scenario: a name or a YAML file")
    speed: PositiveFloat = Field(1.0, description="simulated seconds a real second")
    repairs_file: Path | None = Field(
        None, description="simulator: file whose lines (`cooling loop-b`) end faults"
    )
    metrics_port: int = Field(9401, ge=0, le=65535, description="own /metrics; 0: off")

    _lists = field_validator("collectors", "serving", mode="before")(_split)


class StreamsSettings(Settings):
    """The stream processor."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_STREAMS_", frozen=True)

    app_id: str = Field("ridgeline-streams", description="consumer group")
    instance: str = Field("", description="static member id; empty: the host name")
    window_seconds: PositiveInt = Field(10, description="base window")
    hop_seconds: PositiveInt = Field(1, description="hop of the detection windows")
    lateness_seconds: NonNegativeFloat = Field(5.0, description="how late a sample may come")
    future_seconds: PositiveFloat = Field(60.0, description="how far ahead a clock may be")
    counter_gap_seconds: PositiveFloat = Field(
        30.0, description="counter readings further apart are no pair"
    )
    idle_seconds: PositiveFloat = Field(
        10.0, description="how long a partition may be silent before its event time goes on"
    )
    remember_seconds: PositiveFloat = Field(
        60.0, description="event time between saves of baselines and episodes; offsets follow"
    )
    rollup_seconds: PositiveFloat = Field(
        60.0, description="longest that a minute which goes on waits for its rollup"
    )
    open_after: PositiveInt = Field(3, description="hits of the last 5 hops that open an episode")
    close_after: PositiveInt = Field(10, description="quiet hops that close an episode")
    max_devices: PositiveInt = Field(1_000_000, description="bound of devices in memory")
    forget_seconds: PositiveFloat = Field(
        3600.0, description="event time without a sample after which a device is forgotten"
    )
    dead_letter_limit: PositiveInt = Field(
        1000, description="dead letters a minute past which a warning is raised"
    )
    session_seconds: Annotated[float, Field(ge=6)] = Field(
        20.0,
        description="how long a silent worker keeps its partitions; one that is back by then takes"
        " them up without a rebalance",
    )
    data_dir: Path = Field(Path(".ridgeline/streams"), description="Faust's working folder")
    stall_seconds: PositiveFloat = Field(120.0, description="no progress for so long: exit 1")
    metrics_port: int = Field(9402, ge=0, le=65535, description="own /metrics; 0: off")


class ServiceSettings(BaseModel):
    """What the advisor is told of one service of several; None: as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    slo_ttft_seconds: PositiveFloat | None = None
    slo_tpot_seconds: PositiveFloat | None = None


class AdvisorSettings(Settings):
    """The advisor."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_ADVISOR_", frozen=True)

    interval_seconds: PositiveFloat = Field(15.0, description="time between evaluations")
    history_minutes: PositiveFloat = Field(15.0, description="history a rule looks at")
    verify_minutes: PositiveFloat = Field(
        30.0, description="length of what is compared before and after a change"
    )
    notify: Words = Field((), description="apprise URLs of the ops chats, with commas")
    notify_min_gain_usd: NonNegativeFloat = Field(
        0.0, description="smallest monthly gain worth a chat message"
    )
    renotify_hours: PositiveFloat = Field(24.0, description="time before a reminder")
    gpu_usd_per_hour: NonNegativeFloat = Field(
        0.0, description="what a GPU-hour costs here; 0: the catalogue's price"
    )
    power_usd_per_kwh: NonNegativeFloat = Field(0.12, description="price of electricity")
    pue: Annotated[float, Field(ge=1)] = Field(1.3, description="facility power over IT power")
    slo_ttft_seconds: PositiveFloat = Field(2.0, description="objective: time to first token, p99")
    slo_tpot_seconds: PositiveFloat = Field(
        0.1, description="objective: time per output token, p99"
    )
    model: str = Field(
        "", description="served model; empty: as the LLM servers name it (its shape is looked up)"
    )
    services: Annotated[Mapping[str, ServiceSettings], NoDecode] = Field(
        {},
        description='model and objectives where services differ, JSON: {"chat": {"model": '
        '"llama3-8b", "slo_ttft_seconds": 0.5, "slo_tpot_seconds": 0.03}}',
    )
    network_gbps: PositiveFloat = Field(400.0, description="network for KV transfer, per node")
    regions: Words = Field((), description="cloud regions that data may go to; empty: any")
    catalog: str = Field(
        "", description="YAML file that corrects or extends accelerators, prices and grids"
    )
    hall_kw: NonNegativeFloat = Field(
        0.0, description="IT power the hall's feed carries; 0: unknown, no forecast"
    )
    facility_water_celsius: NonNegativeFloat = Field(
        0.0, description="supply temperature of the facility's water; 0: unknown"
    )
    retrofit_usd_per_kw: NonNegativeFloat = Field(
        0.0,
        description="quoted price of new cooling for each kW of heat; 0: as published, if it is",
    )
    grid: str = Field(
        "", description="grid the hall draws from, as the catalogue names it; empty: unknown"
    )
    carbon_free_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the year's energy under carbon-free contracts (PPA)"
    )
    shiftable_pools: Words = Field(
        (), description="pools whose work may wait for cleaner hours, with commas; empty: none"
    )
    shift_hours: Annotated[int, Field(ge=1, le=24)] = Field(
        12, description="longest time such work may wait"
    )
    carbon_usd_per_tonne: NonNegativeFloat = Field(
        0.0, description="price of a tonne of CO2e; 0: none, carbon is shown without money"
    )
    host: str = Field("127.0.0.1", description="address the HTTP API and the console bind")
    port: Port = Field(8080, description="port of the HTTP API and the console")
    token: SecretStr = Field(SecretStr(""), description="bearer token of the API; empty: none")
    metrics_port: int = Field(9403, ge=0, le=65535, description="own /metrics; 0: off")

    _lists = field_validator("notify", "regions", "shiftable_pools", mode="before")(_split)
    _services = field_validator("services", mode="before")(_from_json)

    def of_service(self, service: str) -> Self:
        """These settings with what is set for one service."""
        own = self.services.get(service)
        return self if own is None else self.model_copy(update=own.model_dump(exclude_none=True))


class GrafanaSettings(Settings):
    """Where dashboards and annotations are pushed."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_GRAFANA_", frozen=True)

    url: str = Field("", description="Grafana address; empty: nothing is pushed")
    token: SecretStr = Field(SecretStr(""), description="service-account token")


class LocalSettings(Settings):
    """The embedded stack of `ridgeline up` and `ridgeline demo`."""

    model_config = SettingsConfigDict(env_prefix="RIDGELINE_LOCAL_", frozen=True)

    home: Path = Field(Path(".ridgeline"), description="where the local stack keeps its data")
    kafka: Literal["embedded", "apache"] = Field("embedded", description="which broker to run")
    kafka_port: Port = Field(9092, description="port of the broker")
    store_port: Port = Field(8123, description="port of the ClickHouse gateway")
    console_port: Port = Field(8080, description="port of the console")
    metrics_port: Port = Field(9400, description="own /metrics of the supervisor; services: + 1..3")
    broker_memory_mb: PositiveInt = Field(
        1024, description="embedded broker's memory past which it is renewed"
    )


SETTINGS: tuple[type[Settings], ...] = (
    KafkaSettings,
    MetricsSettings,
    LogSettings,
    StoreSettings,
    CollectSettings,
    StreamsSettings,
    AdvisorSettings,
    GrafanaSettings,
    LocalSettings,
)
