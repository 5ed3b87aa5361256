"""One pipeline that asks a scripted server, killed here and there until it is done; what was seen on the way."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from agents.models import structured
from bus import files
from tests import modelled, tiny
from tests.scripted.fixture import Scripted

WHO = {"llm": " agents.llm ", "agent": " --step ", "supervisor": "bin/supervise", "guard": "bin/guard"}
LONGEST_S = 1800.0  # a hundred kills and their back-offs take five minutes
MOMENT_S = 0.3  # the longest between the reply that is waited for and the kill
LOOK_S = 0.01


class Storm:
    """A run in folder/runs/tiny. `durable`: {call: sha256 of its reply as first seen}; `seen`: when that was."""

    def __init__(self, folder: Path, server: Scripted, until: str, usd: float, seed: int) -> None:
        folder.mkdir()
        self.folder, self.server, self.chance = folder, server, random.Random(seed)
        self.goal = tiny.write_goal(folder)
        self.config = modelled.write_config(folder, server.url, until, usd)
        self.run = folder / "runs" / "tiny"
        self.kills: Counter[str] = Counter()
        self.durable: dict[str, str] = {}
        self.seen: dict[str, float] = {}  # by the server's clock
        self.broken: list[str] = []

    def storm(self, plan: dict[str, int], calls: int) -> None:
        """Run to the end; the kills of `plan` fall while the first `calls` replies are made."""
        self.began = clock(self.server)
        left = [who for who, count in plan.items() for _ in range(count)]
        self.chance.shuffle(left)
        places = sorted(self.chance.sample(range(1, calls), len(left))) if left else []
        end = time.monotonic() + LONGEST_S
        shell = tiny.start(self.goal, self.run.parent, self.config)
        while time.monotonic() < end:
            self.look()
            if shell.poll() is not None:
                if self.said(shell) == 0:
                    break
                shell = tiny.start(self.goal, self.run.parent, self.config)
            if places and len(self.seen) >= places[0]:
                time.sleep(self.chance.uniform(0, MOMENT_S))
                if self.kill(left[-1]):
                    places.pop(0)
                    left.pop()
            time.sleep(LOOK_S)
        self.look()
        self.broken += [f"{len(places)} kills were left when it was done"] if places else []

    def said(self, shell: subprocess.Popen[str]) -> int:
        """How the command ended: 1 where everything was killed, so that the same one goes on; else it is told."""
        printed, _ = shell.communicate()
        if shell.returncode not in (0, 1):
            self.broken.append(f"bin/pipeline ended with {shell.returncode}: {printed.strip().splitlines()[-1]}")
            return 0
        return shell.returncode

    def kill(self, who: str) -> bool:
        """SIGKILL one process of a kind, or of another where there is none just now; False where nothing lives."""
        found = list(tiny.processes(self.run))
        for kind in (who, *WHO):
            victims = [pid for pid, line in found if WHO[kind] in line and (kind != "agent" or WHO["llm"] not in line)]
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.chance.choice(victims), signal.SIGKILL)
                    self.kills[kind] += 1
                    return True
        return False

    def look(self) -> None:
        """Note the replies that are new."""
        now = time.monotonic() - self.began
        try:
            names = {one.name for one in os.scandir(self.run / "llm" / "outbox") if one.name[0] != "."}
        except FileNotFoundError:
            return
        for name in names - {f"{id}.json" for id in self.seen}:
            id = name.removesuffix(".json")
            self.seen[id], self.durable[id] = now, files.sha256_file(self.run / "llm" / "outbox" / name)

    # -- what must be so ------------------------------------------------------------------------------------

    def replies(self) -> dict[str, str]:
        """{call: sha256 of its reply} as they are now."""
        return {path.stem: files.sha256_file(path) for path in (self.run / "llm" / "outbox").glob("[!.]*.json")}

    def left_over(self) -> list[str]:
        """What no finished run has: requests, dead letters, processes; and what bin/check finds."""
        box = self.run / "llm"  # an agent that was killed after its reply leaves the request to the next one
        left = [path for path in (box / "inbox").glob("[!.]*") if not (box / "outbox" / path.name).exists()]
        left += (box / "dead").glob("[!.]*")
        found = [f"left over: {left[0].relative_to(self.run)} ({len(left)} in all)"] if left else []
        found += [f"still there: {line}" for _, line in tiny.processes(self.run)]
        checked = subprocess.run([tiny.ROOT / "bin" / "check", self.run], capture_output=True, text=True)
        return found + ([f"bin/check: {checked.stdout.splitlines()[0]}"] if checked.returncode else [])

    def rows(self) -> list[dict[str, Any]]:
        """What reached the server."""
        return self.server.asked()

    def billed_twice(self) -> int:
        """Whole answers to a body beyond its first."""
        bodies = Counter(
            json.dumps(row["body"], sort_keys=True) for row in self.rows() if row["billed"] and row["whole"]
        )
        return sum(count - 1 for count in bodies.values())

    def asked_again(self) -> list[str]:
        """The calls whose question reached the server after their reply was seen."""
        arrived: dict[str, list[float]] = defaultdict(list)
        for row in self.rows():
            arrived[question(row["body"]["model"], row["body"]["messages"][0]["content"])].append(row["at_s"])
        answered: dict[str, float] = {}
        for id, reply in modelled.replies(self.run).items():
            call, asked = reply["call"], reply["call"]["messages"][0]["content"]
            if len(call["messages"]) == 1 and call["answer_schema"]:
                asked += "\n\n" + structured.instruction(call["answer_schema"])
            key = question(call["model"], asked)
            answered[key] = max(answered.get(key, 0.0), self.seen[id])
        assert answered.keys() <= arrived.keys(), "a reply answers what no request asked"
        return [key for key, when in answered.items() if max(arrived[key]) > when]


def question(model: str, text: str) -> str:
    """A body by what tells it from the others, in a line."""
    return f"{model} {files.sha256(text.encode())[:12]}"


def clock(server: Scripted) -> float:
    """When the server's clock began, by this machine's; a little too early, so that nothing seems later than it was."""
    before = time.monotonic()
    with urllib.request.urlopen(f"{server.url}/models") as answer:
        answer.read()
    return before - server.log()[-1]["at_s"]
