"""Every number a person is shown says how sure it is; the types and this file enforce it."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from advisor.catalog import accelerators, carbon, cooling, fabric, files, managed, mig, prices
from advisor.catalog.files import Source
from ridgeline.errors import Misconfigured
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


def test_only_a_source_makes_a_number_published() -> None:
    """No code names the class itself: it comes with a title and a date, or not at all."""
    named = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == Confidence.PUBLISHED.name
    }

    assert {"catalog/files.py", "ranking.py"} == named  # the source, and what a class weighs


@pytest.mark.parametrize(
    ("title", "as_of"), [("", "2026"), (" ", "2026"), ("a price list", ""), ("a list", "lately")]
)
def test_nothing_is_published_without_a_title_and_a_date(title: str, as_of: str) -> None:
    """In code it is an error of the program, in a file one that names the field."""
    with pytest.raises(ValueError, match="title and a date"):
        Source(title=title, as_of=as_of)
    if title.strip():
        with pytest.raises(Misconfigured, match=r"sources\.x\.as_of"):
            prices.load({"sources": {"x": {"title": title, "as_of": as_of}}})
    assert Source(title=title, as_of=as_of, confidence=Confidence.ASSUMED)


def shipped() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Our own data files by name."""
    for file in resources.files("advisor.catalog").joinpath("data").iterdir():
        yield file.name, yaml.safe_load(file.read_text(encoding="utf-8"))


def unsourced(value: Any, keys: set[str], *, within: bool = False) -> Iterator[Any]:
    """Numbers and pairs that neither stand beside a source's key nor in an entry that names one."""
    match value:
        case [int() | float() | list(), str() as key]:
            if key not in keys:
                yield value
        case list():
            for item in value:
                yield from unsourced(item, keys, within=within)
        case dict():
            named = within or value.get("source") in keys
            for name, item in value.items():
                if name not in COUNTS:
                    yield from unsourced(item, keys, within=named)
        case bool() | str() | None:
            return
        case _ if not within:
            yield value


COUNTS = {"scale_up_devices"}  # part of what the system is, as its name
FIGURES = re.compile(r"own |derived|assumed|judgement|practice|taken as")


@pytest.mark.parametrize(("name", "content"), [pytest.param(*f, id=f[0]) for f in shipped()])
def test_every_figure_we_ship_has_a_source_of_the_right_class(
    name: str, content: Mapping[str, Any]
) -> None:
    """Every number names an entry of `sources`; our fits and guesses are not called published."""
    sources = {k: files.SourceEntry.model_validate(v) for k, v in content["sources"].items()}
    figures = {k: v for k, v in content.items() if k != "sources"}

    assert [] == list(unsourced(figures, set(sources)))
    for source in sources.values():
        ours = FIGURES.search(source.title) is not None
        assert ours is (source.confidence is not Confidence.PUBLISHED), (name, source)


def test_the_catalogue_keeps_the_class_of_its_sources() -> None:
    """What is loaded has the class that the file gives: fits are modelled, guesses assumed."""
    known = accelerators.BY_NAME
    chip = cooling.DIRECT_TO_CHIP
    classes = {
        "peak": known["H100-SXM"].sources["bf16_tflops"],
        "engine": known["H100-SXM"].sources["serving_ratio"],
        "doubt": known["MI300X"].sources["serving_error_ratio"],
        "retrofit": chip.priced_by,
        "lead time": chip.lead_time_source,
        "density": chip.source,
        "price": prices.PRICES[0].source,
        "tokens": managed.ENDPOINTS[0].source,
        "grid": next(iter(carbon.GRIDS.values())).source,
        "collective": next(iter(fabric.FITS.values())).source,
        "slice": mig.MIG_GUIDE,
        "own": carbon.load({"grids": [{"region": "x", "grams_per_kwh": 9}]})["x"].source,
    }
    P, M, A = Confidence.PUBLISHED, Confidence.MODELLED, Confidence.ASSUMED  # noqa: N806
    expected = (P, M, A, A, A, P, P, P, P, M, P, Confidence.MEASURED)

    assert dict(zip(classes, expected, strict=True)) == {
        name: source.confidence for name, source in classes.items() if source is not None
    }


def test_several_sources_are_as_sure_as_the_weakest_and_as_old_as_the_oldest() -> None:
    """A range over a list price and the operator's own is the list's."""
    listed = Source(title="list", as_of="2026-03")
    newer = Source(title="other list", as_of="2026-08-19")

    assert Source(title="list; other list", as_of="2026-03") == files.together(
        (listed, newer, listed)
    )
    assert Confidence.PUBLISHED is files.together((files.OWN_SOURCE, listed)).confidence
