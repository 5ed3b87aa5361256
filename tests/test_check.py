"""bin/check: a whole run is said to be whole, and each damage is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bus import files
from bus.run import Run
from tests import small
from tests.small import command

TOKEN = "ghp_" + "a1" * 18  # of the form of a GitHub token, and nobody's


def test_check_of_a_whole_run_changes_nothing(done: Path) -> None:
    before = small.tree(done)
    ended = command("check", done)
    bytes = sum(len(data) for data in small.replies(done).values())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{done}: whole: 3 replies, 4 artifacts, {bytes:,} bytes\n"
    assert small.tree(done) == before


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(files.pretty(document))


REPLY = "20-sum/outbox/r1/reply.json"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed artifact": (lambda run: (run / "20-sum/outbox/r1/sum.txt").write_text("6\n"), "bytes have changed"),
    "missing artifact": (lambda run: (run / "10-list/outbox/r1/more/x.txt").unlink(), "more/x.txt: is missing"),
    "added file": (lambda run: (run / "10-list/outbox/r1/new.txt").touch(), "new.txt: was added"),
    "torn reply": (lambda run: (run / REPLY).write_text('{"schema": "rep'), "20-sum/outbox/r1: not JSON"),
    "reply with a foreign key": (lambda run: rewrite(run / REPLY, lambda reply: reply.update(x=1)), "reply.v1"),
    "no reply.json": (lambda run: (run / REPLY).unlink(), "has no reply.json"),
    "another request": (
        lambda run: rewrite(run / REPLY, lambda reply: reply["request"].update(round=2)),
        "request_sha256 is not that of its request",
    ),
    "another step's reply": (
        lambda run: rewrite(run / REPLY, lambda reply: reply.update(step="10-list")),
        "is the reply of 10-list r1",
    ),
    "read other bytes": (
        lambda run: rewrite(run / REPLY, lambda reply: reply["read"].update({"10-list/list.txt": "0" * 64})),
        "read 10-list/list.txt, which has other bytes now",
    ),
    "read of a step that is not there": (
        lambda run: rewrite(run / REPLY, lambda reply: reply["read"].update({"99-none/x": "0" * 64})),
        "read 99-none/x, but the run has no step 99-none",
    ),
    "missing part": (lambda run: (run / "20-sum/dead").rmdir(), "20-sum/dead: is missing"),
    "missing mailbox": (lambda run: shutil.rmtree(run / "memory"), "memory/inbox: is missing"),
    "token in a name": (
        lambda run: (run / f"supervisor/{TOKEN}.txt").touch(),
        "….txt: its name looks like a GitHub token",
    ),
    "token in a folder's name": (lambda run: (run / f"config/{TOKEN}/x").mkdir(parents=True), "its name looks like a"),
    "read what is gone": (lambda run: shutil.rmtree(run / "10-list/outbox/r1"), "read 10-list/list.txt, which is gone"),
    "artifact against its schema": (
        lambda run: replace_artifact(run, "30-judge", "verdict.json", b'{"schema": "verdict.v1"}\n'),
        "30-judge/outbox/r1/verdict.json: verdict.v1",
    ),
    "artifact that the step does not write": (
        lambda run: replace_artifact(run, "30-judge", "more.json", b"{}"),
        "does not write more.json",
    ),
    "changed goal": (lambda run: (run / "goal.md").write_text("other"), "goal.md: is not the goal"),
    "torn request": (lambda run: (run / "10-list/inbox/r2.json").write_text("{"), "10-list/inbox/r2.json: not JSON"),
    "request for another": (
        lambda run: (run / "10-list/inbox/r2.json").write_text(
            '{"schema":"request.v1","id":"r3","step":"20-sum","round":3}'
        ),
        "asks for 20-sum r3",
    ),
    "torn dead letter": (lambda run: (run / "10-list/dead/r9.json").write_text("{"), "10-list/dead/r9.json: not JSON"),
    "torn crash": (lambda run: crash(run, "{"), "10-list/work/r1/try-1/crash.json: not JSON"),
    "torn service reply": (lambda run: (run / "memory/outbox/q.json").write_text("1"), "q.json: remembered.v1"),
    "link": (lambda run: (run / "10-list/outbox/r1/link").symlink_to("/etc/passwd"), "link: is a symbolic link"),
    "linked folder": (lambda run: (run / "monitor").symlink_to("/etc"), "monitor: is a symbolic link"),
    "pipe": (lambda run: os.mkfifo(run / "supervisor/pipe"), "supervisor/pipe: is a named pipe"),
    "foreign name": (lambda run: (run / "notes.txt").touch(), "notes.txt: is no part of a run"),
    "strange request": (lambda run: (run / "10-list/inbox/R 1.txt").touch(), "R 1.txt: is not ID.json"),
    "hard link": (lambda run: os.link(run / "goal.md", run / "memory/inbox/q.json"), "has another name"),
    "secret": (lambda run: (run / "supervisor/log.jsonl").write_text(f'{{"x": "a\\n{TOKEN}"}}'), "looks like a Git"),
    "absolute path": (
        lambda run: rewrite(run / "run.json", lambda run: run["flow"]["10-list"].update(settings={"x": ["/home/me"]})),
        "flow/10-list/settings/x: '/home/me' is an absolute path",
    ),
    "torn heartbeat": (lambda run: (run / "supervisor/heartbeat.json").write_text("{"), "heartbeat.json: not JSON"),
}  # fmt: skip


def replace_artifact(run: Path, step: str, name: str, data: bytes) -> None:
    """An artifact with its right hash in the reply: only its schema can tell that it is wrong."""
    (run / step / "outbox/r1" / name).write_bytes(data)
    known = {"sha256": files.sha256(data), "bytes": len(data)}
    rewrite(run / step / "outbox/r1/reply.json", lambda reply: reply["artifacts"].update({name: known}))


def crash(run: Path, text: str) -> None:
    (run / "10-list/work/r1/try-1").mkdir(parents=True)
    (run / "10-list/work/r1/try-1/crash.json").write_text(text)


@pytest.mark.parametrize("kind", DAMAGE)
def test_check_names_what_is_wrong(kind: str, finished: Path) -> None:
    spoil, said = DAMAGE[kind]
    spoil(finished)
    before = small.tree(finished)
    ended = command("check", finished)
    assert ended.returncode == 1 and ended.stderr == "", ended.stderr
    assert small.tree(finished) == before, "nothing is changed"
    *problems, summary = ended.stdout.splitlines()
    assert any(said in line and not line.startswith("note: ") for line in problems), ended.stdout
    assert summary.startswith(f"{finished}: not whole: ")
    assert TOKEN not in ended.stdout


def test_check_only_notes_what_a_healthy_run_may_have(finished: Path) -> None:
    (finished / "HOLD").touch()
    (finished / "10-list/inbox/.draft-1-ab").touch()
    run = Run(finished)
    run.mailbox("memory").bury("q-1", "refused", "why not")
    run.close()
    ended = command("check", finished)
    assert ended.returncode == 0
    *notes, summary = ended.stdout.splitlines()
    assert [line.split(": ")[1] for line in notes] == ["HOLD", "10-list/inbox/.draft-1-ab", "memory/dead/q-1.json"]
    assert ": whole: 3 replies" in summary


def test_a_name_with_a_secret_is_told_once(finished: Path) -> None:
    (finished / f"config/{TOKEN}/x").mkdir(parents=True)
    ended = command("check", finished)
    assert ended.stdout.count("its name looks like") == 1 and f"config/{TOKEN[:8]}…: its name" in ended.stdout


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_comparison_makes_no_missing_part(which: str, done: Path, finished: Path) -> None:
    (finished / "10-list/dead").rmdir()
    before = small.tree(finished)
    ended = command("check", *((finished, done) if which == "first" else (done, finished)))
    assert ended.returncode == 1 and "10-list/dead is missing; see bin/check" in ended.stderr
    assert small.tree(finished) == before


def test_check_proves_the_seals() -> None:
    from _fsck import seals

    artifacts = {name: {"sha256": "a" * 64} for name in ("exam.jsonl", "validation.jsonl", "base/model.safetensors")}
    documents = {
        "dataset.v1": {"exam_sha256": "a" * 64, "validation_sha256": "b" * 64},
        "training.v1": {"base": {"sha256": "c" * 64}},
    }
    said = list(seals(artifacts, documents))
    assert [line.split(" is ")[0] for line in said] == ["validation.jsonl", "base/model.safetensors"]
