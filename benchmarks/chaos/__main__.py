"""Runs under fire: `python -m benchmarks.chaos --runs 50 --seed 1`.

The runs share Apache Kafka and the store's gateway; each has new topics, a new database and workers
of its own, sends known samples, kills and freezes parts at seeded moments and compares every
window, minute, hour and episode with a plain computation over the same log. After a run that
differs, or cannot be played to its end, the next one has a new broker and store. Seeds that are in
the results file with no difference are skipped, so a broken-off series goes on. Exit status 1 when
any run differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos.run import Result, run, running


def commit() -> str:
    """The commit these runs are of."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - a benchmark in a checkout
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def done(results: Path) -> set[int]:
    """Seeds that a results file has without a difference."""
    if not results.exists():
        return set()
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {line["seed"] for line in lines if not line["differences"]}


def series(seeds: list[int], outage_seconds: float, *, keep: bool) -> Iterator[Result]:
    """The runs, one after the other; parts are renewed after one that failed."""
    left = iter(seeds)
    seed = next(left, None)
    while seed is not None:
        folder, failed = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-")), False
        with running(folder) as parts:
            while seed is not None and not failed:
                try:
                    result = run(seed, parts, outage_seconds=outage_seconds)
                except Exception as error:  # noqa: BLE001 - a run that cannot be played is a result
                    traceback.print_exc()
                    result = Result(seed, differences=[f"not played to its end: {error!r}"])
                yield result
                failed = bool(result.differences)
                seed = next(left, None)
        if keep and failed:
            print(f"    kept {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--outage", type=float, default=0.0, help="seconds the broker is away")
    parser.add_argument("--results", type=Path, default=Path("chaos-results.jsonl"))
    parser.add_argument("--keep", action="store_true", help="keep the folder of a failed run")
    options = parser.parse_args()
    skip, failed, at = done(options.results), 0, commit()
    seeds = [s for s in range(options.seed, options.seed + options.runs) if s not in skip]
    for result in series(seeds, options.outage, keep=options.keep):
        with options.results.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(result) | {"commit": at}) + "\n")
        verdict = "DIFFERS" if result.differences else "equal"
        print(
            f"seed {result.seed}: {verdict}; {result.rows} rows, {result.episodes} episodes,"
            f" {result.lives} worker lives, {result.replayed} events said again,"
            f" faults: {', '.join(result.faults)}; inside: {result.inside};"
            f" {result.seconds:.0f} s",
            flush=True,
        )
        for line in result.differences[:20]:
            print(f"    {line[:1000]}", flush=True)
        failed += bool(result.differences)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
