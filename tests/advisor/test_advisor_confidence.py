"""Every number a person is shown says how sure it is; the types and this file enforce it."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from ridgeline.events import Advice, Confidence, Evidence
from tests.advisor.test_advisor_dry import modules


def parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model inside it."""
    yield model
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from parts(inner)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _is_number(annotation: object) -> bool:
    return annotation is float or any(map(_is_number, typing.get_args(annotation)))


@pytest.mark.parametrize("model", sorted({*parts(Advice)}, key=str))
def test_a_model_with_a_number_has_a_confidence_class(model: type[BaseModel]) -> None:
    """A float anywhere in advice stands beside a field of the type Confidence."""
    numbers = [n for n, f in model.model_fields.items() if _is_number(f.annotation)]

    if numbers:
        assert Confidence is model.model_fields["confidence"].annotation


def test_evidence_made_by_the_advisor_names_its_class() -> None:
    """The default is for detectors, whose evidence is measured; a rule says which it is."""
    silent = {
        (path, node.lineno)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == Evidence.__name__
        and "confidence" not in {keyword.arg for keyword in node.keywords}
    }

    assert set() == silent
