"""Token mixers with a state of constant size: linear attention and state-space layers.

A sequence's state is read and written once a token instead of a cache that grows; sizes follow from
each model's published `config.json` or paper.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """The recurrent layers of a hybrid; the state of each is heads x key_dim x value_dim.

    `input_columns` is the width of all projections into a layer (queries, keys, values, gates);
    what is projected through a low rank is in `extra_params`.
    """

    layers: int
    heads: int
    key_dim: int
    value_dim: int
    input_columns: int
    extra_params: int = 0  # of one layer
    state_bytes: float = 4.0  # an element: engines keep the state in 32 bit

    @property
    def output_width(self) -> int:
        """Inputs of the projection out of a layer."""
        return self.heads * self.value_dim

    @property
    def state_elements(self) -> int:
        """Elements of one layer's state."""
        return self.heads * self.key_dim * self.value_dim

    @property
    def sequence_bytes(self) -> float:
        """State of one sequence in all recurrent layers."""
        return self.layers * self.state_elements * self.state_bytes

    def params(self, hidden: int) -> int:
        """Weights of one layer (convolutions, below 0.1 %, are left out)."""
        return hidden * (self.input_columns + self.output_width) + self.extra_params


def gated_delta(layers: int, key_heads: int, value_heads: int, dim: int = 128) -> Recurrent:
    """Gated DeltaNet (Qwen3-Next, Qwen3.5): q, k, v, output gate, decay and step of each head."""
    columns = 2 * key_heads * dim + 2 * value_heads * dim + 2 * value_heads
    return Recurrent(
        layers=layers, heads=value_heads, key_dim=dim, value_dim=dim, input_columns=columns
    )


def kimi_delta(layers: int, heads: int, dim: int = 128, *, full_gate: bool = False) -> Recurrent:
    """Kimi Delta Attention (arXiv 2510.26692): a decay for each channel, through rank `dim`."""
    width = heads * dim
    gates = dim * width * (1 if full_gate else 2)
    return Recurrent(
        layers=layers,
        heads=heads,
        key_dim=dim,
        value_dim=dim,
        input_columns=3 * width + heads + dim + (width if full_gate else dim),
        extra_params=gates,
    )


def mamba2(layers: int, heads: int, head_dim: int, state: int, groups: int = 8) -> Recurrent:
    """Mamba-2 (Nemotron-H): input, gate, B and C of each group, step of each head."""
    inner = heads * head_dim
    return Recurrent(
        layers=layers,
        heads=heads,
        key_dim=state,
        value_dim=head_dim,
        input_columns=2 * inner + 2 * groups * state + heads,
    )


def mamba1(layers: int, hidden: int, state: int, rank: int, expand: int = 2) -> Recurrent:
    """Mamba (Jamba): every channel is a head with its own B, C and step, through a low rank."""
    inner = expand * hidden
    return Recurrent(
        layers=layers,
        heads=inner,
        key_dim=state,
        value_dim=1,
        input_columns=2 * inner,
        extra_params=inner * (2 * rank + 2 * state),
    )


def lightning(layers: int, heads: int, dim: int) -> Recurrent:
    """Lightning attention (MiniMax-01, arXiv 2501.08313): q, k, v and an output gate."""
    return Recurrent(
        layers=layers, heads=heads, key_dim=dim, value_dim=dim, input_columns=4 * heads * dim
    )
