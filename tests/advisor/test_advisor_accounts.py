"""What pieces of advice bring together: never more than what the cluster costs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor import facts as f
from advisor import ranking
from advisor.accounts import NAME, counted_once
from advisor.conflicts import resolved
from advisor.models.periods import HOURS_PER_MONTH
from advisor.places import Place
from advisor.rules import RULES
from advisor.rules.pricing import USD_PER_MONTH, Catalog, accelerator_of, gpu_hour
from ridgeline.events import Action, Advice, Confidence, Estimate
from ridgeline.settings import AdvisorSettings
from tests.advisor.rule_cases import (
    CARBON_GRID,
    NIGHT_AND_DAY,
    TRAINING,
    facts,
    found,
    gpus,
    hall,
    loop,
    rail,
    serving,
)

SETTINGS = AdvisorSettings(
    model="llama3-70b",
    grid=CARBON_GRID.region,
    shiftable_pools=("training",),
    carbon_usd_per_tonne=100.0,
    hall_kw=2000.0,
)
CATALOG = Catalog(grids={CARBON_GRID.region: CARBON_GRID})
GPUS = {"prefill": 32, "decode": 96, "training": 64}
Bounds = tuple[float, float, float]


def places() -> tuple[Place, ...]:
    """Nodes of 8; each loop cools half of every pool."""
    return tuple(
        Place(
            host=f"{pool}{n}",
            rack=f"{pool}-{n // 4}",
            cooling_loop="loop-a" if n % 2 else "loop-b",
            pool=pool,
            gpus=8,
        )
        for pool, count in GPUS.items()
        for n in range(count // 8)
    )


ratios = st.floats(0.0, 1.0)


@st.composite
def clusters(draw: st.DrawFn) -> f.Facts:
    """A cluster with trouble of every kind at once, more or less of each."""
    rate = draw(st.floats(1, 200))
    waiting = draw(st.sampled_from([0.0, 0.5, 80.0]))
    split = (
        serving(
            "prefill",
            engines=4,
            requests_per_second=rate,
            prompt_tokens_per_second=rate * draw(st.floats(200, 8000)),
            ttft_p99_seconds=draw(st.floats(0.2, 9)),
        ),
        serving(
            "decode",
            engines=12,
            requests_per_second=rate,
            prompt_tokens_per_second=None,
            generation_tokens_per_second=rate * draw(st.floats(20, 800)),
            running=draw(st.floats(1, 3000)),
            waiting=waiting,
            overload_ratio=draw(ratios),
            tpot_p99_seconds=draw(st.floats(0.01, 0.3)),
        ),
    )
    busy = {
        name: gpus(
            name,
            gpus=count,
            nodes=count // 8,
            dram_ratio=draw(ratios),
            tensor_ratio=draw(ratios),
            pcie_bytes_per_second=draw(st.sampled_from([None, 2e9, 20e9])),
            nvlink_bytes_per_second=draw(st.sampled_from([None, 0.0])),
        )
        for name, count in GPUS.items()
    }
    hot = [
        gpus(name, gpus=96, nodes=12, thermal_ratio=draw(ratios), clock_ratio=draw(ratios))
        for name in ("loop-a", "loop-b")
    ]
    idle = tuple(
        f.IdleGpus(
            pool=name,
            gpus=count,
            idle=draw(st.one_of(st.just(0), st.integers(0, count))),
            idle_power_watts=75,
            seconds=600,
        )
        for name, count in GPUS.items()
    )
    pauses = [draw(ratios) for _ in range(4)]
    return facts(
        serving=split,
        pools=(
            *(busy[n] for n in ("prefill", "decode")),
            replace(busy["training"], power_watts=TRAINING.power_watts),
        ),
        gpu_loops=tuple(hot),
        loops=tuple(replace(loop(flow_liters_per_minute=200), loop=g.group) for g in hot),
        idle=idle,
        rails=tuple(
            replace(rail(pause_ratio=p), rail=f"rail{n}", nodes=24) for n, p in enumerate(pauses)
        ),
        found=tuple(
            found("incast_receiver", "fabric_congestion", rail=f"rail{n}")
            for n, p in enumerate(pauses)
            if p > 0
        ),
        places=draw(st.sampled_from([places(), ()])),
        demand={"decode": (100.0,) * 1300 + (400.0,) * 300, "prefill": (10.0,) * 1440},
        hall_watts_hourly=hall(90, draw(st.floats(0, 3))),
        pool_watts_by_hour=NIGHT_AND_DAY,
    )


def advised(seen: f.Facts) -> list[Advice]:
    """Everything the rules say of it, ranked."""
    every = (rule(seen, CATALOG, SETTINGS) for _, rule in RULES)
    return [
        a.model_copy(update={"rank": ranking.rank(a, seen.places)})
        for a in itertools.chain.from_iterable(every)
    ]


def cluster_usd(seen: f.Facts) -> Bounds:
    """What all GPUs cost a month: low, likely, high."""
    prices = [(p.gpus, gpu_hour(accelerator_of(p), CATALOG, SETTINGS)) for p in seen.pools]
    costs = [
        [n * HOURS_PER_MONTH * usd for usd in (price.low, price.mid, price.high)]
        for n, price in prices
        if price is not None
    ]
    low, mid, high = (sum(column) for column in zip(*costs, strict=True))
    return low, mid, high


def gains(said: list[Advice]) -> Bounds:
    """Of what is paid for by the GPU-hour."""
    paid = [a.gain for a in said if a.gain is not None and a.action is not Action.SHIFT_LOAD]
    return sum(g.low for g in paid), sum(g.mid for g in paid), sum(g.high for g in paid)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(seen=clusters())
def test_gains_are_never_more_than_what_is_paid(seen: f.Facts) -> None:
    """Each gain is at most the cost it names, and all together at most what the GPUs cost."""
    every = advised(seen)
    kept = resolved(every, seen.places).kept
    counted = [counted_once(kept, seen, CATALOG, SETTINGS)[a.id] for a in kept]

    for piece in every:
        if piece.gain is not None:
            assert piece.cost_today is not None, piece.title
            assert USD_PER_MONTH == piece.gain.unit
            for bound in ("low", "mid", "high"):
                limit = getattr(piece.cost_today, bound) * (1 + 1e-9)
                assert getattr(piece.gain, bound) <= limit, piece.title
    if seen.places:
        for found_usd, paid in zip(gains(counted), cluster_usd(seen), strict=True):
            assert found_usd <= paid * (1 + 1e-9)
    for before, after in zip(kept, counted, strict=True):
        if before.gain is not None:
            assert after.gain is not None
            assert after.gain.low <= after.gain.mid <= after.gain.high
            assert after.gain.mid <= before.gain.mid


def piece(scope: str, share: float, action: Action, kind: str = "pool") -> Advice:
    """A gain of a share of what a pool, or the whole cluster, costs."""
    count = sum(GPUS.values()) if kind == "cluster" else GPUS[scope]
    usd = share * count * HOURS_PER_MONTH
    return advised(CALM)[0].model_copy(
        update={
            "id": f"{scope}/{action}",
            "action": action,
            "scope_kind": kind,
            "scope": scope,
            "title": f"{action} of {scope}",
            "gain": Estimate(
                low=usd,
                mid=usd,
                high=usd,
                unit=USD_PER_MONTH,
                confidence=Confidence.MODELLED,
                source="test",
            ),
        }
    )


CALM = facts(
    pools=tuple(gpus(n, gpus=c, dram_ratio=0.7, tensor_ratio=0.2) for n, c in GPUS.items()),
    places=places(),
)
DOLLAR = SETTINGS.model_copy(update={"gpu_usd_per_hour": 1.0})


def likely(*pieces: Advice, seen: f.Facts = CALM) -> list[float]:
    """Gains counted once, as shares of what the pool of 96 GPUs costs at a dollar an hour."""
    found = counted_once(pieces, seen, CATALOG, DOLLAR)
    return [
        gain.mid / (96 * HOURS_PER_MONTH) for p in pieces if (gain := found[p.id].gain) is not None
    ]


def test_the_second_saves_of_what_the_first_leaves() -> None:
    """40 % put right first, then half of what is left; other GPUs are not touched."""
    fix = piece("decode", 0.4, Action.FIX_FABRIC)
    arrange = piece("decode", 0.5, Action.DISAGGREGATE)
    other = piece("prefill", 0.3, Action.DISAGGREGATE)

    assert [0.3, 0.4, 0.1] == pytest.approx(likely(arrange, fix, other))
    note = counted_once((arrange, fix), CALM, CATALOG, DOLLAR)[arrange.id].counter_evidence[-1]
    assert NAME == note.name
    assert 0.6 == pytest.approx(note.value)
    assert fix.title in note.note


def test_a_rail_takes_of_every_pool() -> None:
    """What a rail costs is a share of all GPUs; a pool's change then counts on what is left."""
    slow = piece("rail0", 0.5, Action.FIX_FABRIC, kind="cluster")
    arrange = piece("decode", 0.5, Action.DISAGGREGATE)

    assert [1.0, 0.25] == pytest.approx(likely(slow, arrange))


