"""The MCP servers of infra.yaml, and which of their tools a step may use: `mcp:` there, `tools:` in swarm.yaml.

They come from this machine's own config alone, never from a run. What is wrong in them is told as in the rest of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents._yaml import ConfigError, known_keys, near
from agents.sandbox.environment import SECRET

SERVER_KEYS = ("command", "env", "writes")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # it becomes a folder's name, and the first part of NAME.tool


@dataclass(frozen=True)
class Server:
    """One server: what starts it, what is added to its clean environment, which tools may write outside its folder.

    `writes`: all of them, none, or those of these names.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    writes: bool | Sequence[str]


def servers(infra: Mapping[str, Any]) -> dict[str, Server]:
    """Every server of `mcp:`, by name; `infra` is checked already."""
    return {
        name: Server(name, tuple(given["command"]), given.get("env") or {}, given.get("writes", True))
        for name, given in (infra.get("mcp") or {}).items()
    }


def hold_keys(infra: Mapping[str, Any]) -> bool:
    """True if the environment of a server of `mcp:` holds what its name calls a key."""
    return any(SECRET.search(name) for one in servers(infra).values() for name in one.env)


def check(given: Any, where: str) -> None:
    """Raise ConfigError for an `mcp:` that cannot be used."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: must be a mapping with one entry for each server")
    for name, entry in given.items():
        known_keys(entry, SERVER_KEYS, f"{where}: {name}")
        if wrong := _problem(str(name), entry):
            raise ConfigError(f"{where}: {name}: {wrong}")


def check_tools(tools: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for steps' `tools:` that name a server which `mcp:` has not."""
    for step, entries in tools.items():
        if not isinstance(entries, list) or not all(isinstance(one, str) for one in entries):
            raise ConfigError(f"{where}: {step}: tools: must be a list, like [files.read_file, search]")
        for name in (split(one)[0] for one in entries):
            if name not in known:
                hint = near(name, list(known)) if known else "none is named there yet"
                raise ConfigError(f"{where}: {step}: tools: infra.yaml has no server {name!r} in mcp:; {hint}")


def _problem(name: str, given: Mapping[str, Any]) -> str:
    """What is wrong with one entry, in a line; "" if nothing is."""
    if not NAME.fullmatch(name):
        return "its name must be 1 to 40 of a-z 0-9 _ -, beginning with a letter or digit"
    command, env = given.get("command"), given.get("env") or {}
    if not (isinstance(command, list) and command and all(isinstance(one, str) and one for one in command)):
        return "command: must be a list of words, like [mcp-server-git, --repository, .]"
    if not (isinstance(env, Mapping) and all(isinstance(one, str) for pair in env.items() for one in pair)):
        return 'env: must be a mapping of texts, like {DEPTH: "2"}'
    writes = given.get("writes", True)
    if not (isinstance(writes, bool) or (isinstance(writes, list) and all(isinstance(one, str) for one in writes))):
        return f"writes: {writes!r} is neither true nor false nor a list of the tools that write, like [write_file]"
    return ""


def may_write(tool: str, writes: bool | Sequence[str]) -> bool:
    """True if a tool, or one of all tools where `tool` is "", may write outside its folder, by a server's `writes`."""
    if isinstance(writes, bool):
        return writes
    return bool(writes) if not tool else tool in writes


def may_read(tool: str, writes: bool | Sequence[str]) -> bool:
    """True if a tool, or one of all tools where `tool` is "", is told to only read, by a server's `writes`."""
    if isinstance(writes, bool):
        return not writes
    return not tool or tool not in writes


def split(entry: str) -> tuple[str, str]:
    """(server, tool) of an entry of `tools:`; the tool is "" where all of a server's tools are meant.

    >>> split("files.read_file"), split("files")
    (('files', 'read_file'), ('files', ''))
    """
    server, _, tool = entry.partition(".")
    return server, tool
