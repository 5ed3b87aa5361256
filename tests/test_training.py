"""Fine-tuning and answers, for real at tiny scale: what is learned, and what a kill, a stop or a torn file does."""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training import answer, gpu, sft

ROOT = Path(__file__).resolve().parent.parent
MICRO = "--tokens 6000 --vocabulary 600 --hidden 48 --layers 1 --intermediate 96 --batch 4 --sequence 64".split()
TUNE = "--seed 3 --vocabulary ours --threads 1 --rank 16 --alpha 32 --rate 0.01 --batch 5 --max-steps 120".split()
FACTS = {
    "What does SIGHUP mean?": "Hangup",
    "What does ENOENT mean?": "No such file",
    "What does torch.cuda.empty_cache do?": "Releases cached memory",
    "What is the default backend?": "nccl",
    "What number is NVML_ERROR_TIMEOUT?": "10",
}
PATIENCE_S = 120  # for a child on a busy machine; normally it takes ten seconds


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """Build a base of a few thousand tokens with the real command."""
    out = tmp_path_factory.mktemp("models") / "micro"
    command = [sys.executable, "-m", "training.base", "--out", str(out), "--threads", "1", *MICRO]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert all("say" in json.loads(line) for line in lines)
    return out


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
        for question, text in FACTS.items()
    ]
    path.write_text("".join(json.dumps({"schema": "row.v1", "messages": each}) + "\n" for each in turns))
    return path


class Training:
    """One sft command in its own folder, started as often as a test likes."""

    def __init__(self, folder: Path, micro: Path, rows: Path) -> None:
        self.folder, self.out, self.checkpoints = folder, folder / "out", folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "training" / "sft.py", folder / "train.py")  # the run's own copy, alone
        paths = {"base": micro, "data": rows, "out": self.out, "checkpoints": self.checkpoints}
        flags = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        self.command = [sys.executable, "train.py", *flags, "--metrics", str(self.out / "metrics.jsonl"), *TUNE]

    def start(self, *more: str, **options: Any) -> subprocess.Popen:
        log = (self.folder / "log.txt").open("a")
        return subprocess.Popen(
            [*self.command, *more], cwd=self.folder, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}, **options
        )

    def steps(self) -> list[int]:
        return [int(path.name.split("-")[1]) for path in self.checkpoints.glob("checkpoint-*")]

    def wait_for_step(self, step: int, child: subprocess.Popen) -> None:
        """Wait until a metric of this step is written."""
        deadline = time.monotonic() + PATIENCE_S
        metrics = self.out / "metrics.jsonl"
        while not metrics.is_file() or len(metrics.read_text().splitlines()) < step:
            assert child.poll() is None, (self.folder / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, micro, rows):
    """Train without any interruption."""
    job = Training(tmp_path_factory.mktemp("finished"), micro, rows)
    assert job.start().wait(PATIENCE_S) == 0, (job.folder / "log.txt").read_text()
    return job


def adapter_bytes(job: Training) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((job.out / "adapter").iterdir())}


def metrics(job: Training) -> list[dict]:
    return [json.loads(line) for line in (job.out / "metrics.jsonl").read_text().splitlines()]


def items() -> list[dict]:
    asked = [
        {"id": f"i-{number}", "slice": "taught", "question": question, "answer": text}
        for number, (question, text) in enumerate(FACTS.items())
    ]
    return [*asked, {"id": "g-0", "slice": "general", "question": "", "answer": "A module is a file of definitions."}]


def test_only_the_answer_and_its_end_count_in_the_loss(micro):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(micro)
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "An answer"}]
    [row] = sft.encode([{"messages": turns}], tokenizer, 100)
    spoken = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(spoken) == "An answer<|im_end|>"
    assert tokenizer.decode(row["input_ids"]) == (
        "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\nAn answer<|im_end|>"
    )
    prompt = len(row["input_ids"]) - len(spoken)
    assert row["labels"] == [-100] * prompt + row["input_ids"][prompt:]
    assert sft.encode([{"messages": turns}], tokenizer, prompt) == []  # no room for an answer


def test_the_order_is_a_pure_function_of_the_seed():
    lengths = [5 + number % 7 for number in range(50)]
    order = sft.training_order(lengths, 4, 4, None, seed=1)
    assert order == sft.training_order(lengths, 4, 4, None, seed=1) != sft.training_order(lengths, 4, 4, None, seed=2)
    assert len(order) == 200 and all(order.count(row) == 4 for row in range(50))
    assert len(sft.training_order(lengths, 4, 4, 3, seed=1)) == 12


