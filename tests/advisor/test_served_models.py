"""Names of models and services that nothing is known of are refused, or told once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from advisor.facts import Facts, Software
from advisor.served_models import Unmatched, check
from ridgeline.errors import Misconfigured
from ridgeline.settings import AdvisorSettings, ServiceSettings
from tests.advisor.rule_cases import facts, serving

SEEN = replace(
    facts(serving=(serving("chat/mixed"), serving("code/mixed"))),
    software={
        "chat/mixed": (Software(name="vLLM", version="0.12.0", engines=8, model="house-model"),),
        "code/mixed": (Software(name="vLLM", version="0.12.0", engines=8, model="Qwen3-32B"),),
    },
)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            AdvisorSettings(model="llama3-71b"),
            "RIDGELINE_ADVISOR_MODEL: no model of that name; did",
        ),
        (
            AdvisorSettings(services={"chat": ServiceSettings(model="prod")}),
            "RIDGELINE_ADVISOR_SERVICES: chat: model: no model of that name; ",
        ),
    ],
)
def test_a_model_that_is_set_must_be_known(settings: AdvisorSettings, said: str) -> None:
    """With the setting, the name and those there are."""
    with pytest.raises(Misconfigured) as caught:
        check(settings)

    assert str(caught.value).startswith(said)
    assert "llama3-70b" in str(caught.value)
    assert "found '" in str(caught.value)


def test_names_that_servers_use_are_known_as_well() -> None:
    """As the catalogue has it, as it is served, or not at all."""
    for model in ("llama3-70b", "meta-llama/Llama-3.1-70B-Instruct", ""):
        check(AdvisorSettings(model=model))


def told(settings: AdvisorSettings, seen: Facts = SEEN) -> list[str]:
    """What is logged of three evaluations."""
    unmatched = Unmatched(settings)
    with capture_logs() as lines:
        for _ in range(3):
            unmatched.tell(seen)
    return [str(line.get("model") or line.get("service")) for line in lines]


def test_what_does_not_match_is_told_once() -> None:
    """A served model of unknown shape, unless one is set for it; a service nobody runs."""
    own = {"chat": ServiceSettings(model="llama3-70b")}
    typo = {"chta": ServiceSettings(model="llama3-70b")}

    assert ["house-model"] == told(AdvisorSettings())
    assert [] == told(AdvisorSettings(services=own))
    assert ["house-model", "chta"] == told(AdvisorSettings(services=typo))
    assert [] == told(AdvisorSettings(services=typo), facts())  # nothing is seen yet
