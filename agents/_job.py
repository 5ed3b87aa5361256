"""A job: what an agent's one function is given. It deals in names, never in paths that it made itself.

`read`, `path` and `glob` resolve names through the step's `reads`, check each file's sha256 against the reply that
holds it, and note it; `write` takes only what the step `writes`, and so does the commit of what a child wrote. A name
that leaves its folder is refused.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import _child, _wiring
from agents._ask import SERVICE, Asker
from agents._config import ROOT, Config
from agents._goal import Goal, parse
from agents._publish import publish_path
from agents._servers import servers
from agents.models.bill import Bill, bill
from agents.sandbox.environment import clean_environment
from bus import files, flow, schema
from bus.claim import Claim
from bus.run import Run

if TYPE_CHECKING:
    from agents._tools import Tools

UNTYPED = frozenset({"text", "files"})  # artifacts with no JSON Schema: prose, model weights


class GiveUp(Exception):
    """A request that a retry could not change: `where: what is wrong; what to do`. `kind="goal"`: the goal's fault."""

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class Job:
    """One claimed request of a step or a service, and everything that its agent may do with it."""

    def __init__(
        self, run: Run, claim: Claim, config: Config, stopping: threading.Event, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.run, self.claim, self.config, self.stopping, self._tell = run, claim, config, stopping, tell
        self.id, self.request, self.seed = claim.id, claim.request, run.seed
        self.step = claim.mailbox.name
        self.round = int(claim.request.get("round", 1))
        self.read_hashes: dict[str, str] = {}
        self.gpu_s = 0.0
        self._gpu_since = 0.0
        self._children = 0
        self._proved: set[str] = set()  # artifacts that `write` has checked
        self._started = _child.clock()
        self.folder = claim.begin() if claim.mailbox.folders else None

    # -- what it is about -----------------------------------------------------------------------------------

    @cached_property
    def flow(self) -> flow.Step:
        return self.run.step(self.step)

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

    # -- reading --------------------------------------------------------------------------------------------

    def read(self, name: str) -> Any:
        """A parsed input: dict for .json, list of dicts for .jsonl, else text; None for `before/…` if there is none."""
        path = self.path(name)
        if path is None:
            return None
        data = files.read_bytes(path, limit=sys.maxsize)
        kind = self._schema_of(name)
        if name.endswith(".json"):
            document = files.parse(data, name)
            return schema.check(document, kind) if kind else document
        if name.endswith(".jsonl"):
            rows = [files.parse(line, name) for line in data.splitlines() if line.strip()]
            return [schema.check(row, kind) for row in rows] if kind else rows
        return data.decode("utf-8")

    def path(self, name: str) -> Path | None:
        """The path of an input file or folder, its bytes checked and noted; None for `before/…` where there is none."""
        files.inside(name)
        self._allowed(name)
        step, round = flow.source(name), self.round - name.startswith(flow.BEFORE)
        if not step:
            path = self.run.folder / name
            self._note(name, path, None)
            return path
        reply = self.run.reply(step, round) if round >= 1 else None
        if reply is None:
            if name.startswith(flow.BEFORE):
                return None
            raise files.BadFile(f"{name}: {step} has no reply for round {round}")
        inner = name.removeprefix(flow.BEFORE).partition("/")[2]
        folder = self.run.folder / step / "outbox" / f"r{round}"
        prefix = name.removesuffix(inner)
        known = reply["artifacts"]
        found = [inner] if inner in known else [one for one in known if one.startswith(inner + "/")]
        if not found:
            if name.startswith(flow.BEFORE):
                return None
            raise files.BadFile(f"{name}: {step} replied without it")
        for one in found:
            self._note(prefix + one, folder / one, known[one]["sha256"])
        return folder / inner

    def glob(self, pattern: str) -> list[str]:
        """The names of inputs that match, sorted; each can be given to `read`."""
        step, round = flow.source(pattern), self.round - pattern.startswith(flow.BEFORE)
        reply = self.run.reply(step, round) if round >= 1 else None
        prefix = pattern[: pattern.index(step)] + step + "/"
        names = [prefix + one for one in (reply or {"artifacts": {}})["artifacts"]]
        return sorted(one for one in names if (fnmatch.fnmatchcase(one, pattern) or one.startswith(pattern + "/")))

    def named(self, file: str) -> str:
        """The one name among this round's `reads` that ends with `/file`, whichever step writes it; raises BadFile."""
        found = [one for one in self.flow.reads if one.endswith(f"/{file}") and not one.startswith(flow.BEFORE)]
        if len(found) != 1:
            what = "is among no reads" if not found else f"is read from {' and '.join(found)}; keep one"
            raise files.BadFile(f"{self.step}: {file}: {what}; the flow of this run is in its run.json")
        return found[0]

    def replies(self) -> list[dict[str, Any]]:
        """Every step's reply document so far, in order of round and step."""
        found, _ = self.run.listings()
        return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]

    def _allowed(self, name: str) -> None:
        patterns = self.flow.reads
        if not any(fnmatch.fnmatchcase(name, one) or one.startswith(name + "/") for one in patterns):
            raise files.BadFile(f"{self.step}: {name} is not among its reads; add it in config/swarm.yaml")

    def _note(self, name: str, path: Path, expected: str | None) -> None:
        if name in self.read_hashes:
            return
        found = files.sha256_file(path)
        if expected is not None and found != expected:
            raise GiveUp(
                f"{name}: its bytes are not those that were replied; see 'bin/check', restore or remove the reply"
            )
        self.read_hashes[name] = found

    def _schema_of(self, name: str) -> str | None:
        step = flow.source(name)
        return artifact_schema(self.run.step(step), name.removeprefix(flow.BEFORE).partition("/")[2]) if step else None

    # -- writing --------------------------------------------------------------------------------------------

    def write(self, name: str, value: Any) -> None:
        """Write an artifact: a dict as JSON, a list of dicts as JSON lines, else text; checked against its schema."""
        kind = artifact_schema(self.flow, files.inside(name))
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(value, kind))
        self._proved.add(name)

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
        return value

    def tell(self, service: str, document: dict[str, Any]) -> None:
        """Ask a service of this run and do not wait; the ID is the document's own `id`."""
        self.run.mailbox(service).put(str(document["id"]), document)

    # -- asking models --------------------------------------------------------------------------------------

    @cached_property
    def models(self) -> Asker:
        """Who is asked: `profile(role)` is None where a step does without, `one` and `all` ask."""
        return Asker(self.run, self.config, self.step, self.say)

    def spent(self) -> Bill:
        """What the run's model calls came to so far, whoever made them.

        The books of a service grow while a run works, so they are no input: they are not noted among what was read.
        """
        return bill(self.run.folder / SERVICE)

    @cached_property
    def tools(self) -> Tools:
        """The tools that this machine's config allows the step, their servers started; none are in `known` without."""
        from agents._tools import Tools

        mcp = self.config.infra["mcp"] or {}
        if wrong := _wiring.problem(self.run.document["flow"], self.config.tools, mcp):  # a run's flow is its own
            raise GiveUp(f"run.json: flow: {wrong}")
        allowed, folder = self.config.tools.get(self.step, ()), self._try / "tools"
        keys = (given.get("key_file") for given in (self.config.infra["models"] or {}).values())
        hide = [Path(one).expanduser() for one in keys if one]
        earlier = sorted(self._try.parent.glob("try-*/tools/[0-9]*.json"), key=lambda path: path.name)
        for path in earlier:  # results that are kept from those tries are used, and not called for again
            with contextlib.suppress(files.BadFile, schema.Invalid):
                self._keep_call(path.name, files.read_json(path))
        found = Tools(servers(self.config.infra), allowed, folder, self.say, self._keep_call, hide, len(earlier) + 1)
        return found.open()

    def _keep_call(self, name: str, document: dict[str, Any]) -> None:
        """Make a tool call's file an artifact too, where the step writes such: the report and a moved run need it."""
        if any(fnmatch.fnmatchcase(f"tools/{name}", pattern) for pattern in self.flow.writes):
            self.write(f"tools/{name}", document)

    def close(self) -> None:
        """End what the job has running beside it."""
        if "tools" in self.__dict__:
            self.tools.close()

    # -- running --------------------------------------------------------------------------------------------

    def say(self, text: str, **numbers: float) -> None:
        """One progress line: to the try's log, to the live table, and to the terminal when run by hand."""
        line: dict[str, Any] = {"s": round(_child.clock()[0] - self._started[0], 3), "say": text, **numbers}
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
                heard=lambda line: self.say(line.pop("say"), **_numbers(line)),
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
        return {
            "read": dict(sorted(self.read_hashes.items())),
            "seconds": round(wall - self._started[0], 3),
            "cpu_s": round(cpu - self._started[1], 3),
            "usd": round(self.gpu_s / 3600 * self.config.usd_per_gpu_hour, 6),
            "gpu_s": round(self.gpu_s, 3),
        }


def artifact_schema(step: flow.Step, name: str) -> str | None:
    """The schema of a step's artifact, None for prose and weights; raises BadFile if the step writes no such name."""
    for pattern, kind in step.writes.items():
        if fnmatch.fnmatchcase(name, pattern):
            return None if kind in UNTYPED else kind
    raise files.BadFile(f"{step.name}: does not write {name}; add it to its `writes` in config/swarm.yaml")


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


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in line.items() if isinstance(value, int | float) and value == value}
