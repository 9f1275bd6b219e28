"""Waiting and staffing for servers that share one queue, with arrivals as bursty as they are.

`cv` is standard deviation over mean: of times between arrivals, of service times. Real request
streams are not Poisson (cv 1): Azure's 2023 code trace has 13, so formulas without it are wrong by
two orders of magnitude. Loads are Erlangs: arrivals per second times seconds of service.
"""

from __future__ import annotations

import math

from advisor.models import normal

VERSION = "queueing/1"
_EXACT_SERVERS = 20_000


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value:g}: need a finite number, not below 0")


def kingman_wait_seconds(
    load: float, service_seconds: float, arrival_cv: float, service_cv: float
) -> float:
    """Mean wait at one server, `rho/(1-rho) * (Ca^2+Cs^2)/2 * S` (Kingman 1961); inf at 1."""
    _check(load=load, service_seconds=service_seconds, arrival_cv=arrival_cv, service_cv=service_cv)
    if load >= 1:
        return math.inf
    return load / (1 - load) * (arrival_cv**2 + service_cv**2) / 2 * service_seconds


def erlang_c(offered_load: float, servers: int) -> float:
    """Probability that an arrival waits, M/M/c (Erlang 1917); 1 at full load and above.

    By the recursion of Erlang B, which neither overflows nor loses digits; above 20,000 servers by
    its limit for many (Halfin and Whitt 1981), there within 1 % of all arrivals.
    """
    _check(offered_load=offered_load)
    if servers < 1 or offered_load >= servers:
        return 0.0 if offered_load == 0 else 1.0
    if offered_load == 0:
        return 0.0
    if servers > _EXACT_SERVERS:
        return halfin_whitt_waiting_share((servers - offered_load) / math.sqrt(offered_load))
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered_load * blocked / (k + offered_load * blocked)
    return blocked / (1 - offered_load / servers * (1 - blocked))


def allen_cunneen_wait_seconds(
    offered_load: float,
    servers: int,
    service_seconds: float,
    arrival_cv: float = 1.0,
    service_cv: float = 1.0,
) -> float:
    """Mean wait at `servers`, `C/(c-R) * S * (Ca^2+Cs^2)/2` (Allen-Cunneen); inf at full load.

    Exact for M/M/c; for one server it is Kingman's bound.
    """
    _check(service_seconds=service_seconds, arrival_cv=arrival_cv, service_cv=service_cv)
    if offered_load == 0:
        return 0.0
    if servers <= offered_load:
        return math.inf
    waits = erlang_c(offered_load, servers)
    spread = (arrival_cv**2 + service_cv**2) / 2
    return waits / (servers - offered_load) * service_seconds * spread


def wait_quantile_seconds(mean_wait_seconds: float, waiting_share: float, q: float) -> float:
    """Wait that share `q` of arrivals does not exceed: 0 for most, exponential for the rest.

    Exact for M/M/c, the heavy-traffic limit otherwise.
    """
    if not 0 < waiting_share <= 1 or mean_wait_seconds == 0:
        return 0.0
    if math.isinf(mean_wait_seconds):
        return math.inf
    longer = 1 - q
    if longer >= waiting_share:
        return 0.0
    return mean_wait_seconds / waiting_share * math.log(waiting_share / longer)


def servers_for_wait(
    offered_load: float,
    service_seconds: float,
    wait_seconds: float,
    arrival_cv: float = 1.0,
    service_cv: float = 1.0,
) -> int:
    """Fewest servers whose mean wait is at most `wait_seconds`; 0 without load."""
    _check(offered_load=offered_load, wait_seconds=wait_seconds)
    if offered_load == 0:
        return 0

    def enough(servers: int) -> bool:
        found = allen_cunneen_wait_seconds(
            offered_load, servers, service_seconds, arrival_cv, service_cv
        )
        return found <= wait_seconds

    low = math.floor(offered_load)  # never enough
    step = 1
    while not enough(low + step):
        step *= 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def halfin_whitt_waiting_share(beta: float) -> float:
    """Share of arrivals that wait at `R + beta*sqrt(R)` servers (Halfin and Whitt 1981)."""
    if beta <= 0:
        return 1.0
    density = float(normal.pdf(beta))
    return 1.0 / (1.0 + beta * float(normal.cdf(beta)) / density) if density > 0 else 0.0


def halfin_whitt_beta(waiting_share: float) -> float:
    """Servers above the load, in units of its square root, so that `waiting_share` waits."""
    if not 0 < waiting_share < 1:
        raise ValueError(f"waiting_share={waiting_share:g}: need above 0 and below 1")
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        more = halfin_whitt_waiting_share(middle) > waiting_share
        low, high = (middle, high) if more else (low, middle)
    return (low + high) / 2


def square_root_staffing(
    offered_load: float, waiting_share: float, arrival_cv: float = 1.0, service_cv: float = 1.0
) -> int:
    """Servers so that about `waiting_share` of arrivals wait: `R + beta*sqrt(R*z)`, rounded up.

    `z` is the peakedness of the load in heavy traffic (Whitt 1992): 1 for Poisson arrivals,
    `(Ca^2+1)/2` for exponential and `Ca^2` for even service, in between for what lies between.
    """
    _check(offered_load=offered_load, arrival_cv=arrival_cv, service_cv=service_cv)
    if offered_load == 0:
        return 0
    peakedness = (arrival_cv**2 + service_cv**2) / (1 + service_cv**2)
    spare = halfin_whitt_beta(waiting_share) * math.sqrt(offered_load * peakedness)
    return max(math.ceil(offered_load + spare), math.floor(offered_load) + 1)
