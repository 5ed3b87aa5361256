"""Measure what closing a program in costs: the same program, bare and closed, in turns.

    .venv/bin/python -m benchmarks.sandbox

The program is a Python that does nothing. The last rows are what `apart` costs, and the proof at the start of a run.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.sandbox.apart import apart, why_not  # noqa: E402
from agents.sandbox.closed import Refused, closed  # noqa: E402
from agents.sandbox.proof import prove  # noqa: E402

REPETITIONS = 60  # of each, in turns, so that what else the machine does slows all of them
PROOFS = 10
TARGET_MS = 40.0  # what a run closed by bubblewrap may cost more than a bare one
PROGRAM = [sys.executable, "-c", "pass"]


def bare(before: Sequence[str] = ()) -> None:
    """Run the program as `closed` does: an empty environment, the output taken by a pipe."""
    subprocess.run([*before, *PROGRAM], env={}, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def timed(do: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1000


def in_turns(ways: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of each way, repetition by repetition, after one that is not counted."""
    for do in ways.values():
        do()
    rows = [{name: timed(do) for name, do in ways.items()} for _ in range(repetitions)]
    return {name: [row[name] for row in rows] for name in ways}


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} – {max(values):.1f})"


def told(name: str, values: list[float], base: list[float]) -> None:
    """One row: the figure, and what it costs more than the bare program that ran beside it."""
    more = [one - other for one, other in zip(values, base, strict=True)]
    target, verdict = "-", "-"
    if "bwrap" in name:
        target, verdict = f"{TARGET_MS:.0f} ms", "met" if statistics.median(more) <= TARGET_MS else "missed"
    ratio = statistics.median(values) / statistics.median(base)
    print(f"| {name} | {spread(values)} | {spread(more)} | {ratio:.2f} × | {target} | {verdict} |", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        ways: dict[str, Callable[[], object]] = {"bare": bare}
        for how in ("bwrap", "landlock"):
            try:
                closed(["true"], Path(name), how=how)
                ways[f"closed, {how}"] = functools.partial(closed, PROGRAM, Path(name), how=how)
            except Refused as error:
                print(f"{how}: {error}")
        if not why_not():
            ways["apart"] = functools.partial(bare, apart())
        found = in_turns(ways, REPETITIONS)
    print(f"Milliseconds, medians (least – most) of {REPETITIONS} in turns; load {os.getloadavg()[0]:.1f}.\n")
    print("| program that does nothing | took | more than bare | ratio | target | |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| bare | {spread(found['bare'])} | - | - | - | - |")
    for way, values in found.items():
        if way != "bare":
            told(way, values, found["bare"])
    for how in (way.removeprefix("closed, ") for way in found if way.startswith("closed")):
        took = [timed(functools.partial(prove, how)) for _ in range(PROOFS)]
        print(f"\nThe proof at a start, {how}: {spread(took)} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
