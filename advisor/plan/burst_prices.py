"""What money can buy in `plan burst`: offers, own, rented and managed prices, and the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from advisor.catalog import managed as endpoints
from advisor.catalog.files import Source, together
from advisor.catalog.prices import street, street_source
from advisor.catalog.servers import SERVERS
from advisor.models.burst_plan import Offer, Policy, allowed
from advisor.models.interval import Interval, exactly, of
from advisor.plan.burst_case import LOAD_RATIO, BurstOptions, Load, Prices
from advisor.rules.offers import offers
from advisor.rules.pricing import OWNING, Catalog, weaker
from ridgeline.events import Confidence
from ridgeline.settings import AdvisorSettings


def offers_of(options: BurstOptions, catalog: Catalog) -> tuple[Offer, ...]:
    """All that is for rent in the catalogue (launch lists left out), and the offer given."""
    listed = offers(catalog, options.egress_usd_per_gb, options.interruptions_per_hour)
    if options.rent_usd_per_hour is None:
        return listed
    own = Offer(
        provider="given",
        region="",
        accelerator=options.accelerator,
        usd_per_gpu_hour=options.rent_usd_per_hour,
        egress_usd_per_gb=options.egress_usd_per_gb,
        grid_gco2_per_kwh=options.grid_gco2_per_kwh,
        source="option --rent-usd-per-hour",
    )
    return (own, *listed)


def policy_of(options: BurstOptions, prices: Prices) -> Policy:
    """What is allowed and counted; without `--allowed` the advisor's regions."""
    settings = AdvisorSettings.load()
    return Policy(
        allowed=_places(options, settings),
        usd_per_tonne_co2=options.usd_per_tonne_co2,
        pue=settings.pue,
        owned_usd_per_gpu_hour=prices.own,
    )


def _places(options: BurstOptions, settings: AdvisorSettings) -> tuple[str, ...]:
    """Where data may go; empty: anywhere."""
    said = settings.regions if options.allowed is None else options.allowed.split(",")
    return tuple(entry.strip() for entry in said if entry.strip())


def _rent(options: BurstOptions, catalog: Catalog, places: Sequence[str]) -> Interval | None:
    """USD a GPU-hour: the street's, or where data may go only to some, what those ask."""
    known = street(options.accelerator, catalog.prices)
    asked = sorted(
        o.usd_per_gpu_hour
        for o in offers(catalog)
        if o.accelerator == options.accelerator and o.believable and allowed(o, places)
    )
    if not places or not asked:
        return of(*known) if known else None
    return of(asked[0], median(asked), asked[-1])


def prices_of(options: BurstOptions, load: Load | None, catalog: Catalog) -> Prices:
    """Own, rented and managed, each where it can be cited or was given."""
    settings = AdvisorSettings.load()
    server = SERVERS.get(options.accelerator)
    own = server.usd_per_gpu_hour(settings.power_usd_per_kwh, settings.pue) if server else None
    said = {"own": OWNING}
    if options.own_usd_per_hour is not None:
        own = exactly(options.own_usd_per_hour)
        said["own"] = _option("--own-usd-per-hour")
    rent = _rent(options, catalog, _places(options, settings))
    if (listed := street_source(options.accelerator, catalog.prices)) is not None:
        said["rent"] = listed
    if options.rent_usd_per_hour is not None:
        rent = exactly(options.rent_usd_per_hour)
        said["rent"] = _option("--rent-usd-per-hour")
    priced = [e.source for e in catalog.endpoints if e.model == options.model]
    if load is not None and priced:
        listed = together(priced)
        sure = weaker(Confidence.MODELLED, weaker(listed.confidence, load.asked.confidence))
        said["managed"] = replace(
            listed, title=f"queries of a busy GPU, modelled; {listed.title}", confidence=sure
        )
    return Prices(own=own, rent=rent, managed=_managed(options, load, catalog), sources=said)


def _option(name: str) -> Source:
    return Source(title=f"option {name}", as_of="given", confidence=Confidence.ASSUMED)


def _managed(options: BurstOptions, load: Load | None, catalog: Catalog) -> Interval | None:
    """What the queries a busy GPU answers in an hour cost at managed endpoints."""
    if load is None:
        return None
    asked = load.asked
    query = endpoints.usd_per_query(
        options.model,
        asked.prompt_tokens,
        asked.output_tokens,
        catalog.endpoints,
        asked.prefix_hit_ratio or 0.0,
    )
    hourly = load.top.queries_per_second * LOAD_RATIO * 3600 / options.gpus_per_engine
    return None if query is None or hourly <= 0 else of(*query).scaled(hourly)
