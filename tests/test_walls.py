"""What walls a run has is tried when it starts, and told in its log and by bin/status."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents._walls import sandbox
from tests import small
from tests.asking import Asking, profile
from tests.processes import PATIENCE_S, ROOT, environment, eventually
from tests.test_sandbox_apart import REFUSING

NOWHERE = {"one": profile("http://127.0.0.1:1/v1")}
CAN_REFUSE = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def supervised(there: Asking, *before: str, **env: str) -> Iterator[list[dict]]:
    """The walls in the log of a supervised run that is held, so that nothing else happens in it."""
    (there.folder / "HOLD").touch()
    argv = [*before, sys.executable, str(ROOT / "bin/supervise"), str(there.folder), "--config", str(there.config)]
    child = subprocess.Popen(argv, env=environment(**env), stdout=subprocess.DEVNULL)
    log, told = there.folder / "supervisor/log.jsonl", list[dict]()

    def found() -> bool:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        told[:] = [line for line in lines if line["event"] in ("sandbox", "apart")]
        return bool(told)

    try:
        eventually(found)
        yield told
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


def test_a_run_that_may_ask_models_has_its_sandbox_proved(tmp_path: Path) -> None:
    with supervised(Asking(tmp_path, NOWHERE)) as told:
        assert told[0]["line"].startswith("sandbox: ")
        assert told[0]["lacks"] or told[0]["line"].startswith("sandbox: bwrap, memory and processes by ")


def test_a_sandbox_that_cannot_be_had_is_told_and_stops_nothing(tmp_path: Path) -> None:
    there = Asking(tmp_path, NOWHERE)
    with supervised(there, PATH=str(tmp_path)) as told:
        said = "sandbox: bubblewrap is not installed; install it"
        assert told[0]["lacks"] and told[0]["line"].startswith(said)
        eventually(lambda: f"note: {said}" in small.command("status", there.folder).stdout)


@pytest.mark.skipif(not CAN_REFUSE, reason="this machine makes no user namespaces")
def test_commands_that_cannot_run_apart_are_told(tmp_path: Path) -> None:
    there = Asking(tmp_path, {"off": profile(None)})
    with supervised(there, "unshare", "-Ur", "sh", "-c", REFUSING, "sh") as told:
        assert [one["event"] for one in told] == ["apart"], "with no model, no sandbox is tried"
        assert "commands see other processes, and what they hold: no pid namespace" in told[0]["line"]
        eventually(lambda: "note: commands see other" in small.command("status", there.folder).stdout)


def test_a_sandbox_that_nobody_wants_lacks_nothing() -> None:
    assert sandbox("refuse") == ("sandbox", "sandbox: refuse: code of a model is not run", False)
