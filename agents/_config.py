"""The two config files of this machine, resolved: `infra.yaml`, where things run, `swarm.yaml`, how the swarm behaves.

Unknown keys are errors with a did-you-mean, and every value can say where it came from. What names a command, a path or
a price comes from here alone, never from a run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus import flow

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "config"
BUDGETS = ("wall_hours", "gpu_hours", "usd")
GPUS = ("auto", "none")
INFRA: dict[str, Any] = {  # key -> default; config/infra.yaml explains each
    "gpus": "auto",
    "usd_per_gpu_hour": 0.0,
    "budget": {},
    "allowed_paths": ["."],
}
STEP_KEYS = ("agent", "command", "reads", "writes", "tries", "minutes", "settings")
SERVICE_KEYS = ("agent", "request", "reply", "tries", "minutes")


class ConfigError(Exception):
    """A config file that cannot be used; one line: where, what, what to do."""


@dataclass(frozen=True)
class Config:
    """Both files, checked. `sources` maps each value's name to where it came from."""

    folder: Path
    infra: Mapping[str, Any]
    flow: Mapping[str, Mapping[str, Any]]
    services: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]

    @property
    def allowed_paths(self) -> list[Path]:
        return [(ROOT / Path(one).expanduser()).resolve() for one in self.infra["allowed_paths"]]

    @property
    def usd_per_gpu_hour(self) -> float:
        return float(self.infra["usd_per_gpu_hour"])

    def budget(self, goal: Mapping[str, float]) -> dict[str, float]:
        """The lower of the goal's budget and this machine's, by key; a key that neither names is not limited."""
        both = [one for one in (goal, self.infra["budget"]) if one]
        return {key: min(one[key] for one in both if key in one) for key in BUDGETS if any(key in one for one in both)}


def load(folder: Path = FOLDER) -> Config:
    """Read and check both files; raises ConfigError."""
    infra_file, swarm_file = folder / "infra.yaml", folder / "swarm.yaml"
    given = read_yaml(infra_file) if infra_file.exists() else {}
    known_keys(given, tuple(INFRA), str(infra_file))
    _check_infra(given, str(infra_file))
    sources = {key: str(infra_file) if key in given else "default" for key in INFRA}
    swarm = read_yaml(swarm_file)
    known_keys(swarm, ("flow", "services"), str(swarm_file))
    steps, services = swarm.get("flow") or {}, swarm.get("services") or {}
    if not isinstance(steps, Mapping) or not isinstance(services, Mapping):
        raise ConfigError(f"{swarm_file}: flow and services must be mappings, with one entry for each mailbox")
    for name, entry in steps.items():
        _check_step(name, entry, f"{swarm_file}: flow: {name}")
    for name, entry in [*steps.items(), *services.items()]:
        _check_names(entry, f"{swarm_file}: {name}")
    for name, entry in services.items():
        _check_service(entry, f"{swarm_file}: services: {name}")
    try:
        flow.steps(steps)
    except (flow.BadFlow, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{swarm_file}: {error}") from None
    sources |= {f"flow.{name}": str(swarm_file) for name in steps}
    return Config(folder, {**INFRA, **given}, steps, services, sources)


def _check_infra(given: Mapping[str, Any], where: str) -> None:
    budget = given.get("budget") or {}
    known_keys(budget, BUDGETS, f"{where}: budget")
    for key, value in [*budget.items(), ("usd_per_gpu_hour", given.get("usd_per_gpu_hour", 0.0))]:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"{where}: {key}: {value!r} is not a number of 0 or more")
    if (gpus := given.get("gpus", "auto")) not in GPUS:
        raise ConfigError(f"{where}: gpus: {gpus!r} is not known; write one of {', '.join(GPUS)}")
    paths = given.get("allowed_paths", [])
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise ConfigError(f"{where}: allowed_paths: must be a list of folders")


def _check_step(name: str, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: must be a mapping with agent or command, reads and writes")
    known_keys(entry, STEP_KEYS, where)
    if ("agent" in entry) == ("command" in entry):
        raise ConfigError(f"{where}: needs either `agent` or `command`")
    for key in ("command", "reads"):
        words = entry.get(key, [])
        if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
            raise ConfigError(f"{where}: {key}: must be a list of words, like [a, b]")
    if not isinstance(entry.get("writes", {}), Mapping):
        raise ConfigError(f"{where}: writes: must map each artifact to its schema, or to `text` or `files`")
    if "agent" in entry:
        _check_agent(entry["agent"], where)
    _check_numbers(entry, where)


def _check_service(entry: Any, where: str) -> None:
    known_keys(entry, SERVICE_KEYS, where)
    _check_agent(entry.get("agent"), where)
    _check_numbers(entry, where)


def _check_agent(agent: Any, where: str) -> None:
    if not (isinstance(agent, str) and re.fullmatch(r"[a-z][a-z0-9_]*", agent)):
        raise ConfigError(f"{where}: agent: {agent!r} is not the name of a file in agents/")


def _check_numbers(entry: Mapping[str, Any], where: str) -> None:
    for key, kind in (("tries", int), ("minutes", int | float)):
        value = entry.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
            raise ConfigError(f"{where}: {key}: {value!r} is not a {'whole ' * (key == 'tries')}number above 0")


def _check_names(entry: Any, where: str) -> None:
    """Refuse an agent that has no file in agents/, and a schema that has none in schemas/."""
    if not isinstance(entry, Mapping):
        return  # told by the other checks
    agent = entry.get("agent")
    agents = [path.stem for path in (ROOT / "agents").glob("[!_]*.py")]
    if isinstance(agent, str) and agent not in agents:
        raise ConfigError(f"{where}: agent: there is no agents/{agent}.py; {_near(agent, agents)}")
    writes = entry.get("writes")
    named = [*(writes.values() if isinstance(writes, Mapping) else ()), entry.get("request"), entry.get("reply")]
    schemas = [path.stem for path in (ROOT / "schemas").glob("*.json")]
    for kind in named:
        if isinstance(kind, str) and kind not in (*schemas, "text", "files"):
            raise ConfigError(f"{where}: there is no schemas/{kind}.json; {_near(kind, [*schemas, 'text', 'files'])}")


def _near(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"


def known_keys(given: Any, known: tuple[str, ...], where: str) -> None:
    """Raise ConfigError, with a did-you-mean, if a mapping has a key that is not known."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: must be a mapping of {', '.join(known)}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {_near(str(key), known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; raises ConfigError with the line of a mistake."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; name the folder with --config") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping")
    return document
