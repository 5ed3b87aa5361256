"""The memory plan against published totals and measurements, what it promises, and bin/fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fit import held_out
from tests.small import ROOT, command
from training.fit import Plan, plan
from training.planning.cards import card, found
from training.planning.catalogue import find, models
from training.planning.choices import choices, remedy
from training.planning.shape import Matrix, Unplanned, read
from training.planning.stacks import GB
from training.planning.weights import QUANTISATIONS

GIB, MIB = 1 << 30, 1 << 20
SMALL = {"model_type": "qwen3", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 3,
         "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 48, "vocab_size": 4096,
         "tie_word_embeddings": False}  # fmt: skip

# -- what a config says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models())
def test_every_config_has_as_many_parameters_as_its_publisher_says(name: str) -> None:
    assert read(models()[name]["config"]).parameters == models()[name]["parameters"]


@pytest.mark.parametrize(("change", "said"), [
    ({"model_type": "mamba"}, "'mamba' is not known"), ({"model_type": None}, "'None' is not known"),
    ({"num_experts": 8}, "num_experts means weights"), ({"hidden_size": None}, "has no hidden_size"),
    ({"vocab_size": "many"}, "no positive whole number"), ({"num_key_value_heads": 3}, "cannot share"),
    ({"quantization_config": {"quant_method": "exl9"}}, "'exl9'"),
], ids=str)  # fmt: skip
def test_what_is_not_known_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Unplanned, match=said) as refused:
        plan({**SMALL, **change})
    assert str(refused.value).startswith("config.json: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "known", "quantised"), [
    ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B", "gptq-int4"), ("Qwen3-4B-Instruct-2507", "Qwen3-4B", None),
    ("meta-llama/Meta-Llama-3-8B-Instruct", "Llama-3-8B", None), ("google/gemma-2-9b-it", "gemma-2-9b", None),
    ("mistralai/Mistral-7B-Instruct-v0.3", "Mistral-7B-v0.3", None), ("qwen-1.8b-chat", "Qwen-1_8B", None),
])  # fmt: skip
def test_names_as_people_write_them(name: str, known: str, quantised: str | None) -> None:
    assert (find(name).name, find(name).quantisation) == (known, quantised)


def test_a_checkpoint_says_how_it_is_quantised() -> None:
    stated = {**SMALL, "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 64}}
    made = plan(stated, method="inference")
    assert made.settings.quantisation == "gptq-int8"
    assert made.memory.expected > plan(SMALL, method="inference", quantisation="gptq-int8").memory.expected


# -- against published measurements: five here, benchmarks/fit.py compares whole tables -----------------------------


@pytest.mark.parametrize(("model", "settings", "measured", "most"), [
    # Qwen2.5's documentation, speed benchmark: transformers on one A100 80GB, torch.cuda.max_memory_allocated
    ("Qwen2.5-7B", {"method": "inference", "prompt": 6144, "new": 2048}, 15.38 * GIB, 0.01),
    ("Qwen2.5-7B", {"method": "inference", "prompt": 30720, "new": 2048}, 19.97 * GIB, 0.01),
    ("Qwen2.5-1.5B-AWQ", {"method": "inference", "prompt": 30720, "new": 2048}, 3.82 * GIB, 0.03),
    # First-generation Qwen's README, profile of finetuning: one A100 80GB, batch 1
    ("Qwen-7B", {"method": "lora", "rank": 64, "seq": 1024}, 21.5 * GB, 0.06),
    ("Qwen-7B-Int4", {"method": "qlora", "rank": 64, "seq": 4096}, 16.9 * GB, 0.06),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_published_measurements(model: str, settings: dict[str, Any], measured: float, most: float) -> None:
    known = find(model)
    made = plan(known.config, quantisation=known.quantisation, **settings)
    assert made.memory.expected == pytest.approx(measured, rel=most)
    assert made.memory.low < measured < made.memory.worst


def test_a_third_is_held_out_whatever_the_order() -> None:
    columns = ("kind", "model", "weights", "stack", "input_or_sequence_tokens", "new_tokens", "batch")
    rows = [dict.fromkeys(columns, str(number)) for number in range(90)]
    apart = held_out(rows)
    assert sum(apart) == 30 and held_out(rows[::-1]) == apart[::-1]


# -- what a plan promises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["inference", "lora", "qlora", "full"])
@pytest.mark.parametrize("name", ["Qwen3-14B", "Qwen2.5-0.5B", "Llama-3-70B", "gemma-2-9b"])
def test_more_of_anything_needs_no_less(name: str, method: str) -> None:
    def memory(**change: Any) -> Plan:
        made = plan(find(name).config, method=method, **{"seq": 1024, "prompt": 1024, **change})
        assert sum(term.bytes for term in made.terms) == pytest.approx(made.memory.expected)
        assert made.memory.low <= made.memory.expected <= made.memory.worst
        assert [term.bytes for term in made.terms] == sorted((term.bytes for term in made.terms), reverse=True)
        return made

    least = memory()
    for change in ({"batch": 4}, {"seq": 8192, "prompt": 8192}, {"rank": 256}, {"checkpointing": False}):
        assert memory(**change).memory.expected >= least.memory.expected * (1 - 1e-9)


def test_what_fits_and_what_to_change() -> None:
    config = find("Qwen3-14B").config
    made = plan(config, rank=32, gpu="24GB")
    assert made.verdict == "no" and (cure := remedy(plan, config, made))
    assert cure.changes == {"stack": "trl"} and cure.plan.verdict == "fits"
    assert remedy(plan, config, cure.plan) is None
    wide = plan(config, method="lora", rank=64, seq=8192, batch=4, gpu="24GB")
    assert wide.verdict == "no" and (cure := remedy(plan, config, wide))
    assert set(cure.changes) >= {"stack", "batch", "method"} and cure.plan.verdict == "fits"
    largest, *_ = choices(plan, card("24GB"), method="qlora", stack="trl")
    assert largest.plan.verdict == "fits" and largest.plan.parameters > 20e9
    beyond = plan(find(largest.model).config, stack="trl", seq=2 * largest.longest, gpu="24GB")
    assert beyond.verdict != "fits"


def test_tight_is_what_fits_as_expected_but_not_at_worst() -> None:
    config = find("Qwen3-4B").config
    needed = plan(config).device
    sizes = {"fits": needed.worst + 1, "tight": (needed.expected + needed.worst) / 2, "no": needed.expected - 1}
    for verdict, size in sizes.items():
        assert plan(config, gpu=found("NVIDIA Unheard 1", size)).verdict == verdict


def test_groups_of_weights_share_a_scale_and_a_zero() -> None:
    matrix = Matrix("q", 1024, 4096)
    groups, packed = 1024 * 4096 // 128, 1024 * 4096 // 2  # 128 inputs a group: an fp16 scale and 4 bits of zero
    assert QUANTISATIONS["awq"].matrix(matrix, 128) == packed + groups * 2.5
    assert QUANTISATIONS["gptq-int4"].matrix(matrix, 128) == packed + groups * 2.5 + 4096 * 4  # and whose group it is
    assert QUANTISATIONS["gptq-int8"].matrix(matrix, 128) == 2 * packed + groups * 3 + 4096 * 4


def test_cards_by_name_and_size() -> None:
    assert card("A100").bytes < card("A100-80GB").bytes == 81920 * MIB
    assert (card("4090").name, card("24GB").bytes) == ("RTX-4090", 24 * GB)
    assert found("NVIDIA A100-SXM4-80GB", 5).flops == card("A100-80GB").flops
    assert found("NVIDIA H100 80GB HBM3", 5).flops == card("H100").flops != card("H100-SXM").flops
    assert found("NVIDIA Unheard 1", 5).flops is None
    with pytest.raises(Unplanned, match="did you mean"):
        card("H1000")


# -- bin/fit ---------------------------------------------------------------------------------------------------------


def test_bin_fit_answers_without_torch() -> None:
    arguments = ["Qwen3-14B", "--method", "qlora", "--rank", "32", "--seq", "2048", "--gpu", "24GB", "--json"]
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "bin" / "fit"), *arguments], capture_output=True, text=True
    )
    told = json.loads(ended.stdout)
    assert told["verdict"] == "no" and told["remedy"]["verdict"] == "fits" and len(told["largest"]) == 3
    assert set(told["memory"]) == {"low", "expected", "worst"}
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "training" in imported and not imported & {"torch", "transformers", "peft", "bitsandbytes", "numpy"}


@pytest.mark.parametrize(("arguments", "said"), [
    (("Qwen3-41B",), "did you mean Qwen3-4B?"), (("Qwen3-4B", "--quantisation", "nf5"), "did you mean nf4?"),
    (("Qwen3-4B", "--gpu", "A100-8OGB"), "did you mean A100-80GB?"), (("--config", "none.json"), "none.json: "),
    (("Qwen3-4B", "--method", "lora", "--quantisation", "nf4", "--stack", "trl", "--gpu", "0GB"), "has no memory"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_bin_fit_errors_are_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = command("fit", *arguments, cwd=tmp_path)
    assert ended.returncode in (1, 2) and ended.stdout == ""
    assert ended.stderr.startswith("bin/fit: ") and ended.stderr.count("\n") == 1 and said in ended.stderr


def test_bin_fit_for_people_and_for_any_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(find("Qwen2.5-7B").config))
    lines = command("fit", str(tmp_path), "--method", "inference", "--gpu", "A100-80GB", "--usd-per-hour", "2").stdout
    assert "does not fit" not in lines and "fits" in lines and "not measured" in lines and "$" in lines
    table = command("fit", "--gpu", "24GB", "--stack", "trl").stdout.splitlines()
    assert table[1].startswith("base") and any(line.startswith("Qwen3-14B") for line in table)
