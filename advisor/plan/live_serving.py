"""What the running store says of the engines that serve, as options of the plans about serving.

Accelerator, GPUs and engines are counted, the software is what servers say they are; the served
model, the objectives and the network of a node are the advisor's settings, so that a plan and live
advice speak of the same. What was given as an option wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models.decision import Fleet
from advisor.models.slo import Workload
from advisor.plan.inputs import Demand, demand, seen_by
from advisor.plan.options import WorkloadOptions, option_name
from advisor.plan.report import Report
from advisor.rules.handover import Handover, handover_of
from advisor.rules.pricing import accelerator_of
from advisor.rules.served import Served, served
from advisor.rules.serving_software import Reckoned, reckoned
from ridgeline.pools import service_of
from ridgeline.settings import AdvisorSettings

Asked = TypeVar("Asked", bound=WorkloadOptions)
_AS_THEY_ARE = {"accelerator", "decode_accelerator", "gpus_per_engine", "engines"}
"""Options that make other pools of those that run."""
_COUNTED = ("accelerator", "today", "gpus_per_engine", "engines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The demand of a plan, and under `--live` where its other options come from."""

    asked: Demand
    prefill: ServingLoad | None = None
    decode: ServingLoad | None = None
    """Of a service whose phases run apart under `--live`."""
    handover: Callable[[Fleet, Workload], Handover] | None = None
    """Under `--live`: how caches go in these pools."""
    prefill_busy_ratio: float | None = None
    """Share of the time that SMs of its prefill pool are active."""
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def beside(self, report: Report) -> Report:
        """The report with where its options come from, and what is assumed of them."""
        return replace(
            report,
            warnings=(*report.warnings, *self.warnings),
            sources=(*report.sources[:1], *self.sources, *report.sources[1:]),
        )


def asked_of(options: Asked, seen: Facts | None = None) -> tuple[Asked, Serving]:
    """The options with what the store and the settings say wherever nothing was given.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.

    Raises:
        Misconfigured: as `demand`.
        Retry: `--live` and the store is away.
    """
    facts = seen or seen_by(options)
    if facts is None or not options.live:
        return options, Serving(asked=demand(options))
    found = demand(options, facts)
    counted, configured = _counted(facts, found.pools), _configured(facts, found.pools)
    open_ = set(type(options).model_fields) - options.model_fields_set
    given = None if "network_gbps" in open_ else getattr(options, "network_gbps", None)
    options = options.with_measured(_only(counted | configured, open_))
    software = _software(options, facts, found.pools) if "engine" in open_ else None
    if software is not None:
        options = options.with_measured({"engine": software.running.release.name})
    missing = [n for n in _COUNTED if n in open_ and n not in counted]
    warnings = [f"not counted, so assumed: {_names(missing)}"] if missing else []
    if software is not None:
        warnings += [f"serving software: {e.note}" for e in software.counter_evidence()]
    loads = [facts.serving_of(pool) for pool in found.pools]
    prefill, decode = loads if len(loads) == 2 else (None, None)
    busy = facts.gpus_of(found.pools[0])
    return options, Serving(
        asked=found,
        prefill=prefill,
        decode=decode,
        prefill_busy_ratio=busy.sm_ratio if busy else None,
        handover=_handover(facts, found, given) if open_ >= _AS_THEY_ARE else None,
        sources=tuple(_sources(facts, found.pools, counted, configured, open_, software)),
        warnings=tuple(warnings),
    )


def _handover(
    facts: Facts, asked: Demand, network_gbps: float | None
) -> Callable[[Fleet, Workload], Handover] | None:
    """None where the pools are not known; a network that was given wins over the settings."""
    loads = [load for pool in asked.pools if (load := facts.serving_of(pool))]
    gpus = [found for pool in asked.pools if (found := facts.gpus_of(pool))]
    if not loads or len(gpus) < len(loads):
        return None
    settings = AdvisorSettings.load()
    if network_gbps is not None:
        settings = settings.model_copy(update={"network_gbps": network_gbps})
    rate = asked.requests_per_second
    return lambda fleet, work: handover_of(fleet, work, loads, gpus, facts, settings, rate)


def _sources(  # noqa: PLR0917 - private, called once
    facts: Facts,
    pools: Sequence[str],
    counted: Mapping[str, Any],
    configured: Mapping[str, Any],
    open_: set[str],
    software: Reckoned | None,
) -> Iterator[str]:
    gpus = [g for pool in pools if (g := facts.gpus_of(pool))]
    if names := _only(counted, open_):
        what = ", ".join(f"{g.gpus} GPUs of {g.group}" for g in gpus)
        yield f"{_names(names)}: measured, {what}"
    if names := _only(configured, open_):
        yield f"{_names(names)}: the advisor's settings; a model not set, as its servers name it"
    if software is not None:
        yield f"--engine: {software.words}"


def _only(found: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in names}


def _names(options: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(option_name(name) for name in options)


def _configured(facts: Facts, pools: Sequence[str]) -> dict[str, Any]:
    settings = AdvisorSettings.load().of_service(service_of(pools[0]))
    model, price = served(facts, pools, settings), settings.gpu_usd_per_hour
    found = {
        "model": None if model is None else model.model.name,
        "ttft_seconds": settings.slo_ttft_seconds,
        "tpot_seconds": settings.slo_tpot_seconds,
        "network_gbps": settings.network_gbps,
        "gpu_usd_per_hour": price or None,
        "usd_per_hour": price or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _counted(seen: Facts, pools: Sequence[str]) -> dict[str, Any]:
    """Of one pool, or of prefill and decode together; an engine has the mean number of GPUs."""
    loads = [load for pool in pools if (load := seen.serving_of(pool))]
    gpus = [found for pool in pools if (found := seen.gpus_of(pool))]
    engines = sum(load.engines for load in loads)
    if not engines or len(gpus) < len(pools):
        return {}
    return {
        "engines": engines,
        "gpus_per_engine": max(1, round(sum(g.gpus for g in gpus) / engines)),
        **_hardware(gpus),
        **_batch(loads[-1]),
    }


def _hardware(gpus: Sequence[GpuActivity]) -> dict[str, str]:
    kinds: list[Accelerator | None] = [accelerator_of(one) for one in gpus]
    first, last = kinds[0], kinds[-1]
    if first is None or last is None:
        return {}
    found = {"accelerator": first.name, "today": last.name}
    return found if first is last else found | {"decode_accelerator": last.name}


def _batch(load: ServingLoad) -> dict[str, int]:
    return {"max_sequences": max(1, int(load.max_batch / load.engines))} if load.max_batch else {}


def _software(options: WorkloadOptions, seen: Facts, pools: Sequence[str]) -> Reckoned | None:
    """None where the accelerator is the operator's own: of its platform nothing is known here."""
    name = str(getattr(options, "accelerator", None) or getattr(options, "today", ""))
    model, device = MODELS.get(getattr(options, "model", "")), BY_NAME.get(name)
    if model is None or device is None:
        return None
    asked = Served(model=model, name=model.name, configured=True)
    return reckoned(seen, pools, device, asked)
