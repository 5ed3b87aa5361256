"""Measure how near the pace of the model calls comes to a server's ceiling, and how many calls are refused for it.

    python -m benchmarks.pace [--seconds 30] [NAME…]

64 threads with `requests` ask the scripted server (tests/scripted), a process of its own, over real sockets; a thread
that is refused asks again at once. The ceiling is what the server would have taken: seconds that it refuses all are
not counted. What is asked for: at least 90% of it, and under 2% of the calls refused.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.models.pace import Pace  # noqa: E402
from tests.scripted.fixture import Scripted  # noqa: E402

THREADS = 64
LATENCY_S = 0.2
CALM = {"latency_s": [0.15, 0.25]}  # LATENCY_S on average
BURST = {"every_s": 10, "for_s": 2}


def scenes(seconds: float) -> dict[str, tuple[dict[str, Any], float]]:
    """name -> (script, answers that the server would have given in so many seconds)."""
    third, up = seconds / 3, 0.8  # up: the share of the time outside bursts
    changes = [{"from_s": at * third, "at_once": count} for at, count in enumerate((24, 10, 20))]
    slower = [{"from_s": at * third, "per_s": rate, "bucket": 20} for at, rate in enumerate((120, 60, 100))]
    at_once, per_s = [{"at_once": 24}], [{"per_s": 100, "bucket": 100}]
    full, pace = 24 / LATENCY_S * seconds, 100 * seconds + 100
    full_buckets = 1 + int((seconds - 0.1) // BURST["every_s"])  # the bucket fills again during each burst but the last
    dated = {**BURST, "retry_after": {"date_s": 1}}
    return {
        "24 at once": ({"ceiling": at_once}, full),
        "24 at once, Retry-After 1": ({"ceiling": [{**at_once[0], "retry_after": 1}]}, full),
        "100 a second": ({"ceiling": per_s}, pace),
        "100 a second, bursts of 2 s": ({"ceiling": per_s, "bursts": BURST}, 100 * (seconds * up + full_buckets)),
        "24 at once, bursts of 2 s": ({"ceiling": at_once, "bursts": BURST}, full * up),
        "24 at once, bursts with seconds": ({"ceiling": at_once, "bursts": {**BURST, "retry_after": 1}}, full * up),
        "24 at once, bursts with a date": ({"ceiling": at_once, "bursts": dated}, full * up),
        "24, then 10, then 20 at once": ({"ceiling": changes}, (24 + 10 + 20) / LATENCY_S * third),
        "120, then 60, then 100 a second": ({"ceiling": slower}, (120 + 60 + 100) * third),
    }


class Load:
    """Threads that ask as fast as the pace lets them, for so many seconds."""

    def __init__(self, url: str, seconds: float, words: str = "") -> None:
        self.url, self.seconds, self.words = f"{url}/chat/completions", seconds, words
        self.pace, self.stopping = Pace(THREADS), threading.Event()
        self.counts, self._lock = {"ok": 0, "busy": 0, "failed": 0}, threading.Lock()

    def run(self) -> None:
        threads = [threading.Thread(target=self._ask, args=(at,)) for at in range(THREADS)]
        for thread in threads:
            thread.start()
        time.sleep(self.seconds)
        self.stopping.set()
        for thread in threads:
            thread.join()

    def _ask(self, at: int) -> None:
        import requests

        from agents.models.endpoint import retry_after

        session, count, how = requests.Session(), 0, "ok"
        session.trust_env = False
        while self.pace.enter(self.stopping):
            count += how == "ok"
            body = {"model": "m", "messages": [{"role": "user", "content": f"{self.words}{at} {count}"}]}
            wait = None
            try:
                answer = session.post(self.url, json=body, timeout=30)
                how = {200: "ok", 429: "busy"}.get(answer.status_code, "failed")
                wait = retry_after(answer.headers.get("Retry-After"))
            except requests.RequestException:
                how = "failed"
            self.pace.leave(how, wait)  # type: ignore[arg-type]
            if not self.stopping.is_set():
                with self._lock:
                    self.counts[how] += 1


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seconds", default=60.0, show_default=True, help="for each scene")
def pace(names: tuple[str, ...], seconds: float) -> None:
    """Measure how near the pace comes to a server's ceiling, and how many calls are refused."""
    click.echo("| server | answers | of the ceiling | refused |\n| --- | --- | --- | --- |")
    for name, (script, ceiling) in scenes(seconds).items():
        if names and not any(one in name for one in names):
            continue
        with tempfile.TemporaryDirectory() as folder, Scripted(Path(folder), script, default=CALM) as server:
            load = Load(server.url, seconds)
            load.run()
        asked, done = sum(load.counts.values()), load.counts["ok"]
        refused = load.counts["busy"] / max(asked, 1)
        click.echo(f"| {name} | {done} | {done / ceiling:.1%} | {refused:.2%} |")


if __name__ == "__main__":
    pace()
