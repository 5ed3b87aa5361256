"""What a machine has, as an archive tells it, and how another one differs. Never a host's name."""

from __future__ import annotations

import _start

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEYS = ("cpus", "memory_bytes", "gpus", "python", "platform", "versions")  # of hardware.v1: what stays from day to day
MEMORY_SHARE = 0.1  # kernels and hypervisors keep some for themselves; past this it is another machine's memory
GIB = 1 << 30
NONE = "not installed"


def record() -> dict[str, Any]:
    """What this machine has, for an archive's manifest."""
    from agents.orient import machine

    found = machine(Path(_start.ROOT), use_gpus=True)
    return {key: found[key] for key in KEYS}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """`what: so there, so here`, for everything in which two machines differ."""
    told = [("GPUs", gpus(there), gpus(here)), ("GPU driver", driver(there), driver(here))]
    if not there["gpus"] or not here["gpus"]:
        told.pop()  # the other has no GPU: that says it all
    told.append(("cores", str(there["cpus"]), str(here["cpus"])))
    sizes = (there["memory_bytes"], here["memory_bytes"])
    if abs(sizes[0] - sizes[1]) > MEMORY_SHARE * max(sizes):
        told.append(("memory", f"{sizes[0] / GIB:.0f} GiB", f"{sizes[1] / GIB:.0f} GiB"))
    told += [(key, there[key], here[key]) for key in ("platform", "python")]
    for name in sorted({*there["versions"], *here["versions"]}):
        told.append((name, there["versions"].get(name, NONE), here["versions"].get(name, NONE)))
    yield from (f"{what}: {then} there, {now} here" for what, then, now in told if then != now)


def gpus(machine: Mapping[str, Any]) -> str:
    """`2 × NVIDIA H200 (140 GiB)`, or `none`."""
    found = Counter(f"{one['name']} ({one['memory_bytes'] / GIB:.0f} GiB)" for one in machine["gpus"])
    return ", ".join(f"{count} × {name}" for name, count in sorted(found.items())) or "none"


def driver(machine: Mapping[str, Any]) -> str:
    return ", ".join(sorted({str(one.get("driver")) for one in machine["gpus"]}))
