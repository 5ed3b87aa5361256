"""Which roles of a model anybody asks for: `roles:` of swarm.yaml may name these, and others that say `by_hand: true`.

An agent names its roles where its docstring says whom it asks (`Asks    role teacher: …`), so that a new agent adds
its own by being there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents._yaml import ConfigError, near

_ASKS = re.compile(r"^(?:Asks)? +role ([a-z][a-z0-9_-]*):", re.MULTILINE)


def check(roles: Mapping[str, Mapping[str, Any]], agents: Path, where: str) -> None:
    """Raise ConfigError for a role that no agent in the folder `agents` asks for: what is meant would get no model."""
    unknown = [name for name, given in roles.items() if not given.get("by_hand")]
    if unknown and (unknown := [name for name in unknown if name not in (known := asked(agents))]):
        raise ConfigError(
            f"{where}: no agent asks for role {unknown[0]!r}; {near(str(unknown[0]), known)}; "
            "write `by_hand: true` into one that is for bin/ask alone"
        )


def asked(agents: Path) -> list[str]:
    """The roles that the agents in a folder ask for, by their docstrings."""
    abouts = (path.read_text("utf-8").partition('"""')[2].partition('"""')[0] for path in agents.glob("[!_]*.py"))
    return sorted({role for about in abouts for role in _ASKS.findall(about)})
