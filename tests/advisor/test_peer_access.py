"""GPUs over PCIe that reach one another's memory, and those that do not."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.models import phases
from advisor.models.collectives import all_reduce_seconds, wire_of
from advisor.models.replica import Layout, Replica
from advisor.plan.command import app

MESSAGE_BYTES = 8 * 2**20


@pytest.mark.parametrize(
    ("peers", "gpus", "milliseconds"),
    [(False, 4, 3.32), (False, 8, 8.17), (True, 2, 0.52), (True, 4, 0.647), (True, 8, 0.794)],
)
def test_all_reduces_on_two_hosts_with_l40s(peers: bool, gpus: int, milliseconds: float) -> None:  # noqa: FBT001 - a parameter
    """8 MB in SGLang 0.5.12 on one host and vLLM 0.14 on the other (aiconfigurator 0.12)."""
    inside, _ = wire_of(BY_NAME["L40S"], peer_access=peers)
    seconds = float(all_reduce_seconds(inside, gpus, MESSAGE_BYTES))

    assert milliseconds == pytest.approx(1e3 * seconds, rel=0.2)


def test_four_l40s_without_it_are_slower_than_one() -> None:
    """Prompts of 8B over 4 L40S: tensor parallelism through the host's memory costs more."""
    model = MODELS["llama3-8b"]
    one = Replica(model=model, accelerator=BY_NAME["L40S"])

    def seconds(*, peers: bool) -> float:
        four = Replica(
            model=model,
            accelerator=BY_NAME["L40S"],
            layout=Layout(tensor=4),
            peer_access=peers,
        )
        return float(phases.prefill_seconds(four, 4000))

    alone = float(phases.prefill_seconds(one, 4000))
    assert seconds(peers=True) < alone < 0.5 * seconds(peers=False)


def test_nvlink_does_not_ask() -> None:
    """Only PCIe has hosts without."""
    assert wire_of(BY_NAME["H100-SXM"], peer_access=False) == wire_of(BY_NAME["H100-SXM"])


def test_a_plan_may_be_told_either() -> None:
    """Yes, no, or nothing said."""

    def carried(*said: str) -> float:
        asked = "disaggregate --requests-per-second 1 --prompt-tokens 2000 --output-tokens 200"
        engine = "--accelerator L40S --model llama3-8b --gpus-per-engine 4 --json"
        shown = CliRunner().invoke(app(), [*asked.split(), *engine.split(), *said])
        table = json.loads(shown.stdout)["tables"][0]
        return float(table["rows"][0][table["columns"].index("requests/s in objectives")])

    told = {said: carried(*said) for said in ((), ("--peer-access",), ("--no-peer-access",))}
    assert told["--no-peer-access",] <= told[()] <= told["--peer-access",]
