"""The two config files of this machine, resolved: `infra.yaml`, where things run, `swarm.yaml`, how the swarm behaves.

Unknown keys are errors with a did-you-mean, and every value can say where it came from. What names a command, a path or
a price comes from here alone, never from a run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import _roles, _servers, _wiring
from agents._yaml import ConfigError, known_keys, near, read_yaml
from agents.models import profile
from agents.models.keys import key_files
from bus import flow

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "config"
BUDGETS = ("wall_hours", "gpu_hours", "usd", "tokens")
BUDGET_KEYS = (*BUDGETS, "models", "call", "steps")
SPENT_BY_MODELS = ("usd", "tokens")  # what one call may have a limit of; its wall time is the profile's timeout_s
BY_HAND = "by-hand"  # the step that questions of bin/ask count as
GPUS = ("auto", "none")
SANDBOXES = ("bwrap", "landlock", "refuse")
INFRA: dict[str, Any] = {  # key -> default; config/infra.yaml explains each
    "gpus": "auto",
    "usd_per_gpu_hour": 0.0,
    "budget": {},
    "allowed_paths": ["."],
    "models": {},
    "sandbox": "bwrap",
    "mcp": {},
}
STEP_KEYS = ("agent", "command", "reads", "writes", "tries", "minutes", "settings", "tools")
SERVICE_KEYS = ("agent", "request", "reply", "tries", "minutes")


@dataclass(frozen=True)
class Config:
    """Both files, checked. `sources` maps each value's name to where it came from, `tools` each step to its tools.

    Tools are no part of `flow`, which a run takes along: like a key, a server is this machine's own.
    """

    folder: Path
    infra: Mapping[str, Any]
    flow: Mapping[str, Mapping[str, Any]]
    services: Mapping[str, Mapping[str, Any]]
    roles: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]
    tools: Mapping[str, Sequence[str]]

    @property
    def allowed_paths(self) -> list[Path]:
        return [(ROOT / Path(one).expanduser()).resolve() for one in self.infra["allowed_paths"]]

    @property
    def hidden(self) -> list[Path]:
        """The files of this machine that hold keys: programs of others see them empty."""
        keys_of_servers = [self.folder / "infra.yaml"] if _servers.hold_keys(self.infra) else []
        return [*key_files(self.infra), *keys_of_servers]

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
    known_keys(swarm, ("flow", "services", "roles"), str(swarm_file))
    steps, services = swarm.get("flow") or {}, swarm.get("services") or {}
    if not isinstance(steps, Mapping) or not isinstance(services, Mapping):
        raise ConfigError(f"{swarm_file}: flow and services must be mappings, with one entry for each mailbox")
    for name, entry in steps.items():
        _check_step(name, entry, f"{swarm_file}: flow: {name}")
    for name, entry in [*steps.items(), *services.items()]:
        _check_names(entry, f"{swarm_file}: {name}")
    for name, entry in services.items():
        _check_service(entry, f"{swarm_file}: services: {name}")
    roles = swarm.get("roles") or {}
    _check_roles(roles, given.get("models") or {}, f"{swarm_file}: roles")
    _roles.check(roles, ROOT / "agents", f"{swarm_file}: roles")
    for name in (given.get("budget") or {}).get("steps") or {}:
        if name not in (*steps, BY_HAND):
            known = near(str(name), [*steps, BY_HAND])
            raise ConfigError(f"{infra_file}: budget: steps: there is no step {name!r} in {swarm_file}; {known}")
    tools = {name: entry["tools"] for name, entry in steps.items() if entry.get("tools")}
    _servers.check_tools(tools, given.get("mcp") or {}, f"{swarm_file}: flow")
    steps = {name: {key: one for key, one in entry.items() if key != "tools"} for name, entry in steps.items()}
    try:
        flow.steps(steps)
    except (flow.BadFlow, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{swarm_file}: {error}") from None
    if wrong := _wiring.problem(steps, tools, given.get("mcp") or {}):
        raise ConfigError(f"{swarm_file}: flow: {wrong}")
    sources |= {f"flow.{name}": str(swarm_file) for name in steps}
    return Config(folder, {**INFRA, **given}, steps, services, roles, sources, tools)


def _check_infra(given: Mapping[str, Any], where: str) -> None:
    _check_budget(given.get("budget") or {}, given.get("models") or {}, f"{where}: budget")
    _check_amounts({"usd_per_gpu_hour": given.get("usd_per_gpu_hour", 0.0)}, where)
    _check_models(given.get("models") or {}, f"{where}: models")
    _servers.check(given.get("mcp") or {}, f"{where}: mcp")
    if (gpus := given.get("gpus", "auto")) not in GPUS:
        raise ConfigError(f"{where}: gpus: {gpus!r} is not known; write one of {', '.join(GPUS)}")
    if (sandbox := given.get("sandbox", "bwrap")) not in SANDBOXES:
        raise ConfigError(f"{where}: sandbox: {sandbox!r} is not known; write one of {', '.join(SANDBOXES)}")
    paths = given.get("allowed_paths", [])
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise ConfigError(f"{where}: allowed_paths: must be a list of folders")


def _check_amounts(given: Mapping[str, Any], where: str) -> None:
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{where}: {key}: {value!r} is not a number of 0 or more")


def _check_budget(budget: Any, models: Any, where: str) -> None:
    known_keys(budget, BUDGET_KEYS, where)
    _check_amounts({key: budget[key] for key in BUDGETS if key in budget}, where)
    if not isinstance(listed := budget.get("models") or [], list):
        raise ConfigError(f"{where}: models: must be a list of the profiles that may be paid, like [openrouter]")
    for name in listed:
        if name not in models:
            raise ConfigError(
                f"{where}: models: there is no profile {name!r} in models:; {near(str(name), list(models))}"
            )
    steps = budget.get("steps") or {}
    if not isinstance(steps, Mapping):
        raise ConfigError(f"{where}: steps: must be a mapping like {{30-generate: {{usd: 2}}}}")
    scopes: list[tuple[str, Any, tuple[str, ...]]] = [("call", budget.get("call") or {}, SPENT_BY_MODELS)]
    scopes += [(f"steps: {name}", one, BUDGETS) for name, one in steps.items()]
    for name, limits, keys in scopes:
        known_keys(limits, keys, f"{where}: {name}")
        _check_amounts(limits, f"{where}: {name}")


def _check_models(models: Any, where: str) -> None:
    if not isinstance(models, Mapping):
        raise ConfigError(f"{where}: must be a mapping with one entry for each endpoint")
    for name, given in models.items():
        known_keys(given, profile.PROFILE_KEYS, f"{where}: {name}")
        if wrong := profile.problem(given):
            raise ConfigError(f"{where}: {name}: {wrong}")


def _check_roles(roles: Any, models: Mapping[str, Any], where: str) -> None:
    if not isinstance(roles, Mapping):
        raise ConfigError(f"{where}: must be a mapping with one entry for each role")
    for name, given in roles.items():
        known_keys(given, profile.ROLE_KEYS, f"{where}: {name}")
        fallback = given.get("fallback") or []
        if not isinstance(fallback, list):
            raise ConfigError(f"{where}: {name}: fallback: must be a list of profiles, like [local]")
        for one in [*([given["prefer"]] if given.get("prefer") else []), *fallback]:
            if models and one not in models:  # a machine that names no endpoint does without, whatever a role prefers
                raise ConfigError(
                    f"{where}: {name}: there is no profile {one!r} in models:; {near(str(one), list(models))}"
                )
        if unknown := set(given.get("needs") or ()) - set(profile.CAPABILITIES):
            raise ConfigError(
                f"{where}: {name}: needs: {sorted(unknown)[0]!r}; {near(sorted(unknown)[0], profile.CAPABILITIES)}"
            )
        if not isinstance(given.get("by_hand", False), bool):
            raise ConfigError(f"{where}: {name}: by_hand: {given['by_hand']!r} is neither true nor false")
        _check_amounts({key: given[key] for key in ("max_tokens", "temperature") if key in given}, f"{where}: {name}")


def _check_step(name: str, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: must be a mapping with agent or command, reads and writes")
    if "role" in entry:
        raise ConfigError(f"{where}: role: an agent knows its roles; which model each asks is said under `roles:`")
    known_keys(entry, STEP_KEYS, where)
    if ("agent" in entry) == ("command" in entry):
        raise ConfigError(f"{where}: needs either `agent` or `command`")
    if "command" in entry and entry.get("tools"):
        raise ConfigError(f"{where}: tools: are for agents; a command starts its servers itself")
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
        raise ConfigError(f"{where}: agent: there is no agents/{agent}.py; {near(agent, agents)}")
    writes = entry.get("writes")
    named = [*(writes.values() if isinstance(writes, Mapping) else ()), entry.get("request"), entry.get("reply")]
    schemas = [path.stem for path in (ROOT / "schemas").glob("*.json")]
    for kind in named:
        if isinstance(kind, str) and kind not in (*schemas, "text", "files"):
            raise ConfigError(f"{where}: there is no schemas/{kind}.json; {near(kind, [*schemas, 'text', 'files'])}")
