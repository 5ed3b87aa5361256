"""A run folder: made whole or not at all, advanced by looking, healed by looking again."""

import os
import shutil
import time
from pathlib import Path

import pytest

from agents._run import create_run, sweep
from bus import files
from bus.run import FOREVER, Run, RunError, round_of

FACTS = {"seconds": 0.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}
FLOW = {
    "10-make": {"command": ["true"], "reads": ["goal.md", "before/30-use/next.txt"], "writes": {"a.txt": "text"}},
    "20-count": {"command": ["true"], "reads": ["10-make/a.txt"], "writes": {"n.txt": "text"}},
    "30-use": {"command": ["true"], "reads": ["20-count/n.txt"], "writes": {"next.txt": "text"}},
}
SERVICES = {"echo": {"agent": "echo"}}
WRITES = {"10-make": "a.txt", "20-count": "n.txt", "30-use": "next.txt"}


@pytest.fixture
def a_run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "runs" / "tiny", "a goal\n", 7, FLOW, SERVICES, "1")


def answer(run: Run, step: str, id: str = "r1", text: str | None = None) -> None:
    """What an agent of the step does: read what the flow says, write one file, commit."""
    claim = run.mailbox(step).claim(id)
    assert claim is not None
    read, n = {}, int(id[1:])
    for name in run.step(step).reads:
        source, _, file = name.removeprefix("before/").rpartition("/")
        path = (
            run.folder / source / "outbox" / f"r{n - name.startswith('before/')}" / file
            if source
            else run.folder / file
        )
        if path.exists():
            read[name] = files.sha256_file(path)
    (claim.begin() / "out" / WRITES[step]).write_text(f"{step} {sorted(read.values())}" if text is None else text)
    assert claim.commit_folder({**FACTS, "read": read})


def work_on(run: Run) -> list[str]:
    """Advance and answer until nothing is due; returns what was answered."""
    done: list[str] = []
    while True:
        run.advance()
        pending = [(step.name, id) for step in run.steps for id in run.mailbox(step.name).listing().pending]
        if not pending:
            return done
        for step, id in pending:
            answer(run, step, id)
            done.append(f"{step} {id}")


def test_created_whole_with_nothing_of_this_host(tmp_path: Path, a_run: Run) -> None:
    assert sorted(os.listdir(a_run.folder)) == [
        "10-make", "20-count", "30-use", "ROUNDS", "echo", "goal.md", "run.json", "supervisor",
    ]  # fmt: skip
    assert os.listdir(a_run.folder.parent) == ["tiny"]
    text = (a_run.folder / "run.json").read_text()
    assert str(tmp_path) not in text and os.uname().nodename not in text
    assert (a_run.name, a_run.seed, a_run.rounds) == ("tiny", 7, 1)


def test_a_taken_or_bad_name_leaves_nothing_half_made(tmp_path: Path, a_run: Run) -> None:
    runs = a_run.folder.parent
    (runs / "empty").mkdir()
    for name in ("tiny", "empty"):
        with pytest.raises(FileExistsError):
            create_run(runs / name, "other", 1, FLOW, SERVICES, "1")
    for name, error in [("Bad", files.BadFile), ("memory", RunError)]:
        with pytest.raises(error):
            create_run(runs / name, "other", 1, FLOW, SERVICES, "1")
    assert sorted(os.listdir(runs)) == ["empty", "tiny"]
    assert (a_run.folder / "goal.md").read_text() == "a goal\n"


