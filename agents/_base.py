"""Which base a run trained on: its own copy of the embedded one, else the folder or hub model that the goal names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents._config import ROOT
from bus import files


def named(wanted: str, about: dict[str, Any]) -> str:
    """The folder or hub name of a goal's `base:`, proved against training.json; raises BadFile if it has changed."""
    local = ROOT / Path(wanted).expanduser()
    weights, known = local / "model.safetensors", about["base"]["sha256"]
    if known and weights.is_file() and files.sha256_file(weights) != known:
        raise files.BadFile(f"{wanted}: is not the base that this run trained on (sha256); put that one back")
    return str(local) if local.is_dir() else wanted
