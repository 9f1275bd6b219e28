"""traffic.token_drift: prompts or answers are no longer as long as they were; what that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from advisor.facts import Facts, GpuActivity, Lengths, ServingLoad
from advisor.models import drift as model
from advisor.models.drift import Drift
from advisor.models.interval import Interval, of
from advisor.models.periods import HOURS_PER_MONTH
from advisor.models.sizing import QUANTILES
from advisor.models.token_sources import from_counts
from advisor.models.tokens import Histogram
from advisor.rules import feed, token_needs
from advisor.rules.pricing import (
    Catalog,
    Draft,
    accelerator_of,
    estimate,
    gpu_hour,
    monthly,
    seen,
    weaker,
)
from advisor.rules.replicas import replica_of
from advisor.rules.served import served
from advisor.rules.serving_software import Reckoned, reckoned
from advisor.rules.token_needs import Need
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.pools import Role, pool_of, role_of, service_of
from ridgeline.settings import AdvisorSettings

RULE = "traffic.token_drift"
LEAST_DAYS = 3
"""Days with requests in the same hours; with fewer it is not known what one differs by anyway."""
SOURCE = "today's requests sized at both lengths, docs/models.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Prompts or answers, on the days before and now."""

    what: str
    before: Histogram
    now: Histogram
    drift: Drift


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A pool some of whose lengths have changed, and what that takes where it can be modelled."""

    load: ServingLoad
    gpus: GpuActivity
    changes: tuple[_Change, ...]
    needs: tuple[Need, Need] | None
    price: Estimate | None
    software: Reckoned | None

    @property
    def confidence(self) -> Confidence:
        """Of what is modelled: assumed where the serving software is."""
        return self.software.confidence if self.software else Confidence.MODELLED

    @property
    def drifted(self) -> tuple[_Change, ...]:
        return tuple(change for change in self.changes if change.drift.drifted)

    @property
    def more_gpus(self) -> Interval | None:
        """GPUs now less GPUs before, the model's error the same in both."""
        if self.needs is None:
            return None
        before, now = (need.gpus for need in self.needs)
        return of(now.low - before.low, now.mid - before.mid, now.high - before.high)


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One finding a serving pool whose prompts or answers have changed their lengths."""
    cases = (
        _case(load, facts, catalog, settings.of_service(service_of(load.pool)))
        for load in facts.serving
    )
    return tuple(
        _draft(case, facts, settings).advice(facts, catalog) for case in cases if case is not None
    )


def _case(
    load: ServingLoad, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> _Case | None:
    gpus = facts.gpus_of(load.pool)
    prompts, answers = (_change(load.pool, what, facts) for what in ("prompts", "answers"))
    own = (prompts,) if role_of(load.pool) == Role.PREFILL else (prompts, answers)
    changes = tuple(change for change in own if change is not None)
    if gpus is None or not any(change.drift.drifted for change in changes):
        return None
    if role_of(load.pool) == Role.DECODE and prompts is None:
        computed = pool_of(service_of(load.pool), Role.PREFILL)
        prompts = _change(computed, "prompts", facts)  # counted where they are computed
    price = gpu_hour(accelerator_of(gpus, catalog), catalog, settings)
    software = _software(load, gpus, facts, catalog, settings)
    pool = _pool(load, gpus, software, price, catalog, settings)
    return _Case(
        load=load,
        gpus=gpus,
        changes=changes,
        needs=None if pool is None else _needs(pool, prompts, answers),
        price=price,
        software=None if pool is None else software,
    )


def _change(pool: str, what: str, facts: Facts) -> _Change | None:
    """What a pool counted today and on the days before, where it did on enough of them."""
    days = facts.lengths_by_day.get(pool, ())
    found = [from_counts(_counts(day, what)) for day in days]
    past = [day for day in found[1:] if day is not None]
    if not found or found[0] is None or len(past) < LEAST_DAYS:
        return None
    drift = model.against_days(past, found[0])
    return _Change(what=what, before=model.together(past), now=found[0], drift=drift)


def _counts(day: Lengths, what: str) -> tuple[float, ...]:
    return day.prompts if what == "prompts" else day.answers


def _software(
    load: ServingLoad, gpus: GpuActivity, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Reckoned | None:
    accelerator, model = accelerator_of(gpus, catalog), served(facts, (load.pool,), settings)
    if accelerator is None or model is None:
        return None
    return reckoned(facts, (load.pool,), accelerator, model)


def _pool(  # noqa: PLR0917 - private, called once
    load: ServingLoad,
    gpus: GpuActivity,
    software: Reckoned | None,
    price: Estimate | None,
    catalog: Catalog,
    settings: AdvisorSettings,
) -> token_needs.Pool | None:
    """None where engine or rate is not known."""
    accelerator = accelerator_of(gpus, catalog)
    if accelerator is None or software is None or not load.requests_per_second:
        return None
    stack = software.running.release.stack
    replica = replica_of(software.served.model, accelerator, stack, gpus.gpus, load.engines)
    if replica is None:
        return None
    return token_needs.Pool(
        load=load,
        replica=replica,
        requests_per_second=load.requests_per_second,
        usd_per_gpu_hour=price.mid if price else 0.0,
        slo_tpot_seconds=settings.slo_tpot_seconds,
    )


def _needs(
    pool: token_needs.Pool, prompts: _Change | None, answers: _Change | None
) -> tuple[Need, Need] | None:
    """Before and now; None where a length that counts is not known, or no engines would do."""
    if prompts is None:
        return None
    if role_of(pool.load.pool) == Role.PREFILL:
        one, other = (token_needs.of_prompts(pool, h) for h in (prompts.before, prompts.now))
        return one, other
    if answers is None:
        return None
    before = token_needs.of_requests(pool, prompts.before, answers.before)
    now = token_needs.of_requests(pool, prompts.now, answers.now)
    return None if before is None or now is None else (before, now)


def _draft(case: _Case, facts: Facts, settings: AdvisorSettings) -> Draft:
    load, more = case.load, case.more_gpus
    add = bool(load.waiting and load.waiting >= 1) and more is not None and more.mid > 0
    kw = feed.drawn_kw(accelerator_of(case.gpus), more.mid) if add and more is not None else 0.0
    money = case.price
    today = (
        None
        if money is None
        else monthly(case.gpus.gpus, (1, 1, 1), money, Confidence.MEASURED, "GPU count")
    )
    return Draft(
        rule=RULE,
        action=Action.ADD_CAPACITY if add else Action.KEEP,
        scope_kind="pool",
        scope=load.pool,
        title=_title(case),
        reason=f"{' '.join(_told(change) for change in case.drifted)} {_takes(case, add=add)}",
        evidence=tuple(_evidence(case)),
        counter_evidence=(*_against(case), *feed.against(facts, settings, kw)),
        cost_today=today,
        gain=None,
        effects=tuple(_effects(case)),
        needs=Needs(power_kw=kw),
        confidence=Confidence.MEASURED if case.needs is None else case.confidence,
        verify=(
            "Requests waiting fall to none at the same prompt tokens/s; the finding goes by itself "
            "once a week of the new lengths has passed."
        ),
        model_version=f"{model.VERSION} {token_needs.VERSION}",
    )


def _title(case: _Case) -> str:
    said = " and ".join(f"{c.what} are {_longer(c.drift.mean_ratio)}" for c in case.drifted)
    title = f"{case.load.pool}: {said} a week ago"
    more = case.more_gpus
    if more is None or not more.mid:
        return title
    way = "more" if more.mid > 0 else "fewer"
    return f"{title}: {abs(more.mid):.0f} GPUs {way} for the same requests"


def _longer(ratio: float) -> str:
    if ratio < 1:
        return f"{1 - ratio:.0%} shorter than"
    return f"{ratio - 1:.0%} longer than" if ratio < 2 else f"{ratio:.1f} times as long as"


def _told(change: _Change) -> str:
    before, now = change.before.quantiles(QUANTILES), change.now.quantiles(QUANTILES)
    return (
        f"{change.what.capitalize()} of the last hours are {_longer(change.drift.mean_ratio)} "
        f"in the same hours of the week before: p50 {before[0]:,.0f} to {now[0]:,.0f}, "
        f"p95 {before[1]:,.0f} to {now[1]:,.0f}, p99 {before[2]:,.0f} to {now[2]:,.0f} tokens, "
        "a larger change than that of any of those days from the rest."
    )


def _takes(case: _Case, *, add: bool) -> str:
    more, needs = case.more_gpus, case.needs
    if more is None or needs is None:
        return (
            "What that takes in GPUs is not said: model, rate, or lengths of prompts and answers "
            "are not all known, or no number of such engines holds the objective."
        )
    words = (
        f"By the model {case.load.requests_per_second or 0:.3g} requests/s need "
        f"{needs[0].gpus.mid:.0f} GPUs with the lengths of a week ago and {needs[1].gpus.mid:.0f} "
        f"with those of today ({more.low:+.0f} to {more.high:+.0f})."
    )
    if add:
        return f"{words} Requests wait."
    if more.mid > 0:
        return f"{words} No request waits: nothing needs to change yet."
    return f"{words} Nothing needs to change; GPUs that became idle are told of by themselves."


def _evidence(case: _Case) -> Iterator[Evidence]:
    for change in case.drifted:
        drift, what = change.drift, change.what
        yield from seen(
            f"{what}: population stability index", drift.psi, "PSI", drift.psi_threshold
        )
        yield from seen(f"{what}: largest gap of shares", drift.ks, "ratio", drift.ks_threshold)
        yield from seen(f"{what}: mean over that of a week ago", drift.mean_ratio, "times")
        for q in QUANTILES:
            note = f"before: {change.before.quantile(q):,.0f}"
            now = change.now.quantile(q)
            yield from seen(f"{what}: p{q * 100:.0f} now", now, "tokens", note=note)
        counted = f"before: {change.before.total:,.0f}"
        yield from seen(f"{what}: counted now", change.now.total, "1", note=counted)
    yield from seen("requests waiting", case.load.waiting, "1")
    if case.software is not None:
        yield from case.software.evidence()


def _against(case: _Case) -> Iterator[Evidence]:
    """What speaks against it: lengths inside a bucket, what did not change, what is there."""
    yield Evidence(
        name="lengths between counted bounds",
        value=0.0,
        unit="1",
        note="spread evenly between two bounds, so that a quantile may be off by half a bucket",
        confidence=Confidence.MODELLED,
    )
    for change in case.changes:
        if not change.drift.drifted:
            yield from seen(
                f"{change.what}: shift of the whole shape",
                change.drift.psi,
                "PSI",
                note=f"as usual: up to {change.drift.psi_threshold:.2g} is no change",
            )
    if case.needs is not None:
        yield from seen("GPUs in the pool", case.gpus.gpus, "1")
        if case.software is not None:
            yield from case.software.counter_evidence()


def _effects(case: _Case) -> Iterator[Estimate]:
    """GPUs, money a month, and what a query costs more by its length, now less before."""
    more, needs, price = case.more_gpus, case.needs, case.price
    if more is None or needs is None:
        return
    yield estimate(more.low, more.mid, more.high, "GPUs more", case.confidence, SOURCE)
    if price is None:
        return
    sure = weaker(case.confidence, price.confidence)
    month = sorted(
        gpus * usd * HOURS_PER_MONTH
        for gpus in (more.low, more.high)
        for usd in (price.low, price.high)
    )
    likely = more.mid * price.mid * HOURS_PER_MONTH
    yield estimate(month[0], likely, month[-1], "USD/month more", sure, SOURCE)
    for q, before, now in zip(QUANTILES, needs[0].usd, needs[1].usd, strict=True):
        low, mid, high = ((now - before) * 1000 * p / price.mid for p in _range(price))
        unit = f"USD more a thousand queries, each at p{q * 100:.0f} of length"
        yield estimate(low, mid, high, unit, sure, SOURCE)


def _range(price: Estimate) -> tuple[float, float, float]:
    return price.low, price.mid, price.high
