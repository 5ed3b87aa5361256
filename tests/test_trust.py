"""Nothing that came in an archive is run without --trust, and nothing in a run is read as configuration at all."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import _trust
from bus import files
from tests.forged import Forged
from tests.small import FLOW, GOAL, ROOT, agent, command, make, replies, work

KEPT = "10-train/work/r1/kept/checkpoints/checkpoint-7/"
TRAINER = """
import pathlib, pickle, sys
checkpoint = pathlib.Path(sys.argv[-1]).parent.parent / "kept/checkpoints/checkpoint-7"
state = checkpoint / "optimizer.pt"
if not state.exists() and not pathlib.Path("go").exists():
    checkpoint.mkdir(parents=True)
    state.write_bytes(pickle.dumps({"step": 7}))
    (checkpoint / "trainer_state.json").write_text("{}")
    sys.exit("the machine is too small")
step = pickle.loads(state.read_bytes())["step"] if state.exists() else 0
pathlib.Path(sys.argv[-1], "x.txt").write_text(f"went on from {step}")
"""
TRAIN = {
    "10-train": {
        "command": [sys.executable, "-c", TRAINER, "train"],
        "reads": ["goal.md"],
        "writes": {"x.txt": "text"},
    }
}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.mark), "w")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The archive of a run whose training failed after a checkpoint, as a real pack made it."""
    folder = make(tmp_path / "runs", TRAIN)
    assert subprocess.run(agent(folder, "10-train"), cwd=ROOT, capture_output=True, timeout=60).returncode == 1
    assert (folder / KEPT / "optimizer.pt").exists()
    assert command("pack", folder, "--out", tmp_path / "stopped.tar.gz").returncode == 0
    return tmp_path / "stopped.tar.gz"


def unpacked(archive: Path, *more: str) -> tuple[Path, str]:
    """(the new run, what bin/unpack printed)."""
    runs = archive.parent / "there"
    ended = command("unpack", archive, "--runs", runs, "--config", archive.parent / "config", *more)
    assert ended.returncode == 0, ended.stderr
    return runs / (more[-1] if "--name" in more else "small"), ended.stdout


def finish(folder: Path, config: Path) -> bytes:
    (folder / "go").touch()
    work(folder, "10-train", config=config)
    return replies(folder)["10-train/outbox/r1/x.txt"]


def test_a_checkpoint_is_listed_and_left_out_and_the_step_begins_anew(stopped: Path) -> None:
    folder, said = unpacked(stopped)
    (line,) = (line for line in said.splitlines() if line.startswith("could run: "))
    assert line.startswith("could run: 10-train/work/r1/kept/checkpoints (2 files, ")
    assert "checkpoint-7/optimizer.pt is a pickled checkpoint" in line and "left out" in line
    assert list((folder / "10-train/work/r1/kept").iterdir()) == [], "not half of it either"
    assert json.loads((folder / "10-train/work/r1/try-1/crash.json").read_bytes())["kind"] == "child"
    assert command("check", folder).returncode == 0
    assert finish(folder, stopped.parent / "config") == b"went on from 0"


def test_a_trusted_checkpoint_is_gone_on_with(stopped: Path) -> None:
    folder, said = unpacked(stopped, "--trust")
    assert "could run: 10-train/work/r1/kept/checkpoints (2 files, " in said and "kept, since you trust it" in said
    assert finish(folder, stopped.parent / "config") == b"went on from 7"


def test_a_bomb_in_a_checkpoint_goes_off_only_where_it_is_trusted(stopped: Path, tmp_path: Path) -> None:
    forged = Forged(stopped)
    forged.change(f"{KEPT}optimizer.pt", pickle.dumps(Bomb(tmp_path / "boom")))
    bad = forged.save(tmp_path / "bad.tar.gz")
    folder, _ = unpacked(bad)
    assert finish(folder, tmp_path / "config") == b"went on from 0"
    assert not (tmp_path / "boom").exists()
    trusting, _ = unpacked(bad, "--trust", "--name", "trusting")
    with pytest.raises(subprocess.CalledProcessError):
        finish(trusting, tmp_path / "config")
    assert (tmp_path / "boom").exists(), "else this test could not fail"


# -- what counts ------------------------------------------------------------------------------------------------


