"""Answer questions with a model, greedily and in batches, and measure its loss on the reference answers.

    python -m training.answer --base models/base-1234abcd --adapter out/adapter --items exam.jsonl --out answers.jsonl

Reads item.v1 rows; writes one row {id, text, loss} per item, in the order of the items. `loss` is in nats per token of
the reference answer, its end-of-turn token included. An item of the slice "general" has no question: `text` is empty
and `loss` is the mean over the passage's own tokens. Greedy and in one fixed order, so the same files, threads and
versions give the same rows. Progress goes to stdout as JSON lines.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.sft import keep_memory, prompt_text, say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 48  # the extractive teacher's answers are shorter; longer ones are scored by F1 and lose little
BATCH_ROWS = 64  # larger batches pad more and save little on two cores
LONGEST_PROMPT = 512  # tokens; a longer question is cut at its start, so that the assistant's turn still follows
PROGRESS_EVERY_S = 1.0

Item = dict[str, Any]


def load(base: str, adapter: Path | None) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a base, merge the adapter into it if there is one, and return it with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if gpu else torch.float32)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model.to("cuda" if gpu else "cpu").eval(), tokenizer


def batches(rows: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """Cut (position, tokens) pairs into batches of similar length, longest first, to pad little."""
    ordered = sorted(rows, key=lambda row: (-len(row[1]), row[0]))
    for start in range(0, len(ordered), BATCH_ROWS):
        yield ordered[start : start + BATCH_ROWS]


def prompts(items: list[Item], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Return the prompt's tokens per item; none for an item without a question."""
    texts = [
        prompt_text([{"role": "user", "content": item["question"]}], tokenizer) if item["question"] else ""
        for item in items
    ]
    return [ids[-LONGEST_PROMPT:] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def generate(
    asked: list[list[int]], model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", new_tokens: int
) -> list[str]:
    """Return the greedy answer to every prompt, and an empty text for an empty prompt."""
    import torch

    texts = [""] * len(asked)
    stops = model.generation_config.eos_token_id
    done = Progress("answering", sum(1 for ids in asked if ids))
    for batch in batches([(at, ids) for at, ids in enumerate(asked) if ids]):
        width = len(batch[0][1])
        padded = [[tokenizer.pad_token_id] * (width - len(ids)) + ids for _, ids in batch]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for _, ids in batch]
        found = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=new_tokens, do_sample=False, num_beams=1, use_cache=True,
            temperature=None, top_p=None, top_k=None, repetition_penalty=1.0,
            eos_token_id=stops if stops is not None else tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for (at, _), tokens in zip(batch, found[:, width:].tolist(), strict=True):
            texts[at] = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        done.add(len(batch))
    return texts


def losses(
    asked: list[list[int]], items: list[Item], model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> list[float]:
    """Return the mean nats per token of each reference answer, or of a passage from its second token on."""
    import torch

    endings = [item["answer"] + (str(tokenizer.eos_token) if item["question"] else "") for item in items]
    targets = tokenizer(endings, add_special_tokens=False)["input_ids"]
    means = [0.0] * len(items)
    done = Progress("measuring the loss", len(items))
    for batch in batches([(at, [*asked[at], *targets[at]]) for at in range(len(items))]):
        width = len(batch[0][1])
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for _, row in batch])
        labels = torch.full_like(ids, -100)
        for line, (at, row) in enumerate(batch):
            begin = max(1, len(asked[at]))  # the first token of a passage has nothing before it
            labels[line, begin : len(row)] = ids[line, begin : len(row)]
        mask = torch.arange(width)[None, :] < torch.tensor([len(row) for _, row in batch])[:, None]
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), labels[:, 1:].to(model.device), reduction="none"
        ).cpu()
        counts = (labels[:, 1:] != -100).sum(1).clamp(min=1)
        for (at, _), mean in zip(batch, (each.sum(1) / counts).tolist(), strict=True):
            means[at] = round(mean, 6)
        done.add(len(batch))
    return means


class Progress:
    """Count finished items and print a progress line at most once a second."""

    def __init__(self, text: str, total: int) -> None:
        self.text, self.total, self.count, self.told = text, total, 0, 0.0

    def add(self, number: int) -> None:
        self.count += number
        now = time.monotonic()
        if now - self.told >= PROGRESS_EVERY_S or self.count == self.total:
            self.told = now
            say(self.text, step=self.count, total=self.total)


def answer(base: str, adapter: Path | None, items: list[Item], new_tokens: int, threads: int | None) -> list[Item]:
    """Return {id, text, loss} for every item, in their order."""
    import torch

    keep_memory()
    if threads:
        torch.set_num_threads(threads)
    model, tokenizer = load(base, adapter)
    with torch.inference_mode():
        asked = prompts(items, tokenizer)
        texts = generate(asked, model, tokenizer, new_tokens)
        means = losses(asked, items, model, tokenizer)
    return [
        {"id": item["id"], "text": text, "loss": loss} for item, text, loss in zip(items, texts, means, strict=True)
    ]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m training.answer", description=__doc__.splitlines()[0])
    made.add_argument("--base", required=True, help="folder of the base model, or its hub id")
    made.add_argument("--adapter", type=Path, help="folder of the PEFT adapter; without it the base answers")
    made.add_argument("--items", type=Path, required=True, help="item.v1 rows: id, question, answer")
    made.add_argument("--out", type=Path, required=True, help="file of the answers")
    made.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS, help=f"default {MAX_NEW_TOKENS}")
    made.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    return made


def main(argv: list[str] | None = None) -> int:
    flags = parser().parse_args(argv)
    items = [json.loads(line) for line in flags.items.read_text(encoding="utf-8").splitlines()]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in training.sft: spinning threads starve each other
    rows = answer(flags.base, flags.adapter, items, flags.max_new_tokens, flags.threads)
    draft = flags.out.with_name(f".{flags.out.name}.draft")
    draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(draft, flags.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
