"""Idle cost, consolidation of jobs onto fewer nodes, small jobs on slices of GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import mig
from advisor.catalog.accelerators import BY_NAME
from advisor.models import packing as p
from advisor.models import slicing

FOUR_NODES = {"a": 8, "b": 8, "c": 8, "d": 8}


def test_opencost_idle() -> None:
    """Idle is asset cost minus workload cost, a workload the larger of asked and used."""
    asked = p.workload_usd(requested=4, used=1, usd_per_unit=2.0)
    used = p.workload_usd(requested=0, used=3, usd_per_unit=2.0)

    assert (8, 6) == (asked, used)
    assert p.idle_usd(20, [asked, used]) == 6
    assert p.idle_ratio(20, [asked, used]) == pytest.approx(0.3)
    assert p.idle_ratio(0, []) == 0
    with pytest.raises(ValueError, match="more than asset_usd=20"):
        p.idle_usd(20, [15, 6])


def test_scattered_jobs_fit_on_half_of_the_nodes() -> None:
    """Four nodes with four GPUs in use each: two are freed, only their jobs move."""
    jobs = [p.Job(name=f"j-{n}", node=n, gpus=4) for n in FOUR_NODES]
    found = p.pack(jobs, FOUR_NODES)

    assert (4, 2, 2) == (found.nodes_today, found.nodes_after, found.saves)
    assert {f"j-{n}" for n in found.freed} == set(found.placement)
    assert p.fewest_nodes([4] * 4, 8) == 2


def test_what_may_not_move_stays() -> None:
    """A pinned job keeps its node; jobs too large for any gap keep theirs."""
    pinned = [p.Job(name=n, node=n, gpus=4, movable=False) for n in "ab"]
    large = [p.Job(name=n, node=n, gpus=6) for n in "ab"]

    assert p.pack(pinned, FOUR_NODES).saves == 0
    assert p.pack(large, FOUR_NODES).saves == 0
    assert p.fewest_nodes([6, 6], 8) == 2


def test_nothing_to_pack() -> None:
    """No job: no node in use, none freed."""
    assert p.pack([], FOUR_NODES).saves == 0
    assert p.fewest_nodes([], 8) == 0


def test_an_impossible_inventory_is_refused() -> None:
    """A job on an unknown node, more in use than there is: the error names it."""
    with pytest.raises(ValueError, match="node='x'"):
        p.pack([p.Job(name="j", node="x", gpus=1)], FOUR_NODES)
    with pytest.raises(ValueError, match="9 GPUs of 8"):
        p.pack([p.Job(name="j", node="a", gpus=9)], FOUR_NODES)
    with pytest.raises(ValueError, match=r"0\.\.8"):
        p.fewest_nodes([9], 8)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 4)), max_size=20))
def test_packing_never_overfills_and_never_loses_a_job(drawn: list[tuple[str, int]]) -> None:
    """After the moves every node holds at most what it has, freed nodes hold nothing."""
    nodes = dict.fromkeys("abcdef", 8)
    jobs: list[p.Job] = []
    used = dict.fromkeys(nodes, 0)
    for n, (node, gpus) in enumerate(drawn):
        if used[node] + gpus <= nodes[node]:
            used[node] += gpus
            jobs.append(p.Job(name=f"j{n}", node=node, gpus=gpus))
    found = p.pack(jobs, nodes)

    after = dict.fromkeys(nodes, 0)
    for job in jobs:
        after[found.placement.get(job.name, job.node)] += job.gpus
    assert all(after[n] <= nodes[n] for n in nodes)
    assert all(after[n] == 0 for n in found.freed)
    assert found.nodes_after == sum(1 for u in after.values() if u)
    assert found.nodes_after >= p.fewest_nodes([j.gpus for j in jobs], 8)


H100 = mig.PROFILES["H100-SXM"]


def test_profiles_fill_a_gpu_and_no_more() -> None:
    """Instances of a profile never need more memory or compute than a GPU has; smallest first."""
    for name, profiles in mig.PROFILES.items():
        assert name in BY_NAME
        assert list(profiles) == sorted(profiles, key=lambda p: p.memory_bytes)
        for profile in profiles:
            assert profile.most * profile.compute_ratio <= 1
            assert profile.most * slicing.bandwidth_ratio(profile) <= 1
            assert profile.most * profile.memory_bytes <= 1.05 * BY_NAME[name].memory_gb * 1e9
            assert profile.source.title


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)
)
def test_slices_hold_their_jobs(peaks: list[tuple[float, float, float]]) -> None:
    """A slice is never smaller than its job, and slices never take more GPUs than jobs do."""
    found = []
    for memory, sm, dram in peaks:
        slice_ = slicing.slice_for(H100, memory_bytes=memory * 80e9, sm_ratio=sm, dram_ratio=dram)
        if slice_ is not None:
            found.append(slice_)
            assert memory * 80e9 < slice_.memory_bytes
            assert sm <= slice_.compute_ratio
            assert dram <= slicing.bandwidth_ratio(slice_)

    assert slicing.gpus_needed(found) <= len(found)


def test_a_gpu_is_cut_into_one_size() -> None:
    """Eight of the smallest and one of the largest: two GPUs and one."""
    small, large = H100[0], H100[-1]

    assert 3 == slicing.gpus_needed([*[small] * 8, large])
    assert 0 == slicing.gpus_needed([])
    assert "L40S" not in mig.PROFILES
