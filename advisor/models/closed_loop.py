"""Engines as benchmarks run them: a fixed number of requests in flight, both phases together.

What most published figures are: throughput, mean time per output token and energy at a concurrency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.energy import work_power_watts
from advisor.models.kv import held_tokens, most_sequences
from advisor.models.phases import (
    Replica,
    Work,
    decode_step_seconds,
    decode_work,
    mixed_step_seconds,
    prefill_service_seconds,
    prefill_work,
)

VERSION = "closed-loop/6"
# Prompt tokens a step takes at most: default of vLLM's server, SGLang and TensorRT-LLM on H100
CHUNK_TOKENS = 8192.0


def running_sequences(
    replica: Replica, concurrency: Numbers, prompt_tokens: Numbers, output_tokens: Numbers
) -> Floats:
    """Sequences that decode at once: those in flight, or what the cache holds of them."""
    held = held_tokens(replica, prompt_tokens, output_tokens)
    return np.minimum(floats(concurrency), np.maximum(1.0, most_sequences(replica, held)))


class _Steps(NamedTuple):
    """Sequences at once, tokens of a chunk, such chunks a step, seconds of a step without and with.

    `computed` are the tokens of a prompt that are not in the cache. Where more than one prompt
    begins between two steps of a rank they share the next one. `wave`: all begin together.
    """

    batch: Floats
    computed: Floats
    chunk: Floats
    chunks: Floats
    wave: bool
    decode: Floats
    mixed: Floats

    def tpot(self, output: Floats) -> Floats:
        """A decode step, and each output's share of the prefills after its first token."""
        prefills = (self.mixed - self.decode) * self.computed / (self.chunk * self.chunks)
        later = 0.5 if self.wave else 1.0
        return self.decode + later * self.batch / output * prefills


def _steps(
    replica: Replica,
    concurrency: Floats,
    prompt: Floats,
    output: Floats,
    chunk_tokens: float,
    *,
    alike: bool,
    cached_tokens: Numbers,
) -> _Steps:
    batch = running_sequences(replica, concurrency, prompt, output)
    computed = np.maximum(1.0, prompt - floats(cached_tokens))
    context, chunk = prompt + output / 2, np.minimum(chunk_tokens, computed)
    decode = decode_step_seconds(replica, batch, context)
    begun = np.clip(
        batch / replica.layout.data / output, 1.0, np.maximum(1.0, chunk_tokens / chunk)
    )
    back = prompt - computed + (computed - chunk) / 2
    mixed = mixed_step_seconds(replica, batch, context, chunk, back, chunks=begun)
    wave = alike and replica.stack.locks_waves
    return _Steps(batch, computed, chunk, begun * replica.layout.data, wave, decode, mixed)


def tpot_seconds(
    replica: Replica,
    concurrency: Numbers,
    prompt_tokens: Numbers,
    output_tokens: Numbers,
    chunk_tokens: float = CHUNK_TOKENS,
    *,
    alike: bool = False,
    cached_tokens: Numbers = 0.0,
) -> Floats:
    """Mean time per output token: a decode step, and each output's share of the others' prefills.

    `alike` says that all lengths are the same. Where an engine then keeps waves together, half of a
    wave's prefills are what a request waits for before its first token, not between tokens.
    `cached_tokens` of each prompt are in the prefix cache.
    """
    asked, prompt, output = floats(concurrency), floats(prompt_tokens), floats(output_tokens)
    steps = _steps(
        replica, asked, prompt, output, chunk_tokens, alike=alike, cached_tokens=cached_tokens
    )
    return steps.tpot(output)


def ttft_seconds(
    replica: Replica,
    concurrency: Numbers,
    prompt_tokens: Numbers,
    output_tokens: Numbers,
    chunk_tokens: float = CHUNK_TOKENS,
    *,
    alike: bool = False,
    cached_tokens: Numbers = 0.0,
) -> Floats:
    """Mean time to first token: entry, own chunks, prompts that came with it, wait for the cache.

    With it came the share that comes at once, and what came since the engine last looked for
    requests. A data rank that waits for a prompt on every other one waits as long as each takes to
    get one (an output over its sequences, in steps), at most what its stack allows. Requests beyond
    what the cache holds wait for an answer to end: by Little's law the time that `concurrency`
    minus running ones take to be served at the engine's rate.
    """
    asked, prompt, output = floats(concurrency), floats(prompt_tokens), floats(output_tokens)
    steps = _steps(
        replica, asked, prompt, output, chunk_tokens, alike=alike, cached_tokens=cached_tokens
    )
    ranks, computed = replica.layout.data, steps.computed
    together = np.maximum(1.0, np.floor(chunk_tokens / computed))
    cached = prompt - computed
    passes = prefill_service_seconds(
        replica, prompt, cached_tokens=cached, prompts=together * ranks
    )
    each = passes / together
    stack, tpot, running = replica.stack, steps.tpot(output), steps.batch / ranks
    polled = np.minimum(running, (stack.poll_steps - 1) * running / output)
    at_once = 1.0 if steps.wave else stack.in_step_ratio
    ahead = (at_once * np.maximum(0.0, running - 1) + polled) / 2
    queue = np.maximum(0.0, asked - steps.batch) / steps.batch * output * tpot
    own = steps.mixed * computed / steps.chunk + stack.poll_steps * steps.decode / 2
    found = stack.entry_seconds + own + ahead * each + queue
    if ranks == 1:
        return found
    return found + np.minimum(stack.rank_wait_steps, output / running) * tpot


def tokens_per_second(
    replica: Replica,
    concurrency: Numbers,
    prompt_tokens: Numbers,
    output_tokens: Numbers,
    chunk_tokens: float = CHUNK_TOKENS,
    *,
    cached_tokens: Numbers = 0.0,
) -> Floats:
    """Output tokens/s of one engine; divide by `replica.gpus` for a GPU's share."""
    batch = running_sequences(replica, concurrency, prompt_tokens, output_tokens)
    tpot = tpot_seconds(
        replica,
        concurrency,
        prompt_tokens,
        output_tokens,
        chunk_tokens,
        cached_tokens=cached_tokens,
    )
    return batch / tpot


def power_watts(
    replica: Replica,
    concurrency: Numbers,
    prompt_tokens: Numbers,
    output_tokens: Numbers,
    *,
    cached_tokens: Numbers = 0.0,
) -> Floats:
    """Power of all GPUs of the engine."""
    prompt, output = floats(prompt_tokens), floats(output_tokens)
    batch = running_sequences(replica, concurrency, prompt, output)
    decode = decode_work(replica, batch, prompt + output / 2)
    prefill = prefill_work(replica, prompt, cached_tokens=np.minimum(cached_tokens, prompt - 1))
    work = Work(decode.flops + batch / output * prefill.flops, decode.traffic_bytes)
    tpot = tpot_seconds(replica, concurrency, prompt, output, cached_tokens=cached_tokens)
    return work_power_watts(replica, work, tpot)


def joules_per_token(
    replica: Replica,
    concurrency: Numbers,
    prompt_tokens: Numbers,
    output_tokens: Numbers,
    *,
    cached_tokens: Numbers = 0.0,
) -> Floats:
    """Energy of one output token, its share of prefill in it, GPUs alone."""
    loop = replica, concurrency, prompt_tokens, output_tokens
    watts = power_watts(*loop, cached_tokens=cached_tokens)
    return watts / tokens_per_second(*loop, cached_tokens=cached_tokens)
