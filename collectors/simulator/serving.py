"""LLM serving engines: queues, prefill, KV transfer, continuous batching, KV cache.

One engine a node, tensor-parallel over its GPUs. A prefill engine computes prompts first come,
first served and hands the KV cache to a decode engine; a mixed engine does both, prompts first.
Requests are rows of one table and every step is computed for all engines at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collectors.simulator import roofline
from collectors.simulator.groups import running_sum, sums
from collectors.simulator.meters import Meters
from collectors.simulator.requests import (
    DONE,
    PROMPT,
    QUEUED,
    REQUEST,
    RUNNING,
    TRANSFER,
    Demand,
    Users,
)
from collectors.simulator.roofline import Roofline
from collectors.simulator.workload import Bools, Floats, Ints, Traffic
from ridgeline.pools import Role, role_of

MAX_BATCH = 256
MAX_WAITING = 128  # a gateway refuses what comes after it
BATCH_TOKENS = 8192.0  # prompt tokens an engine computes together
ENGINE_SIMULATOR = 3
ROLE_MIXED, ROLE_PREFILL, ROLE_DECODE = 1, 2, 3


@dataclass(slots=True)
class Activity:
    """What every engine's GPUs did in a step (ratios 0..1), and what crossed the network."""

    duty: Floats  # share of the step in which anything ran
    sm: Floats
    tensor: Floats
    dram: Floats
    nvlink_bytes_per_second: Floats
    transfers: Floats  # bytes by source engine and target engine


_ROLES: Mapping[str, int] = {Role.PREFILL: ROLE_PREFILL, Role.DECODE: ROLE_DECODE}


