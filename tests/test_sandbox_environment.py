"""What of the environment the processes of a run get."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.sandbox.environment import clean_environment
from tests import small
from tests.processes import ROOT, environment, eventually

CANARY = "canary-9f86d081884c7d65"
SECRETS = {
    "OPENROUTER_API_KEY": CANARY,
    "NVIDIA_API_KEY": CANARY,  # a prefix that training needs would let it in
    "HF_TOKEN": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "https_proxy": f"http://me:{CANARY}@127.0.0.1:9",
    "ALL_PROXY": CANARY,
    "HF_ENDPOINT": f"https://me:{CANARY}@127.0.0.1",
    "ANYTHING": CANARY,
    "GIT_ASKPASS": CANARY,
}
NEEDED = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "CUDA_VISIBLE_DEVICES": "1",
    "OMP_NUM_THREADS": "2",
    "HF_HOME": "/somewhere",
    "TMPDIR": "/tmp",
}


def test_what_training_needs_passes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {**SECRETS, **NEEDED}.items():
        monkeypatch.setenv(name, value)
    assert clean_environment() == NEEDED
    assert clean_environment({"MORE": "x", "PATH": "/bin"}) == {**NEEDED, "MORE": "x", "PATH": "/bin"}


def held(folder: Path) -> dict[str, str]:
    """{argv: environment} of every process that serves a mailbox of a run."""
    found = {}
    for one in Path("/proc").glob("[0-9]*"):
        try:
            argv = one.joinpath("cmdline").read_text().split("\0")
            if str(folder) in argv and "--step" in argv:
                found[argv[argv.index("--step") + 1]] = one.joinpath("environ").read_text()
        except OSError:  # it has ended
            continue
    return found


def test_supervised_agents_hold_no_key(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs")
    (folder / "HOLD").touch()
    argv = [sys.executable, str(ROOT / "bin/supervise"), str(folder), "--config", str(tmp_path / "config")]
    with subprocess.Popen(argv, env=environment(**SECRETS, OMP_NUM_THREADS="2"), stdout=subprocess.DEVNULL) as keeper:
        try:
            eventually(lambda: len(held(folder)) == 4 and all("PYTHONPATH" in one for one in held(folder).values()))
            environments = held(folder)
            own = Path(f"/proc/{keeper.pid}/environ").read_text()
        finally:
            keeper.terminate()
    assert sorted(environments) == ["10-list", "20-sum", "30-judge", "memory"]
    assert CANARY in own, "the supervisor has it, to give to the llm agent alone"
    for name, one in environments.items():
        assert CANARY not in one and "OMP_NUM_THREADS=2" in one, name
