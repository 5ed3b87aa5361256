"""Train tokenizer and weights of the embedded base (training/base.py is the command).

Byte-level BPE; a Qwen3 decoder with tied embeddings; Muon (K. Jordan, 2024: orthogonalised momentum) for the matrices
inside the layers, AdamW for embeddings and norms; bf16 autocast on the CPU; one pass over shuffled windows of text.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import corpus
from training.sft import fast_bf16, keep_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Say = Callable[..., None]  # one progress line: a text, and numbers by name
END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (  # a turn is <|im_start|>ROLE newline TEXT <|im_end|> newline
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LONGEST_CONTEXT = 1024  # positions are rotary, so a longer context than the training windows costs nothing
PROGRESS_EVERY_S = 1.0  # twice as often as the live table needs


def pretrain(out: Path, plan: dict[str, Any], minutes: float, threads: int | None, say: Say) -> dict[str, Any]:
    """Write tokenizer and model to `out` and return what base.json says of them (loss in nats per token)."""
    import torch

    began = time.monotonic()
    keep_memory()
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(plan["seed"])
    texts = read(say)
    say("training the tokenizer")
    tokenizer = train_tokenizer(texts, plan["vocabulary"])
    ids = encode(texts, tokenizer)
    model = new_model(plan, tokenizer)
    deadline = began + minutes * 60
    steps = max(1, plan["tokens"] // (plan["batch"] * plan["sequence"]))
    loss, done = train(model, windows(ids, plan, steps), plan, steps, deadline, say)
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    return {
        "kind": "embedded", **plan, "tokens": done * plan["batch"] * plan["sequence"], "corpus_tokens": len(ids),
        "loss": round(loss, 4), "parameters": model.num_parameters(), "capped": done < steps,
        "seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time(), 1),
    }  # fmt: skip


def read(say: Say) -> list[str]:
    """Return all texts to train on, saying how far the reading is."""
    texts: list[str] = []
    told = 0.0
    for text in corpus.training_texts():
        texts.append(text)
        if time.monotonic() - told >= PROGRESS_EVERY_S:
            told = time.monotonic()
            say(f"reading the standard library: {len(texts)} texts")
    return texts


def train_tokenizer(texts: list[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE on the texts; merges depend on counts alone, so the same texts give the same tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END_OF_TEXT, TURN, END_OF_TURN], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, model_max_length=LONGEST_CONTEXT
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def encode(texts: list[str], tokenizer: "PreTrainedTokenizerFast") -> "torch.Tensor":
    """Return all texts as one row of token ids, each text ended by the end-of-text token."""
    import torch

    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    batches = tokenizer.backend_tokenizer.encode_batch(texts)
    return torch.tensor([token for each in batches for token in [*each.ids, end]], dtype=torch.long)


def windows(ids: "torch.Tensor", plan: dict[str, Any], steps: int) -> Iterator["torch.Tensor"]:
    """Yield `steps` batches (batch, sequence + 1) of windows in a seeded order; each pass starts at another offset."""
    import torch

    length, batch = plan["sequence"], plan["batch"]
    chance = random.Random(f"windows {plan['seed']}")
    starts: list[int] = []
    for _ in range(steps):
        while len(starts) < batch:
            fresh = list(range(chance.randrange(length), len(ids) - length - 1, length))
            chance.shuffle(fresh)
            starts += fresh
        taken, starts = starts[:batch], starts[batch:]
        yield torch.stack([ids[start : start + length + 1] for start in taken])


def new_model(plan: dict[str, Any], tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=plan["vocabulary"], hidden_size=plan["hidden"], num_hidden_layers=plan["layers"],
        num_attention_heads=plan["heads"], num_key_value_heads=plan["key_value_heads"], head_dim=plan["head"],
        intermediate_size=plan["intermediate"], max_position_embeddings=LONGEST_CONTEXT, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.set_attn_implementation("eager")  # the CPU's fused attention spends a third of a step in its backward
    return model


def train(
    model: "PreTrainedModel",
    batches: Iterator["torch.Tensor"],
    plan: dict[str, Any],
    steps: int,
    deadline: float,
    say: Say,
) -> tuple[float, int]:
    """Train until the batches or the time are used up; return (mean loss of the last tenth, steps done)."""
    import torch

    optimizers = new_optimizers(model, plan)
    model.train()
    losses: list[float] = []
    told = 0.0
    for step, batch in enumerate(batches):
        share = rate_share(step, steps, plan)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_rate"] * share
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16()):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        losses.append(loss.item())
        now = time.monotonic()
        if now - told >= PROGRESS_EVERY_S or step + 1 == steps:
            told = now
            recent = losses[-20:]
            say("building the base model", step=step + 1, total=steps, loss=round(sum(recent) / len(recent), 4))
        if now >= deadline:
            break
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail), len(losses)


def new_optimizers(model: "PreTrainedModel", plan: dict[str, Any]) -> list[Any]:
    """Muon for the matrices inside the layers, AdamW for the rest; each group remembers its full rate."""
    import torch

    inner = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    outer = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(inner, lr=plan["muon_rate"], weight_decay=0.0)
    adamw = torch.optim.AdamW(outer, lr=plan["adamw_rate"], betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return [muon, adamw]


def rate_share(step: int, steps: int, plan: dict[str, Any]) -> float:
    """Return the share of the full rate: a short rise, a plateau, a linear fall to zero."""
    rise, fall = max(1.0, steps * plan["warmup"]), max(1.0, steps * plan["decay"])
    return min(1.0, (step + 1) / rise, (steps - step) / fall)
