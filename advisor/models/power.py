"""Power: what a token costs in joules by phase, and what a power cap costs in speed.

Anything not measured gives None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from advisor.models.interval import Interval, exactly, of

VERSION = "power/3"


class Phase(StrEnum):
    """What a pool works on."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"
    TRAINING = "training"


# Share of the power limit an accelerator draws. Decode: 380 of 700 W (Splitwise, H100, small
# batches) up to all of it at large batches; prefill: 700 of 700 W (Splitwise), A100 400 of 400.
PHASE_POWER = {
    Phase.PREFILL: Interval(low=0.85, mid=0.97, high=1.0),
    Phase.DECODE: Interval(low=0.54, mid=0.80, high=1.0),
}
# Watts of the rest of the server for each accelerator: 705 W a GPU of the node at a cap of 450 W
# (MLPerf v4.1, 8 x H200 MaxQ: 5,639 W), 300 W (v5.1, 8 x B200: 10,401 W), 575 W rated (DGX H100)
HOST_WATTS = Interval(low=255.0, mid=300.0, high=575.0)


def serving_watts(power_limit_watts: float, prefill_share: float) -> Interval:
    """Draw of one accelerator that spends `prefill_share` of its time in prefill."""
    share = min(1.0, max(0.0, prefill_share))
    blend = (
        PHASE_POWER[Phase.PREFILL].scaled(share).plus(PHASE_POWER[Phase.DECODE].scaled(1 - share))
    )
    return blend.scaled(power_limit_watts)


def joules_per_token(watts: Interval, tokens_per_second: Interval) -> Interval | None:
    """Energy of one output token; low pairs the least power with the highest rate."""
    return watts.over(tokens_per_second) if tokens_per_second.low > 0 else None


def measured_joules_per_token(
    watts: float | None, tokens_per_second: float | None, spread_ratio: float = 0.05
) -> Interval | None:
    """Energy per token of a pool from its own power and token counters.

    The spread covers power sensors (NVML: +-5 %, and A100 and H100 sample a quarter of the time,
    arXiv 2312.02741). None without both, or when no token came out.
    """
    if watts is None or tokens_per_second is None:
        return None
    if not (watts > 0 and tokens_per_second > 0 and math.isfinite(watts * tokens_per_second)):
        return None
    each = watts / tokens_per_second
    return Interval(low=each * (1 - spread_ratio), mid=each, high=each * (1 + spread_ratio))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """What a power cap does: share of throughput left, and of energy per token."""

    cap_ratio: float  # of the power limit
    throughput: Interval
    energy: Interval


# Throughput left at a share of the power limit, from published runs:
#   decode: 700 to 350 W, almost no change of token latency (Splitwise, section 3)
#   mixed: 450 of 700 W (8 x H200 MaxQ, MLPerf v4.1): llama2-70b 0.807 offline, 0.791 server;
#     mixtral 0.83; gptj, all compute, 0.652 and 0.608
_LEFT: dict[Phase, tuple[float, Interval]] = {
    Phase.DECODE: (0.5, Interval(low=0.85, mid=0.97, high=1.0)),
    Phase.MIXED: (450 / 700, Interval(low=0.79, mid=0.807, high=0.83)),
    Phase.PREFILL: (450 / 700, Interval(low=0.608, mid=0.652, high=0.80)),
}
_LEFT[Phase.TRAINING] = _LEFT[Phase.PREFILL]


def power_cap(phase: Phase, cap_ratio: float) -> Cap | None:
    """Effect of capping a pool at `cap_ratio` of its limit; None outside of what was measured.

    A cap above what the phase draws is not felt; below it throughput falls evenly to what was
    published at the least cap.
    """
    least, kept = _LEFT[phase]
    if not least - 1e-9 <= cap_ratio <= 1:
        return None
    drawn = PHASE_POWER.get(phase, PHASE_POWER[Phase.PREFILL])

    def left_of(published: float, draw: float) -> float:
        felt = max(0.0, draw - cap_ratio) / (draw - least) if draw > least else 0.0
        return 1 - felt * (1 - published)

    left = of(
        left_of(kept.low, drawn.high), left_of(kept.mid, drawn.mid), left_of(kept.high, drawn.low)
    )
    before, after = drawn.mid, min(drawn.mid, cap_ratio)
    return Cap(cap_ratio=cap_ratio, throughput=left, energy=exactly(after / before).over(left))


CAP_ORDER = (Phase.DECODE, Phase.MIXED, Phase.PREFILL, Phase.TRAINING)
"""Whom to cap first: decode loses least."""
