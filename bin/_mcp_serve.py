"""Serve runs and memory to one MCP client over stdin and stdout."""

from __future__ import annotations

import _start

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from _mcp_memory import Memory
from _mcp_runs import Runs
from agents import _recall
from bus import files, schema
from bus.run import RunError

if TYPE_CHECKING:
    from mcp.server import MCPServer

ABOUT = (
    "Mailroom's runs: each turns a goal into a measured specialist model, step by step. list_runs and status tell how "
    "they stand, read_artifact reads what a step made. The other tools are a memory that all runs share."
)
READ = ("list_runs", "status", "read_artifact", "read_graph", "search_nodes", "open_nodes")
WRITE = ("ask", "create_entities", "create_relations", "add_observations")
DELETE = ("delete_entities", "delete_observations", "delete_relations")


def serve(runs: Path, read_only: bool) -> None:
    """Serve until the client closes our stdin."""
    made(runs, read_only).run("stdio")


def made(runs: Path, read_only: bool) -> MCPServer[Any]:
    """The server, with the tools that change nothing or with all."""
    from mcp.server import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[Any] = MCPServer("mailroom", instructions=ABOUT, log_level="WARNING")
    rooms = (Runs(runs), Memory(runs / _recall.SHARED))
    for name in (*READ, *(() if read_only else WRITE + DELETE)):
        tool = next(getattr(room, name) for room in rooms if hasattr(room, name))
        notes = ToolAnnotations(
            read_only_hint=name in READ, destructive_hint=name in DELETE, idempotent_hint=True, open_world_hint=False
        )
        server.add_tool(told(tool), annotations=notes)
    return server


def told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """The tool, telling the client in a line what goes wrong; the unexpected stays here, as a traceback on stderr."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    def answer(**arguments: Any) -> Any:
        try:
            return tool(**arguments)
        except (files.BadFile, schema.Invalid, RunError, click.ClickException) as error:
            raise ToolError(str(getattr(error, "message", error))) from None
        except OSError as error:  # its text names where on this machine
            raise ToolError(error.strerror or str(error)) from None

    return answer
