"""`ridgeline plan` on the command line: a sub-command per line of `PLANS`, from its options."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, NoReturn, Union, get_args, get_origin

import typer
from pydantic import Field
from pydantic.fields import FieldInfo
from rich.console import Console

from advisor.catalog.files import SETTING
from advisor.plan import render
from advisor.plan.options import Options, option_name
from advisor.plan.plans import PLANS, Plan
from advisor.plan.report import Report
from ridgeline.errors import Misconfigured, Retry

# typer carries a click of its own; the root of its usage errors by the one name it exports
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class OutputOptions(Options):
    """Where the answer goes; every plan has these."""

    panel: ClassVar[str] = "Output"

    as_json: bool = Field(
        default=False, alias="json", description="print JSON (its schema: docs/plan.md)"
    )
    png: Path | None = Field(None, description="also draw the plots into this PNG file")
    html: Path | None = Field(None, description="also write one HTML page that needs nothing else")


def app(plans: Sequence[Plan] = PLANS) -> typer.Typer:
    """The command with a sub-command for each plan."""
    made = typer.Typer(
        help="Answer a what-if with the advisor's models; needs no running stack without --live.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made.callback()(lambda: None)  # keeps the name of the sub-command needed if there is one only
    for plan in plans:
        made.command(plan.name, help=plan.help)(_command(plan))
    return made


_STORE_REMEDY = (
    "start it, or name another; `ridgeline doctor` looks, RIDGELINE_LOG_LEVEL=debug says all"
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; wrong input is one line that says what is allowed, and exit 2."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    command = typer.main.get_command(app())
    try:
        code = command(given, prog_name="ridgeline plan", standalone_mode=False)
    except _UsageError as error:
        _stop(_usage(error, given, [plan.name for plan in PLANS]), 2)
    except Misconfigured as error:
        said = str(error)
        if any(part.partition("=")[0] == "--catalog" for part in given):
            said = said.replace(f"{SETTING}:", "--catalog:", 1)
        _stop(said, 2)
    except Retry as error:
        _stop(f"RIDGELINE_STORE_URL: the store is away: {error}; {_STORE_REMEDY}", 1)
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    raise SystemExit(code)


def _usage(error: Exception, given: Sequence[str], commands: Sequence[str]) -> str:
    """What typer refuses, with the value found and what is allowed."""
    said = " ".join(getattr(error, "format_message", error.__str__)().split())
    if said.startswith("No such command"):
        return f"{said} There are: {', '.join(commands)}."
    option = getattr(error, "param", None)
    names = set(getattr(option, "opts", ()))
    after = [value for name, value in itertools.pairwise(given) if name in names]
    joined = [v for name, _, v in (part.partition("=") for part in given) if v and name in names]
    if not said.startswith("Invalid value") or not (found := after or joined):
        return said
    what = said.partition(": ")[2].removeprefix("Value error, ")
    unit = ", without a unit" if "valid number" in what or "valid integer" in what else ""
    what = what.partition(", unable")[0].rstrip(".")
    return f"{min(names)}: {what}{unit} (found {found[-1]!r}): {getattr(option, 'help', '')}"


def _stop(text: str, code: int) -> NoReturn:
    sys.stderr.write(f"ridgeline plan: {text}\n")
    raise SystemExit(code)


def _command(plan: Plan) -> Callable[..., None]:
    """The function typer makes a sub-command of; its signature is the plan's options."""

    def command(**given: Any) -> None:
        output = OutputOptions.checked(
            {name: given.pop(name) for name in OutputOptions.model_fields}
        )
        _check_files(output)
        _show(plan.answer(given), output)

    fields = [*_parameters(plan.options), *_parameters(OutputOptions)]
    command.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]  # typer reads it
    return command


def _parameters(options: type[Options]) -> list[inspect.Parameter]:
    return [_parameter(options, name, field) for name, field in options.model_fields.items()]


def _parameter(options: type[Options], name: str, field: FieldInfo) -> inspect.Parameter:
    silent = field.is_required() or field.default in (None, False)
    kind = _plain(field.annotation) | None  # what was not typed is not given to the options
    typed = option_name(field.alias or name)
    either = field.default is None and _plain(field.annotation) is bool  # yes, no, or not known
    option = typer.Option(
        f"{typed}/--no-{typed.removeprefix('--')}" if either else typed,
        help=f"{field.description}" + ("" if silent else f"; default {field.default}"),
        rich_help_panel=_panel(options, name),
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _panel(options: type[Options], name: str) -> str:
    """The panel of the class that declares the option."""
    owner = next(c for c in options.__mro__ if name in inspect.get_annotations(c))
    return str(getattr(owner, "panel", Options.panel))


def _plain(annotation: Any) -> Any:
    """The type without None and without what pydantic hangs on it."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        (one,) = (a for a in get_args(annotation) if a is not NoneType)
        return _plain(one)
    return annotation


def _check_files(output: OutputOptions) -> None:
    """What would fail after the work fails before it."""
    for option, path in (("--png", output.png), ("--html", output.html)):
        if path is None:
            continue
        if importlib.util.find_spec("matplotlib") is None:
            raise Misconfigured(option, "needs matplotlib: pip install 'ridgeline[plots]'")
        if path.suffix.lower() != option.replace("--", "."):
            raise Misconfigured(option, f"{path} does not end in {option.replace('--', '.')}")
        if path.is_dir() or not path.parent.is_dir():
            raise Misconfigured(option, f"{path} is no file in a folder that exists")


def _show(report: Report, output: OutputOptions) -> None:
    if output.png is not None:
        from advisor.plan import plots  # noqa: PLC0415 - matplotlib only when a plot is asked for

        if not report.plots:
            raise Misconfigured("--png", f"{report.command} draws no plot for this input")
        plots.png(report, output.png)
    if output.html is not None:
        from advisor.plan import page  # noqa: PLC0415 - likewise

        page.write(report, output.html)
    if output.as_json:
        sys.stdout.write(render.as_json(report) + "\n")
    else:
        render.terminal(report, Console())
