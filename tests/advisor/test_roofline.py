"""The roofline, and its calibration from telemetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.models import calibration, phases, published, roofline
from advisor.models.calibration import Prior
from advisor.models.replica import Replica


def test_ridge_and_speed_of_light() -> None:
    """H100 bf16 has its ridge at 295; the least time is the larger of the two parts."""
    assert 295 == pytest.approx(roofline.ridge_point_flops_per_byte(989e12, 3.35e12), rel=0.01)
    assert 2.5 == float(roofline.arithmetic_intensity_flops_per_byte(10, 4))
    assert 2 == float(roofline.speed_of_light_seconds(10, 4, 10, 2))


def test_position_of_a_pool() -> None:
    """Half of the bandwidth at 10 FLOP/B: bandwidth-bound, half of the roof."""
    found = roofline.position(10 * 1.675e12, 1.675e12, 989e12, 3.35e12)

    assert found.bandwidth_bound
    assert 0.5 == pytest.approx(found.roof_ratio)
    with pytest.raises(ValueError, match="bytes_per_second=0"):
        roofline.position(1.0, 0.0, 989e12, 3.35e12)


def test_no_sample_is_the_prior() -> None:
    """Without telemetry the fit says what was believed before, and how little that is."""
    fit = calibration.fit([], [])

    assert 1 == pytest.approx(fit.calibration.efficiency)
    assert 0 == fit.samples
    assert fit.efficiency_low < 0.75
    assert fit.efficiency_high > 1.5


def test_one_sample_moves_the_prior_towards_it() -> None:
    """A pool a third slower than modelled is believed to a good part at once."""
    fit = calibration.fit(0.020, 0.030)

    assert 0.65 < fit.calibration.efficiency < 0.95
    assert 0.020 < float(fit.calibration.seconds(0.020)) < 0.0301


@given(
    st.floats(0.3, 1.8),
    st.floats(0, 3e-3),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_many_samples_win_over_the_prior(slope: float, overhead: float, seed: int) -> None:
    """Slope and overhead come back from noisy samples with a tenth of outliers."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.005, 0.08, 400)
    t = (overhead + slope * x) * rng.normal(1, 0.02, 400)
    t[:40] *= 3  # waited for something else

    fit = calibration.fit(x, t)

    assert slope == pytest.approx(1 / fit.calibration.efficiency, rel=0.05)
    assert float(fit.calibration.seconds(0.04)) == pytest.approx(overhead + slope * 0.04, rel=0.03)
    assert fit.efficiency_low < fit.calibration.efficiency < fit.efficiency_high


def test_more_samples_are_surer() -> None:
    """The interval shrinks with samples and never vanishes."""
    x = np.linspace(0.01, 0.05, 200)
    few = calibration.fit(x[:4], 1.2 * x[:4])
    many = calibration.fit(x, 1.2 * x)

    assert 0 < many.spread_ratio < few.spread_ratio


def test_what_cannot_be_a_time_is_left_out() -> None:
    """Missing and absurd readings change nothing."""
    clean = calibration.fit([0.01, 0.02], [0.011, 0.022])
    dirty = calibration.fit([0.01, 0.02, 0.02, np.nan], [0.011, 0.022, -1, 0.02])

    assert clean == dirty


def test_a_strong_prior_holds_against_one_odd_sample() -> None:
    """What was measured for a year is not overturned by a moment."""
    known = Prior(slope=1.1, slope_sd=0.01, overhead_sd_seconds=1e-5)

    fit = calibration.fit(0.02, 0.06, known)

    assert 1.1 == pytest.approx(1 / fit.calibration.efficiency, rel=0.02)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_prompts_counted_together_are_told_apart_by_the_busy_share(load: float) -> None:
    """An engine computes all prompts that wait, each counts all of them: 0.1 s of each is found."""
    own, count = 0.1, 20_000
    arrivals = np.cumsum(np.random.default_rng(1).exponential(own / load, count))
    now, busy, counted, at = 0.0, 0.0, 0.0, 0
    while at < count:
        now = max(now, arrivals[at])
        together = max(1, int(np.searchsorted(arrivals, now, side="right")) - at)
        now, at = now + together * own, at + together
        busy, counted = busy + together * own, counted + together * together * own
    active = calibration.BUSY_SM_RATIO * busy / now

    found = calibration.own_seconds(counted / count, active, 1, count / now)

    assert own == pytest.approx(found, rel=0.02)
    assert counted / count > own * (1 + load**2 / 2)
    assert counted / count == calibration.own_seconds(counted / count, None, 1, count / now)


def test_the_prior_of_the_kernels() -> None:
    """8B on one H100: half a millisecond and some 0.7 to 0.9 over the bare roofline in decode.

    Fits to AIConfigurator's own step table gave a = 1.5 ms and eta = 0.91.
    """
    one = Replica(model=MODELS["llama3-8b"], accelerator=BY_NAME["H100-SXM"])
    batch = np.array([1.0, 8.0, 32.0, 64.0, 128.0])
    least = phases.decode_speed_of_light_seconds(one, batch, 2000)

    found = calibration.affine(least, phases.decode_step_seconds(one, batch, 2000))

    assert 0.2e-3 < found.overhead_seconds < 2e-3
    assert 0.65 < found.efficiency < 0.95


def test_closed_forms_agree_with_one_another() -> None:
    """DistServe eq. 1, 2, 3 at D = 0.1 s, R = 5/s; K = 1 of eq. 3 is eq. 1."""
    plain = published.md1_ttft_seconds(0.1, 5)

    assert 0.1 + 5 * 0.01 / (2 * 0.5) == pytest.approx(plain)
    assert 0.1 + 5 * 0.01 / (4 * 1.5) == pytest.approx(published.md1_inter_op_ttft_seconds(0.1, 5))
    assert plain == pytest.approx(published.md1_intra_op_ttft_seconds(0.1, 5, 1))
    assert 0.05 + 5 * 0.01 / (4 * 1.5) == pytest.approx(
        published.md1_intra_op_ttft_seconds(0.1, 5, 2)
    )


def test_dynamo_planner_prefill() -> None:
    """Llama-3.1-8B-FP8 H200, 3000/150, 40k tok/s a GPU: 10 rps 1 prefill, 20 rps 2 (Dynamo)."""

    def planned(rps: float) -> int:
        return published.planner_replicas(
            requests=rps * 60,
            tokens_each=3000,
            interval_seconds=60,
            correction=1.4,
            tokens_per_second_per_gpu=40_000,
            gpus_per_engine=1,
        )

    assert [1, 2] == [planned(10), planned(20)]


def test_workload_variant_autoscaler_latency() -> None:
    """llm-d WVA's H100 sample: alpha 7.470, beta 0.044, gamma 15.415, delta 0.000337."""
    assert 10.286 == pytest.approx(published.linear_itl_ms(7.470, 0.044, 64))
    assert 18.111 == pytest.approx(published.linear_ttft_ms(15.415, 0.000337, 1000, 8))


def test_mooncake_prefill_flops() -> None:
    """Llama2-70B's shape at 8,192 tokens: 22*n*d^2 outweighs 4*n^2*d by 5.5."""
    alone = published.mooncake_prefill_flops(80, 8192, 8192)

    assert 80 * (4 * 8192**3 + 22 * 8192**3) == pytest.approx(alone)
