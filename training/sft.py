"""Fine-tune a base model with LoRA on question-answer rows; only the assistant's turn counts in the loss.

    python -m training.sft --base models/base-1234abcd --vocabulary ours --data train.jsonl \\
        --out out --checkpoints kept/checkpoints --metrics out/metrics.jsonl --seed 1

Self-contained: a copy of this file alone, anywhere, runs. The same command after a kill goes on from the newest whole
checkpoint of the same job. SIGTERM, or the end of the process that holds the other end of --parent-fd, writes a
checkpoint first and exits 143. Progress goes to stdout as JSON lines.

Writes  OUT/adapter/        the PEFT adapter (safetensors)
        OUT/training.json   training.v1: what was trained, on what, and how
        METRICS             metric.v1 rows, one per optimizer step, appended as it goes
"""

import argparse
import fcntl
import hashlib
import json
import math
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Defaults and their reasons, printed at the start. "ours": the embedded base, whose vocabulary this project trained on
# general text, so the domain's tokens hardly have a meaning yet. "theirs": any published model.
DEFAULTS: dict[str, dict[str, tuple[float, str]]] = {
    "ours": {
        "rank": (64, "the rank with which this base was measured to learn facts, its embeddings trained too"),
        "alpha": (128, "twice the rank, the usual scale"),
        "rate": (4e-3, "measured, exact match on new wordings: 2e-3 .27, 4e-3 .38; later .79, and 8e-3 .73"),
        "batch": (16, "rows per step; smaller batches give more steps for the same minutes"),
        "epochs": (4, "measured with 4 rows of each family: exact match .70; general text suffers with each"),
        "max_length": (192, "tokens; questions and answers of the extractive teacher are shorter"),
    },
    "theirs": {
        "rank": (16, "enough for thousands of rows (LoRA, Hu et al. 2021)"),
        "alpha": (32, "twice the rank, the usual scale"),
        "rate": (2e-4, "the rate of QLoRA (Dettmers et al. 2023) for models of this size"),
        "batch": (16, "rows per step, as in QLoRA"),
        "epochs": (3, "more repeats the rows rather than teaching them"),
        "max_length": (1024, "tokens; bounds the memory of a step"),
    },
}
INTEGERS = ("rank", "alpha", "batch", "max_length")
MICRO_BATCH = 4  # rows in memory at once for a published model; the rest of the batch is accumulated
WARMUP_SHARE = 0.05  # of all steps
BUCKET_BATCHES = 16  # rows of this many batches are sorted by length together, so that little padding is computed
SAVE_EVERY_S = 20.0  # seconds between checkpoints: what a kill may cost
DRAFT = ".draft"  # checkpoints are written here and renamed when they are whole
KEPT_CHECKPOINTS = 2  # the newest, and one more in case a disk loses the newest
LAST_SECONDS = 8.0  # after the parent's end: time for a checkpoint, then the process goes in any case
PROGRESS_EVERY_S = 1.0
STOPPED = 128 + signal.SIGTERM

stop = threading.Event()  # set by SIGTERM or by the parent's end; the trainer looks at it after every step
training = threading.Event()  # set once there is something worth a checkpoint


def say(text: str, **numbers: object) -> None:
    print(json.dumps({"say": text, **numbers}), flush=True)


def end_early(*_: object) -> None:
    """Ask the trainer to stop with a checkpoint; before training there is nothing to keep, so leave at once."""
    stop.set()
    if not training.is_set():
        os._exit(STOPPED)


def watch_parent(descriptor: int) -> None:
    """Wait until the other end of the pipe is closed, which the kernel does however the parent ends."""
    closed = select.poll()  # not select(), which refuses a descriptor past 1,023
    closed.register(descriptor, 0)  # the hang-up is always told
    closed.poll()
    end_early()
    time.sleep(LAST_SECONDS)
    os._exit(STOPPED)


