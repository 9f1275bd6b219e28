"""Shapes of served language models: what their weights, caches and arithmetic follow from.

Figures are those of each model's published `config.json` (Hugging Face) or of the paper named;
parameters are counted from the shape, so that a wrong figure shows as a wrong size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from advisor.catalog.recurrent import (
    Recurrent,
    gated_delta,
    kimi_delta,
    lightning,
    mamba1,
    mamba2,
)

AS_OF = "2026-11"


class Format(StrEnum):
    """How numbers are stored. Scales of blocks are part of the size."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT4 = "int4"

    @property
    def bytes_per_element(self) -> float:
        """Bytes an element takes, its share of block scales included (FP4: 16 share one byte)."""
        return _BYTES[self]


_BYTES = {
    Format.BF16: 2.0,
    Format.FP8: 1.0,
    Format.INT8: 1.0,
    Format.FP4: 0.5625,  # NVFP4: 4 bit + 8 bit a block of 16; MXFP4 (block of 32) takes 0.53
    Format.INT4: 0.5156,  # groups of 128 with a 16 bit scale
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention: what is cached instead of keys and values.

    `query_rank` 0: queries are projected at once.
    """

    kv_rank: int
    rope_dim: int
    query_rank: int
    nope_dim: int
    value_dim: int
    index_heads: int = 0  # of a lightning indexer that picks `top_tokens` to attend to; 0: all are
    index_dim: int = 128
    top_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The feed-forward of a mixture-of-experts layer; `hidden` is of one expert."""

    count: int
    active: int
    hidden: int
    shared: int = 0
    shared_hidden: int = 0  # of one shared expert; 0: as `hidden`
    every: int = 1  # 2: every second layer is a mixture, the others are dense
    width: int = 0  # a narrower input of the routed experts, projected down and up; 0: none

    @property
    def shared_width(self) -> int:
        """Hidden width of all shared experts together."""
        return self.shared * (self.shared_hidden or self.hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Shape of a decoder. `ffn_hidden` is of its dense layers; None: unknown to no one, just 0."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_hidden: int
    vocabulary: int
    gated: bool = True  # three matrices (gate, up, down), else two
    tied: bool = False  # input and output embedding are one
    latent: Latent | None = None
    experts: Experts | None = None
    recurrent: Recurrent | None = None  # layers whose state does not grow
    output_gate: bool = False  # attention's output is gated by one more projection
    dense_layers: int = 0  # leading layers without experts
    bare_layers: int = 0  # layers without any feed-forward
    window_tokens: int = 0  # sliding window; 0: none
    windowed_ratio: float = 0.0  # share of layers that look back only `window_tokens`
    attention_sinks: bool = False  # a learned logit of each head beside those of the keys
    format: Format = Format.BF16  # as published
    source: str = "config.json"

    @property
    def moe_layers(self) -> int:
        """Layers whose feed-forward is a mixture of experts."""
        if self.experts is None:
            return 0
        return (self.layers - self.dense_layers - self.bare_layers) // self.experts.every

    @property
    def dense_ffn_layers(self) -> int:
        """Layers whose feed-forward is dense."""
        return self.layers - self.moe_layers - self.bare_layers

    @property
    def attention_layers(self) -> int:
        """Layers whose cache grows with the context."""
        return self.layers - (self.recurrent.layers if self.recurrent else 0)

    @property
    def attention_params(self) -> int:
        """Weights of one layer's attention."""
        if self.latent is None:
            width = (
                (3 if self.output_gate else 2) * self.heads + 2 * self.kv_heads
            ) * self.head_dim
            return self.hidden * width
        m = self.latent
        each = self.heads * (m.nope_dim + m.rope_dim)
        query = m.query_rank * (self.hidden + each) if m.query_rank else self.hidden * each
        keys = self.hidden * (m.kv_rank + m.rope_dim)
        values = m.kv_rank * self.heads * (m.nope_dim + m.value_dim)
        index = m.index_heads * (m.query_rank * m.index_dim + self.hidden)
        index += self.hidden * m.index_dim if m.index_heads else 0
        return query + keys + values + self.heads * m.value_dim * self.hidden + index

    @property
    def ffn_matrices(self) -> int:
        """Matrices of a feed-forward."""
        return 3 if self.gated else 2

    @property
    def dense_ffn_params(self) -> int:
        """Weights of one dense layer's feed-forward."""
        return self.ffn_matrices * self.hidden * self.ffn_hidden

    @property
    def expert_params(self) -> int:
        """Weights of one routed expert; 0 without experts."""
        if self.experts is None:
            return 0
        return self.ffn_matrices * (self.experts.width or self.hidden) * self.experts.hidden

    @property
    def shared_params(self) -> int:
        """Weights of one layer's shared experts, with the way to and from narrower routed ones."""
        if self.experts is None:
            return 0
        narrow = 2 * self.hidden * self.experts.width
        return self.ffn_matrices * self.hidden * self.experts.shared_width + narrow

    @property
    def embedding_params(self) -> int:
        """Weights of the embeddings, both when they are apart."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    def _params(self, experts_a_layer: int) -> float:
        state = self.recurrent
        return float(
            self.attention_layers * self.attention_params
            + (state.layers * state.params(self.hidden) if state else 0)
            + self.dense_ffn_layers * self.dense_ffn_params
            + self.moe_layers * (experts_a_layer * self.expert_params + self.shared_params)
            + self.embedding_params
        )

    @property
    def params(self) -> float:
        """All weights (norms and biases, below 0.1 %, are left out)."""
        return self._params(self.experts.count if self.experts else 0)

    @property
    def active_params(self) -> float:
        """Weights a token passes through."""
        return self._params(self.experts.active if self.experts else 0)

    @property
    def kv_width(self) -> int:
        """Cached elements a token and layer: keys and values, or the latent (and its index)."""
        if self.latent is not None:
            index = self.latent.index_dim if self.latent.index_heads else 0
            return self.latent.kv_rank + self.latent.rope_dim + index
        return 2 * self.kv_heads * self.head_dim

    def kv_bytes_per_token(self, bytes_per_element: float = 2.0) -> float:
        """KV cache of one token without windows: `2*L*kv_heads*head_dim*bytes`, or the latent's."""
        return self.attention_layers * self.kv_width * bytes_per_element

    @property
    def state_bytes(self) -> float:
        """What a sequence holds whatever its length: the state of recurrent layers."""
        return self.recurrent.sequence_bytes if self.recurrent else 0.0

    def weight_bytes(self, weights: Format | None = None) -> float:
        """Bytes of all weights; embeddings stay in 16 bit, as every published checkpoint does."""
        inner = self.params - self.embedding_params
        return inner * (weights or self.format).bytes_per_element + self.embedding_params * 2.0


def _dense(  # noqa: PLR0917 - a table row
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    vocabulary: int,
    head_dim: int = 128,
    *,
    gated: bool = True,
    tied: bool = False,
    window: tuple[int, float] = (0, 0.0),
    source: str = "config.json",
) -> Model:
    return Model(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_hidden=ffn,
        vocabulary=vocabulary,
        gated=gated,
        tied=tied,
        window_tokens=window[0],
        windowed_ratio=window[1],
        source=source,
    )


def _moe(  # noqa: PLR0917 - a table row
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocabulary: int,
    experts: Experts,
    ffn: int = 0,
    *,
    latent: Latent | None = None,
    dense_layers: int = 0,
    window: tuple[int, float] = (0, 0.0),
    sinks: bool = False,
    stored: Format = Format.BF16,
) -> Model:
    return Model(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        attention_sinks=sinks,
        ffn_hidden=ffn,
        vocabulary=vocabulary,
        experts=experts,
        latent=latent,
        dense_layers=dense_layers,
        window_tokens=window[0],
        windowed_ratio=window[1],
        format=stored,
    )


def _hybrid(  # noqa: PLR0917 - a table row
    name: str,
    layers: int,
    hidden: int,
    heads: tuple[int, int, int],
    vocabulary: int,
    recurrent: Recurrent,
    experts: Experts | None = None,
    ffn: int = 0,
    *,
    latent: Latent | None = None,
    gated: bool = True,
    output_gate: bool = False,
    dense_layers: int = 0,
    bare_layers: int = 0,
    stored: Format = Format.BF16,
) -> Model:
    """`heads`: attention's heads, those of keys and values, and their width."""
    return Model(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=heads[2],
        ffn_hidden=ffn,
        vocabulary=vocabulary,
        gated=gated,
        recurrent=recurrent,
        experts=experts,
        latent=latent,
        output_gate=output_gate,
        dense_layers=dense_layers,
        bare_layers=bare_layers,
        format=stored,
    )


_DEEPSEEK = Latent(kv_rank=512, rope_dim=64, query_rank=1536, nope_dim=128, value_dim=128)
_DEEPSEEK_SPARSE = replace(_DEEPSEEK, index_heads=64, top_tokens=2048)
_GLM5 = Latent(
    kv_rank=512,
    rope_dim=64,
    query_rank=2048,
    nope_dim=192,
    value_dim=256,
    index_heads=32,
    top_tokens=2048,
)


_KIMI = Latent(kv_rank=512, rope_dim=64, query_rank=0, nope_dim=128, value_dim=128)


def _of(count: int, active: int, hidden: int, shared: int = 0, every: int = 1) -> Experts:
    return Experts(count=count, active=active, hidden=hidden, shared=shared, every=every)


def _narrow(count: int, active: int, hidden: int, width: int, shared_hidden: int) -> Experts:
    return Experts(
        count=count,
        active=active,
        hidden=hidden,
        width=width,
        shared=1,
        shared_hidden=shared_hidden,
    )


_OPT = "OPT, arXiv 2205.01068, table 1"
_TABLE: tuple[Model, ...] = (
    _dense("llama2-7b", 32, 4096, 32, 32, 11008, 32000),
    _dense("llama2-13b", 40, 5120, 40, 40, 13824, 32000),
    _dense("llama2-70b", 80, 8192, 64, 8, 28672, 32000),
    _dense("llama3-8b", 32, 4096, 32, 8, 14336, 128256),
    _dense("llama3-70b", 80, 8192, 64, 8, 28672, 128256),
    _dense("llama3-405b", 126, 16384, 128, 8, 53248, 128256),
    _dense("llama3.2-1b", 16, 2048, 32, 8, 8192, 128256, 64, tied=True),
    _dense("llama3.2-3b", 28, 3072, 24, 8, 8192, 128256, tied=True),
    _dense("qwen2.5-7b", 28, 3584, 28, 4, 18944, 152064),
    _dense("qwen2.5-14b", 48, 5120, 40, 8, 13824, 152064),
    _dense("qwen2.5-32b", 64, 5120, 40, 8, 27648, 152064),
    _dense("qwen2.5-72b", 80, 8192, 64, 8, 29568, 152064),
    _dense("qwen3-0.6b", 28, 1024, 16, 8, 3072, 151936, tied=True),
    _dense("qwen3-1.7b", 28, 2048, 16, 8, 6144, 151936, tied=True),
    _dense("qwen3-4b", 36, 2560, 32, 8, 9728, 151936, tied=True),
    _dense("qwen3-8b", 36, 4096, 32, 8, 12288, 151936),
    _dense("qwen3-14b", 40, 5120, 40, 8, 17408, 151936),
    _dense("qwen3-32b", 64, 5120, 64, 8, 25600, 151936),
    _dense("mistral-7b", 32, 4096, 32, 8, 14336, 32000),
    _dense("mistral-nemo-12b", 40, 5120, 32, 8, 14336, 131072),
    _dense("mistral-large-123b", 88, 12288, 96, 8, 28672, 32768),
    _dense("gemma2-9b", 42, 3584, 16, 8, 14336, 256000, 256, tied=True, window=(4096, 0.5)),
    _dense("gemma2-27b", 46, 4608, 32, 16, 36864, 256000, tied=True, window=(4096, 0.5)),
    _dense("gemma3-12b", 48, 3840, 16, 8, 15360, 262208, 256, tied=True, window=(1024, 5 / 6)),
    _dense("gemma3-27b", 62, 5376, 32, 16, 21504, 262208, tied=True, window=(1024, 5 / 6)),
    _dense("phi3-medium-14b", 40, 5120, 40, 10, 17920, 32064),
    _dense("gpt-j-6b", 28, 4096, 16, 16, 16384, 50400, 256, gated=False),
    _dense("bloom-176b", 70, 14336, 112, 112, 57344, 250880, gated=False, tied=True),
    _dense("opt-6.7b", 32, 4096, 32, 32, 16384, 50272, gated=False, tied=True, source=_OPT),
    _dense("opt-13b", 40, 5120, 40, 40, 20480, 50272, gated=False, tied=True, source=_OPT),
    _dense("opt-30b", 48, 7168, 56, 56, 28672, 50272, gated=False, tied=True, source=_OPT),
    _dense("opt-66b", 64, 9216, 72, 72, 36864, 50272, gated=False, tied=True, source=_OPT),
    _dense("opt-175b", 96, 12288, 96, 96, 49152, 50272, gated=False, tied=True, source=_OPT),
    _moe("mixtral-8x7b", 32, 4096, 32, 8, 128, 32000, _of(8, 2, 14336)),
    _moe("mixtral-8x22b", 56, 6144, 48, 8, 128, 32768, _of(8, 2, 16384)),
    _moe("qwen3-30b-a3b", 48, 2048, 32, 4, 128, 151936, _of(128, 8, 768)),
    _moe("qwen3-235b-a22b", 94, 4096, 64, 4, 128, 151936, _of(128, 8, 1536)),
    _moe("qwen3-coder-480b-a35b", 62, 6144, 96, 8, 128, 151936, _of(160, 8, 2560)),
    _moe("glm-4.5", 92, 5120, 96, 8, 128, 151552, _of(160, 8, 1536, 1), 12288, dense_layers=3),
    _moe("minimax-m2", 62, 3072, 48, 8, 128, 200064, _of(256, 8, 1536), stored=Format.FP8),
    _moe(
        "gpt-oss-20b",
        24,
        2880,
        64,
        8,
        64,
        201088,
        _of(32, 4, 2880),
        window=(128, 0.5),
        sinks=True,
        stored=Format.FP4,
    ),
    _moe(
        "gpt-oss-120b",
        36,
        2880,
        64,
        8,
        64,
        201088,
        _of(128, 4, 2880),
        window=(128, 0.5),
        sinks=True,
        stored=Format.FP4,
    ),
    _moe(
        "llama4-scout",
        48,
        5120,
        40,
        8,
        128,
        202048,
        _of(16, 1, 8192, 1),
        window=(8192, 0.75),
    ),
    _moe(
        "llama4-maverick",
        48,
        5120,
        40,
        8,
        128,
        202048,
        _of(128, 1, 8192, 1, 2),
        16384,
        window=(8192, 0.75),
    ),
    _moe(
        "deepseek-v3",
        61,
        7168,
        128,
        128,
        128,
        129280,
        _of(256, 8, 2048, 1),
        18432,
        latent=_DEEPSEEK,
        dense_layers=3,
        stored=Format.FP8,
    ),
    _moe(
        "deepseek-v3.2",
        61,
        7168,
        128,
        128,
        128,
        129280,
        _of(256, 8, 2048, 1),
        18432,
        latent=_DEEPSEEK_SPARSE,
        dense_layers=3,
        stored=Format.FP8,
    ),
    _moe(
        "kimi-k2",
        61,
        7168,
        64,
        64,
        128,
        163840,
        _of(384, 8, 2048, 1),
        18432,
        latent=_DEEPSEEK,
        dense_layers=1,
        stored=Format.FP8,
    ),
    _moe(
        "glm-5",
        78,
        6144,
        64,
        64,
        128,
        154880,
        _of(256, 8, 2048, 1),
        12288,
        latent=_GLM5,
        dense_layers=3,
        stored=Format.FP8,
    ),
    # Mamba-2, attention and feed-forwards are layers of their own; here a mixer and what follows it
    _hybrid(
        "nemotron-h-56b",
        64,
        8192,
        (64, 8, 128),
        131072,
        mamba2(54, 256, 64, 256),
        ffn=32768,
        gated=False,
        bare_layers=10,
    ),
    _hybrid(
        "nemotron3-nano-30b-a3b",
        29,
        2688,
        (32, 2, 128),
        131072,
        mamba2(23, 64, 64, 128),
        _narrow(128, 6, 1856, 0, 3712),
        gated=False,
        bare_layers=6,
    ),
    _hybrid(
        "nemotron3-super-120b-a12b",
        48,
        4096,
        (32, 2, 128),
        131072,
        mamba2(40, 128, 64, 128),
        _narrow(512, 22, 2688, 1024, 5376),
        gated=False,
        bare_layers=8,
        stored=Format.FP8,
    ),
    _hybrid(
        "nemotron3-ultra-550b-a55b",
        60,
        8192,
        (64, 2, 128),
        131072,
        mamba2(48, 256, 64, 128),
        _narrow(512, 22, 5120, 2048, 10240),
        gated=False,
        bare_layers=12,
    ),
    _hybrid(
        "qwen3-next-80b-a3b",
        48,
        2048,
        (16, 2, 256),
        151936,
        gated_delta(36, 16, 32),
        _of(512, 10, 512, 1),
        output_gate=True,
    ),
    _hybrid(
        "qwen3.5-27b",
        64,
        5120,
        (24, 4, 256),
        248320,
        gated_delta(48, 16, 48),
        ffn=17408,
        output_gate=True,
    ),
    _hybrid(
        "qwen3.5-35b-a3b",
        40,
        2048,
        (16, 2, 256),
        248320,
        gated_delta(30, 16, 32),
        _of(256, 8, 512, 1),
        output_gate=True,
    ),
    _hybrid(
        "qwen3.5-122b-a10b",
        48,
        3072,
        (32, 2, 256),
        248320,
        gated_delta(36, 16, 64),
        _of(256, 8, 1024, 1),
        output_gate=True,
    ),
    _hybrid(
        "qwen3.5-397b-a17b",
        60,
        4096,
        (32, 2, 256),
        248320,
        gated_delta(45, 16, 64),
        _of(512, 10, 1024, 1),
        output_gate=True,
    ),
    _hybrid(
        "kimi-linear-48b-a3b",
        27,
        2304,
        (32, 32, 128),
        163840,
        kimi_delta(20, 32),
        _of(256, 8, 1024, 1),
        9216,
        latent=_KIMI,
        dense_layers=1,
    ),
    _hybrid(
        "jamba-mini-52b-a12b",
        32,
        4096,
        (32, 8, 128),
        65536,
        mamba1(28, 4096, 16, 256),
        _of(16, 2, 14336, every=2),
        14336,
    ),
    _hybrid(
        "jamba-large-398b-a94b",
        72,
        8192,
        (64, 8, 128),
        65536,
        mamba1(63, 8192, 16, 512),
        _of(16, 2, 24576, every=2),
        24576,
    ),
    _hybrid(
        "minimax-01-456b-a46b",
        80,
        6144,
        (64, 8, 128),
        200064,
        lightning(70, 64, 128),
        _of(32, 2, 9216),
    ),
)  # fmt: skip - rows of a table
MODELS: dict[str, Model] = {model.name: model for model in _TABLE}

_WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("deepseek", "r1-distill-llama-70b"), "llama3-70b"),
    (("deepseek", "r1-distill-llama-8b"), "llama3-8b"),
    (("deepseek", "r1-distill-qwen-32b"), "qwen2.5-32b"),
    (("deepseek", "r1-distill-qwen-14b"), "qwen2.5-14b"),
    (("deepseek", "r1-distill-qwen-7b"), "qwen2.5-7b"),
    (("deepseek-r1",), "deepseek-v3"),
    (("deepseek-v3.2",), "deepseek-v3.2"),
    (("deepseek-v3",), "deepseek-v3"),
    (("kimi-k2",), "kimi-k2"),
    (("glm-4.5",), "glm-4.5"),
    (("glm-4.6",), "glm-4.5"),
    (("glm-4.7",), "glm-4.5"),
    (("glm-5",), "glm-5"),
    (("minimax-m2",), "minimax-m2"),
    (("gpt-oss-120b",), "gpt-oss-120b"),
    (("gpt-oss-20b",), "gpt-oss-20b"),
    (("nemotron-h-56b",), "nemotron-h-56b"),
    (("nemotron-3", "nano-30b"), "nemotron3-nano-30b-a3b"),
    (("nemotron-3", "super-120b"), "nemotron3-super-120b-a12b"),
    (("nemotron-3", "ultra-550b"), "nemotron3-ultra-550b-a55b"),
    (("qwen3-next",), "qwen3-next-80b-a3b"),
    (("qwen3-coder-next",), "qwen3-next-80b-a3b"),
    (("qwen3.5", "397b"), "qwen3.5-397b-a17b"),
    (("qwen3.5", "122b"), "qwen3.5-122b-a10b"),
    (("qwen3.5", "35b-a3b"), "qwen3.5-35b-a3b"),
    (("qwen3.5", "27b"), "qwen3.5-27b"),
    (("kimi-linear",), "kimi-linear-48b-a3b"),
    (("jamba", "mini"), "jamba-mini-52b-a12b"),
    (("jamba-v0.1",), "jamba-mini-52b-a12b"),
    (("jamba", "large"), "jamba-large-398b-a94b"),
    (("minimax-text-01",), "minimax-01-456b-a46b"),
    (("minimax-m1",), "minimax-01-456b-a46b"),
    (("qwen3", "coder-480b"), "qwen3-coder-480b-a35b"),
    (("qwen3", "235b"), "qwen3-235b-a22b"),
    (("qwen3", "30b-a3b"), "qwen3-30b-a3b"),
    (("qwen3-32b",), "qwen3-32b"),
    (("qwen3-14b",), "qwen3-14b"),
    (("qwen3-8b",), "qwen3-8b"),
    (("qwen3-4b",), "qwen3-4b"),
    (("qwen3-1.7b",), "qwen3-1.7b"),
    (("qwen3-0.6b",), "qwen3-0.6b"),
    (("qwen2.5", "72b"), "qwen2.5-72b"),
    (("qwen2.5", "32b"), "qwen2.5-32b"),
    (("qwen2.5", "14b"), "qwen2.5-14b"),
    (("qwen2.5", "7b"), "qwen2.5-7b"),
    (("llama-4", "maverick"), "llama4-maverick"),
    (("llama-4", "scout"), "llama4-scout"),
    (("llama-3.2", "1b"), "llama3.2-1b"),
    (("llama-3.2", "3b"), "llama3.2-3b"),
    (("llama-3", "405b"), "llama3-405b"),
    (("llama-3", "70b"), "llama3-70b"),
    (("llama-3", "8b"), "llama3-8b"),
    (("llama-2", "70b"), "llama2-70b"),
    (("llama-2", "13b"), "llama2-13b"),
    (("llama-2", "7b"), "llama2-7b"),
    (("mixtral-8x22b",), "mixtral-8x22b"),
    (("mixtral-8x7b",), "mixtral-8x7b"),
    (("mistral-large",), "mistral-large-123b"),
    (("mistral-nemo",), "mistral-nemo-12b"),
    (("mistral-7b",), "mistral-7b"),
    (("gemma-3-27b",), "gemma3-27b"),
    (("gemma-3-12b",), "gemma3-12b"),
    (("gemma-2-27b",), "gemma2-27b"),
    (("gemma-2-9b",), "gemma2-9b"),
    (("phi-3-medium",), "phi3-medium-14b"),
    (("gpt-j",), "gpt-j-6b"),
    (("bloom",), "bloom-176b"),
    (("opt-6.7b",), "opt-6.7b"),
    (("opt-13b",), "opt-13b"),
    (("opt-30b",), "opt-30b"),
    (("opt-66b",), "opt-66b"),
    (("opt-175b",), "opt-175b"),
)


def by_name(name: str) -> Model | None:
    """The model of a catalogue name or of a served one ("meta-llama/Llama-3.1-70B-Instruct").

    None when unknown: a caller then asks for its numbers, it never guesses.
    """
    lower = name.lower()
    if lower in MODELS:
        return MODELS[lower]
    flat = lower.rsplit("/", 1)[-1].replace("meta-", "").replace("_", "-")
    flat = re.sub(r"\b(llama|gemma|phi)(?=\d)", r"\1-", flat)  # "Llama3.1" is "Llama-3.1"
    found = (key for words, key in _WORDS if all(word in flat for word in words))
    key = next(found, None)
    return None if key is None else MODELS[key]
