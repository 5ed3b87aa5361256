"""Fine-tune the base on the filtered rows, in a child process that outlives nothing.

    bin/agent train runs/gpu-ops --once

Reads   goal.md
        00-orient/hardware.json      hardware.v1: GPU or CPU
        40-filter/train.jsonl        row.v1: what to learn
        before/50-train/base/*       the base that earlier rounds trained on
Writes  adapter/*       the LoRA adapter
        base/*          the base itself, when it is the embedded one: a moved run never meets another
        metrics.jsonl   metric.v1: loss and rate, step by step
        training.json   training.v1: on what, how, how long
Asks    nothing
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from agents._agent import main
from agents._job import ROOT, GiveUp, Job
from bus import files
from training import base as embedded

EMBEDDED = "embedded"


def train(job: Job) -> None:
    rows = job.path(job.named("train.jsonl"))
    gpus = job.read("00-orient/hardware.json")["gpus"]
    base, vocabulary = find_base(job)
    script = job.out.parent / "train.py"
    shutil.copyfile(ROOT / "training" / "sft.py", script)
    argv = ["python", str(script), "--base", str(base), "--vocabulary", vocabulary, "--data", str(rows)]
    argv += ["--out", str(job.out), "--checkpoints", str(job.kept / "checkpoints")]
    argv += ["--metrics", str(job.kept / "metrics.jsonl"), "--seed", str(job.seed)]
    job.say("starting the trainer")
    job.spawn([*argv, *flags(job.settings.get("sft", {}))], holds_claim=True, gpu=bool(gpus))
    shutil.copyfile(job.kept / "metrics.jsonl", job.out / "metrics.jsonl")
    if vocabulary == "ours":
        shutil.copytree(base, job.out / "base")
    job.say(f"trained: {json.loads((job.out / 'training.json').read_bytes())['final_loss']:.3f} final loss")


def find_base(job: Job) -> tuple[str | Path, str]:
    """(folder or hub name, whose vocabulary) of the base that this run trains on."""
    wanted = job.goal.base
    if wanted == EMBEDDED:
        return embedded_base(job), "ours"
    local = Path(wanted).expanduser()
    local = local if local.is_absolute() else ROOT / local
    if local.is_dir():
        return local, "ours" if (local / "base.json").is_file() else "theirs"
    if wanted.startswith((".", "/", "~")):
        raise GiveUp(f"goal.md: base: there is no folder {wanted}; name one, a hub model, or `embedded`", kind="goal")
    return wanted, "theirs"


def embedded_base(job: Job) -> Path:
    """kept/base: from this try's past, else the last round, else models/, else built now; its sha256 is checked."""
    target = job.kept / "base"
    if not target.exists():
        found = last_round(job) or built(job)
        if not target.exists():  # a capped base was built there
            copy_whole(found, target)
    about = json.loads((target / "base.json").read_bytes())
    if files.sha256_file(target / "model.safetensors") != about["sha256"]:
        files.remove_tree(target)
        raise files.BadFile("kept/base: its weights do not match their sha256; it was removed, and is made again")
    job.say(f"base {about['recipe']['recipe'] if isinstance(about['recipe'], dict) else about['recipe']}")
    return target


def last_round(job: Job) -> Path | None:
    """The base of the round before; None in the first."""
    names = job.glob("before/50-train/base/*")
    paths = [job.path(name) for name in names]
    return paths[0].parent if paths and paths[0] else None


def built(job: Job) -> Path:
    """The kept embedded base, built first where there is none; one that hit its time cap is used but not kept."""
    settings = dict(job.settings.get("base", {}))
    recipe = embedded.recipe(
        int(settings.get("tokens", embedded.TOKENS)),
        int(settings.get("seed", 0)),
        {key: value for key, value in settings.items() if key in embedded.RECIPE},
    )["recipe"]
    folder = job.bases / f"base-{recipe}"
    if (folder / "base.json").is_file():
        return folder
    job.say("building the embedded base; this happens once on a machine")
    fresh = job.out.parent / "base"
    job.spawn(["python", "-m", "training.base", "--out", str(fresh), *flags(settings)])
    if json.loads((fresh / "base.json").read_bytes()).get("capped"):
        job.say("the base hit its time cap: used for this run, and not kept")
        copy_whole(fresh, job.kept / "base")
        return job.kept / "base"
    folder.parent.mkdir(exist_ok=True)
    copy_whole(fresh, folder)
    return folder


def copy_whole(source: Path, target: Path) -> None:
    """Copy a folder so that it appears whole, by one rename; one that is there already stays."""
    draft = target.parent / f"{files.DRAFT}{target.name}-{os.getpid()}"
    try:
        shutil.copytree(source, draft)
        files.sync_tree(draft)
        os.rename(draft, target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        files.remove_tree(draft)


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings as command line flags: {"max_steps": 20} becomes --max-steps 20.

    Numbers alone: a run that was unpacked brings its own settings, and must not name a path of this machine.
    """
    for key, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise GiveUp(f"50-train: settings: {key}: {value!r} is no number; correct it in swarm.yaml, for a new run")
    return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]


if __name__ == "__main__":
    raise SystemExit(main(train))