def torch_file() -> bytes:
    """A file as torch.save writes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        made.writestr("archive/data.pkl", pickle.dumps({}, 2))
    return packed.getvalue()


CODE = {
    "x.py": b"", "x.PY": b"", "x.sh": b"", "x.pyc": b"", "x.so": b"", "optimizer.pt": b"", "rng_state.pth": b"",
    "training_args.bin": b"", "x.pkl": b"", "x": b"#!/bin/sh\n", "y": b"\x7fELF\2", "libx.so.1": b"\x7fELF\2",
    "weights": torch_file(), "weights.json": torch_file(), "notes.txt": pickle.dumps(1, 4),
    "model.safetensors": pickle.dumps([1] * 9, 2),
}  # fmt: skip
HARMLESS = {
    "reply.json": b"{}", "adapter_model.safetensors": b"\x80\x02\0\0\0\0\0\0{" + b" " * 631, "report.md": b"#!/bin/sh",
    "tokenizer.json": b'{"pickle": "data.pkl"}', "train.jsonl": b"", "at-work": b"", "chat_template.jinja": b"{{ x }}",
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_what_could_run(name: str) -> None:
    assert _trust.danger(f"10-list/outbox/r1/{name}", False, CODE[name][: _trust.HEAD])


@pytest.mark.parametrize("name", HARMLESS)
def test_what_could_not(name: str) -> None:
    assert _trust.danger(f"10-list/outbox/r1/{name}", False, HARMLESS[name][: _trust.HEAD]) == ""


def test_an_executable_that_is_no_document_could_run() -> None:
    assert _trust.danger("10-list/work/r1/try-1/run", True, b"echo x") == "a program"
    assert _trust.danger("10-list/outbox/r1/list.txt", True, b"echo x") == "", "a disk may make every file executable"


# -- where it lies ----------------------------------------------------------------------------------------------

REFUSED = ("10-list/outbox/r1/x.pkl", "10-list/outbox/r1/more/x.py", "10-list/stale/r1-1/x.sh", "json.py",
           "agents/__init__.py", "config/x.py", "supervisor/x.so", "memory/dead/x.sh", "work/x.py")  # fmt: skip
LEFT_OUT = {
    "10-list/work/r1/try-2/train.py": "10-list/work/r1/try-2/train.py",
    "10-list/work/r1/kept/deep/one/two.pkl": "10-list/work/r1/kept/deep",
    "10-list/work/x.sh": "10-list/work/x.sh",
    "memory/work/o-1/try-1/out/x.so": "memory/work/o-1/try-1/out",
}


@pytest.mark.parametrize("name", REFUSED)
def test_code_outside_of_work_is_refused_without_trust(name: str, archive: Path, tmp_path: Path) -> None:
    forged = Forged(archive)
    forged.file(name, b"x")
    bad = forged.save(tmp_path / "bad.tar.gz")
    ended = command("unpack", bad, "--runs", tmp_path / "runs")
    assert ended.returncode == 1
    assert f"bad.tar.gz: {name} (1 bytes): is a" in ended.stderr and "--trust" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list((tmp_path / "runs").iterdir()) == []
    assert command("unpack", bad, "--runs", tmp_path / "runs", "--trust").returncode == 0
    assert (tmp_path / "runs/small" / name).read_bytes() == b"x"


@pytest.mark.parametrize("name", LEFT_OUT)
def test_code_in_work_is_left_out_without_trust(name: str, archive: Path, tmp_path: Path) -> None:
    forged = Forged(archive)
    forged.file(name, b"x")
    forged.file(f"{name}.json", b"{}")
    bad = forged.save(tmp_path / "bad.tar.gz")
    ended = command("unpack", bad, "--runs", tmp_path / "runs")
    assert f"could run: {LEFT_OUT[name]} (" in ended.stdout
    assert not (tmp_path / "runs/small" / LEFT_OUT[name]).exists()
    beside = tmp_path / "runs/small" / f"{name}.json"
    assert beside.exists() == (LEFT_OUT[name] == name), "a folder goes as a whole, a file alone"


def test_nothing_is_executable_without_trust(archive: Path, tmp_path: Path) -> None:
    forged = Forged(archive)
    forged.change("goal.md", b"#!/bin/sh\n", mode=0o755)
    forged.file("10-list/work/r1/try-1/run", b"echo x\n", mode=0o755)
    bad = forged.save(tmp_path / "bad.tar.gz")
    for more, executable in (([], set()), (["--trust"], {"goal.md", "run"})):
        runs = tmp_path / ("trusting" if more else "careful")
        assert command("unpack", bad, "--runs", runs, *more).returncode == 0
        found = {path.name for path in runs.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
        found |= {path.name for path in runs.rglob("*") if path.is_file() and path.stat().st_mode & 0o111}
        assert found == executable


@pytest.mark.parametrize("refused", [False, True])
def test_all_that_would_run_is_listed_before_anybody_trusts(
    refused: bool, done: Path, archive: Path, tmp_path: Path
) -> None:
    """However many there are, what is in one folder with others, and the commands: also when nothing is unpacked."""
    forged = Forged(archive)
    alone = [f"10-list/work/r1/try-{number}/train.py" for number in range(60)]
    together = [f"10-list/work/r1/kept/parts/{name}" for name in ("a.pkl", "b.sh", "c.so")]
    replied = ["10-list/outbox/r1/x.pkl", "20-sum/outbox/r1/y.sh"] if refused else []
    for name in [*alone, *together, *replied]:
        forged.file(name, b"")
    bad = forged.save(tmp_path / "x.tar.gz")
    ended = command("unpack", bad, "--runs", tmp_path / "runs", "--config", done.parent.parent / "config")
    assert ended.returncode == refused and (tmp_path / "runs/small").exists() is not refused
    lines = [line for line in ended.stdout.splitlines() if line.startswith("could run: ")]
    assert len(lines) == len([*alone, *together, *replied])
    for name in [*alone, *replied]:
        assert any(f"{name} (0 bytes): is a" in line for line in lines), name
    for name in together:
        folder, _, inner = name.rpartition("/")
        assert any(folder in line and f"{inner} is a" in line for line in lines), name
    told = [line.split(": ")[1] for line in ended.stdout.splitlines() if line.startswith("command: ")]
    assert told == sorted(FLOW)
    if refused:
        assert os.listdir(tmp_path / "runs") == [], "no draft is left"


# -- commands and configuration ---------------------------------------------------------------------------------


def test_only_the_commands_of_this_machine_run(tmp_path: Path) -> None:
    """The archive names other commands, also for a step whose command is not known here, and brings a config along."""
    folder = make(tmp_path / "runs")
    command("pack", folder, "--out", tmp_path / "x.tar.gz")
    forged = Forged(tmp_path / "x.tar.gz")
    document = json.loads((folder / "run.json").read_bytes())
    evil = ["sh", "-c", f"touch {tmp_path}/boom"]
    document["flow"]["20-sum"]["command"] = evil
    document["flow"]["40-more"] = {"command": evil, "reads": ["30-judge/verdict.json"], "writes": {"x.txt": "text"}}
    forged.change("run.json", files.pretty(document))
    planted = {name: {**entry, "command": evil} for name, entry in document["flow"].items()}
    swarm = yaml.safe_dump({"flow": planted, "services": document["services"]}).encode()
    infra = b"usd_per_gpu_hour: 99.5\nbudget: {usd: 1000}\nallowed_paths: [/]\n"
    start = {"schema": "config.v1", "settings": [
        {"name": "flow.20-sum.command", "value": evil, "source": "config/swarm.yaml"},
        {"name": "models.big.endpoint", "value": "https://evil.example", "source": "config/infra.yaml"},
        {"name": "sandbox", "value": "unboxed", "source": "config/infra.yaml"},
    ]}  # fmt: skip
    for name, data in (("swarm.yaml", swarm), ("infra.yaml", infra), (".env", b"HTTPS_PROXY=http://evil.example\n")):
        for where in (name, f"config/{name}"):
            forged.file(where, data)
    forged.file("config/start-1.json", files.pretty(start))
    for more in ([], ["--trust"]):
        runs = tmp_path / f"there{len(more)}" / "runs"
        ended = command("unpack", forged.save(tmp_path / "bad.tar.gz"), "--runs", runs,
                        "--config", tmp_path / "config", *more)  # fmt: skip
        told = {line.split(": ")[1]: line for line in ended.stdout.splitlines() if line.startswith("command: ")}
        assert "which has the same: " in told["10-list"]
        assert f"the run names another: sh -c 'touch {tmp_path}/boom'" in told["20-sum"]
        assert "has no such command, so that nothing runs" in told["40-more"]
        moved = runs / "small"
        ended = command("supervise", moved, "--config", tmp_path / "config", cwd=moved)
        assert ended.returncode == 2 and "40-more: " in ended.stderr and "has no command for it" in ended.stderr
        mine = tmp_path / f"mine{len(more)}"
        shutil.copytree(tmp_path / "config", mine)
        known = yaml.safe_load((mine / "swarm.yaml").read_text())
        known["flow"]["40-more"] = {"command": ["false"], "reads": ["30-judge/verdict.json"], "tries": 1}
        (mine / "swarm.yaml").write_text(yaml.safe_dump(known))
        ended = command("supervise", moved, "--config", mine, cwd=moved)
        assert ended.returncode == 100 and "40-more r1" in ended.stdout
        assert replies(moved)["20-sum/outbox/r1/sum.txt"].strip() == b"5"
        shown = command("status", moved, "--config", cwd=moved).stdout
        assert not [word for word in ("evil", "99.5", "1000", "unboxed") if word in shown]
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("key", ["endpoint", "models", "key_env", "sandbox", "allowed_paths", "command"])
def test_a_goal_cannot_set_what_this_machine_decides(key: str, archive: Path, tmp_path: Path) -> None:
    forged = Forged(archive)
    forged.change("goal.md", GOAL.replace("---\n", f"---\n{key}: evil\n", 1).encode())
    assert command("unpack", forged.save(tmp_path / "x.tar.gz"), "--runs", tmp_path / "runs").returncode == 0
    ended = command("supervise", tmp_path / "runs/small")
    assert ended.returncode == 2 and f"goal.md: {key}: is not a key of a goal" in ended.stderr


def test_a_broken_config_is_told_and_stops_nothing(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "swarm.yaml").write_text("flow: [")
    ended = command("unpack", archive, "--runs", tmp_path / "runs", "--config", tmp_path)
    assert ended.returncode == 0 and "command: which would run cannot be told: " in ended.stdout
    assert set(FLOW) <= set(os.listdir(tmp_path / "runs/small"))
