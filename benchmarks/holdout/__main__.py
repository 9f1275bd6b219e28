"""How far the models are from what others measured: `python -m benchmarks.holdout`.

Which of these points have been looked at or fitted to is said at the head of `points.yaml`.

Modelled speed over measured speed (above 1: we promise too much), by source, by accelerator and by
kind of model, with the worst points by name. The last column corrects each source by the median of
the *other* sources on the same accelerators (leave one source out): what one factor fitted to
everybody else's numbers would have left. Options: a word of a source's, model's or accelerator's
name prints its points one by one.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.holdout.points import Point, points

WORST = 20
NEAR, FAR = 1.3, 2.0  # factors whose share of the points is printed


def line(name: str, found: list[Point], corrected: float | None = None) -> str:
    """One row of a table."""
    ratios = np.array([p.speed_ratio for p in found])
    off = np.exp(np.abs(np.log(ratios))) - 1
    cells = [
        name,
        str(len(found)),
        f"{np.median(ratios):.2f}",
        f"{np.median(off):.0%}",
        f"{np.quantile(off, 0.9):.0%}",
        f"{1 + off.max():.1f}x",
        f"{np.mean(off <= NEAR - 1):.0%}",
        f"{np.mean(off <= FAR - 1):.0%}",
    ]
    if corrected is not None:
        again = np.exp(np.abs(np.log(ratios / corrected))) - 1
        cells.append(f"{np.median(again):.0%}")
    return f"| {' | '.join(cells)} |"


def grouped(found: Iterable[Point], key: Callable[[Point], str]) -> dict[str, list[Point]]:
    """Points by a key, in order of appearance."""
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in found:
        groups[key(point)].append(point)
    return groups


def others_median(source: list[Point], everything: list[Point]) -> float | None:
    """Median speed ratio of other sources on the same accelerators; None: there are none.

    What was added after the models were fixed corrects nothing that was there before.
    """
    own, on, later = source[0].source, {p.accelerator for p in source}, source[0].later
    rest = [
        p.speed_ratio
        for p in everything
        if p.source != own and p.accelerator in on and (later or not p.later)
    ]
    return float(np.median(rest)) if rest else None


def main() -> None:
    """Print the tables."""
    found = list(points())
    for word in sys.argv[1:]:
        for p in (p for p in found if word in f"{p.source} {p}"):
            print(f"{p.speed_ratio:.2f} {p.quantity:8} {p.measured:g} ours {p.modelled:.4g}: {p}")
    speed = [p for p in found if p.is_speed]
    print(
        "| source | points | speed, model/measured | median error | 90 % | worst "
        f"| within {NEAR:g}x | within {FAR:g}x | left out |"
    )
    print("| --- |" + " ---: |" * 8)
    for name, group in grouped(speed, lambda p: p.source).items():
        print(line(name, group, others_median(group, speed)))
    print(line("until 2026-11-25", [p for p in speed if not p.later]))
    print(line("added later", [p for p in speed if p.later]))
    for key in (
        lambda p: f"{p.engine}, {p.accelerator}",
        lambda p: f"{p.accelerator}, {p.quantity}",
        lambda p: f"{p.family}, {'1' if p.devices == 1 else 'several'} devices",
        lambda p: (
            f"{p.quantity} at {'1' if p.batch == 1 else '2 to 16' if 1 < p.batch <= 16 else 'more'}"
        ),
    ):
        print()
        for name, group in sorted(grouped(found, key).items()):
            print(line(name, group))
    print()
    for p in sorted(speed, key=lambda p: -abs(np.log(p.speed_ratio)))[:WORST]:
        print(f"{p.speed_ratio:.2f} {p.quantity} {p.source}: {p}")


if __name__ == "__main__":
    main()
