"""What programs do in the folders that lose their power: ask, work, answer, and say what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents._publish import publish_path
from agents._run import create_run
from bus import files
from bus.claim import Claim
from bus.mailbox import Mailbox
from bus.run import Run, round_of
from tests.crash.disk_record import Say

STEP, SERVICE, RUN = "10-step", "llm", "runs/tiny"
FACTS = {"seconds": 0.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}
PART = b"a part that took a while\n"  # what is kept of a first try
FLOW: dict[str, dict[str, Any]] = {
    "10-make": {"agent": "make", "reads": ["goal.md"], "writes": {"a.txt": "text"}},
    "20-use": {"agent": "use", "reads": ["10-make/sub/answer.txt"], "writes": {"n.txt": "text"}},
}


def is_step(box: str) -> bool:
    return box.rpartition("/")[2][0].isdigit()


def open_box(root: Path, name: str, durable: bool = True, tries: int = 3) -> Mailbox:
    step = is_step(name)
    return Mailbox(
        root / name, folders=step, request=None, reply="reply.v1" if step else None, tries=tries, durable=durable
    )


def ask(box: str, id: str) -> dict[str, Any]:
    """The document of an ID: of a run's step what its flow asks, else any."""
    if box.startswith(RUN):
        return {"schema": "request.v1", "id": id, "step": box.rpartition("/")[2], "round": round_of(id)}
    return {"schema": "any.v1", "id": id, "question": f"what is {id}? " * 4}


def answer(id: str) -> str:
    return f"the answer to {id}\n" * 5


def work(claim: Claim, read: dict[str, str] | None = None) -> None:
    """Work on a claim to its reply, like an agent: a step keeps a part, and writes artifacts into a subfolder."""
    if not claim.mailbox.folders:
        claim.commit_file({"schema": "any.v1", "id": claim.id, "answer": answer(claim.id)})
        return
    out = claim.begin() / "out"
    part = claim.work / "kept" / "part.txt"
    if not part.exists():
        publish_path(part, PART)
    (out / "sub").mkdir()
    (out / "sub" / "answer.txt").write_text(answer(claim.id))
    (out / "part.txt").write_bytes(part.read_bytes())
    claim.commit_folder({**FACTS, "read": read or {}})


def reply_sha256(root: Path, box: str, id: str) -> str:
    path = root / box / "outbox" / (f"{id}/reply.json" if is_step(box) else f"{id}.json")
    return files.sha256_file(path)


def create(root: Path) -> Run:
    return create_run(root / RUN, "a goal\n", 7, FLOW, {"echo": {"agent": "echo"}}, "1")


def advance(run: Run, say: Say) -> None:
    """Put what is due and answer it, until nothing is."""
    while True:
        for name, id in run.advance().put:
            say(f"put {RUN}/{name} {id}")
        claims = 0
        for step in run.steps:
            for claim in run.mailbox(step.name).claims():
                claims += 1
                work(claim, {read: files.sha256_file(_input(run, read, claim.id)) for read in step.reads})
                say(f"answered {RUN}/{step.name} {claim.id} {reply_sha256(run.folder, step.name, claim.id)}")
        if not claims:
            return


def _input(run: Run, name: str, id: str) -> Path:
    step, slash, inner = name.partition("/")
    return run.folder / step / "outbox" / id / inner if slash else run.folder / name
