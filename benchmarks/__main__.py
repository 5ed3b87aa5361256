"""Measure what the README promises of the machinery, and print it beside the field's figures.

    make bench

hand-off   reply committed by one waiting agent -> request claimed by the next, on a flow of two shell steps
idle       memory and CPU of an agent that waits
restart    kill -9 of an agent -> the agent waits for work again
--help     every command of bin/
again      `bin/pipeline` on a finished run
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents._run import create_run  # noqa: E402
from bus import files  # noqa: E402
from bus.run import Run  # noqa: E402

HAND_OFFS = 30  # rounds of the two-step flow: enough for a median
IDLE_S = 10.0  # long enough for 1% of a core to be 10 clock ticks
PYTHON = str(ROOT / ".venv" / "bin" / "python")
GOAL = """---
name: bench
base: embedded
sources: ["catalogue:errno"]
seed: 1
---
## Topics
- **Errors**: errno
"""
SWARM = """flow:
  10-first:
    command: ["true"]
    reads: [goal.md]
    writes: {}
  20-second:
    command: ["true"]
    reads: [10-first/reply.json]
    writes: {}
"""


def make_run(folder: Path) -> tuple[Run, Path]:
    """A run of two steps that do nothing, and its config folder."""
    import yaml

    config = folder / "config"
    config.mkdir()
    (config / "swarm.yaml").write_text(SWARM)
    return create_run(folder / "bench", GOAL, 1, yaml.safe_load(SWARM)["flow"], {}, "1"), config


def start(run: Run, step: str, config: Path) -> subprocess.Popen[bytes]:
    argv = [PYTHON, "-m", "agents._command", str(run.folder), "--watch", "--step", step, "--config", str(config)]
    return subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def until(path: Path, seconds: float = 20.0) -> float:
    """The time at which a path exists; TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.0002)
    return time.monotonic()


def hand_offs(run: Run, count: int) -> Iterator[float]:
    """Seconds from the first step's reply to the second step's try, once for each round."""
    for round in range(1, count + 1):
        run.want_rounds(round)
        run.advance()
        replied = until(run.folder / "10-first" / "outbox" / f"r{round}")
        work, reply = run.folder / "20-second" / "work" / f"r{round}", run.folder / "20-second" / "outbox" / f"r{round}"
        while not work.exists() and not reply.exists():
            time.sleep(0.0001)
        yield time.monotonic() - replied
        until(reply)
        time.sleep(0.05)


