"""docs/plan.md and docs/advice.md say what the code does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from advisor.conflicts import INCUMBENT_FACTOR
from advisor.engine import QUIET_EVALUATIONS
from advisor.plan import render
from advisor.plan.options import option_name
from advisor.plan.plans import PLANS
from advisor.plan.report import SCHEMA, PlotKind
from advisor.ranking import CONFIDENCE_WEIGHT
from ridgeline.settings import AdvisorSettings
from tests import published
from tests.advisor.plan.asked import run

DOCS = Path(__file__).parents[3] / "docs"
PLAN = (DOCS / "plan.md").read_text(encoding="utf-8")
ADVICE = (DOCS / "advice.md").read_text(encoding="utf-8")


def test_every_command_is_listed_and_shown() -> None:
    """A new plan comes with its line and an example."""
    for plan in PLANS:
        assert f"| `plan {plan.name}` |" in PLAN
        assert f"$ ridgeline plan {plan.name} " in PLAN


@pytest.mark.parametrize("line", re.findall(r"^\$ ridgeline plan .*$", PLAN, re.MULTILINE))
def test_examples_use_options_there_are(line: str) -> None:
    """An option that was renamed is renamed in the page too."""
    _, _, _, name, *arguments = line.split()
    plan = next(plan for plan in PLANS if plan.name == name)
    known = {option_name(field) for field in plan.options.model_fields}

    assert set() == {a for a in arguments if a.startswith("--")} - known


EXAMPLES = re.findall(
    r"^\$ ridgeline plan ([^\n]*)\n(.*?)(?:\n\n|\n  |\n```)", PLAN, re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize(("typed", "shown"), EXAMPLES, ids=[typed for typed, _ in EXAMPLES])
def test_examples_print_what_they_printed(
    typed: str,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sentence of each example is today's: a model that changes it changes the page."""
    arguments = shlex.split(typed)
    for name in [a for a in arguments if a.startswith("Azure")]:
        found = str(published.data(f"azure-llm-2023/{name}"))
        arguments[arguments.index(name)] = found
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments, "--json")
    said = json.loads(out)["answer"] if code == 0 else err

    assert " ".join(said.split()).startswith(" ".join(shown.split()).removesuffix(" ..."))


def fields(schema: dict[str, Any]) -> set[str]:
    """Names of all fields of the JSON, at every level but the free names of mappings."""
    names = set(schema.get("properties", {}))
    for definition in schema["$defs"].values():
        names |= set(definition.get("properties", {}))
    return names


def test_every_field_of_the_json_is_documented() -> None:
    """And the schema's own name."""
    assert set() == {name for name in fields(render.json_schema()) if f"`{name}`" not in PLAN}
    assert f"`{SCHEMA}`" in PLAN
    assert all(kind in PLAN for kind in PlotKind)


def test_the_rules_of_the_engine_are_those_of_the_page() -> None:
    """Weights, the count of quiet evaluations, the incumbent's advantage and the setting."""
    weights = ", ".join(f"{c.value} {w:g}" for c, w in CONFIDENCE_WEIGHT.items())

    assert weights in ADVICE
    assert (4, 1.2) == (QUIET_EVALUATIONS, INCUMBENT_FACTOR)
    assert "absent for four evaluations" in ADVICE
    assert "RIDGELINE_ADVISOR_VERIFY_MINUTES" in ADVICE
    assert "verify_minutes" in AdvisorSettings.model_fields
