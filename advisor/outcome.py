"""Which metric each action promises to move, and the verifier that measures it after the change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from advisor import places
from advisor.facts import history
from advisor.facts.gpus import IDLE_SM_RATIO
from advisor.facts.history import (
    Measure,
    Scope,
    by_minutes,
    device_count,
    device_means,
    samples,
)
from advisor.facts.span import DAY_MS, HEAT_MS, MINUTE_MS, Reader, Span
from advisor.format import spaced
from advisor.lifecycle import BY_HAND
from advisor.verification import (
    NotComparable,
    compared,
    not_measurable,
    of_devices,
    of_sample,
    verdict_of,
)
from ridgeline.events import Action, Advice, MetricChange, Verification
from ridgeline.pools import Role, role_of
from ridgeline.store.derived import HEAT_SHARE, SECONDS

_GIVE_UP_MS = DAY_MS
_BY = {"pool": "pool", "rack": "rack", "cooling_loop": "cooling_loop", "node": "host"}


def _mean(expression: str) -> str:
    return f"avgIf({expression}, isFinite({expression}))"


def _rate(increase: str) -> str:
    """Of all devices together, a second."""
    each = f"{increase} / {SECONDS}"
    return f"sumIf({each}, isFinite({each}))"


def _gpus(name: str, unit: str, by: str, value: str, *, money: bool) -> Measure:
    return Measure(
        name=name,
        unit=unit,
        family="gpu",
        by=by,
        value=value,
        load=_mean("w.sm_util_ratio_avg"),
        load_name="SM activity",
        worse_with_load=True,
        money_follows=money,
    )


def _serving(name: str, unit: str, value: str, *, money: bool = False) -> Measure:
    return Measure(
        name=name,
        unit=unit,
        family="serving",
        by="pool",
        value=value,
        load=_rate("w.prompt_tokens_inc"),
        load_name="prompt tokens/s",
        worse_with_load=True,
        money_follows=money,
    )


def _heat(by: str) -> Measure:
    heat = _gpus("GPU time throttled by heat", "ratio", by, _mean(HEAT_SHARE), money=True)
    return replace(heat, judged_ms=HEAT_MS)


TTFT = _serving("TTFT p99", "s", _mean("w.ttft_p99_seconds_avg"))
TPOT = _serving("TPOT p99", "s", _mean("w.tpot_p99_seconds_avg"))
QUEUE = _serving("requests waiting", "1", _mean("w.requests_waiting_avg"), money=True)
POWER = _gpus("power of a GPU", "W", "pool", _mean("w.power_watts_avg"), money=False)
IDLE = Measure(
    name="idle GPUs",
    unit="ratio",
    family="gpu",
    by="pool",
    value=f"avgIf(w.sm_util_ratio_avg < {IDLE_SM_RATIO}, isFinite(w.sm_util_ratio_avg))",
    load=None,
    money_follows=True,
)
SPEED = Measure(
    name="tokens generated an engine",
    unit="tokens/s",
    family="serving",
    by="pool",
    value=_mean(f"w.generation_tokens_inc / {SECONDS}"),
    load=_mean("w.requests_running_avg"),
    load_name="requests in the batch",
    lower_is_better=False,
)
PROMPTS = replace(
    SPEED,
    name="prompt tokens an engine",
    value=_mean(f"w.prompt_tokens_inc / {SECONDS}"),
)
PAUSED = Measure(
    name="time paused by PFC",
    unit="ratio",
    family="fabric",
    by="rail",
    value=_mean(f"w.pfc_rx_pause_us_inc / ({SECONDS} * 1e6)"),
    load=_rate("w.tx_bytes_inc * 8"),
    load_name="bit/s sent",
    worse_with_load=True,
    money_follows=True,
)
MEASURES = (
    *(TTFT, TPOT, QUEUE, POWER, IDLE, SPEED, PROMPTS, PAUSED),
    *(_heat(by) for by in _BY.values()),
)
"""Every metric that is ever read."""


def measures(advice: Advice) -> tuple[Measure, ...]:
    """The metrics a piece promises to move; none where telemetry holds none."""
    kind = advice.scope_kind
    match advice.action:
        case Action.CAP_POWER if kind == "pool":
            found: tuple[Measure, ...] = (POWER,)
        case Action.FIX_COOLING | Action.RETROFIT_COOLING | Action.CAP_POWER:
            found = (_heat(_BY[kind]),) if kind in _BY else ()
        case Action.DISAGGREGATE | Action.AGGREGATE | Action.REBALANCE_POOLS:
            found = (TTFT, TPOT)
        case Action.ADD_CAPACITY | Action.BURST_TO_CLOUD:
            found = (QUEUE,)
        case Action.CONSOLIDATE if not advice.effects:
            found = (IDLE,)  # a GPU that is cut into slices has no reading of its SMs
        case Action.CHANGE_ACCELERATOR:
            found = (PROMPTS if role_of(advice.scope) == Role.PREFILL else SPEED,)
        case Action.FIX_FABRIC if kind == "cluster":
            found = (PAUSED,)  # the scope is a rail
        case Action.FIX_FABRIC if kind == "pool":
            found = (SPEED,)  # engines that reduce over the wrong link
        case _:
            found = ()
    return found


class Verifier:
    """Measures what a change brought, once there is enough after it; None says "not yet".

    Before: at most `minutes` while the condition was there, up to when the change was made, or
    where it went away by itself up to the history it was judged over. After: the newest `minutes`
    of whole windows, past a sixth of that for things to settle. Loads that cannot be compared are
    tried again for a day.

    Args:
        store: Where windows are read.
        span: The history that conditions are judged over, and the window's length.
        minutes: Length of what is compared.
    """

    def __init__(self, store: Reader, span: Span, minutes: float) -> None:
        self._store = store
        self._span = span
        self._length_ms = int(minutes * MINUTE_MS)
        self._settle_ms = self._length_ms // 6
        self._again_ms: dict[str, int] = {}

    def __call__(self, advice: Advice, now_ms: int) -> Verification | None:
        """The verification, None while it is too early; raises Retry while the store is away."""
        changed = advice.changed_ms
        if changed is None or advice.action is Action.KEEP:
            return None
        if not (wanted := measures(advice)):
            done = spaced(advice.action)
            return not_measurable(advice, f'no telemetry tells what "{done}" brings', now_ms)
        ready = changed + self._settle_ms + self._length_ms + self._unwritten_ms
        if now_ms < max(ready, self._again_ms.get(advice.id, 0)):
            return None
        found = [self._compared(advice, measure, changed, now_ms) for measure in wanted]
        hopeful = all(isinstance(f, NotComparable) and not f.final for f in found)
        if hopeful and now_ms < changed + _GIVE_UP_MS:
            self._again_ms[advice.id] = now_ms + self._length_ms // 2
            return None
        self._again_ms.pop(advice.id, None)
        return verdict_of(advice, wanted, found, now_ms)

    @property
    def _unwritten_ms(self) -> int:
        """How long before now a window has to start to have been written."""
        return self._span.window_ms + self._span.lateness_ms

    def _compared(
        self, advice: Advice, measure: Measure, changed_ms: int, now_ms: int
    ) -> MetricChange | NotComparable:
        first, last = self._before(advice, measure, changed_ms)
        end = now_ms - self._unwritten_ms
        start = max(changed_ms + self._settle_ms, end - self._length_ms)
        scope = Scope(names=places.names(advice), seen_ms=changed_ms - DAY_MS)
        devices = device_count(self._store, measure, scope)
        minutes = by_minutes(devices, last - first, end - start)
        window_ms = self._span.window_ms
        asked, each = (
            partial(samples, self._store, measure, scope, window_ms=window_ms, minutes=minutes),
            partial(
                device_means, self._store, measure, scope, window_ms=window_ms, minutes=minutes
            ),
        )
        before, after = ((first, last), (start, end))
        found = compared(measure, asked(*before), asked(*after))
        if isinstance(found, MetricChange) and devices > history.MOST_COMPARED:
            found = of_sample(found, devices, each(*before), each(*after))
        return found if isinstance(found, NotComparable) else of_devices(found, devices)

    def _before(self, advice: Advice, measure: Measure, changed_ms: int) -> tuple[int, int]:
        """Start and end of what the change is compared with, in ms."""
        judged = self._span.history_ms if measure.judged_ms is None else measure.judged_ms
        if advice.outcome.startswith(BY_HAND):
            return max(changed_ms - self._length_ms, advice.created_ms - judged), changed_ms
        end = changed_ms - judged
        return max(end - self._length_ms, advice.created_ms), end