def test_what_is_no_run_is_told_in_one_line(tmp_path: Path, a_run: Run) -> None:
    with pytest.raises(RunError, match="is no run"):
        Run(tmp_path)
    (a_run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        Run(a_run.folder)


def test_services_stay_in_the_run(tmp_path: Path) -> None:
    with pytest.raises(files.BadFile, match="not an ID"):
        create_run(tmp_path / "tiny", "a goal", 1, FLOW, {"../outside": {}}, "1")
    assert os.listdir(tmp_path) == []


def test_advancing_is_looking_and_looking_twice_adds_nothing(a_run: Run) -> None:
    assert a_run.advance().put == [("10-make", "r1")]
    assert a_run.advance().put == []
    assert Run(a_run.folder).advance().put == []
    answer(a_run, "10-make")
    assert a_run.advance().put == [("20-count", "r1")]
    assert a_run.advance().put == []
    assert work_on(a_run) == ["20-count r1", "30-use r1"]
    assert a_run.done() and a_run.advance().put == []


def test_rounds(a_run: Run) -> None:
    work_on(a_run)
    a_run.want_rounds(2)
    assert not a_run.done()
    assert work_on(a_run) == ["10-make r2", "20-count r2", "30-use r2"]
    assert a_run.done()
    reply = a_run.reply("10-make", 2)
    assert reply is not None and "before/30-use/next.txt" in reply["read"]
    a_run.want_rounds("forever")
    assert a_run.rounds == FOREVER and not a_run.done()
    assert a_run.advance().put == [("10-make", "r3")]


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1.5", "9" * 100, "\u0662"])
def test_rounds_that_cannot_be_read_are_one(a_run: Run, text: str) -> None:
    (a_run.folder / "ROUNDS").write_text(text)
    assert a_run.rounds == 1


def test_held(a_run: Run) -> None:
    a_run.hold.touch()
    assert a_run.advance().put == []
    a_run.hold.unlink()
    assert a_run.advance().put == [("10-make", "r1")]


def test_a_lost_request_makes_itself_again(a_run: Run) -> None:
    a_run.advance()
    (a_run.folder / "10-make/inbox/r1.json").unlink()
    assert a_run.advance().put == [("10-make", "r1")]
    answer(a_run, "10-make")
    a_run.advance()
    shutil.rmtree(a_run.folder / "20-count/inbox")
    assert Run(a_run.folder).advance().put == [("20-count", "r1")]


def test_a_request_whose_input_was_lost_is_taken_back_until_it_is_there_again(a_run: Run) -> None:
    a_run.advance()
    answer(a_run, "10-make")
    assert a_run.advance().put == [("20-count", "r1")]
    shutil.rmtree(a_run.folder / "10-make/outbox/r1")
    held = a_run.mailbox("20-count").claim("r1")
    assert held is not None
    assert a_run.advance().put == [("10-make", "r1")]
    assert a_run.mailbox("20-count").state("r1") == "running", "nobody takes back what is worked on"
    held.release()
    assert a_run.advance().put == []
    assert a_run.mailbox("20-count").state("r1") is None
    assert work_on(a_run) == ["10-make r1", "20-count r1", "30-use r1"]


def test_a_dead_letter_is_not_asked_again(a_run: Run) -> None:
    a_run.advance()
    claim = a_run.mailbox("10-make").claim("r1")
    assert claim is not None
    claim.give_up("goal", "no")
    (a_run.folder / "10-make/inbox/r1.json").unlink()
    assert a_run.advance().put == []


def test_a_lost_reply_is_made_again_and_the_same_bytes_change_nothing_after_it(a_run: Run) -> None:
    work_on(a_run)
    shutil.rmtree(a_run.folder / "10-make/outbox/r1")
    assert work_on(a_run) == ["10-make r1"]
    assert a_run.done()


def test_stale_replies_are_set_aside_and_made_again(a_run: Run) -> None:
    work_on(a_run)
    old = (a_run.folder / "20-count/outbox/r1/n.txt").read_text()
    shutil.rmtree(a_run.folder / "10-make/outbox/r1")
    a_run.advance()
    answer(a_run, "10-make", text="something else")
    progress = a_run.advance()
    assert progress.stale == [("20-count", "r1")] and progress.put == [("20-count", "r1")]
    assert (a_run.folder / "20-count/stale/r1-1/n.txt").read_text() == old
    assert work_on(a_run) == ["20-count r1", "30-use r1"]
    assert (a_run.folder / "20-count/outbox/r1/n.txt").read_text() != old
    assert sorted(os.listdir(a_run.folder / "30-use/stale")) == ["r1-1"]
    assert a_run.done() and a_run.advance().stale == []


def test_a_changed_goal_is_stale_in_every_step_that_read_it(a_run: Run) -> None:
    work_on(a_run)
    (a_run.folder / "goal.md").write_text("another goal\n")
    assert a_run.advance().stale == [("10-make", "r1")]
    assert work_on(a_run) == ["10-make r1", "20-count r1", "30-use r1"]


def test_set_aside_twice_keeps_both(a_run: Run) -> None:
    for _ in range(2):
        work_on(a_run)
        assert a_run.set_aside("10-make", "r1") is True
    assert a_run.set_aside("10-make", "r1") is False
    assert sorted(os.listdir(a_run.folder / "10-make/stale")) == ["r1-1", "r1-2"]


def test_a_copy_under_another_name_goes_on(tmp_path: Path, a_run: Run) -> None:
    a_run.advance()
    answer(a_run, "10-make")
    a_run.advance()
    shutil.copytree(a_run.folder, tmp_path / "elsewhere" / "other")
    other = Run(tmp_path / "elsewhere" / "other")
    assert work_on(other) == work_on(a_run) == ["20-count r1", "30-use r1"]
    for step, name in WRITES.items():
        ours, theirs = a_run.reply(step, 1), other.reply(step, 1)
        assert ours is not None and theirs is not None
        assert ours["artifacts"] == theirs["artifacts"] and name in ours["artifacts"]


def test_sweep_removes_drafts_alone(a_run: Run) -> None:
    a_run.advance()
    (a_run.folder / "10-make/inbox/.draft-1-abc").touch()
    (a_run.folder / "echo/outbox/.draft-2-abc").touch()
    sweep(a_run)
    assert os.listdir(a_run.folder / "10-make/inbox") == ["r1.json"]
    assert os.listdir(a_run.folder / "echo/outbox") == []


def test_sweep_removes_half_made_runs_of_this_name_alone(a_run: Run) -> None:
    runs = a_run.folder.parent
    others = [".new-tiny-two-0123abcd", ".new-tin-0123abcd", "new-tiny-0123abcd", ".new-tiny-0123abcd-x"]
    for name in [".new-tiny-0123abcd", *others]:
        (runs / name / "10-make").mkdir(parents=True)
    sweep(a_run)
    assert sorted(os.listdir(runs)) == sorted(["tiny", *others])


def test_who_makes_a_run_that_another_made_and_started_meanwhile_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_tree = files.sync_tree

    def late(folder: Path) -> None:
        monkeypatch.undo()
        sweep(create_run(tmp_path / "tiny", "a goal\n", 7, FLOW, SERVICES, "1"))
        sync_tree(folder)

    monkeypatch.setattr(files, "sync_tree", late)
    with pytest.raises(FileExistsError):
        create_run(tmp_path / "tiny", "another\n", 7, FLOW, SERVICES, "1")
    assert os.listdir(tmp_path) == ["tiny"] and (tmp_path / "tiny/goal.md").read_text() == "a goal\n"


def test_round_of() -> None:
    assert [round_of(id) for id in ("r1", "r12", "r0", "r01", "x1", "r", "r1a", "1")] == [1, 12] + [None] * 6


def test_a_reply_is_read_again_when_its_folder_is_another_with_the_same_inode(a_run: Run) -> None:
    work_on(a_run)
    before = a_run.reply("10-make", 1)
    assert before is not None and a_run.reply("10-make", 1) is before
    time.sleep(0.05)  # file systems stamp their folders every few milliseconds
    path = a_run.folder / "10-make/outbox/r1/reply.json"
    files.replace(path, files.pretty({**before, "seconds": 5.0}))
    after = a_run.reply("10-make", 1)
    assert after is not None and after["seconds"] == 5.0
