"""The `simulator` collector: a cluster whose physics hang together, driven by a scenario.

Requests arrive as in published traces (`workload`), engines serve them at the pace a roofline
allows (`serving`), GPUs turn work into power and heat (`gpu`), KV caches and gradients share links
(`fabric`), coolant carries the heat away (`facility`), and a labelled timeline (`scenario`) makes
trouble on purpose. Samples carry the real time of the call.
"""

from __future__ import annotations

from collectors.simulator.cluster import Simulator
from collectors.simulator.scenario import Label, Scenario, load, names
from ridgeline.settings import CollectSettings

__all__ = ["Label", "Scenario", "Simulator", "create", "load", "names"]


def create(settings: CollectSettings) -> Simulator:
    """The simulator of the scenario in the settings.

    Raises:
        Misconfigured: no such scenario, or its text is wrong.
    """
    return Simulator(load(settings.scenario), settings.speed, settings.repairs_file)
