"""Build the embedded base model: a tiny Qwen3-architecture model, pretrained on text that every Python has.

    python -m training.base --out models/base-1234abcd            about 110 s on two quiet cores
    python -m training.base --recipe                              the hash that names this model, at once
    python -m training.base --general 100 --out general.jsonl     held-out passages for the exam

Writes  OUT/  config.json, model.safetensors, the tokenizer, base.json (what was built; sha256 of the weights)
The budget is tokens, so that the same recipe always trains as much; time is only a cap. A capped base says
`"capped": true` in base.json: use it, but do not keep it. Progress goes to stdout as JSON lines.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from training import corpus

RECIPE = {  # everything that decides what is built; a change here gives the model another name
    "code": 1,  # raise it when the walk over the text, the tokenizer's or the training's code changes
    "vocabulary": 4096,
    "hidden": 192,
    "layers": 4,
    "heads": 6,
    "key_value_heads": 3,
    "head": 32,
    "intermediate": 512,
    "sequence": 128,  # one passage of the library rarely needs more to be predicted
    "batch": 16,
    "muon_rate": 0.02,
    "adamw_rate": 0.006,
    "warmup": 0.02,
    "decay": 0.4,  # the last share of the steps, in which both rates fall linearly to zero
}
TOKENS = 800_000  # about 110 s on two quiet cores (190 CPU-seconds); a loss of about 3.7 nats per token
MINUTES = 5.0  # a cap for slow machines: the whole job has 7 minutes with the base to build


def recipe(tokens: int, seed: int, overrides: dict[str, int] | None = None) -> dict[str, object]:
    """Return the recipe with its hash under "recipe": equal hashes mean the same text, settings and Python."""
    settings: dict[str, object] = {
        **RECIPE, **(overrides or {}), "tokens": tokens, "seed": seed,
        "python": platform.python_version(), "implementation": platform.python_implementation(),
        "corpus": corpus.digest(),
    }  # fmt: skip
    text = json.dumps(settings, sort_keys=True)
    return {"recipe": hashlib.sha256(text.encode()).hexdigest()[:16], **settings}


def build(out: Path, plan: dict[str, object], minutes: float, threads: int | None) -> None:
    """Pretrain into a hidden sibling of `out` and rename it, so that a folder named `out` is always whole."""
    from training import pretrain

    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.{os.getpid()}"
    draft.mkdir()
    try:
        about = pretrain.pretrain(draft, plan, minutes, threads, say)
        about["sha256"] = sha256(draft / "model.safetensors")
        (draft / "base.json").write_text(json.dumps(about, indent=1) + "\n")
        publish(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, out: Path) -> None:
    """Sync every file, then rename; if somebody else published the same name first, theirs stays."""
    for path in [*sorted(draft.iterdir()), draft]:
        with_descriptor = os.open(path, os.O_RDONLY)
        os.fsync(with_descriptor)
        os.close(with_descriptor)
    try:
        draft.rename(out)
    except OSError:
        if not (out / "base.json").is_file():
            raise
        say(f"{out.name} was built by another process meanwhile; kept that one")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str, **numbers: object) -> None:
    """Print one progress line; numbers are shown in the live table."""
    print(json.dumps({"say": text, **numbers}), flush=True)


def write_general(number: int, out: Path) -> None:
    rows = corpus.general(number)
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    say(f"wrote {len(rows)} held-out passages to {out.name}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m training.base", description=__doc__.splitlines()[0])
    made.add_argument("--out", type=Path, help="folder of the model, or file of the passages with --general")
    made.add_argument("--recipe", action="store_true", help="print the recipe and its hash, and build nothing")
    made.add_argument("--general", type=int, metavar="N", help="write N held-out passages, rows {id, text}")
    made.add_argument("--tokens", type=int, default=TOKENS, help=f"training budget in tokens (default {TOKENS})")
    made.add_argument("--minutes", type=float, default=MINUTES, help=f"cap on the time (default {MINUTES:g})")
    made.add_argument("--seed", type=int, default=0, help="seed of weights and order (default 0)")
    made.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    for name in ("vocabulary", "hidden", "layers", "intermediate", "sequence", "batch"):
        made.add_argument(f"--{name}", type=int, help=f"instead of the recipe's {RECIPE[name]}; for tests")
    return made


def main(argv: list[str] | None = None) -> int:
    flags = parser().parse_args(argv)
    overrides = {name: getattr(flags, name) for name in RECIPE if getattr(flags, name, None) is not None}
    if flags.recipe:
        print(json.dumps(recipe(flags.tokens, flags.seed, overrides)))
        return 0
    if flags.out is None:
        print("base: --out is missing; name the folder to write, or use --recipe", file=sys.stderr)
        return 2
    if flags.general is not None:
        write_general(flags.general, flags.out)
        return 0
    if (flags.out / "base.json").is_file():
        say(f"{flags.out.name} exists; nothing to do")
        return 0
    # OpenMP's threads spin while they wait; beside any other busy process that makes every step several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    build(flags.out, recipe(flags.tokens, flags.seed, overrides), flags.minutes, flags.threads)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