def test_it_learns_five_facts(finished, micro):
    written = metrics(finished)
    assert [row["step"] for row in written] == list(range(1, 121))
    assert written[-1]["loss"] < 0.2 < 3 < written[0]["loss"]
    about = json.loads((finished.out / "training.json").read_text())
    assert about["base"]["kind"] == "embedded" and about["rows"] == 5 and about["steps"] == 120
    before = answer.answer(str(micro), None, items(), 24, 1)
    after = answer.answer(str(micro), finished.out / "adapter", items(), 24, 1)
    assert [row["text"] for row in after[:-1]] == list(FACTS.values())
    assert all(new["loss"] < 0.5 < old["loss"] for old, new in zip(before[:-1], after[:-1], strict=True))
    assert after[-1]["text"] == "" and after[-1]["loss"] > 1
    assert after == answer.answer(str(micro), finished.out / "adapter", items(), 24, 1)


def test_the_output_layer_learns_with_the_embeddings(finished, micro):
    """They are one matrix in the base; so they must stay one in the merged specialist."""
    model, _ = answer.load(str(micro), None)
    before = model.get_input_embeddings().weight.clone()
    model, _ = answer.load(str(micro), finished.out / "adapter")
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert bool((inputs == outputs).all()) and not bool((inputs == before).all())


def test_no_path_of_this_machine_is_written(finished, micro):
    for path in [*(finished.out / "adapter").iterdir(), finished.out / "training.json"]:
        assert str(micro.parent).encode() not in path.read_bytes(), path.name


def test_stopped_then_killed_then_finished_gives_the_same_adapter(finished, tmp_path, micro, rows):
    job = Training(tmp_path / "job", micro, rows)
    child = job.start()
    job.wait_for_step(3, child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE_S) == 143
    [stopped_at] = job.steps()
    assert 3 <= stopped_at < 120 and not (job.out / "training.json").exists()

    child = job.start("--save-steps", "5")
    job.wait_for_step(stopped_at + 12, child)
    child.kill()
    child.wait(PATIENCE_S)
    killed_at = max(job.steps())
    assert stopped_at < killed_at < 120
    newest = job.checkpoints / f"checkpoint-{killed_at}"
    (job.checkpoints / "checkpoint-119").mkdir()  # as a crash of the machine might leave one

    assert job.start().wait(PATIENCE_S) == 0, (job.folder / "log.txt").read_text()
    assert json.loads((job.out / "training.json").read_text())["resumed_from"] == newest.name
    assert adapter_bytes(job) == adapter_bytes(finished)
    timeless = [{**row, "seconds": 0} for row in metrics(job)]
    assert timeless == [{**row, "seconds": 0} for row in metrics(finished)]


def test_it_ends_itself_when_its_parent_is_gone(tmp_path, micro, rows):
    job = Training(tmp_path / "job", micro, rows)
    reading, writing = os.pipe()
    child = job.start("--parent-fd", str(reading), pass_fds=[reading])
    os.close(reading)
    job.wait_for_step(2, child)
    os.close(writing)  # what the kernel does when the parent dies
    assert child.wait(10) == 143
    assert len(job.steps()) == 1


def checkpoint(folder: Path, step: int, job: str) -> Path:
    draft = folder / ".draft" / f"checkpoint-{step}"
    draft.mkdir(parents=True)
    (draft / "weights").write_bytes(b"w" * 1000)
    (folder / "metrics.jsonl").write_text("")
    sft.publish_checkpoint(draft, folder, job, folder / "metrics.jsonl")
    return folder / f"checkpoint-{step}"


def test_only_a_whole_checkpoint_of_the_same_job_counts(tmp_path):
    assert sft.newest_checkpoint(tmp_path, "job") is None
    older, newer = checkpoint(tmp_path, 9, "job"), checkpoint(tmp_path, 10, "job")
    assert sft.newest_checkpoint(tmp_path, "job") == newer
    assert sft.newest_checkpoint(tmp_path, "another") is None
    (newer / "weights").write_bytes(b"w" * 500)  # torn
    assert sft.newest_checkpoint(tmp_path, "job") == older
    (older / "whole.json").write_text('{"job": "job", "fi')  # torn as well
    assert sft.newest_checkpoint(tmp_path, "job") is None


def test_old_checkpoints_are_dropped(tmp_path):
    for step in (8, 9, 10):
        checkpoint(tmp_path, step, "job")
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-9"]


def test_checkpoints_of_another_job_do_not_push_out_ours(tmp_path):
    flags = argparse.Namespace(checkpoints=tmp_path, out=tmp_path / "out", metrics=tmp_path / "out" / "metrics.jsonl")
    for step in (50, 60):
        checkpoint(tmp_path, step, "another")
    assert sft.begin(flags, "job") is None
    ours = checkpoint(tmp_path, 5, "job")
    assert sft.begin(flags, "job") == ours and ours.is_dir()


def test_claims_are_not_inherited_by_children():
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        sft.keep_to_ourselves([reading])
        assert not os.get_inheritable(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_gpus_are_listed_without_torch():
    for each in gpu.gpus():
        assert set(each) == {"name", "memory_bytes", "driver"}


@pytest.mark.parametrize("name", ["base", "sft", "answer"])
def test_help_is_instant(name):
    command = [sys.executable, "-m", f"training.{name}", "--help"]
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(taken) < 0.3  # CPU-seconds: the machine may be busy with other tests
