"""Measure the bus beside other file queues, all in the same run, on tmpfs and on disk; Markdown on stdout.

    make bench-bus
    .venv/bin/python -m benchmarks.bus [--quick] [--part NAME]...

The peers come from requirements-bench.txt; one that is not installed, or that crashes, gets a row that says so.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from benchmarks.bus import checks, durable, handoff, killed, measure, pending, sizes, throughput, whole

PARTS: dict[str, Callable[[bool], None]] = {
    "throughput": throughput.run,
    "durable": durable.run,
    "handoff": handoff.run,
    "pending": pending.run,
    "status": whole.run_status,
    "restart": whole.run_restart,
    "validation": checks.run,
    "killed": killed.run,
    "lines": sizes.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few messages: to see that it runs, not to compare")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    options = parser.parse_args()
    began = time.monotonic()
    print(f"{sizes.machine()} · {time.strftime('%Y-%m-%d')} · others' load {os.getloadavg()[0]:.1f}")
    print("\nMedians (least – most) of repetitions that take turns." + " **Quick: no comparison.**" * options.quick)
    for name in options.part or PARTS:
        PARTS[name](options.quick)
    measure.note(f"{measure.met} of {measure.met + measure.missed} targets met; {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
