"""How long steps took in the runs that lie beside: their own replies tell it, so that nothing is guessed."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents._goal import GoalError, parse
from agents.quoting.rates import Range
from bus import files, schema
from bus.run import Run, RunError

LEAST_S = 1.0  # of GPU time that counts: less is a library's start


def timed(runs: Path, base: str, asking: Iterable[str]) -> tuple[dict[str, Range], dict[str, Range]]:
    """({step: seconds of its own}, {step: GPU seconds}) of first rounds of runs in `runs` that trained this base.

    Of the steps `asking` models no own time is told: theirs holds the models' answers.
    """
    seconds, gpu = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    skip = set(asking)
    for path in sorted(runs.glob("[!.]*/run.json")):
        for step, reply in replies(path.parent, base).items():
            if step not in skip:
                seconds[step].append(float(reply["seconds"]))
            if reply["gpu_s"] >= LEAST_S:
                gpu[step].append(float(reply["gpu_s"]))
    return ranges(seconds), ranges(gpu)


def replies(folder: Path, base: str) -> Mapping[str, Mapping[str, Any]]:
    """{step: its reply of round 1} of a run with this base; none of a run that cannot be read."""
    try:
        run = Run(folder)
        if parse((folder / "goal.md").read_text("utf-8")).base != base:
            return {}
        found, _ = run.listings()
        run.close()
    except (RunError, GoalError, files.BadFile, schema.Invalid, OSError, UnicodeDecodeError):
        return {}
    return {step: reply for (step, round), reply in found.items() if round == 1}


def ranges(found: Mapping[str, list[float]]) -> dict[str, Range]:
    return {step: Range(min(all), statistics.median(all), max(all)) for step, all in found.items()}
