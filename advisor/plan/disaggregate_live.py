"""`plan disaggregate --live` of a service whose phases run apart already: is the split right?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.facts import ServingLoad
from advisor.models import decision as dc
from advisor.models.slo import Workload
from advisor.plan.report import Table
from advisor.rules import rebalancing
from advisor.rules.handover import Handover
from ridgeline.events import Action, Confidence, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The pools as they are, the best other split, and all engines doing both."""

    prefill: ServingLoad
    decode: ServingLoad
    found: dc.Rebalance
    held_per_second: float
    together: dc.Decision
    demand_per_second: float

    @property
    def carried_per_second(self) -> float:
        """By the pools as they are: what they hold, where that is more than the model says."""
        return max(self.held_per_second, self.found.today_rate_per_second)

    @property
    def action(self) -> Action:
        """Together only where it surely is better; engines move only where it is needed."""
        carried = self.carried_per_second
        if self.demand_per_second <= dc.CARRIES_RATIO * self.found.today_rate_per_second:
            return Action.KEEP
        surely = self.together.gain_high_ratio < -dc.MARGIN_RATIO
        if surely and self.together.today_rate_per_second > (1 + dc.MARGIN_RATIO) * carried:
            return Action.AGGREGATE
        advised = rebalancing.gains(self.found, self.held_per_second)[1]
        return Action.REBALANCE_POOLS if advised else Action.KEEP

    @property
    def answer(self) -> str:
        """In one sentence."""
        found, both = self.found, self.together.together
        text = (
            f"Prefill and decode run apart, {self.prefill.engines} prefill and "
            f"{self.decode.engines} decode engines, and "
            f"{rebalancing.today(found, self.held_per_second)}; {found.prefills} and "
            f"{found.decodes} would carry {found.rate_per_second:.3g}"
        )
        text += f", engines doing both {both.rate_per_second:.3g}" if both else ""
        return f"{text}: {_SAID[self.action]}."

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why nothing is to be changed."""
        if self.action is not Action.KEEP:
            return ()
        enough = dc.CARRIES_RATIO * self.found.today_rate_per_second
        if self.demand_per_second <= enough:
            return (rebalancing.ENOUGH,)
        return (dc.Refusal.MARGIN.value,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Where what is seen and the model are apart."""
        said = [e.note for e in rebalancing.against(self.found, self.held_per_second)]
        both, low, high = self.together, self.together.gain_low_ratio, self.together.gain_high_ratio
        if self.action is Action.REBALANCE_POOLS and both.gain_ratio < 0 and math.isfinite(high):
            said.append(
                "engines doing both may carry more, not surely: beside them the best split carries "
                f"{low:+.0%} to {high:+.0%} requests"
            )
        return tuple(said)

    def table(self) -> Table:
        """The three beside one another."""
        found, both = self.found, self.together.together
        here = f"{self.prefill.engines} prefill, {self.decode.engines} decode"
        rows = [
            ("as it is", here, found.today_rate_per_second),
            (
                "best split of these",
                f"{found.prefills} prefill, {found.decodes} decode",
                found.rate_per_second,
            ),
        ]
        if both is not None:
            rows.append(
                ("together", f"{both.engines} x {both.replica.layout}", both.rate_per_second)
            )
        return Table(
            title="The pools as they are, and otherwise",
            columns=("arrangement", "engines", "requests/s in objectives"),
            rows=tuple(rows),
            note="by the model, fitted to what each pool does in its phase",
        )

    def numbers(self, source: str) -> dict[str, Estimate]:
        """What the other split brings."""
        low, likely, high = rebalancing.gains(self.found, self.held_per_second)[0]
        return {
            "gain from the other split": Estimate(
                low=low,
                mid=likely,
                high=high,
                unit="ratio of requests/s in objectives",
                confidence=Confidence.MODELLED,
                source=source,
            )
        }


_SAID = {
    Action.KEEP: "keep the split",
    Action.REBALANCE_POOLS: "move engines",
    Action.AGGREGATE: "put them together",
}


def split_of(  # noqa: PLR0917 - private to the plan
    prefill: ServingLoad,
    decode: ServingLoad,
    fleet: dc.Fleet,
    work: Workload,
    together: dc.Decision,
    demand_per_second: float,
    handover: Handover | None = None,
) -> Split:
    """The pools as they are under this work, of the fleet's engines."""
    engines = prefill.engines, decode.engines
    network_gbps = fleet.handover_gbps if handover is None else handover.reckoned_gbps
    found = dc.decide_rebalance(fleet.replica, work, engines, network_gbps)
    held = rebalancing.held(prefill, decode, work.slo_ttft_seconds, work.slo_tpot_seconds)
    return Split(
        prefill=prefill,
        decode=decode,
        found=found,
        held_per_second=demand_per_second if held else 0.0,
        together=together,
        demand_per_second=demand_per_second,
    )
