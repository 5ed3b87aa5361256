"""GPUs by name or by size, and what work takes on them: minutes from FLOPs and bytes, never from a benchmark."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .ranges import Range
from .shape import Unplanned

GB = 10**9
MIB = 1 << 20
# The driver's context and the compiled kernels of a process, outside what PyTorch counts: 0.3 to 0.8 GB by driver and
# libraries. It is no part of `memory`, since no published figure counts it, and it is added before anything "fits".
CONTEXT = 0.6 * GB
# Share of the peak FLOP/s that a training step reaches: worst, expected, best. Conservative assumptions, not measured
# here: small micro-batches and Python between kernels; under 4 or 8 bits every weight is dequantised on the way.
USED = {"plain": (0.10, 0.25, 0.45), "quantised": (0.06, 0.15, 0.30)}
# Share of the memory bandwidth while one token after another is made; transformers waits for Python between kernels.
STREAMED = (0.05, 0.25, 0.60)
SAME_SIZE = 0.09  # cards within this share of a size are meant by it: 24GB are 22.5 to 24 GiB


class Card(NamedTuple):
    """A GPU: its bytes, and the slowest and fastest peak (FLOP/s, bytes/s) that it may have; None where unknown."""

    name: str
    bytes: float
    flops: tuple[float, float] | None
    bandwidth: tuple[float, float] | None


@cache
def table() -> Mapping[str, Mapping[str, float]]:
    found: Mapping[str, Mapping[str, float]] = json.loads(Path(__file__).with_name("gpus.json").read_text("utf-8"))[
        "cards"
    ]
    return found


def card(text: str) -> Card:
    """The card that `text` names (A100-80GB, 4090), or any of that size (24GB, 80GiB); raises Unplanned."""
    if sized := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(g|gb|gib)", text.strip().lower()):
        size = float(sized[1]) * (1 << 30 if sized[2] == "gib" else GB)
        if not size:
            raise Unplanned(f"gpu: {text!r} has no memory; give a size such as 24GB")
        return of_size(text.strip(), size)
    if matching := named(text):
        return of(text.strip(), matching)
    near = difflib.get_close_matches(text.lower(), [name.lower() for name in table()], 1)
    known = {name.lower(): name for name in table()}
    hint = f"did you mean {known[near[0]]}?" if near else "give its size, such as 24GB"
    raise Unplanned(f"gpu: there is no {text!r} in the table; {hint}")


def found(name: str, size: float) -> Card:
    """A card of this machine, by its name and bytes as NVML says them."""
    matching = named(name) or alike(name)
    return of(name, matching)._replace(name=name, bytes=size) if matching else Card(name, size, None, None)


def named(text: str) -> list[str]:
    """The cards of the table that `text` may mean: all of whose words it has, else that have all of its."""
    words = _words(text)
    whole = [name for name in table() if _words(name) <= words]
    if whole:
        most = max(len(_words(name)) for name in whole)
        return [name for name in whole if len(_words(name)) == most]
    return [name for name in table() if words and words <= _words(name)]


def alike(text: str) -> list[str]:
    """The cards of the same model, whatever else is said of them: the driver names more than the table does."""
    return [name for name in table() if _words(text) & _words(name.partition("-")[0])]


def of_size(name: str, size: float) -> Card:
    """Any card of about that size: exactly `size` bytes, as slow and as fast as those of the table are."""
    near = [known for known, row in table().items() if abs(row["mib"] * MIB / size - 1) < SAME_SIZE]
    return of(name, near)._replace(bytes=size) if near else Card(name, size, None, None)


def of(name: str, matching: list[str]) -> Card:
    """What the named cards have in common: the least memory, and the span of their speeds."""
    rows = [table()[known] for known in matching]
    flops, bandwidth = [1e12 * row["tflops"] for row in rows], [1e9 * row["gb_s"] for row in rows]
    least = min(row["mib"] for row in rows) * MIB
    return Card(
        matching[0] if len(matching) == 1 else name, least, (min(flops), max(flops)), (min(bandwidth), max(bandwidth))
    )


def _words(name: str) -> frozenset[str]:
    """The words of a card's name; makers' and series' names tell no card from another."""
    return frozenset(re.findall(r"[a-z0-9]+", name.lower().replace("rtx", " "))) - {"nvidia", "geforce", "tesla", "amd"}


def seconds(work: float, peaks: tuple[float, float], used: tuple[float, float, float]) -> Range:
    """Seconds for `work` (FLOPs or bytes) at the fastest, the middle and the slowest of what may be."""
    slow, fast = peaks
    worst, expected, best = used
    return Range(work / (fast * best), work / ((slow * fast) ** 0.5 * expected), work / (slow * worst))
