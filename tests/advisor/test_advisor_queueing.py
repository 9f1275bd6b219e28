"""Waiting and staffing against closed forms, one another, and a simulated queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.models import queueing as q

loads = st.floats(0.01, 500)
cvs = st.floats(0, 15)


@pytest.mark.parametrize(
    ("offered", "servers", "waits"),
    [(0.5, 1, 0.5), (1, 2, 1 / 3), (2, 3, 4 / 9), (0, 3, 0), (3, 3, 1), (9, 3, 1), (0, 0, 0)],
)
def test_erlang_c(offered: float, servers: int, waits: float) -> None:
    """M/M/1 waits rho, textbook values of two and three servers; full load waits always."""
    assert waits == pytest.approx(q.erlang_c(offered, servers))


def test_erlang_c_at_thousands_of_servers() -> None:
    """Factorials would overflow; Halfin and Whitt's limit is met within 1 % of all arrivals."""
    found = q.erlang_c(10_000, 10_050)

    assert q.halfin_whitt_waiting_share(0.5) == pytest.approx(found, abs=0.01)


@given(st.floats(0, 0.99), st.floats(0.001, 100), cvs, cvs)
def test_one_server_is_kingmans(load: float, service: float, ca: float, cs: float) -> None:
    """Allen-Cunneen with one server is Kingman's formula."""
    several = q.allen_cunneen_wait_seconds(load, 1, service, ca, cs)

    assert q.kingman_wait_seconds(load, service, ca, cs) == pytest.approx(several)


@given(loads, st.integers(1, 600), cvs, cvs)
def test_waits_fall_with_servers_and_end_at_full_load(
    offered: float, servers: int, ca: float, cs: float
) -> None:
    """One more server never lengthens the wait; too few is infinite, never negative or huge."""
    now = q.allen_cunneen_wait_seconds(offered, servers, 1.0, ca, cs)
    more = q.allen_cunneen_wait_seconds(offered, servers + 1, 1.0, ca, cs)

    assert 0 <= more <= now
    assert math.isinf(now) == (servers <= offered)


@given(loads, st.floats(0.01, 10), cvs, cvs)
def test_servers_for_a_wait_are_the_fewest(
    offered: float, wait: float, ca: float, cs: float
) -> None:
    """The number found holds the wait and one less does not."""
    found = q.servers_for_wait(offered, 1.0, wait, ca, cs)

    assert q.allen_cunneen_wait_seconds(offered, found, 1.0, ca, cs) <= wait
    assert q.allen_cunneen_wait_seconds(offered, found - 1, 1.0, ca, cs) > wait


@given(st.floats(0.001, 0.999))
def test_beta_inverts_the_waiting_share(share: float) -> None:
    """Staffing for a share of waits and computing the share gives it back."""
    assert share == pytest.approx(q.halfin_whitt_waiting_share(q.halfin_whitt_beta(share)))


@given(loads, st.floats(0.01, 0.9), st.floats(1, 10), st.floats(0, 3))
def test_burstier_arrivals_need_more_servers(
    offered: float, share: float, ca: float, cs: float
) -> None:
    """Square-root staffing lies above the load and grows with the burstiness of arrivals."""
    poisson = q.square_root_staffing(offered, share, 1.0, cs)

    assert offered < poisson <= q.square_root_staffing(offered, share, ca, cs)


def test_square_root_staffing_is_near_erlangs() -> None:
    """For Poisson arrivals the rule is within a server or two of Erlang's exact answer."""
    for offered in (10.0, 100.0, 1000.0):
        servers = q.square_root_staffing(offered, 0.2)

        assert q.erlang_c(offered, servers + 1) <= 0.2
        assert q.erlang_c(offered, servers - 2) > 0.2


def test_nothing_to_do_needs_nobody() -> None:
    """Zero traffic: no server, no wait, no division by zero."""
    assert q.servers_for_wait(0, 1, 0.1) == 0
    assert q.square_root_staffing(0, 0.1) == 0
    assert q.allen_cunneen_wait_seconds(0, 0, 1) == 0
    assert q.kingman_wait_seconds(0, 1, 5, 5) == 0
    assert q.wait_quantile_seconds(0, 0, 0.99) == 0


def test_even_arrivals_and_service_never_wait() -> None:
    """CV 0 on both sides: no wait below full load, infinite at it."""
    assert q.kingman_wait_seconds(0.99, 1, 0, 0) == 0
    assert math.isinf(q.kingman_wait_seconds(1, 1, 0, 0))


def test_no_wait_at_all_still_has_a_number_of_servers() -> None:
    """A wait of 0 is reached where it is too small to be told from 0: no endless search."""
    found = q.servers_for_wait(100, 1, 0)

    assert 100 < found < 100_000
    assert q.servers_for_wait(50_000, 1, 0.01) > 50_000


def test_nonsense_is_refused_by_name() -> None:
    """Negative or infinite input names the field and the value."""
    with pytest.raises(ValueError, match="load=-1"):
        q.kingman_wait_seconds(-1, 1, 1, 1)
    with pytest.raises(ValueError, match="offered_load=inf"):
        q.erlang_c(math.inf, 3)
    with pytest.raises(ValueError, match="waiting_share=1"):
        q.halfin_whitt_beta(1)


def test_azure_code_arrivals_are_not_poisson() -> None:
    """Ca 13.15 (Azure code 2023) against Poisson, even service: 173 times the wait."""
    bursty = q.kingman_wait_seconds(0.7, 1, 13.15, 0)

    assert 173 == pytest.approx(bursty / q.kingman_wait_seconds(0.7, 1, 1, 0), rel=0.01)


def test_wait_quantiles_of_one_server() -> None:
    """M/M/1 at 0.8: a fifth never waits, p99 is ln(80) over the drain rate."""
    mean = q.allen_cunneen_wait_seconds(0.8, 1, 1.0)

    assert q.wait_quantile_seconds(mean, 0.8, 0.1) == 0
    assert math.log(0.8 / 0.01) / 0.2 == pytest.approx(q.wait_quantile_seconds(mean, 0.8, 0.99))
    assert math.isinf(q.wait_quantile_seconds(math.inf, 1, 0.99))


@pytest.mark.parametrize(("arrival_cv", "service_cv"), [(1.0, 1.0), (2.0, 1.4), (0.5, 1.0)])
def test_a_simulated_queue_waits_as_kingman_says(arrival_cv: float, service_cv: float) -> None:
    """Lindley's recursion over 400,000 gamma arrivals at load 0.9: within 15 % of the formula."""
    rng = np.random.default_rng(5)
    size = 400_000

    def times(mean: float, cv: float) -> np.ndarray:
        return rng.gamma(1 / cv**2, mean * cv**2, size)

    steps = times(0.9, service_cv) - times(1.0, arrival_cv)
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    waits = walk - np.minimum.accumulate(walk)

    expected = q.kingman_wait_seconds(0.9, 0.9, arrival_cv, service_cv)
    assert expected == pytest.approx(float(waits.mean()), rel=0.15)
