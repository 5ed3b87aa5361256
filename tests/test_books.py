"""bin/check of a run that asked models: its books are part of it, and each damage to them is named."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bus import files
from tests import small
from tests.asking import Asking, profile, question
from tests.processes import eventually
from tests.scripted.fixture import Scripted

PRICE = {"input": 10.0, "output": 20.0}


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that asked four questions: one was answered by a 500 first, and the agent of one was killed."""
    folder = tmp_path_factory.mktemp("paid")
    rules = [{"when": {"nth": 1}, "status": 500}, {"when": {"nth": [5, 9]}, "wire": "silent"}]
    with Scripted(folder / "a", rules=rules) as first, Scripted(folder / "b") as second:
        there = Asking(folder, {"one": profile(first.url, price=PRICE)}, usd=1)
        with there.agent() as agent:
            for text in "abc":
                there.ask(text)
            there.asker().put([there.asker().call("teacher", question("d"))])
            eventually(lambda: len(there.ledger()) == 9)
            agent.kill()
            agent.wait()
        there = Asking(folder, {"one": profile(second.url, price=PRICE)}, usd=1)
        with there.agent():
            there.ask("d")
    return there.folder


@pytest.fixture
def run(paid: Path, tmp_path: Path) -> Path:
    return shutil.copytree(paid, tmp_path / "small")


def test_a_run_that_asked_models_is_whole(run: Path) -> None:
    ended = small.command("check", run)
    assert ended.returncode == 0 and ended.stdout.startswith(f"{run}: whole: 4 replies"), ended.stdout


def test_it_is_packed_and_unpacked_whole_and_goes_on_with_its_books(run: Path, tmp_path: Path) -> None:
    assert small.command("pack", run, "--out", tmp_path / "it.tar.gz").returncode == 0
    with tarfile.open(tmp_path / "it.tar.gz") as tar:
        names = [name.removeprefix("small/llm/") for name in tar.getnames()]
    assert names.index("ledger.jsonl") > max(at for at, name in enumerate(names) if name.startswith("outbox/"))
    assert small.command("unpack", tmp_path / "it.tar.gz", "--runs", tmp_path / "there").returncode == 0
    moved = tmp_path / "there" / "small"
    assert (moved / "llm/ledger.jsonl").read_bytes() == (run / "llm/ledger.jsonl").read_bytes()
    assert small.command("check", moved).returncode == 0
    assert small.command("check", run, moved).returncode == 0


def test_a_torn_last_line_is_noted_and_no_harm(run: Path) -> None:
    ledger = run / "llm" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes() + b'{"n":99,"event":"res')
    ended = small.command("check", run)
    assert ended.returncode == 0 and "note: llm/ledger.jsonl line 12: is torn" in ended.stdout, ended.stdout


def change(where: Callable[[list[dict]], list[dict]]) -> Callable[[Path], None]:
    """A change of the ledger's lines."""

    def spoil(run: Path) -> None:
        ledger = run / "llm" / "ledger.jsonl"
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        ledger.write_bytes(b"".join(files.canonical(line) for line in where(lines)))

    return spoil


def cheaper(run: Path) -> None:
    path = next((run / "llm" / "outbox").glob("*.json"))
    reply = json.loads(path.read_bytes())
    path.write_bytes(files.canonical(reply | {"usd": 0.0}))


def changed_byte(run: Path) -> None:
    ledger = run / "llm" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"event":"reserve"', b'"event":reserve"', 1))


UNKNOWN = "by attempts that llm/ledger.jsonl does not know"
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no reserve": (change(lambda lines: lines[1:]), "line 1: settles number 1, which is not reserved"),
    "settled twice": (change(lambda lines: [*lines, lines[-1]]), "or is settled already"),
    "another call": (change(lambda lines: [lines[0], {**lines[1], "call": "x"}, *lines[2:]]), "was reserved for"),
    "numbers that fall": (change(lambda lines: [*lines[2:4], *lines[:2], *lines[4:]]), "is number 1, after 2"),
    "a refund": (change(lambda lines: [*lines[:-1], {**lines[-1], "usd": -1.0}]), "usd: -1.0 cannot be"),
    "no line of a ledger": (change(lambda lines: [*lines, {"n": 50}]), "is no line of a ledger"),
    "a cheaper line": (change(lambda lines: [*lines[:7], {**lines[7], "usd": 0.0}, *lines[8:]]), UNKNOWN),
    "no ledger": (lambda run: (run / "llm/ledger.jsonl").unlink(), UNKNOWN),
    "a cheaper reply": (cheaper, "says usd 0.0, and its attempts come to"),
    "a changed byte": (changed_byte, "line 1: it: not JSON"),
    "a marker that is none": (lambda run: (run / "llm/REPLAY").write_text("[]"), "REPLAY: is not {profiles, lost}"),
    "a link": (lambda run: (run / "llm/REPLAY").symlink_to("ledger.jsonl"), "llm/REPLAY: is a symbolic link"),
    "another's file": (lambda run: (run / "llm/notes.txt").touch(), "notes.txt: is no part of a mailbox"),
    "books elsewhere": (lambda run: (run / "10-list/ledger.jsonl").touch(), "ledger.jsonl: is no part of a"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_the_books_is_named(kind: str, run: Path) -> None:
    spoil, said = DAMAGE[kind]
    spoil(run)
    ended = small.command("check", run)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert any(said in line and not line.startswith("note: ") for line in ended.stdout.splitlines()), ended.stdout
