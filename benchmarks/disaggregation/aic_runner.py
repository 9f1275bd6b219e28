"""Asks AIConfigurator one question a line of standard input, answers one JSON line each.

Runs in an environment of its own that has PyPI `aiconfigurator` (0.12.0 made docs/models.md); see
`compare_aiconfigurator.py`, which starts it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


def answer(question: dict[str, object]) -> dict[str, object]:
    """Tokens/s a GPU of both arrangements, 0 where none holds the objectives."""
    from aiconfigurator.cli.api import cli_default  # noqa: PLC0415 - only there, see above

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            result = cli_default(
                question["model"],
                question["gpus"],
                question["system"],
                backend="trtllm",
                isl=question["isl"],
                osl=question["osl"],
                ttft=question["ttft_ms"],
                tpot=question["tpot_ms"],
                strict_sla=True,
            )
        except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
            return question | {"error": f"{type(error).__name__}: {error}"[:200]}
    best = {
        name: (float(rate), ttft, tpot)
        for name, (rate, ttft, tpot) in _best(result, question).items()
    }
    seconds = time.perf_counter() - start
    return question | {"best": best, "seconds": seconds, "chosen": result.chosen_exp}


def _best(result: object, question: dict[str, object]) -> dict[str, tuple[float, float, float]]:
    """The best row of each arrangement that holds both objectives."""
    found = {}
    for name, frame in result.best_configs.items():  # type: ignore[attr-defined]
        if frame is None or not len(frame):
            continue
        held = frame[
            (frame["ttft"] <= question["ttft_ms"]) & (frame["tpot"] <= question["tpot_ms"])
        ]
        if not len(held):
            continue
        column = "tokens/s/gpu_cluster" if "tokens/s/gpu_cluster" in held else "tokens/s/gpu"
        row = held.sort_values(column, ascending=False).iloc[0]
        found[name] = (row[column], float(row["ttft"]), float(row["tpot"]))
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line)), default=str) + "\n")
        sys.stdout.flush()
