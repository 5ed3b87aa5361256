"""Refuse a flow in which what a document says could reach a tool that changes something outside of the step's folder.

A step reads untrusted text if its agent reads the goal's sources or what other runs remembered, if it is a command,
which may read anything, if it reads what such a step wrote (an agent's figures aside), or if it holds a tool that only
reads: anybody may have written what that brings. Such a step may hold no tool that writes. Which do, `writes:` of a
server says: all (as it is taken, unless it says otherwise), none, or those that it lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents._servers import may_read, may_write, split
from bus.flow import BEFORE, source

READERS = frozenset({"research", "collect", "orient"})  # agents that read sources, or the memory that runs share
FIGURES = frozenset({"hardware.v1", "metric.v1"})  # documents that hold nothing but numbers and our own words

Entry = Mapping[str, Any]
Tools = Mapping[str, Sequence[str]]  # a step's `tools:`, each SERVER or SERVER.tool


def problem(flow: Mapping[str, Entry], tools: Tools, servers: Mapping[str, Entry]) -> str:
    """Why a checked flow is refused, in a line that names step, tool and the way in; "" if nothing is wrong.

    `servers` is `mcp:` of infra.yaml.
    """
    tainted = untrusted(flow, tools, servers)
    for step in sorted(tainted):
        for tool in tools.get(step, ()):
            if may_write(split(tool)[1], writes(tool, servers)):
                return (
                    f"{step}: tools: {tool} can write outside of the step's folder, and the step {tainted[step]}; "
                    "give the tool to a step that reads no foreign text, or leave it out"
                )
    return ""


def untrusted(flow: Mapping[str, Entry], tools: Tools, servers: Mapping[str, Entry]) -> dict[str, str]:
    """{step: how untrusted text comes into it}, for each step that such text can reach."""
    found = {step: how for step, entry in flow.items() if (how := brought(entry, tools.get(step, ()), servers))}
    while new := {step: how for step in flow if step not in found and (how := handed(flow[step], flow, found))}:
        found |= new
    return found


def brought(entry: Entry, tools: Sequence[str], servers: Mapping[str, Entry]) -> str:
    """How a step itself brings in text from outside of the run; "" if it does not."""
    if entry.get("agent") in READERS:
        return f"reads documents itself (agents/{entry['agent']}.py)"
    if command := entry.get("command"):
        return f"runs a command, which may read anything ({command[0]})"
    fetching = [tool for tool in tools if may_read(split(tool)[1], writes(tool, servers))]
    return f"holds {fetching[0]}, which brings in text of others" if fetching else ""


def handed(entry: Entry, flow: Mapping[str, Entry], tainted: Mapping[str, str]) -> str:
    """Which of a step's reads hold text that came from outside; "" if none does."""
    for name in entry.get("reads") or ():
        if source(name) in tainted and not figures(name, flow[source(name)]):
            return f"reads {name}, which holds text of documents"
    return ""


def figures(name: str, writer: Entry) -> bool:
    """True for an artifact that its agent writes as figures alone, read by its exact name."""
    artifact = name.removeprefix(BEFORE).partition("/")[2]
    return "agent" in writer and (writer.get("writes") or {}).get(artifact) in FIGURES


def writes(tool: str, servers: Mapping[str, Entry]) -> bool | Sequence[str]:
    """What the server of a tool says of its tools; one that nobody describes may write with all."""
    found: bool | Sequence[str] = servers.get(split(tool)[0], {}).get("writes", True)
    return found
