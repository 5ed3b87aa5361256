"""Drop examples that say in other words what an earlier one says, by the embeddings of a model; off unless asked for.

    40-filter: {settings: {embeddings: intfloat/e5-small-v2}}     a local folder, or any encoder or decoder of the hub

Letters tell "returns" from "gives back"; an embedding does not, but neither does it tell `torch.empty` from
`torch.zeros`, or 5 from 6. So only examples of one template are compared whose questions and answers name the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents._config import ROOT
from agents.exam.near import names
from agents.exam.quality import Drop
from bus import files
from training import gpu

NEAR_COSINE = 0.97  # of mean-pooled states; other facts about one thing reach .95 in a tiny model, paraphrases .98
REASON = "near-duplicate by embeddings"

Example = dict[str, Any]


def same_meaning(job: Any, examples: Sequence[Example], model: str) -> list[Drop]:
    """Every example that a child finds to say nearly the same as one before it, about the same names."""
    groups = [group(one) for one in examples]
    size = Counter(groups)
    rows = [
        {"id": one["id"], "group": own, "text": f"{one['question']}\n{one['answer']}"}
        for one, own in zip(examples, groups, strict=True)
        if size[own] > 1
    ]
    listed, out = job.folder / "texts.jsonl", job.folder / "near.jsonl"
    listed.write_bytes(b"".join(map(files.canonical, rows)))
    local = ROOT / Path(model).expanduser()
    given = ["--model", str(local) if local.is_dir() else model, "--near", str(NEAR_COSINE)]
    job.say(f"comparing {len(rows)} examples by embeddings of {model}")
    job.spawn(
        ["python", "-m", "training.embed", *given, "--texts", listed.name, "--out", out.name], gpu=bool(gpu.gpus())
    )
    known = {one["id"]: one for one in examples}
    found = (files.parse(line, out.name) for line in out.read_bytes().splitlines())
    return [Drop(known[row["id"]], REASON, f"says what {row['near']} says, cosine {row['cosine']}") for row in found]


def group(example: Example) -> str:
    """Equal for examples of one template that name the same objects and numbers."""
    named = sorted(names(example["question"])), sorted(names(example["answer"]))
    return repr((example["template"], *named))
