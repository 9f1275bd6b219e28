"""Shapes of models: sizes counted from them are the published ones."""

from __future__ import annotations

import pytest

from advisor.catalog.models import MODELS, Format, Model, by_name

# Published sizes, billions: model cards and technical reports
PUBLISHED = {
    "llama2-7b": 6.74,
    "llama2-70b": 69.0,
    "llama3-8b": 8.03,
    "llama3-70b": 70.6,
    "llama3-405b": 405.9,
    "qwen2.5-72b": 72.7,
    "qwen3-14b": 14.8,
    "qwen3-32b": 32.8,
    "mistral-7b": 7.24,
    "gemma2-27b": 27.2,
    "gemma3-27b": 27.0,
    "gpt-j-6b": 6.05,
    "bloom-176b": 176.2,
    "opt-13b": 12.85,
    "opt-66b": 65.7,
    "opt-175b": 175.0,
    "mixtral-8x7b": 46.7,
    "mixtral-8x22b": 141.0,
    "qwen3-30b-a3b": 30.5,
    "qwen3-235b-a22b": 235.0,
    "gpt-oss-20b": 20.9,
    "gpt-oss-120b": 116.8,
    "llama4-scout": 107.8,
    "llama4-maverick": 400.7,
    "deepseek-v3": 671.0,
    "deepseek-v3.2": 671.8,
    "glm-4.5": 353.0,
    "glm-5": 744.0,
    "kimi-k2": 1026.0,
    "minimax-m2": 229.0,
    "nemotron-h-56b": 56.3,
    "nemotron3-nano-30b-a3b": 31.6,
    "nemotron3-super-120b-a12b": 120.6,
    "qwen3-next-80b-a3b": 80.0,
    "qwen3.5-27b": 27.0,
    "qwen3.5-397b-a17b": 397.0,
    "kimi-linear-48b-a3b": 49.1,
    "jamba-mini-52b-a12b": 51.6,
    "jamba-large-398b-a94b": 398.0,
    "minimax-01-456b-a46b": 456.0,
}
ACTIVE = {
    "mixtral-8x7b": 12.9,
    "qwen3-30b-a3b": 3.3,
    "qwen3-235b-a22b": 22.0,
    "deepseek-v3": 37.0,
    "kimi-k2": 32.0,
    "llama4-maverick": 17.0,
    "nemotron3-nano-30b-a3b": 3.6,
    "nemotron3-super-120b-a12b": 12.7,
    "nemotron3-ultra-550b-a55b": 55.0,
    "qwen3.5-397b-a17b": 17.0,
    "jamba-mini-52b-a12b": 12.0,
    "jamba-large-398b-a94b": 94.0,
}


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_size_counted_from_the_shape(name: str, billions: float) -> None:
    """Layers, widths, heads and experts add up to the published parameters."""
    assert MODELS[name].params / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(("name", "billions"), ACTIVE.items())
def test_active_size_of_mixtures(name: str, billions: float) -> None:
    """A token passes through the published active parameters."""
    assert MODELS[name].active_params / 1e9 == pytest.approx(billions, rel=0.04)


def test_dense_models_are_wholly_active() -> None:
    """Without experts every weight is used for every token."""
    dense = [m for m in MODELS.values() if m.experts is None]

    assert dense
    assert all(m.params == m.active_params for m in dense)


@pytest.mark.parametrize(
    ("served", "name"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", "llama3-70b"),
        ("meta-llama/Meta-Llama-3-8B", "llama3-8b"),
        ("Qwen/Qwen3-32B-FP8", "qwen3-32b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama3-70b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("facebook/opt-66b", "opt-66b"),
        ("LLAMA3-70B", "llama3-70b"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-v3.2"),
        ("zai-org/GLM-4.7", "glm-4.5"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3-next-80b-a3b"),
        ("Qwen/Qwen3.5-397B-A17B", "qwen3.5-397b-a17b"),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", "kimi-linear-48b-a3b"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron3-nano-30b-a3b"),
        ("ai21labs/AI21-Jamba-1.5-Mini", "jamba-mini-52b-a12b"),
        ("MiniMaxAI/MiniMax-Text-01", "minimax-01-456b-a46b"),
    ],
)
def test_served_names(served: str, name: str) -> None:
    """What an engine calls its model finds the catalogue's shape."""
    found = by_name(served)

    assert found is not None
    assert name == found.name


def test_an_unknown_model_is_not_guessed() -> None:
    """Nothing is said of a model whose shape nobody gave."""
    assert by_name("acme/Secret-9000B") is None


def test_a_model_can_be_given_as_numbers() -> None:
    """The shape alone gives sizes, cache and bytes."""
    own = Model(
        name="own",
        layers=80,
        hidden=8192,
        heads=64,
        kv_heads=8,
        head_dim=128,
        ffn_hidden=28672,
        vocabulary=128256,
    )

    assert MODELS["llama3-70b"].params == own.params
    assert 327_680 == own.kv_bytes_per_token()
    assert own.weight_bytes(Format.FP8) < 0.52 * own.weight_bytes(Format.BF16)
