"""Guess what an expression of a training script is, from what the libraries' calls are known to return."""

from __future__ import annotations

import ast

from agents.mending.script import MAX_HOPS, Script

MODEL, TOKENIZER = "transformers.PreTrainedModel", "transformers.PreTrainedTokenizerBase"
ADAPTED = "peft.PeftModel"
DATASET, SPLITS = "datasets.Dataset", "datasets.DatasetDict"
# Calls that return what they were given, as far as its class goes: functions by their last name, and methods.
SAME_ARGUMENT = frozenset(
    "prepare_model_for_kbit_training prepare_model_for_int8_training prepare_model compile prepare"
    " dispatch_model".split()
)
SAME_RECEIVER = frozenset(
    "to cuda cpu half float bfloat16 train eval map filter shuffle select rename_column rename_columns remove_columns"
    " select_columns cast sort with_format flatten_indices add_column take skip".split()
)
RETURNS = {
    "peft.get_peft_model": ADAPTED,
    "datasets.load_from_disk": "",  # a Dataset or a DatasetDict, as it was saved
    "datasets.Dataset.from_list": DATASET,
    "datasets.Dataset.from_dict": DATASET,
    "datasets.Dataset.from_pandas": DATASET,
    "datasets.Dataset.from_generator": DATASET,
    "datasets.concatenate_datasets": DATASET,
}


def kind_of(script: Script, node: ast.expr, hops: int = MAX_HOPS) -> str | None:
    """Return the dotted name of the class that an expression is an instance of; None where that cannot be told."""
    if hops == 0:
        return None
    if isinstance(node, ast.Name):
        bound = script.origin(node)
        return kind_of(script, bound, hops - 1) if bound is not None else None
    if isinstance(node, ast.IfExp):
        return kind_of(script, node.body, hops - 1) or kind_of(script, node.orelse, hops - 1)
    if isinstance(node, ast.Subscript):
        return DATASET if kind_of(script, node.value, hops - 1) == SPLITS else None
    return _called(script, node, hops) if isinstance(node, ast.Call) else None


def _called(script: Script, node: ast.Call, hops: int) -> str | None:
    dotted = script.dotted(node.func)
    if dotted:
        return _returned(node, dotted) or (_first(script, node, hops) if last(dotted) in SAME_ARGUMENT else None)
    if isinstance(node.func, ast.Name):
        return local_base(script, node.func.id)
    if not isinstance(node.func, ast.Attribute):
        return None
    method = node.func.attr
    if method in SAME_ARGUMENT:
        return _first(script, node, hops)
    receiver = kind_of(script, node.func.value, hops - 1)
    if method == "merge_and_unload":
        return MODEL
    if method == "train_test_split" and receiver == DATASET:
        return SPLITS
    return receiver if method in SAME_RECEIVER else None


def _returned(node: ast.Call, dotted: str) -> str | None:
    if dotted in RETURNS:
        return RETURNS[dotted] or None
    if dotted == "datasets.load_dataset":
        return DATASET if any(one.arg == "split" for one in node.keywords) else SPLITS
    owner, _, method = dotted.rpartition(".")
    if method in ("from_pretrained", "from_config"):
        return _pretrained(owner)
    return dotted if last(dotted)[:1].isupper() else None


def _pretrained(owner: str) -> str | None:
    name = last(owner)
    if owner.startswith("peft."):
        return ADAPTED if "Model" in name else owner
    if "Tokenizer" in name:
        return TOKENIZER
    if name.startswith("AutoModel") or "For" in name or name.endswith("Model"):
        return MODEL
    return owner if owner and "Auto" not in name else None


def _first(script: Script, node: ast.Call, hops: int) -> str | None:
    values = [*node.args, *(one.value for one in node.keywords if one.arg == "model")]
    return kind_of(script, values[0], hops - 1) if values else None


def last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def local_base(script: Script, name: str) -> str | None:
    """Return the library class that a class of the script inherits from, over classes of the script."""
    seen: set[str] = set()
    while name in script.classes and name not in seen:
        seen.add(name)
        for base in script.classes[name].bases:
            if dotted := script.dotted(base):
                return dotted
        name = next((base.id for base in script.classes[name].bases if isinstance(base, ast.Name)), "")
    return None
