"""bin/chat: base and specialist answer the same question, from the weights that were replied and no others."""

import json
import sys
from pathlib import Path

import pytest

from tests.small import ROOT, command, make, work

MICRO = "--tokens 3000 --vocabulary 600 --hidden 48 --layers 1 --intermediate 96 --batch 4 --sequence 64 --threads 1"
TUNE = "--seed 1 --vocabulary ours --threads 1 --rank 16 --alpha 32 --rate 0.01 --batch 3 --max-steps 120"
QUESTION, ANSWER = "What does SIGHUP mean?", "Hangup"
FACTS = {QUESTION: ANSWER, "What does ENOENT mean?": "No such file", "What is the default backend?": "nccl"}


def test_before_a_training_it_waits(finished: Path) -> None:
    ended = command("chat", finished, "hi")
    assert (ended.returncode, ended.stdout) == (76, "") and "has no reply yet" in ended.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose one step really trained a tiny base to say one thing."""
    folder = tmp_path_factory.mktemp("chat")
    turns = [[{"role": "user", "content": one}, {"role": "assistant", "content": two}] for one, two in FACTS.items()]
    rows = [json.dumps({"schema": "row.v1", "messages": each}) + "\n" for each in turns]
    (folder / "train.jsonl").write_text("".join(rows))
    script = f"""set -e; cd {ROOT}; python={sys.executable}
        $python -m training.base --out "$2/base" {MICRO}
        $python training/sft.py --base "$2/base" --data {folder}/train.jsonl --out "$2" \\
            --checkpoints {folder}/checkpoints --metrics "$2/metrics.jsonl" {TUNE}"""
    flow = {
        "50-train": {
            "command": ["sh", "-c", script, "train"],
            "reads": ["goal.md"],
            "writes": {
                "base/*": "files", "adapter/*": "files", "metrics.jsonl": "metric.v1", "training.json": "training.v1",
            },
        }
    }  # fmt: skip
    run = make(folder / "runs", flow)
    work(run, "50-train")
    return run


def test_both_answer_the_same_question(trained: Path) -> None:
    assert command("check", trained).returncode == 0
    ended = command("chat", trained, QUESTION, "--tokens", "8")
    assert ended.returncode == 0, ended.stderr
    base, specialist = ended.stdout.splitlines()
    assert base.startswith("base:  ") and specialist == f"specialist: {ANSWER}"
    assert base.removeprefix("base:").strip() != ANSWER


def test_weights_that_are_not_those_replied_do_not_answer(trained: Path) -> None:
    weights = trained / "50-train/outbox/r1/adapter/adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        ended = command("chat", trained, QUESTION)
    finally:
        weights.write_bytes(whole)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "adapter_model.safetensors: its bytes have changed" in ended.stderr
