"""bin/check A B: two copies of a run, and what they answered differently."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from _compare import answer
from bus import files
from tests.small import OBSERVATION, command, make, work


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a run that was packed before its second step, and of its unpacked copy; both were then finished."""
    folder = tmp_path_factory.mktemp("both")
    here, there, config = make(folder / "runs"), folder / "there" / "small", folder / "config"
    work(here, "10-list")
    command("pack", here, "--live")
    command("unpack", folder / "runs/small.tar.gz", "--runs", there.parent, "--config", config)
    for run in (here, there):
        work(run, "20-sum", "30-judge", config=config)
    return folder


@pytest.fixture
def copies(both: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The two, to be spoiled."""
    shutil.copytree(both, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs" / "small", tmp_path / "there" / "small"


def compared(here: Path, there: Path) -> tuple[int, list[str], str]:
    """(exit code, lines between the first and the last, the last) of bin/check; the first must name both."""
    ended = command("check", here, there)
    assert ended.stderr == ""
    first, *lines, last = ended.stdout.splitlines()
    assert first.startswith(f"here {here}, there {there}: ")
    return ended.returncode, lines, last


def relation(here: Path, there: Path) -> str:
    return command("check", here, there).stdout.splitlines()[0].partition(f"there {there}: ")[2]


def test_equal_copies(copies: tuple[Path, Path]) -> None:
    code, lines, last = compared(*copies)
    assert (code, lines) == (0, []) and last == "3 requests answered by both, 0 of them differently"


def edit(path: Path, **changes: Any) -> None:
    path.write_bytes(files.pretty({**json.loads(path.read_bytes()), **changes}))


def replied(run: Path, step: str, name: str, data: bytes | None) -> str:
    """Another artifact in a step's reply, or none; returns how its sha256 begins."""
    folder = run / step / "outbox/r1"
    known = json.loads((folder / "reply.json").read_bytes())["artifacts"]
    known.pop(name, None)
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
        known[name] = {"sha256": files.sha256(data), "bytes": len(data)}
    edit(folder / "reply.json", artifacts=known)
    return files.sha256(data or b"")[:12]


def test_a_step_that_was_answered_differently(copies: tuple[Path, Path]) -> None:
    here, there = copies
    was = files.sha256((here / "20-sum/outbox/r1/sum.txt").read_bytes())[:12]
    now = replied(there, "20-sum", "sum.txt", b"6\n")
    gone = files.sha256_file(there / "10-list/outbox/r1/more/x.txt")[:12]
    replied(there, "10-list", "more/x.txt", None)
    code, lines, last = compared(here, there)
    assert code == 1 and last == "3 requests answered by both, 2 of them differently"
    assert lines == [
        f"10-list r1: answered differently: more/x.txt (sha256 {gone} here, none there)",
        f"20-sum r1: answered differently: sum.txt (sha256 {was} here, {now} there)",
    ]


def test_times_and_costs_are_no_difference(copies: tuple[Path, Path]) -> None:
    edit(copies[1] / "20-sum/outbox/r1/reply.json", seconds=99.0, cpu_s=98.0, usd=97.0)
    assert compared(*copies)[0] == 0


def test_another_request_under_the_same_id(copies: tuple[Path, Path]) -> None:
    edit(copies[1] / "20-sum/outbox/r1/reply.json", request_sha256="0" * 64)
    code, lines, _ = compared(*copies)
    assert code == 1 and lines[0].startswith("20-sum r1: was asked something else: request sha256 ")
    assert lines[0].endswith(", 000000000000 there")


def test_what_only_one_has_answered_is_a_note(copies: tuple[Path, Path]) -> None:
    here, there = copies
    shutil.rmtree(there / "30-judge/outbox/r1")
    observe(there, "o-1", "kept")
    code, lines, last = compared(here, there)
    assert code == 0 and last == "2 requests answered by both, 0 of them differently"
    assert lines == ["note: 30-judge: answered here alone: r1", "note: memory: answered there alone: o-1"]


def observe(run: Path, id: str, text: str) -> None:
    """A reply of the memory service."""
    observation = {**json.loads(OBSERVATION.read_bytes()), "text": text}
    reply = {"schema": "remembered.v1", "observation": observation, "request_sha256": "1" * 64}
    (run / "memory/outbox" / f"{id}.json").write_bytes(files.canonical(reply))


def test_a_service_that_answered_differently(copies: tuple[Path, Path]) -> None:
    for number, texts in enumerate((("one", "one"), ("one", "other"))):
        for run, text in zip(copies, texts, strict=True):
            observe(run, f"o-{number}", text)
    code, lines, _ = compared(*copies)
    assert (code, lines) == (1, ["memory o-1: answered differently: observation"])


def test_what_was_measured_is_no_part_of_an_answer() -> None:
    reply = {"seconds": 1.5, "text": "yes", "spent": {"usd": 0.1, "calls": [{"cpu_s": 2, "model": "a"}]}}
    assert answer(reply) == {"text": "yes", "spent": {"calls": [{"model": "a"}]}}


def test_what_was_measured_is_no_difference_between_documents_either(copies: tuple[Path, Path]) -> None:
    here, there = copies
    verdict = json.loads((here / "30-judge/outbox/r1/verdict.json").read_bytes())
    for run, seconds in ((here, 1.5), (there, 2.5)):
        replied(run, "30-judge", "verdict.json", files.pretty(verdict | {"seconds": seconds}))
        replied(run, "10-list", "rows.jsonl", b"".join(files.canonical({"n": n, "usd": seconds}) for n in range(3)))
    assert compared(here, there)[0] == 0
    replied(there, "10-list", "rows.jsonl", b'{"n":0}\n{"n":1}\n{"n":3}\n')
    replied(there, "30-judge", "verdict.json", files.pretty(verdict | {"slices": {}}))
    code, lines, _ = compared(here, there)
    assert code == 1 and ["rows.jsonl" in lines[0], "verdict.json" in lines[1]] == [True, True]


def test_a_damaged_reply_is_a_difference(copies: tuple[Path, Path]) -> None:
    (copies[1] / "20-sum/outbox/r1/reply.json").write_text("{")
    code, lines, _ = compared(*copies)
    assert code == 1 and "20-sum r1: cannot be compared: " in lines[0] and "see bin/check" in lines[0]


def test_how_two_runs_are_related(copies: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = copies
    assert relation(here, there).startswith("the second was unpacked from an archive of the first (sha256 ")
    assert relation(there, here).startswith("the first was unpacked from an archive of the second (sha256 ")
    command("unpack", tmp_path / "runs/small.tar.gz", "--runs", tmp_path / "third")
    assert relation(there, tmp_path / "third/small").startswith("both come from one archive (sha256 ")
    unrelated = make(tmp_path / "alone")
    assert relation(here, unrelated) == "the same goal and seed, but not known to be related"
    edit(unrelated / "run.json", seed=2)
    assert relation(here, unrelated) == "two runs of different seeds, which are no copies of each other"
    assert relation(here, here) == "the same folder twice"


def test_a_lineage_keeps_its_ancestors(archive: Path, tmp_path: Path) -> None:
    known, packed = [], archive
    for number in range(2):
        known.append({"sha256": files.sha256_file(packed), "run": "small" if number < 1 else f"small-{number}"})
        for name in (f"small-{number + 1}", f"again-{number + 1}"):
            assert command("unpack", packed, "--runs", tmp_path, "--name", name).returncode == 0
            lineage = (tmp_path / name / "lineage.json").read_bytes()
            assert json.loads(lineage) == {"schema": "lineage.v1", "archives": known}
        assert command("check", tmp_path / f"small-{number + 1}").returncode == 0
        command("pack", tmp_path / f"small-{number + 1}", "--out", packed := tmp_path / f"{number}.tar.gz")


@pytest.mark.parametrize("name", ["lineage.json", "packed.json"])
def test_a_torn_record_is_named(name: str, finished: Path) -> None:
    (finished / name).write_text("{")
    ended = command("check", finished)
    assert ended.returncode == 1 and f"{name}: not JSON" in ended.stdout
    both = command("check", finished, finished.parent.parent / "runs" / "small")
    assert both.returncode == 0 and "the same folder twice" in both.stdout
    if name == "packed.json":
        refused = command("pack", finished)
        assert refused.returncode == 1 and "packed.json: not JSON" in refused.stderr
        assert not (finished / "HOLD").exists() and os.listdir(finished.parent) == ["small"]
