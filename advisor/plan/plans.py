"""`PLANS`: every sub-command of `ridgeline plan`, in the order of its help.

A plan is one module (an options model and a function of it that gives a `Report`), one line here
and one case in `tests/advisor/plan/test_plan_command.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from advisor.plan import accelerator, burst, capacity, cooling, disaggregate, network, serving
from advisor.plan.burst_case import BurstOptions
from advisor.plan.capacity_case import CapacityOptions
from advisor.plan.options import Options
from advisor.plan.report import Report

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One sub-command. `answer` takes the options by name as typed; raises Misconfigured."""

    name: str
    help: str
    options: type[Options]
    answer: Callable[[Mapping[str, Any]], Report]


def plan_of(name: str, options: type[OptionsT], answer: Callable[[OptionsT], Report]) -> Plan:
    """A plan whose help is the docstring of its options."""
    return Plan(
        name=name,
        help=inspect.getdoc(options) or "",
        options=options,
        answer=lambda given: answer(options.checked(given)),
    )


PLANS: tuple[Plan, ...] = (
    plan_of("disaggregate", disaggregate.DisaggregateOptions, disaggregate.disaggregate),
    plan_of("capacity", CapacityOptions, capacity.capacity),
    plan_of("accelerator", accelerator.AcceleratorOptions, accelerator.accelerator),
    plan_of("cooling", cooling.CoolingOptions, cooling.cooling),
    plan_of("network", network.NetworkOptions, network.plan_network),
    plan_of("burst", BurstOptions, burst.burst),
    plan_of("serving", serving.ServingOptions, serving.serving),
)
