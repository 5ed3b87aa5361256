"""Measure what pairs of a model cost `generate` and `filter`: CPU seconds and memory, with stock phrases and without.

    python -m benchmarks.pairs                       1,000 to 10,000 pairs, a line each: some five minutes
    python -m benchmarks.pairs --pairs 5000 --stock asked

Each measurement is a process of its own. Shown are the seconds of mixing the pairs with 1,500 extractive examples, as
`generate` does after each wave, of screening, of splitting off the exam and of the second scan; the peak of memory of
all of it; how many pairs were kept, how many questions `unseen` has, and how many of these are the model's. All words
are made of 65 syllables, which is hard on what compares letters: sentences of documentation take a third as long.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agents.exam.overlap import scan  # noqa: E402
from agents.exam.quality import screen  # noqa: E402
from agents.exam.rules import first_exam  # noqa: E402
from agents.teacher.mixture import mixed  # noqa: E402
from tests.habits import STOCK, pairs  # noqa: E402
from tests.planted import passages, world, written  # noqa: E402

SIZES = (1000, 2500, 5000, 10_000)
EXTRACTIVE = 300  # families of five examples each
SEED = 7
HEAD = "| pairs | stock phrase in | mix | screen | split | scan | MB | kept | unseen | of the model |"


def measured(count: int, stock: str) -> str:
    """One row of the table."""
    cut, texts = world(EXTRACTIVE)
    given, own = pairs(count, stock)
    sources, took = texts | own, []

    def timed(work: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = work()
        took.append(f"{time.process_time() - start:.1f}")
        return found

    both = timed(lambda: mixed(cut, given, count, SEED))
    kept, _ = timed(lambda: screen(both.examples, sources))
    split = timed(lambda: first_exam(kept, sources, passages(100), SEED))
    with tempfile.TemporaryDirectory() as folder:
        written(split, Path(folder))
        if overlaps := timed(lambda: scan(Path(folder), kept)):
            raise SystemExit(f"{len(overlaps)} overlaps of training and exam, first {overlaps[0]}; the split leaks")
    made = {one["id"] for one in both.examples if "made" in one}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    asked = sum(item["id"] in made for item in split.unseen)
    cells = (f"{count:,}", stock, *took, peak, f"{both.taught:,}", len(split.unseen), asked)
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, help="so many alone, in this process")
    parser.add_argument("--stock", choices=list(STOCK), default="none", help="where the phrase stands")
    flags = parser.parse_args()
    if flags.pairs:
        print(measured(flags.pairs, flags.stock))
        return 0
    print(HEAD, "|" + " --- |" * (HEAD.count("|") - 1), sep="\n")
    for count in SIZES:
        for stock in STOCK:
            argv = [sys.executable, "-m", "benchmarks.pairs", "--pairs", str(count), "--stock", stock]
            print(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout, end="", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
