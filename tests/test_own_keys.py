"""The keys that this machine's models use are found in a run, whatever their form and encoding, and are not told."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import _secrets
from agents.models.keys import forms_of
from tests import small

KEY = "plain words of no issuer: 7c1f~9d".replace(" ", "_")  # of a form that nobody could know
PLACES = (
    *("llm/inbox/q-1.json", "llm/outbox/q-1.json", "llm/dead/q-1.json", "llm/ledger.jsonl", "supervisor/guard.log"),
    *("10-list/work/r1/try-1/crash.json", "10-list/outbox/r1/list.txt", "config/start-1.json", "goal.md"),
)


@pytest.fixture
def keyed(finished: Path) -> Path:
    """A finished run on a machine whose config enables a profile with a key."""
    models = {"one": {"endpoint": "https://models.invalid/v1", "model": "m", "key_env": "SOME_KEY"}}
    infra = {"models": models, "budget": {"usd": 1, "models": ["one"]}}
    (finished.parent.parent / "config" / "infra.yaml").write_text(yaml.safe_dump(infra))
    return finished


def command(name: str, run: Path, *more: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(small.ROOT / "bin" / name), str(run), *map(str, more)]
    argv += ["--config", str(run.parent.parent / "config")]
    return subprocess.run(argv, env={**os.environ, "SOME_KEY": KEY}, capture_output=True, text=True, timeout=60)


def test_a_run_without_it_is_whole_and_packed(keyed: Path) -> None:
    assert command("check", keyed).returncode == 0
    assert command("pack", keyed).returncode == 0


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_it_stands_and_never_told(keyed: Path, place: str) -> None:
    path = keyed / place
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = base64.b64encode(f"Bearer {KEY}".encode()).decode()
    path.write_text((path.read_text() if path.exists() else "") + f"\nx{coded}")
    checked, packed = command("check", keyed), command("pack", keyed)
    assert checked.returncode == packed.returncode == 1
    assert f"{place}: line " in checked.stdout and "holds a key that config/infra.yaml uses" in checked.stdout
    assert f"{place}: line " in packed.stderr and not list(keyed.parent.glob("*.tar.gz*"))
    told = checked.stdout + checked.stderr + packed.stdout + packed.stderr
    assert not [form for form in forms_of(KEY) if form in told]


def test_it_is_found_in_a_name_and_never_told(keyed: Path) -> None:
    (keyed / "supervisor" / f"of-{KEY}.txt").touch()
    checked, packed = command("check", keyed), command("pack", keyed)
    assert checked.returncode == packed.returncode == 1 and not list(keyed.parent.glob("*.tar.gz*"))
    for said in (checked.stdout, packed.stderr):
        assert "supervisor/of-….txt: its name holds a key that config/infra.yaml uses" in said
        assert not [form for form in forms_of(KEY) if form in said]


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_blocks_hide_no_form_of_it(size: int) -> None:
    key = KEY * 20  # longer than any form of an issuer's key
    for form in forms_of(key):
        data = b"." * 700 + form.encode() + b"." * 700
        scanner = _secrets.Scanner([one.encode() for one in forms_of(key)])
        found = [said for at in range(0, len(data), size) for said in scanner.feed(data[at : at + size])]
        assert [*found, *scanner.end()], form[:20]
