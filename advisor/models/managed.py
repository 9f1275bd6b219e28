"""Managed endpoints by the token against own or rented GPUs by the hour."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.models.interval import Interval
from advisor.models.periods import HOURS_PER_MONTH, SECONDS_PER_MONTH

VERSION = "managed/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """USD per million tokens; `cached` is the price of prompt tokens found in a prefix cache."""

    usd_per_million_prompt: float
    usd_per_million_output: float
    usd_per_million_cached: float | None = None

    def usd_per_query(
        self, prompt_tokens: float, output_tokens: float, cached_ratio: float = 0.0
    ) -> float:
        """Price of one query; without a price for cached tokens they cost what others do."""
        cached = self.usd_per_million_cached
        cached = self.usd_per_million_prompt if cached is None else cached
        prompt = (1 - cached_ratio) * self.usd_per_million_prompt + cached_ratio * cached
        return (prompt_tokens * prompt + output_tokens * self.usd_per_million_output) / 1e6


def usd_per_million_tokens(
    usd_per_gpu_hour: float, tokens_per_second_per_gpu: float, utilisation_ratio: float = 1.0
) -> float:
    """What own GPUs make of a million tokens; inf when they make none.

    96 H100 at 2 USD/h making 22.3k output tokens/s a node of 8 is 0.20 USD (SGLang, 2025-05-05).
    """
    made = tokens_per_second_per_gpu * utilisation_ratio * 3600
    return usd_per_gpu_hour / made * 1e6 if made > 0 else math.inf


def break_even_queries_per_second(own_usd_per_hour: float, managed_usd_per_query: float) -> float:
    """Rate above which GPUs that cost `own_usd_per_hour` all the time are cheaper; inf for free."""
    if managed_usd_per_query <= 0:
        return math.inf
    return own_usd_per_hour / 3600 / managed_usd_per_query


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Own GPUs against a managed endpoint for the same queries."""

    own_usd_per_month: Interval
    managed_usd_per_month: Interval
    break_even_queries_per_second: float

    @property
    def cheaper(self) -> str:
        """`own`, `managed`, or empty where the intervals overlap."""
        if self.own_usd_per_month.high < self.managed_usd_per_month.low:
            return "own"
        if self.managed_usd_per_month.high < self.own_usd_per_month.low:
            return "managed"
        return ""


def against(
    queries_per_second: Interval, managed_usd_per_query: Interval, own_usd_per_hour: Interval
) -> Against:
    """Compare by the month; own GPUs cost the same whether queries come or not."""
    rate, price = queries_per_second, managed_usd_per_query
    managed = Interval(
        low=rate.low * price.low, mid=rate.mid * price.mid, high=rate.high * price.high
    )
    return Against(
        own_usd_per_month=own_usd_per_hour.scaled(HOURS_PER_MONTH),
        managed_usd_per_month=managed.scaled(SECONDS_PER_MONTH),
        break_even_queries_per_second=break_even_queries_per_second(
            own_usd_per_hour.mid, price.mid
        ),
    )
