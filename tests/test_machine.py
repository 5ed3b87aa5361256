"""What differs about the machine that a run is unpacked on."""

import copy
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from _machine import differences, record
from tests.forged import Forged
from tests.small import command

GPU = {"name": "NVIDIA H200", "memory_bytes": 150_754_820_096, "driver": "570.86"}


def other(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(record()), **changes}


def test_a_machine_does_not_differ_from_itself() -> None:
    assert list(differences(record(), record())) == []


@pytest.mark.parametrize(("there", "line"), [
    ({"gpus": [GPU, GPU]}, "GPUs: 2 × NVIDIA H200 (140 GiB) there, none here"),
    ({"cpus": 9999}, f"cores: 9999 there, {len(os.sched_getaffinity(0))} here"),
    ({"python": "3.11.0rc1"}, f"python: 3.11.0rc1 there, {platform.python_version()} here"),
    ({"platform": "Linux riscv64"}, f"platform: Linux riscv64 there, Linux {platform.machine()} here"),
    ({"memory_bytes": 1 << 50}, "memory: 1048576 GiB there, "),
    ({"versions": {**record()["versions"], "torch": "0.1"}}, "torch: 0.1 there, "),
    ({"versions": {**record()["versions"], "vllm": "1.0"}}, "vllm: 1.0 there, not installed here"),
    ({"versions": {k: v for k, v in record()["versions"].items() if k != "peft"}}, "peft: not installed there, "),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")  # fmt: skip
def test_each_difference_is_one_line(there: dict[str, Any], line: str) -> None:
    (found,) = differences({**other(gpus=[]), **there}, other(gpus=[]))
    assert found.startswith(line)


def test_a_little_memory_is_no_difference() -> None:
    here = record()
    assert list(differences({**here, "memory_bytes": round(here["memory_bytes"] * 0.95)}, here)) == []


def test_two_drivers_of_one_gpu() -> None:
    there, here = other(gpus=[GPU]), other(gpus=[{**GPU, "driver": "535.1"}])
    assert list(differences(there, here)) == ["GPU driver: 570.86 there, 535.1 here"]


def test_unpack_says_it_before_the_run_goes_on(archive: Path, tmp_path: Path) -> None:
    forged = Forged(archive)
    assert forged.manifest["machine"] == record()
    same = command("unpack", forged.save(tmp_path / "x.tar.gz"), "--runs", tmp_path / "same")
    assert same.stdout.startswith("this machine has what the one had that packed it\n")
    forged.manifest["machine"] |= {"gpus": [{**GPU, "name": "NVIDIA \x1b[31mH200"}], "cpus": 9999}
    ended = command("unpack", forged.save(tmp_path / "x.tar.gz"), "--runs", tmp_path / "runs")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("differs: GPUs: 1 × NVIDIA H200 (140 GiB) there, ") and "\x1b" not in ended.stdout
    assert lines[1].startswith("differs: cores: 9999 there, ") and "go on: " in lines[-1]
    del forged.manifest["machine"]
    older = command("unpack", forged.save(tmp_path / "x.tar.gz"), "--runs", tmp_path / "older")
    assert older.stdout.startswith("the file does not say what the machine had that packed it\n")


def test_nothing_in_it_names_this_host(archive: Path) -> None:
    text = json.dumps(Forged(archive).manifest)
    assert platform.node() not in text and str(Path.home()) not in text and "disk" not in text
