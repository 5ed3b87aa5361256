"""The memory plan against the bytes that the installed transformers, PEFT and bitsandbytes allocate, on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from training.fit import plan
from training.planning import finetuning, inference
from training.planning.ranges import Range
from training.planning.shape import read
from training.planning.stacks import stack
from training.planning.weights import QUANTISATIONS, quantisation

SMALL = {"model_type": "qwen3", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 3,
         "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 48, "vocab_size": 4096,
         "tie_word_embeddings": False}  # fmt: skip
KINDS = {
    "qwen2": ({"head_dim": 32}, "sdpa", 0.03),
    "qwen3": ({}, "sdpa", 0.03),
    "llama": ({"vocab_size": 128, "intermediate_size": 896}, "sdpa", 0.05),
    "gemma2": ({"tie_word_embeddings": True}, "eager", 0.10),
}


@pytest.fixture(scope="module")
def meter() -> Iterator[Any]:
    """A class that counts the bytes of all live tensors, and their peak, while torch works on the CPU."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Meter(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.live, self.peak, self.known = 0, 0, dict[int, Any]()

        def see(self, tensor: Any) -> None:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known:
                self.known[key] = weakref.ref(storage, lambda _: self.forget(key, size))
                self.live += size
                self.peak = max(self.peak, self.live)

        def forget(self, key: int, size: int) -> None:
            self.known.pop(key, None)
            self.live -= size

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = call(*args, **(kwargs or {}))
            for one in tree_leaves(made):
                if isinstance(one, torch.Tensor):
                    self.see(one)
            return made

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Meter
    torch.set_num_threads(threads)


def model(kind: str) -> tuple[Any, dict[str, Any], float]:
    """A random model of the installed transformers in bf16, its config, and how far a plan may be off."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    change, attention, off = KINDS[kind]
    config = {**SMALL, **change, "model_type": kind}
    made = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**config), attn_implementation=attention, dtype=torch.bfloat16
    )
    return made, config, off


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama"])
def test_reading_a_prompt_holds_what_is_planned(kind: str, meter: Any) -> None:
    import torch

    made, config, _ = model(kind)
    shape, tokens, count = read(config), 256, meter()
    with torch.no_grad(), count:
        for weight in made.parameters():
            count.see(weight)
        weights = count.live
        made.eval()(input_ids=torch.ones(1, tokens, dtype=torch.long), use_cache=True, logits_to_keep=1)
    use = inference.Use(tokens, 1)
    planned = inference.total(inference.reading(shape, quantisation("bf16"), use))
    assert weights == 2 * shape.parameters
    assert planned == pytest.approx(count.peak - weights, rel=0.01)


@pytest.mark.parametrize("checkpointing", [True, False], ids=["checkpointing", "all kept"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_holds_what_is_planned(kind: str, checkpointing: bool, meter: Any) -> None:
    """One step with LoRA under autocast: weights, kept activations, the greater of loss and layer, and gradients."""
    import torch
    from peft import LoraConfig, get_peft_model

    made, config, off = model(kind)
    tuned = get_peft_model(made, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned.train().enable_input_require_grads()
    if checkpointing:
        tuned.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    ids, count = torch.ones(1, 512, dtype=torch.long), meter()
    with count:
        for tensor in (*tuned.parameters(), *tuned.buffers()):
            count.see(tensor)
        before = count.live
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = tuned(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
    shape = read(config)
    bare = stack("trainer")._replace(dropout=False, logits=Range(12, 12, 12))
    run = finetuning.Run(512, 1, 8, bare, "sgd", checkpointing, quantisation("bf16"))
    gradients = 4 * finetuning.trainable(shape, 8)
    greater = max(map(inference.total, (finetuning.loss(shape, run), finetuning.layer(shape, run))))
    assert sum(weight.numel() for weight in tuned.parameters() if weight.requires_grad) * 4 == gradients
    assert finetuning.kept(shape, run) + greater + gradients == pytest.approx(count.peak - before, rel=off)


@pytest.mark.parametrize(("name", "nested"), [("nf4", True), ("nf4-single", False)])
def test_four_bits_take_what_bitsandbytes_makes(name: str, nested: bool) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    matrix = read(SMALL).matrices[0]
    packed, state = functional.quantize_4bit(
        torch.randn(matrix.rows, matrix.columns), quant_type="nf4", compress_statistics=nested
    )
    scales = [state.absmax, *([state.state2.absmax] if nested else [])]
    made = sum(one.numel() * one.element_size() for one in (packed, *scales))
    assert QUANTISATIONS[name].matrix(matrix, 128) == pytest.approx(made, rel=0.001)


def test_preparing_for_4_bits_puts_the_embeddings_into_fp32_but_not_those_of_gptq() -> None:
    import torch
    from peft import prepare_model_for_kbit_training

    for method, name, dtype in ((None, "nf4", torch.float32), ("gptq", "gptq-int4", torch.bfloat16)):
        made, config, _ = model("qwen3")
        made.quantization_method = method
        prepared = prepare_model_for_kbit_training(made, use_gradient_checkpointing=False)
        assert {prepared.get_input_embeddings().weight.dtype, prepared.lm_head.weight.dtype} == {dtype}
        terms = {term.name: term.bytes for term in plan(config, quantisation=name, stack="trainer").terms}
        assert terms.get("their fp32 copy", 0) == (2 * read(config).unquantised if dtype == torch.float32 else 0)