def test_a_gain_that_is_only_possible_is_counted_once_too() -> None:
    """Nothing likely, at most half, of GPUs whose whole cost is saved already: nothing is left."""
    whole = piece("decode", 1.0, Action.FIX_FABRIC)
    half = piece("decode", 0.5, Action.DISAGGREGATE)
    assert half.gain is not None
    unlikely = half.model_copy(update={"gain": half.gain.model_copy(update={"low": 0, "mid": 0})})

    found = counted_once((whole, unlikely), CALM, CATALOG, DOLLAR)[unlikely.id]

    assert found.gain is not None
    assert (0, 0, 0) == (found.gain.low, found.gain.mid, found.gain.high)
    assert NAME == found.counter_evidence[-1].name


def test_without_an_inventory_pools_are_told_apart() -> None:
    """Pools stand for their nodes; what is on a loop stays as it is."""
    bare = replace(CALM, places=())
    fix, arrange = (piece("decode", 0.5, a) for a in (Action.FIX_FABRIC, Action.DISAGGREGATE))

    assert [0.5, 0.25] == pytest.approx(likely(fix, arrange, seen=bare))


def test_tonnes_of_carbon_are_no_hours_of_gpus() -> None:
    """Priced by the tonne beside the GPUs' price: both count in full."""
    fix, shift = (piece("decode", 0.5, a) for a in (Action.FIX_FABRIC, Action.SHIFT_LOAD))

    assert [0.5, 0.5] == pytest.approx(likely(fix, shift))
