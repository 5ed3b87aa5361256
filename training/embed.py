"""Find the texts that say nearly what an earlier one says, by the embeddings of any transformers model.

    python -m training.embed --model intfloat/e5-small-v2 --texts texts.jsonl --near 0.95 --out near.jsonl

Reads rows {id, group, text}; only texts of one group are compared. Writes a row {id, near, cosine} for each text that
is nearly a kept one before it; such a text is kept no more, so that a chain of near ones loses all but its ends. An
embedding is the mean of the model's last hidden states over a text's own tokens (of its encoder, where it has one).
Progress goes to stdout as JSON lines.
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.answer import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_ROWS = 64  # texts; larger batches pad more and save little on two cores
LONGEST = 512  # tokens; what a text says shows in its beginning, and the usual encoders read no more

Row = dict[str, Any]


def load(name: str) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load an encoder, a decoder or the encoder of both, with its tokenizer; no code of the model's own is run."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "right"
    gpu = torch.cuda.is_available()
    model = AutoModel.from_pretrained(name, dtype=torch.bfloat16 if gpu else torch.float32, use_safetensors=True)
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    return model.to("cuda" if gpu else "cpu").eval(), tokenizer


def embeddings(texts: list[str], model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Return one row of length 1 for each text: (texts, hidden size), float32 on the CPU."""
    import torch

    order = sorted(range(len(texts)), key=lambda at: (len(texts[at]), at))  # alike long ones together pad little
    found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    done = Progress("embedding", len(texts))
    for places in (order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)):
        batch = tokenizer(
            [texts[at] for at in places], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        mask = batch["attention_mask"].to(model.device)
        states = model(input_ids=batch["input_ids"].to(model.device), attention_mask=mask).last_hidden_state.float()
        sums = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        for at, row in zip(places, torch.nn.functional.normalize(sums, dim=1).cpu(), strict=True):
            found[at] = row
        done.add(len(places))
    return torch.stack(found)


def near_ones(rows: list[Row], vectors: "torch.Tensor", near: float) -> Iterator[Row]:
    """Yield {id, near, cosine} for each row that has, before it in its group, a kept one of at least this cosine."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["group"]].append(place)
    for places in groups.values():
        kept: list[int] = []
        for place in places:
            if kept:
                cosines = vectors[kept] @ vectors[place]
                best = int(cosines.argmax())
                if (cosine := float(cosines[best])) >= near:
                    yield {"id": rows[place]["id"], "near": rows[kept[best]]["id"], "cosine": round(cosine, 4)}
                    continue
            kept.append(place)


def embed(name: str, rows: list[Row], near: float, threads: int | None) -> list[Row]:
    """Return what `near_ones` finds among rows {id, group, text}."""
    if not rows:
        return []
    import torch

    if threads:
        torch.set_num_threads(threads)
    model, tokenizer = load(name)
    with torch.inference_mode():
        return list(near_ones(rows, embeddings([row["text"] for row in rows], model, tokenizer), near))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m training.embed", description=__doc__.splitlines()[0])
    made.add_argument("--model", required=True, help="folder of a transformers model, or its hub id")
    made.add_argument("--texts", type=Path, required=True, help="rows {id, group, text}")
    made.add_argument("--near", type=float, required=True, help="the cosine from which on two texts are near, 0 to 1")
    made.add_argument("--out", type=Path, required=True, help="file of the rows {id, near, cosine}")
    made.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    return made


def main(argv: list[str] | None = None) -> int:
    flags = parser().parse_args(argv)
    rows = [json.loads(line) for line in flags.texts.read_text(encoding="utf-8").splitlines()]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in training.sft: spinning threads starve each other
    found = embed(flags.model, rows, flags.near, flags.threads)
    draft = flags.out.with_name(f".{flags.out.name}.draft")
    draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")
    os.replace(draft, flags.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