def settings_of(flags: argparse.Namespace) -> dict[str, Any]:
    """Return every setting: the flag where it was given, else the default for this vocabulary, with its reason said."""
    chosen: dict[str, Any] = {}
    for name, (value, reason) in DEFAULTS[flags.vocabulary].items():
        given = getattr(flags, name)
        chosen[name] = int(value) if given is None and name in INTEGERS else value if given is None else given
        say(f"{name} {chosen[name]:g}: " + ("asked for" if given is not None else reason))
    return {**chosen, "max_steps": flags.max_steps, "seed": flags.seed, "vocabulary": flags.vocabulary}


def prompt_text(messages: list[dict[str, str]], tokenizer: "PreTrainedTokenizerBase") -> str:
    """Render the turns before the answer, up to where the assistant starts to speak."""
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def encode(
    rows: list[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> list[dict[str, list[int]]]:
    """Return {input_ids, labels} per row; labels are -100 except on the last turn and its end-of-turn token.

    Prompt and answer are tokenized apart, so that the prompt's tokens are those of inference. A row whose prompt
    leaves no room for an answer is left out; a longer answer is cut.
    """
    encoded = []
    for row in rows:
        *turns, answer = row["messages"]
        prompt = tokenizer(prompt_text(turns, tokenizer), add_special_tokens=False)["input_ids"]
        target = tokenizer(answer["content"] + str(tokenizer.eos_token), add_special_tokens=False)["input_ids"]
        ids = [*prompt, *target][:max_length]
        if len(ids) > len(prompt):
            encoded.append({"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]})
    return encoded


def training_order(lengths: list[int], batch: int, epochs: float, max_steps: int | None, seed: int) -> list[int]:
    """Return the row numbers in training order, whole batches of similar lengths; a pure function of its arguments."""
    chance = random.Random(f"order {seed}")
    steps = max_steps or max(1, round(len(lengths) * epochs / batch))
    flow: list[int] = []
    while len(flow) < steps * batch:
        once = list(range(len(lengths)))
        chance.shuffle(once)
        flow += once
    flow = flow[: steps * batch]
    ordered: list[int] = []
    width = batch * max(1, min(BUCKET_BATCHES, len(lengths) // batch))  # within one pass: no row twice in a batch
    for start in range(0, len(flow), width):
        bucket = sorted(flow[start : start + width], key=lambda row: (lengths[row], row))
        batches = [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
        chance.shuffle(batches)
        ordered += [row for each in batches for row in each]
    return ordered


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def base_facts(base: str) -> dict[str, Any]:
    """Return kind, name and sha256 of the base; a hub model's files are named by its own hub, so it has no sha256."""
    folder = Path(base)
    if not folder.is_dir():
        return {"kind": "hub", "name": base, "sha256": None}
    weights = sorted(folder.glob("*.safetensors"))
    sums = [sha256(path) for path in weights]
    together = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
    if (folder / "base.json").is_file():
        recipe = json.loads((folder / "base.json").read_text())["recipe"]
        return {"kind": "embedded", "name": f"embedded {recipe}", "sha256": together}
    return {"kind": "folder", "name": folder.name, "sha256": together}


def newest_checkpoint(folder: Path, job: str) -> Path | None:
    """Return the newest checkpoint of this job all of whose files have the sha256 in its whole.json."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            seal = json.loads((path / "whole.json").read_text())
            if seal["job"] == job and all(sha256(path / name) == wanted for name, wanted in seal["files"].items()):
                return path
        except (OSError, ValueError, KeyError) as error:
            say(f"ignored {path.name}: not whole ({type(error).__name__})")
            continue
        say(f"ignored {path.name}: of another job or damaged")
    return None


def publish_checkpoint(draft: Path, folder: Path, job: str, metrics: Path) -> None:
    """Seal a written checkpoint with the sha256 of its files and rename it into `folder`; drop the oldest."""
    shutil.copyfile(metrics, draft / "metrics.jsonl")
    files = {path.name: sha256(path) for path in sorted(draft.iterdir())}
    (draft / "whole.json").write_text(json.dumps({"job": job, "files": files}))
    for path in [*draft.iterdir(), draft]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(folder / draft.name, ignore_errors=True)
    draft.rename(folder / draft.name)
    for path in sorted(folder.glob("checkpoint-*"), key=step_of)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name; -1 for a folder that is none of ours."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def load_base(base: str, vocabulary: str) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", str]:
    """Load model and tokenizer; return them with the method: LoRA in fp32 on a CPU, QLoRA in NF4 on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if vocabulary == "theirs" and torch.cuda.is_available():
        four_bit = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(
            base, quantization_config=four_bit, dtype=torch.bfloat16, device_map={"": 0}
        )
        return model, tokenizer, "QLoRA NF4"
    # The CPU's fused attention is slow in its backward; the plain one is a third faster on short rows.
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=attention)
    return model, tokenizer, "LoRA"


def lora(settings: dict[str, Any]) -> Any:
    """Return the PEFT configuration: all linear layers, and the embeddings too where the vocabulary is ours."""
    from peft import LoraConfig

    ours = settings["vocabulary"] == "ours"
    return LoraConfig(
        r=settings["rank"], lora_alpha=settings["alpha"], lora_dropout=0.0, target_modules="all-linear",
        modules_to_save=["embed_tokens"] if ours else None,
        ensure_weight_tying=ours,  # the output layer shares the embeddings; without this it would keep the old ones
        task_type="CAUSAL_LM",
    )  # fmt: skip


def trainer_class() -> type:
    """Return SFTTrainer with our checkpoints: written as a draft, sealed, then published by one rename."""
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        sealing: tuple[Path, str, Path]  # the checkpoints' folder, the job's hash, the metrics so far

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            publish_checkpoint(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", *self.sealing)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """On a CPU, put only the assistant's positions through the output layer: TRL's kernel puts all of them."""
            if self.args.device.type != "cpu":
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return answer_loss(model.get_base_model(), inputs, num_items_in_batch)

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """Write none: it would name this machine's folders."""

    return Trainer


def answer_loss(model: "PreTrainedModel", inputs: dict[str, Any], tokens: Any) -> Any:
    """Return the summed nats of the labelled tokens divided by `tokens`, their number in the whole optimizer step."""
    import torch

    labels = inputs["labels"][:, 1:]
    spoken = labels != -100
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16()):
        hidden = model.base_model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state[:, :-1]
        logits = model.get_output_embeddings()(hidden[spoken]).float()
    total = torch.nn.functional.cross_entropy(logits, labels[spoken], reduction="sum")
    return total / (spoken.sum() if tokens is None else tokens)


def fast_bf16() -> bool:
    """Say whether this CPU multiplies bf16 itself; where it does not, bf16 is emulated and slower than fp32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def watcher(lengths: list[int], rows: int, batch: int, flags: argparse.Namespace) -> Any:
    """Return the callback that writes metrics and progress, and decides when to save and when to stop."""
    from transformers import TrainerCallback

    before = read_rows(flags.metrics)

    class Watcher(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.monotonic() - (before[-1]["seconds"] if before else 0.0)
            self.saved = self.told = time.monotonic()
            self.tokens = sum(lengths[: state.global_step * batch])

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            step, now = state.global_step, time.monotonic()
            if not math.isfinite(logs["loss"]):
                raise SystemExit(f"sft: the loss of step {step} is not a number; lower --rate")
            self.tokens += sum(lengths[(step - 1) * batch : step * batch])
            row = {
                "schema": "metric.v1", "step": step, "epoch": round(step * batch / rows, 4),
                "loss": round(float(logs["loss"]), 6), "learning_rate": logs.get("learning_rate"),
                "grad_norm": finite(logs.get("grad_norm")),
                "tokens": self.tokens, "seconds": round(now - self.began, 3),
            }  # fmt: skip
            with flags.metrics.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if now - self.told >= PROGRESS_EVERY_S or step == state.max_steps:
                self.told = now
                say("training", step=step, total=state.max_steps, loss=round(row["loss"], 4))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if flags.save_steps:
                due = state.global_step % flags.save_steps == 0
            else:
                due = time.monotonic() - self.saved >= SAVE_EVERY_S
            if due or stop.is_set():
                control.should_save, self.saved = True, time.monotonic()
            if stop.is_set():
                control.should_training_stop = True

    return Watcher()


def finite(value: Any) -> float | None:
    """Return a number that JSON can hold, or None."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file, none if it does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def config(settings: dict[str, Any], steps: int, draft: Path) -> Any:
    """Return TRL's configuration; its own defaults are for GPUs and crash on a CPU."""
    import torch
    from trl import SFTConfig

    gpu = torch.cuda.is_available()
    micro = min(settings["batch"], MICRO_BATCH) if settings["vocabulary"] == "theirs" else settings["batch"]
    if settings["batch"] % micro:
        raise SystemExit(f"sft: --batch {settings['batch']} is no multiple of {micro}; choose another batch")
    return SFTConfig(
        output_dir=str(draft), max_steps=steps, per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings["batch"] // micro, learning_rate=settings["rate"],
        lr_scheduler_type="linear", warmup_steps=max(1, round(steps * WARMUP_SHARE)), max_grad_norm=1.0,
        weight_decay=0.0, seed=settings["seed"], train_sampling_strategy="sequential", max_length=None,
        logging_steps=1, logging_nan_inf_filter=False, save_strategy="no", report_to="none", disable_tqdm=True,
        use_cpu=not gpu, bf16=gpu, gradient_checkpointing=gpu and settings["vocabulary"] == "theirs",
        dataloader_num_workers=0, dataloader_pin_memory=gpu,
    )  # fmt: skip


def train(flags: argparse.Namespace) -> int:
    """Do the whole training, or go on with it; return the exit code."""
    settings = settings_of(flags)
    facts = base_facts(flags.base)
    job = hashlib.sha256(json.dumps([facts, sha256(flags.data), settings], sort_keys=True).encode()).hexdigest()
    resumed = begin(flags, job)
    say("loading the base model")
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    keep_memory()
    if flags.threads:
        torch.set_num_threads(flags.threads)
    model, tokenizer, method = load_base(flags.base, flags.vocabulary)
    facts["parameters"] = model.num_parameters()
    rows = read_rows(flags.data)
    encoded = encode(rows, tokenizer, settings["max_length"])
    if not encoded:
        raise SystemExit(f"{flags.data}: no row leaves room for an answer; raise --max-length")
    lengths = [len(row["input_ids"]) for row in encoded]
    order = training_order(lengths, settings["batch"], settings["epochs"], settings["max_steps"], settings["seed"])
    trainer = trainer_class()(
        model=model, processing_class=tokenizer, peft_config=lora(settings),
        args=config(settings, len(order) // settings["batch"], flags.checkpoints / DRAFT),
        train_dataset=Dataset.from_list(encoded).select(order),
        callbacks=[watcher([lengths[row] for row in order], len(encoded), settings["batch"], flags)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.sealing = (flags.checkpoints, job, flags.metrics)
    training.set()
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if trainer.state.global_step < trainer.state.max_steps:
        say("stopped; the same command goes on from here", step=trainer.state.global_step)
        return STOPPED
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    about = {
        "base": facts, "method": method, "settings": settings, "rows": len(encoded),
        "rows_left_out": len(rows) - len(encoded), "device": device,
        "resumed_from": resumed.name if resumed else None,
    }  # fmt: skip
    finish(flags, about, trainer)
    return 0


def begin(flags: argparse.Namespace, job: str) -> Path | None:
    """Make the folders, sweep half-written checkpoints, and return the one to go on from, its metrics put back."""
    shutil.rmtree(flags.checkpoints / DRAFT, ignore_errors=True)
    for folder in (flags.checkpoints, flags.out, flags.metrics.parent):
        folder.mkdir(parents=True, exist_ok=True)
    resumed = newest_checkpoint(flags.checkpoints, job)
    for path in flags.checkpoints.glob(
        "checkpoint-*"
    ):  # torn or of another job; as the newest they would push out ours
        if resumed is None or step_of(path) > step_of(resumed):
            shutil.rmtree(path)
    if resumed is None:
        flags.metrics.write_text("")
        return None
    shutil.copyfile(resumed / "metrics.jsonl", flags.metrics)
    say(f"going on from {resumed.name}")
    return resumed


def keep_memory() -> None:
    """Tell glibc to keep freed memory: buffers past its 32 MB limit would be mapped and zeroed again in every step."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def finish(flags: argparse.Namespace, about: dict[str, Any], trainer: Any) -> None:
    """Write the adapter without a path of this machine in it, and training.json beside it."""
    from importlib.metadata import version

    write_adapter(trainer.model, flags.out / "adapter", about["base"]["name"])
    metrics = read_rows(flags.metrics)
    last, tail = metrics[-1], metrics[-max(1, len(metrics) // 20) :]
    weights = list(trainer.model.parameters())
    document = {
        "schema": "training.v1", **about, "steps": last["step"], "epochs": last["epoch"], "tokens": last["tokens"],
        "final_loss": round(sum(row["loss"] for row in tail) / len(tail), 6), "seconds": last["seconds"],
        "gpu_seconds": 0.0 if about["device"] == "cpu" else last["seconds"],
        "trainable_parameters": sum(weight.numel() for weight in weights if weight.requires_grad),
        "versions": {name: version(name) for name in ("peft", "torch", "transformers", "trl")},
    }  # fmt: skip
    (flags.out / "training.json").write_text(json.dumps(document, indent=1) + "\n")
    say("trained", step=last["step"], total=last["step"], loss=document["final_loss"])


def write_adapter(model: Any, folder: Path, base: str) -> None:
    """Save the adapter; PEFT would name the base by its path here, and list its modules in no fixed order."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    written = json.loads((folder / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = base
    written["target_modules"] = sorted(written["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m training.sft", description=__doc__.splitlines()[0])
    made.add_argument("--base", required=True, help="folder of the base model, or its hub id")
    made.add_argument("--data", type=Path, required=True, help="row.v1 rows with messages")
    made.add_argument("--out", type=Path, required=True, help="folder for adapter/ and training.json")
    made.add_argument("--checkpoints", type=Path, required=True, help="folder to keep checkpoints in and resume from")
    made.add_argument("--metrics", type=Path, required=True, help="file for one metric.v1 row per step")
    made.add_argument("--seed", type=int, required=True, help="of the adapter's weights and the order of the rows")
    made.add_argument("--vocabulary", choices=sorted(DEFAULTS), required=True, help="ours: train embeddings too")
    for name in DEFAULTS["ours"]:
        values = ", ".join(f"{rules[name][0]:g} for {whose}" for whose, rules in DEFAULTS.items())
        made.add_argument(
            "--" + name.replace("_", "-"), type=int if name in INTEGERS else float, help=f"default {values}"
        )
    made.add_argument("--max-steps", type=int, help="optimizer steps, instead of epochs")
    made.add_argument("--save-steps", type=int, help=f"steps between checkpoints (default: every {SAVE_EVERY_S:g} s)")
    made.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    made.add_argument("--parent-fd", type=int, help="inherited end of a pipe; when the other end closes, stop")
    made.add_argument(
        "--claim-fd", type=int, action="append", default=[], help="inherited descriptor to keep to itself"
    )
    return made


def keep_to_ourselves(descriptors: list[int]) -> None:
    """Our own children must not go on holding what we were given: a claim would outlive us in them."""
    for descriptor in descriptors:
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


def main(argv: list[str] | None = None) -> int:
    flags = parser().parse_args(argv)
    keep_to_ourselves([*flags.claim_fd, *([flags.parent_fd] if flags.parent_fd is not None else [])])
    signal.signal(signal.SIGTERM, end_early)
    # OpenMP's threads spin while they wait; beside any other busy process that makes every step several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if flags.parent_fd is not None:
        threading.Thread(target=watch_parent, args=(flags.parent_fd,), daemon=True).start()
    return train(flags)


if __name__ == "__main__":
    sys.exit(main())