def memory_mb(pid: int) -> float:
    """Proportional set size plus nothing shared: the resident memory that this process has, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(pid: int) -> tuple[float, float]:
    """(resident MB, share of one core) of a waiting agent."""
    before = cpu_s(pid)
    time.sleep(IDLE_S)
    return memory_mb(pid), (cpu_s(pid) - before) / IDLE_S


def restart(folder: Path) -> float:
    """Seconds from kill -9 of a supervised agent to its next beat."""
    run, config = make_run(folder)
    (run.folder / "HOLD").touch()
    command = [PYTHON, str(ROOT / "bin" / "supervise"), str(run.folder), "--config", str(config)]
    supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        log = run.folder / "supervisor" / "log.jsonl"
        until(log)
        time.sleep(3.0)
        pid = next(int(one) for one in children(supervisor.pid) if "10-first" in cmdline(int(one)))
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while True:
            new = [int(one) for one in children(supervisor.pid) if "10-first" in cmdline(int(one)) and int(one) != pid]
            if new and "inotify" in " ".join(_links(new[0])):
                return time.monotonic() - killed
            time.sleep(0.002)
    finally:
        supervisor.terminate()
        supervisor.wait()


def restart_supervisor(folder: Path) -> float:
    """Seconds from kill -9 of a guarded supervisor to the first beat of the next one."""
    run, config = make_run(folder)
    (run.folder / "HOLD").touch()
    command = [PYTHON, str(ROOT / "bin" / "guard"), str(run.folder), "--config", str(config)]
    guard = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    heartbeat = run.folder / "supervisor" / "heartbeat.json"
    try:
        until(heartbeat)
        time.sleep(2.0)
        os.kill(int(children(guard.pid)[0]), signal.SIGKILL)
        killed, before = time.monotonic(), heartbeat.read_bytes()
        while heartbeat.read_bytes() == before:
            time.sleep(0.002)
        return time.monotonic() - killed
    finally:
        guard.terminate()
        guard.wait()


def _links(pid: int) -> list[str]:
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(one))
        except OSError:
            continue
    return found


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def helps() -> tuple[str, float]:
    """(the slowest command, its seconds for --help, the best of three)."""
    times = {}
    for path in sorted((ROOT / "bin").glob("[!_]*")):
        if path.is_file():
            tries = []
            for _ in range(3):
                began = time.monotonic()
                subprocess.run([str(path), "--help"], stdout=subprocess.DEVNULL, check=True)
                tries.append(time.monotonic() - began)
            times[path.name] = min(tries)
    slowest = max(times, key=lambda name: times[name])
    return slowest, times[slowest]


def row(what: str, measured: str, target: str, field: str) -> None:
    print(f"| {what} | {measured} | {target} | {field} |", flush=True)


def bench_hand_off(where: str, with_idle: bool) -> None:
    with tempfile.TemporaryDirectory(dir=where) as name:
        run, config = make_run(Path(name))
        agents = [start(run, step, config) for step in ("10-first", "20-second")]
        try:
            time.sleep(2.0)
            took = sorted(hand_offs(run, HAND_OFFS))
            measured = f"{statistics.median(took) * 1000:.1f} ms, worst {took[-1] * 1000:.1f}"
            row(f"hand-off between two waiting agents, {where}", measured, "20 ms", "watchdog as commonly used 293 ms")
            if with_idle:
                mb, share = idle(agents[0].pid)
                row("an idle agent", f"{mb:.1f} MB, {share:.2%} of a core", "35 MB, 1%", "-")
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait()


def bench_finished() -> None:
    """The newest finished run of runs/, if there is one: the same command again, and what it cost."""
    for reply in sorted((ROOT / "runs").glob("*/80-improve/outbox/r1/reply.json"))[:1]:
        folder = reply.parents[3]
        began = time.monotonic()
        argv = [str(ROOT / "bin" / "pipeline"), str(folder / "goal.md")]
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
        row(f"bin/pipeline on the finished run {folder.name}", f"{time.monotonic() - began:.2f} s", "2 s", "-")
        row(f"the default job, {folder.name}", spent(folder), "4 min, 7 with the base to build", "-")


def main() -> int:
    print("| what | measured | target | the field |\n| --- | --- | --- | --- |")
    bench_hand_off("/dev/shm", with_idle=True)
    bench_hand_off(tempfile.gettempdir(), with_idle=False)
    with tempfile.TemporaryDirectory() as name:
        field = "s6 0.02 s, circus 0.3-0.9 s, supervisord 1.0 s"
        row("restart of an agent after kill -9", f"{restart(Path(name)):.2f} s", "0.5 s", field)
    with tempfile.TemporaryDirectory() as name:
        row(
            "restart of a supervisor under bin/guard", f"{restart_supervisor(Path(name)):.2f} s", "2 s", "the seed 90 s"
        )
    slowest, seconds = helps()
    row(f"--help, the slowest (bin/{slowest})", f"{seconds:.2f} s", "0.3 s", "-")
    bench_finished()
    return 0


def spent(folder: Path) -> str:
    """Wall and CPU seconds of a run's replies, and of its supervisor."""
    replies = [files.read_json(path) for path in folder.glob("*/outbox/r1/reply.json")]
    beat = json.loads((folder / "supervisor" / "heartbeat.json").read_bytes())
    return f"{beat['wall_s']:.0f} s wall, {sum(reply['cpu_s'] for reply in replies):.0f} s CPU"


if __name__ == "__main__":
    raise SystemExit(main())