class Engines:
    """All serving engines of a service.

    Args:
        pools: The pool of each engine.
        roofline: The model they serve.
        traffic: Lengths of its requests, and how they come.
        rng: Source of chance.
    """

    def __init__(
        self,
        pools: Sequence[str],
        roofline: Roofline,
        traffic: Traffic,
        rng: np.random.Generator,
    ) -> None:
        codes = [_ROLES.get(role_of(pool), ROLE_MIXED) for pool in pools]
        self.role: Ints = np.array(codes, dtype=np.int64)
        self.count = len(self.role)
        self.meters = Meters(self.count)
        self.table = np.zeros(0, dtype=REQUEST)
        self._prefill = np.flatnonzero(self.role != ROLE_DECODE)
        self._decode = np.flatnonzero(self.role != ROLE_PREFILL)
        self._rng = rng
        self._roofline = roofline
        self._users = Users(traffic, roofline, rng)
        self._prompt_seconds: Floats = np.ones(self.count)  # mean of the prompts computed last
        self._lived: Floats = np.zeros(self.count)  # request-seconds in running batches
        self._elapsed = 0.0

    def step(
        self, now: float, seconds: float, clock: Floats, demand: Demand, kv_rate: Floats
    ) -> Activity:
        """Advance by `seconds`.

        Args:
            now: Time at the start, in seconds.
            seconds: Length of the step.
            clock: SM clock of every engine over its maximum.
            demand: What users ask for.
            kv_rate: Bytes per second one KV transfer to every engine gets.
        """
        self._arrive(now, seconds, demand)
        transfers = np.zeros((self.count, self.count))
        busy, tensor = self._prompts(now, seconds, clock, kv_rate, transfers)
        self._begin(now, now + seconds)
        activity = self._generate(now, seconds, clock, 1.0 - busy)
        tokens_per_second = np.where(busy > 0, tensor, 0.0) * _prefill_tokens_per_second(
            self._roofline
        )
        self.table = self.table[self.table["phase"] != DONE]
        return Activity(
            duty=np.minimum(1.0, busy + activity.duty),
            sm=np.minimum(1.0, 0.95 * busy + activity.sm),
            tensor=tensor + activity.tensor,
            dram=0.3 * busy + activity.dram,
            nvlink_bytes_per_second=activity.nvlink_bytes_per_second
            + tokens_per_second * self._roofline.all_reduce_bytes_per_token,
            transfers=transfers,
        )

    def kv_tokens(self) -> Floats:
        """KV cache in use by running requests, tokens of every engine."""
        rows = self.table[self.table["phase"] == RUNNING]
        return sums(rows["engine"], rows["prompt"] + rows["produced"], self.count)

    def queues(self) -> tuple[Floats, Floats]:
        """Requests in computation and waiting, of every engine.

        Generating requests are the average since the last reading, prompts those of this moment.
        """
        table, n = self.table, self.count
        prompts = self._in_order(PROMPT)
        engine = table["engine"][prompts]
        tokens = table["prompt"][prompts] - table["cached"][prompts]
        ahead = running_sum(engine, tokens) - tokens
        computing = np.bincount(engine[ahead < BATCH_TOKENS], minlength=n)
        queued = np.bincount(table["engine"][table["phase"] == QUEUED], minlength=n)
        waiting = np.bincount(engine, minlength=n) - computing + queued
        return self._lived / max(self._elapsed, 1e-9) + computing, waiting.astype(np.float64)

    def fill(self, rows: np.ndarray) -> None:
        """Write the state of every engine into SERVING rows; latencies start anew."""
        rows["requests_running"], rows["requests_waiting"] = self.queues()
        rows["kv_cache_usage_ratio"] = self.kv_tokens() / self._roofline.kv_capacity_tokens
        rows["max_batch_requests"] = MAX_BATCH
        rows["engine"], rows["role"] = ENGINE_SIMULATOR, self.role
        self.meters.fill(rows)
        self._lived, self._elapsed = np.zeros(self.count), 0.0

    def _in_order(self, phase: int) -> Ints:
        """Rows of a phase, by engine and then first come, first served."""
        rows = np.flatnonzero(self.table["phase"] == phase)
        return rows[np.lexsort((self.table["seq"][rows], self.table["engine"][rows]))]

    def _arrive(self, now: float, seconds: float, demand: Demand) -> None:
        new = self._users.ask(now, seconds, demand)
        if not len(new) or not len(self._prefill):
            return
        waiting = self.table[self.table["phase"] == PROMPT]
        load = sums(waiting["engine"], waiting["work"], self.count)
        new["engine"] = new["source"] = self._spread(self._prefill, load, len(new))
        held = np.bincount(waiting["engine"], minlength=self.count)
        place = held[new["engine"]] + np.arange(len(new)) // len(self._prefill)
        refused: Bools = place >= MAX_WAITING
        self.meters.add("requests_failed", new["engine"][refused])
        self.table = np.concatenate([self.table, new[~refused]])

    def _spread(self, engines: Ints, load: Floats, count: int) -> Ints:
        """The engines `count` requests go to, least loaded first, in turn."""
        order = np.lexsort((self._rng.random(len(engines)), load[engines]))
        return engines[order][np.arange(count) % len(engines)]

    def _prompts(
        self, now: float, seconds: float, clock: Floats, kv_rate: Floats, transfers: Floats
    ) -> tuple[Floats, Floats]:
        """Compute prompts; the busy share and the tensor activity of every engine."""
        table, rows = self.table, self._in_order(PROMPT)
        engine, work = table["engine"][rows], table["work"][rows]
        budget = seconds * clock
        total = running_sum(engine, work)
        done = np.clip(budget[engine] - (total - work), 0.0, work)
        table["work"][rows] = work - done
        cost = table["cost"][rows]
        overhead = roofline.PREFILL_OVERHEAD_SECONDS / cost
        spent = sums(engine, done, self.count)
        self._prompt_seconds = np.maximum(spent, 1e-9) / np.maximum(
            sums(engine, done / cost, self.count), 1e-6
        )
        useful = sums(engine, done * (1 - overhead), self.count)
        self._hand_over(rows, done >= work, now + total / clock[engine], kv_rate, transfers)
        return spent / budget, roofline.PREFILL_EFFICIENCY * useful / budget

    def _hand_over(
        self, rows: Ints, finished: Bools, end: Floats, kv_rate: Floats, transfers: Floats
    ) -> None:
        """Record the first token and send the KV cache on its way."""
        table, rows = self.table, rows[finished]
        source, cost = table["engine"][rows], table["cost"][rows]
        end = np.maximum(end[finished], table["arrived"][rows] + cost)
        self.meters.first_tokens(source, table[rows], end)
        self.meters.add("requests_finished", source[self.role[source] == ROLE_PREFILL])
        load = sums(
            table["engine"][table["phase"] >= TRANSFER],
            (table["prompt"] + table["output"])[table["phase"] >= TRANSFER],
            self.count,
        )
        alone = np.flatnonzero(self.role == ROLE_DECODE)
        target = source.copy()
        moves = self.role[source] == ROLE_PREFILL
        if len(alone):
            target[moves] = self._spread(alone, load, int(moves.sum()))
        size = np.where(moves, table["prompt"][rows] * self._roofline.kv_bytes_per_token, 0.0)
        np.add.at(transfers, (source, target), size)
        self.meters.add("kv_transfer_bytes", source, size)
        self.meters.add("kv_transfer_bytes", target, size)
        table["engine"][rows] = target
        table["ready"][rows] = end + size / kv_rate[target]
        table["phase"][rows] = TRANSFER
        table["produced"][rows] = 1.0

    def _begin(self, now: float, end: float) -> None:
        """Admit what has arrived into the running batches while there is room."""
        table = self.table
        table["phase"][(table["phase"] == TRANSFER) & (table["ready"] <= end)] = QUEUED
        rows = self._in_order(QUEUED)
        engine = table["engine"][rows]
        need = table["prompt"][rows] + table["produced"][rows]
        running = np.bincount(table["engine"][table["phase"] == RUNNING], minlength=self.count)
        room = 0.98 * self._roofline.kv_capacity_tokens - self.kv_tokens()
        fits = (running_sum(engine, need) <= room[engine]) & (
            running_sum(engine, np.ones(len(rows))) <= (MAX_BATCH - running)[engine]
        )
        admitted = rows[fits]
        wait = np.maximum(0.0, now - table["ready"][admitted])
        self.meters.add("queue_us", table["engine"][admitted], wait * 1e6)
        table["phase"][admitted] = RUNNING
        table["ready"][admitted] = np.maximum(table["ready"][admitted], now)

    def _generate(self, now: float, seconds: float, clock: Floats, share: Floats) -> Activity:
        """Run decode steps in the share of the time that prompts leave."""
        table = self.table
        rows = np.flatnonzero(table["phase"] == RUNNING)
        engine, n = table["engine"][rows], self.count
        batch = np.bincount(engine, minlength=n).astype(np.float64)
        context = self.kv_tokens()
        step = self._roofline.decode_seconds(batch, context, clock)
        pace = np.maximum(share, 0.02) / step  # tokens a second of every running request
        left = table["output"][rows] - table["produced"][rows]
        begin = np.maximum(table["ready"][rows], now)  # some came during this step
        tokens = np.minimum(pace[engine] * (now + seconds - begin), left)
        table["produced"][rows] += tokens
        finished = tokens >= left
        self.meters.tokens(engine, tokens, 1.0 / pace[engine])
        stall = 1.0 / pace - step
        self.meters.gaps(engine, step, stall, stall / self._prompt_seconds, self._rng)
        end = begin + tokens / pace[engine]
        self.meters.finished(engine[finished], table[rows[finished]], end[finished])
        table["phase"][rows[finished]] = DONE
        self._preempt(now + seconds)
        lived = sums(engine, tokens, n) / np.maximum(pace * seconds, 1e-9)
        self._lived, self._elapsed = self._lived + lived * seconds, self._elapsed + seconds
        busy = np.minimum(1.0, lived) * share * (batch > 0)
        return _decode_activity(self._roofline, batch, context, step, busy)

    def _preempt(self, now: float) -> None:
        """Where the KV cache is full, the newest requests go back to the queue."""
        for engine in np.flatnonzero(self.kv_tokens() > self._roofline.kv_capacity_tokens):
            mine = np.flatnonzero(
                (self.table["phase"] == RUNNING) & (self.table["engine"] == engine)
            )
            mine = mine[np.argsort(self.table["seq"][mine])]
            held = np.cumsum(self.table["prompt"][mine] + self.table["produced"][mine])
            out = mine[held > self._roofline.kv_capacity_tokens]
            self.table["phase"][out], self.table["ready"][out] = QUEUED, now
            self.meters.add("preemptions", self.table["engine"][out])


def _prefill_tokens_per_second(model: Roofline) -> float:
    return roofline.PEAK_FLOPS / (2 * model.parameters)


def _decode_activity(
    model: Roofline, batch: Floats, context: Floats, step: Floats, busy: Floats
) -> Activity:
    dram = busy * model.decode_bytes(context) / (step * roofline.PEAK_BYTES_PER_SECOND)
    tensor = busy * 2 * model.parameters * batch / (step * roofline.PEAK_FLOPS)
    return Activity(
        duty=busy,
        sm=busy * (0.55 + 0.45 * np.minimum(1.0, dram / 0.8)),
        tensor=np.minimum(0.95, tensor),
        dram=np.minimum(0.95, dram),
        nvlink_bytes_per_second=busy * batch / step * model.all_reduce_bytes_per_token,
        transfers=np.zeros((0, 0)),
    )
