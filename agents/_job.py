"""A job: what an agent's one function is given. It deals in names, never in paths that it made itself.

What it reads is in _inputs.py. `write` takes only what the step `writes`, and so does the commit of what a child wrote.
A name that leaves its folder is refused.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shlex
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import _child, _original, _wiring
from agents._ask import SERVICE, Asker
from agents._config import ROOT, Config
from agents._goal import Goal, parse
from agents._heard import Heard
from agents._inputs import GiveUp, Inputs, artifact_schema
from agents._original import Original, is_replayed
from agents._publish import publish_path
from agents._servers import servers
from agents.models.bill import Bill, bill
from agents.sandbox.environment import clean_environment
from bus import files, schema
from bus.claim import Claim
from bus.run import Run

if TYPE_CHECKING:
    from agents._retold import Retold
    from agents._tools import Tools

LOOKING_UP = 0.5  # of a step's minutes its calls of tools may take: the rest is for models and for what comes of it


class Job(Inputs):
    """One claimed request of a step or a service, and everything that its agent may do with it."""

    def __init__(
        self, run: Run, claim: Claim, config: Config, stopping: threading.Event, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(run, claim.mailbox.name, int(claim.request.get("round", 1)))
        self.claim, self.config, self.stopping, self._tell = claim, config, stopping, tell
        self.id, self.request, self.seed = claim.id, claim.request, run.seed
        self.gpu_s = 0.0
        self.got_on = False  # whether it has kept something that no try before it had
        self._gpu_since = 0.0
        self._children = 0
        self._proved: set[str] = set()  # artifacts that `write` has checked
        self._started = _child.clock()
        self.folder = claim.begin() if claim.mailbox.folders else None

    # -- what it is about -----------------------------------------------------------------------------------

    @property
    def settings(self) -> Mapping[str, Any]:
        """The step's own `settings:` in the flow."""
        return self.flow.settings

    @cached_property
    def goal(self) -> Goal:
        """The run's goal, parsed."""
        return parse(str(self.read("goal.md")), "goal.md")

    @property
    def allowed_paths(self) -> list[Path]:
        """Folders that `file:` and `dir:` sources may lie in, from this machine's infra.yaml."""
        return self.config.allowed_paths

    @property
    def bases(self) -> Path:
        """Where embedded bases are kept between runs: `models/` in the checkout."""
        return ROOT / "models"

    @property
    def out(self) -> Path:
        """The folder that becomes the reply."""
        return self._try / "out"

    @property
    def kept(self) -> Path:
        """Finished parts, each published whole, that the next try goes on with."""
        return self._try.parent / "kept"

    @property
    def _try(self) -> Path:
        if self.folder is None:
            raise RuntimeError(f"{self.step}: a service has no folder for a request")
        return self.folder

    # -- writing --------------------------------------------------------------------------------------------

    def write(self, name: str, value: Any) -> None:
        """Write an artifact: a dict as JSON, a list of dicts as JSON lines, else text; checked against its schema."""
        kind = artifact_schema(self.flow, files.inside(name))
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(value, kind))
        self._proved.add(name)

    def offer(self, name: str, value: Any) -> None:
        """Write an artifact where the step writes such, as runs that were made with another flow do not."""
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.flow.writes):
            self.write(name, value)

    def prove(self) -> None:
        """Check what a child wrote as `write` checks: names against `writes`, documents against their schemas."""
        for parent, _, names in os.walk(self.out):
            for name in (os.path.relpath(os.path.join(parent, one), self.out) for one in names):
                if name not in self._proved and (kind := artifact_schema(self.flow, files.inside(name))):
                    data = files.read_bytes(self.out / name, limit=sys.maxsize)
                    for text in data.splitlines() if name.endswith(".jsonl") else [data]:
                        schema.check(files.parse(text, name), kind)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """`make()`'s value (dict, list or text by the name's suffix), kept: the next try reads it instead."""
        path = self.kept / files.inside(name)
        if path.exists():
            return _parsed(path)
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_path(path, _bytes(value, None))
        self.got_on = True
        return value

    def tell(self, service: str, document: dict[str, Any]) -> None:
        """Ask a service of this run and do not wait; the ID is the document's own `id`."""
        self.run.mailbox(service).put(str(document["id"]), document)

    # -- asking models --------------------------------------------------------------------------------------

    @cached_property
    def models(self) -> Asker:
        """Who is asked: `profile(role)` is None where a step does without, `one` and `all` ask."""
        return Asker(self.run, self.config, self.step, self.say, self._hear)

    @cached_property
    def _heard(self) -> Heard | None:
        return Heard(self.kept) if self.folder else None  # a service has no folder that outlives a try

    def _hear(self, id: str) -> None:
        if self._heard and self._heard.note(id):
            self.got_on = True

    def spent(self) -> Bill:
        """What the run's model calls came to so far, whoever made them.

        The books of a service grow while a run works, so they are no input: they are not noted among what was read.
        """
        return bill(self.run.folder / SERVICE)

    @property
    def may_look_up(self) -> bool:
        """True if this machine's config allows the step tools; in a replay, if the original had any."""
        told = self.original
        return bool(told.names(_original.TOOLS) if told else self.config.tools.get(self.step))

    @cached_property
    def original(self) -> Original | None:
        """In a replay, what is known of the original's reply to this request; else None."""
        return Original(self.run, self.step, self.round) if is_replayed(self.run.folder) else None

    @cached_property
    def tools(self) -> Tools | Retold:
        """The tools that this machine's config allows the step, their servers started; none are in `known` without.

        In a replay those of the original, which say what they said then.
        """
        from agents._retold import Retold
        from agents._tools import Tools

        if told := self.original:
            return Retold(told, self.offer)
        mcp = self.config.infra["mcp"] or {}
        if wrong := _wiring.problem(self.run.document["flow"], self.config.tools, mcp):  # a run's flow is its own
            raise GiveUp(f"run.json: flow: {wrong}")
        allowed, folder = self.config.tools.get(self.step, ()), self._try / "tools"
        earlier = sorted(self._try.parent.glob("try-*/tools/[0-9]*.json"), key=lambda path: path.name)
        for path in earlier:  # results that are kept from those tries are used, and not called for again
            with contextlib.suppress(files.BadFile, schema.Invalid):
                self._keep_call(path.name, files.read_json(path))
        known, hide, first = servers(self.config.infra), self.config.hidden, len(earlier) + 1
        limit_s = LOOKING_UP * 60 * self.flow.minutes
        return Tools(known, allowed, folder, self.say, self._keep_call, hide, first, limit_s).open()

    def _keep_call(self, name: str, document: dict[str, Any]) -> None:
        """Make a tool call's file an artifact too: the report and a moved run need it."""
        self.offer(f"tools/{name}", document)

    def close(self) -> None:
        """End what the job has running beside it."""
        if "tools" in self.__dict__:
            self.tools.close()

    # -- running --------------------------------------------------------------------------------------------

    def say(self, text: str, **numbers: float) -> None:
        """One progress line: to the try's log, to the live table, and to the terminal when run by hand."""
        self._tell_of(text, numbers)

    def _tell_of(self, text: str, numbers: dict[str, float]) -> None:
        own = {"s": round(_child.clock()[0] - self._started[0], 3), "say": text}
        line: dict[str, Any] = {**own, **numbers, **own}  # a child may name its numbers as it likes
        if self.folder:
            with open(self.folder / "log.txt", "ab") as log:
                log.write(files.canonical(line))
        self._tell({"say": text, "numbers": numbers})

    def spawn(
        self,
        argv: Sequence[str],
        *,
        holds_claim: bool = False,
        gpu: bool = False,
        cwd: Path | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """Run a child in the try's folder (or `cwd`); raises ChildFailed. `python` as argv[0] is this interpreter.

        It is started with -P, so that no module is looked for in the folder where it runs.

        `holds_claim` gives the child the claim and a pipe whose end means that this agent died, as `--claim-fd N` and
        `--parent-fd M`: it goes on holding the request until it has ended itself. `gpu` counts its time as GPU time.
        `before`: the words of a program that runs it, `sandbox.apart.apart()` for one.
        """
        argv = [*([sys.executable, "-P"] if argv[0] == "python" else argv[:1]), *argv[1:]]
        self._children += 1
        read, write = os.pipe()  # the write end stays here: it closes when this process dies
        try:
            fds = (self.claim.descriptor, read) if holds_claim else ()
            if holds_claim:
                argv += ["--claim-fd", str(self.claim.descriptor), "--parent-fd", str(read)]
            with open(self._try / "command.txt", "a", encoding="utf-8") as commands:
                commands.write(shlex.join(argv) + "\n")
            self._gpu_since = _child.clock()[0] if gpu else 0.0
            _child.run(
                argv,
                self._try / f"child-{self._children}.log",
                name=next((Path(one).name for one in argv[1:] if not one.startswith("-")), argv[0]),
                cwd=cwd or self._try,
                env=clean_environment({"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}),
                pass_fds=fds,
                before=before,
                heard=self._tell_of,
            )
        finally:
            os.close(read)
            os.close(write)
            self.gpu_s, self._gpu_since = self.gpu_seconds(), 0.0

    def gpu_seconds(self) -> float:
        """Seconds that this job has held a GPU so far."""
        return self.gpu_s + (_child.clock()[0] - self._gpu_since if self._gpu_since else 0.0)

    def facts(self) -> dict[str, Any]:
        """The reply's own fields: what was read, and what it cost."""
        wall, cpu = _child.clock()
        without = Counter(list(self.models.unanswered.values())) if "models" in self.__dict__ else None
        return {
            **({"unanswered": dict(sorted(without.items()))} if without else {}),
            "read": dict(sorted(self.read_hashes.items())),
            "seconds": round(wall - self._started[0], 3),
            "cpu_s": round(cpu - self._started[1], 3),
            "usd": round(self.gpu_s / 3600 * self.config.usd_per_gpu_hour, 6),
            "gpu_s": round(self.gpu_s, 3),
        }


def _bytes(value: Any, kind: str | None) -> bytes:
    if isinstance(value, dict):
        return files.pretty(schema.check(value, kind) if kind else value)
    if isinstance(value, list):
        return b"".join(files.canonical(schema.check(row, kind) if kind else row) for row in value)
    return str(value).encode("utf-8")


def _parsed(path: Path) -> Any:
    data = files.read_bytes(path, limit=sys.maxsize)
    if path.suffix == ".json":
        return json.loads(data)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in data.splitlines()]
    return data.decode("utf-8")
