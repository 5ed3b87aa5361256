"""Measure how fast model calls go through the mailbox, beside a bare client of 64 threads, and what a call costs.

    python -m benchmarks.calls [--seconds 30] [NAME…]

The scripted server (tests/scripted), a process of its own, answers after 0.2 s and takes 48 requests at once. Through
the mailbox: one asker with 2 × 64 questions open and the `llm` agent, each a process of its own, every call two durable
files and two lines of the ledger. Bare: 64 threads with `requests` and the same pace, and no file at all. In turns.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pace import Load  # noqa: E402
from tests.asking import Asking, profile, question  # noqa: E402
from tests.scripted.fixture import Scripted  # noqa: E402

AT_ONCE = 48
LATENCY_S = 0.2
BURST = {"every_s": 10, "for_s": 2}
WARM_S = 3.0  # before the count begins: the processes start, the pace finds the ceiling
PRICE = {"input": 0.1, "output": 0.4}
WORDS = "Which of these statements about a file descriptor holds, and why? " * 20  # some 350 tokens, as a chunk has


class Took(NamedTuple):
    """What one way did in the seconds that count: requests answered and refused, CPU seconds, resident megabytes."""

    answered: int
    refused: int
    cpu_s: float
    megabytes: float


def scenes() -> dict[str, tuple[dict[str, Any], float]]:
    """name -> (script, calls a second that its server can answer)."""
    ceiling, full = [{"at_once": AT_ONCE}], AT_ONCE / LATENCY_S
    return {
        "48 at once": ({"ceiling": ceiling}, full),
        "48 at once, bursts of 2 s": ({"ceiling": ceiling, "bursts": BURST}, full * (1 - 2 / 10)),
    }


def counted(server: Scripted, seconds: float, cost: Callable[[], tuple[float, float]]) -> Took:
    """Wait until it is warm, then count for so many seconds."""
    time.sleep(WARM_S)
    before, cpu = len(server.asked()), cost()[0]
    time.sleep(seconds)
    rows, (after, megabytes) = server.asked()[before:], cost()
    statuses = [row["status"] for row in rows]
    return Took(statuses.count(200), statuses.count(429), after - cpu, megabytes)


def bare(server: Scripted, folder: Path, seconds: float) -> Took:
    """64 threads of this process, with the pace and no file."""
    load = Load(server.url, seconds + WARM_S + 1, WORDS)
    own = threading.Thread(target=load.run)
    own.start()
    took = counted(server, seconds, lambda: (sum(os.times()[:2]), 0.0))
    own.join()
    return took


def mailbox(server: Scripted, folder: Path, seconds: float) -> Took:
    """One asker and the `llm` agent, with its ledger and a budget."""
    there = Asking(folder, {"one": profile(server.url, price=PRICE, concurrency=64, timeout_s=30)}, usd=1000)
    over = threading.Event()

    def questions() -> Iterator[Any]:
        count = 0
        while not over.is_set():
            yield question(f"{WORDS}{(count := count + 1)}")

    def ask() -> None:
        for _ in there.asker().all("teacher", questions()):
            pass

    with there.agent() as agent:
        asking = threading.Thread(target=ask)
        asking.start()
        took = counted(server, seconds, lambda: cost_of(agent.pid))
        over.set()
        asking.join()
    return took


def cost_of(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident megabytes) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), rss / 1024


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seconds", default=30.0, show_default=True, help="that are counted, for each scene and way")
def calls(names: tuple[str, ...], seconds: float) -> None:
    """Measure how fast model calls go through the mailbox, beside a bare client, and what a call costs."""
    click.echo("| server | way | calls/s | of the ceiling | refused | CPU a call | memory of the llm agent |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (script, ceiling) in scenes().items():
        for way in (bare, mailbox):
            if names and way.__name__ not in names:
                continue
            with (
                tempfile.TemporaryDirectory() as folder,
                Scripted(Path(folder) / "server", script, default={"latency_s": LATENCY_S}) as server,
            ):
                took = way(server, Path(folder), seconds)
            rate, asked = took.answered / seconds, took.answered + took.refused
            share, refused = rate / ceiling, took.refused / max(asked, 1)
            held = f"{took.megabytes:.0f} MB" if took.megabytes else "-"
            cpu = took.cpu_s / max(took.answered, 1) * 1000
            cells = (name, way.__name__, f"{rate:.0f}", f"{share:.1%}", f"{refused:.2%}", f"{cpu:.1f} ms", held)
            click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    calls()
