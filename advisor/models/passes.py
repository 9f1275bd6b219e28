"""What goes through a model at once: decode sequences, prompt tokens, or both of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog.models import Model
from advisor.models.arrays import Floats, Numbers, floats


@dataclass(frozen=True, slots=True)
class Pass:
    """What goes through the model at once, of a whole engine.

    `pairs` counts (new token, token attended to) of the prompt part; `windowed_pairs` counts them
    in layers with a sliding window.
    """

    sequences: Floats
    context_tokens: Floats
    prompt_tokens: Floats
    pairs: Floats
    windowed_pairs: Floats
    prompts: Floats

    def of_busiest_rank(self, ranks: int) -> tuple[Floats, Floats]:
        """Shares of the sequences and of the prompts that the busiest of `ranks` data ranks has.

        Whole ones are dealt out: a prompt runs on one rank however many there are.
        """
        return 1 / np.clip(self.sequences, 1, ranks), 1 / np.clip(self.prompts, 1, ranks)


def decode_pass(sequences: Numbers, context_tokens: Numbers) -> Pass:
    """One token for each of `sequences`, which look back over `context_tokens`."""
    b, c = np.broadcast_arrays(floats(sequences), floats(context_tokens))
    zero = np.zeros_like(b)
    return Pass(b, c, zero, zero, zero, zero)


def prompt_pass(
    model: Model, new_tokens: Numbers, cached_tokens: Numbers = 0.0, prompts: Numbers = 1.0
) -> Pass:
    """`prompts` prompts at once, each of `new_tokens` after `cached_tokens` in the cache."""
    n, cached, k = np.broadcast_arrays(floats(new_tokens), floats(cached_tokens), floats(prompts))
    zero = np.zeros_like(n)
    pairs = k * n * (cached + n / 2)
    window = model.window_tokens or np.inf
    return Pass(zero, zero, k * n, pairs, np.minimum(pairs, k * n * window), k)


def both(one: Pass, other: Pass) -> Pass:
    """A pass that carries the sequences of the first and the prompts of the second."""
    shape = np.broadcast_shapes(one.sequences.shape, other.prompt_tokens.shape)

    def wide(values: Floats) -> Floats:
        return np.broadcast_to(values, shape)

    return Pass(
        wide(one.sequences),
        wide(one.context_tokens),
        wide(other.prompt_tokens),
        wide(other.pairs),
        wide(other.windowed_pairs),
        wide(other.prompts),
    )


def experts_touched(count: float, active: float, tokens: Numbers) -> Floats:
    """Expected number of distinct experts that `tokens` tokens use, `E*(1-(1-k/E)^T)`.

    Routing is taken as even; a skewed router touches fewer and loads the popular ones more, which
    the measured ceilings of grouped products (power law of 1.01) contain.
    """
    touched: Floats = count * -np.expm1(floats(tokens) * np.log1p(-min(active / count, 1 - 1e-12)))
    return touched
