"""What a serving engine's metrics page would show: counters and latency quantiles."""

from __future__ import annotations

import numpy as np

from collectors.simulator.groups import quantiles
from collectors.simulator.workload import Floats, Ints
from ridgeline.schema import LENGTH_BOUNDS, SERVING, Kind, length_columns

_SAMPLES = ("ttft", "tpot", "prompt", "output")


class Meters:
    """Counters since the start and samples since the last reading, of every engine."""

    def __init__(self, engines: int) -> None:
        self._engines = engines
        self.totals: dict[str, Floats] = {
            name: np.zeros(engines) for name in SERVING.of_kind(Kind.COUNTER)
        }
        self._samples: dict[str, list[tuple[Ints, Floats]]] = {name: [] for name in _SAMPLES}

    def add(self, name: str, engine: Ints, value: Floats | None = None) -> None:
        """Add to a counter; without a value, one for every entry of `engine`."""
        self.totals[name] += np.bincount(engine, weights=value, minlength=self._engines)

    def first_tokens(self, engine: Ints, requests: np.ndarray, end: Floats) -> None:
        """Prompts computed at `end` (s)."""
        ttft = end - requests["arrived"]
        self._note("ttft", engine, ttft)
        self._note("prompt", engine, requests["prompt"])
        self._lengths("prompt", engine, requests["prompt"])
        self.add("ttft_us", engine, ttft * 1e6)
        self.add("ttft_count", engine)
        self.add("generation_tokens", engine)
        self.add("prompt_tokens", engine, requests["prompt"])
        self.add("prefix_cache_queries", engine, requests["prompt"])
        self.add("prefix_cache_hits", engine, requests["cached"])
        self.add("prefill_us", engine, requests["cost"] * 1e6)
        self.add("queue_us", engine, np.maximum(0.0, ttft - requests["cost"]) * 1e6)

    def tokens(self, engine: Ints, count: Floats, seconds_per_token: Floats) -> None:
        """Tokens generated at a pace."""
        self.add("generation_tokens", engine, count)
        self.add("tpot_count", engine, count)
        self.add("tpot_us", engine, count * seconds_per_token * 1e6)
        self.add("decode_us", engine, count * seconds_per_token * 1e6)

    def gaps(
        self,
        engine: Ints,
        step: Floats,
        stall: Floats,
        stalled_ratio: Floats,
        rng: np.random.Generator,
    ) -> None:
        """One gap between tokens of every running request.

        Args:
            engine: Engine of every running request.
            step: Time of a step, by engine; real steps spread by a few per cent.
            stall: Mean time a step waits for prompts on the same GPUs, by engine.
            stalled_ratio: Share of the steps that wait; they carry the whole of it.
            rng: Source of chance.
        """
        chance = np.clip(stalled_ratio, 0.0, 1.0)[engine]
        waits = rng.random(len(engine)) < chance
        jitter = np.exp(0.05 * rng.standard_normal(len(engine)))
        extra = np.where(waits, stall[engine] / np.maximum(chance, 1e-9), 0.0)
        self._note("tpot", engine, step[engine] * jitter + extra)

    def finished(self, engine: Ints, requests: np.ndarray, end: Floats) -> None:
        """Requests whose last token came at `end` (s)."""
        self.add("requests_finished", engine)
        self.add("e2e_us", engine, np.maximum(0.0, end - requests["arrived"]) * 1e6)
        self._note("output", engine, requests["output"])
        self._lengths("output", engine, requests["output"])

    def fill(self, rows: np.ndarray) -> None:
        """Write counters and quantiles into SERVING rows and forget the samples."""
        for name, total in self.totals.items():
            rows[name] = total.astype(np.uint64)
        for name, column, unit in (
            ("ttft", "ttft", "seconds"),
            ("tpot", "tpot", "seconds"),
            ("prompt", "prompt_tokens", ""),
            ("output", "output_tokens", ""),
        ):
            p50, p99 = self._quantiles(name)
            suffix = f"_{unit}" if unit else ""
            rows[f"{column}_p50{suffix}"], rows[f"{column}_p99{suffix}"] = p50, p99
            self._samples[name].clear()

    def _lengths(self, what: str, engine: Ints, tokens: Floats) -> None:
        for name, bound in zip(length_columns(what), (*LENGTH_BOUNDS, np.inf), strict=True):
            self.add(name, engine[tokens <= bound])

    def _note(self, name: str, engine: Ints, value: Floats) -> None:
        if len(engine):
            self._samples[name].append((engine.copy(), np.array(value)))

    def _quantiles(self, name: str) -> list[Floats]:
        parts = self._samples[name]
        if not parts:
            return [np.full(self._engines, np.nan)] * 2
        engine = np.concatenate([e for e, _ in parts])
        value = np.concatenate([v for _, v in parts])
        return quantiles(engine, value, self._engines, 0.5, 0.99)
