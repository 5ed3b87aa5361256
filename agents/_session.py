"""One session with an MCP server, by the SDK: connected, listed and called within bounds; what comes back, as data."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.models.keys import Blotter
from bus import files

if TYPE_CHECKING:
    from mcp import Client

START_S = 60.0  # `npx` and `uvx` fetch a server before they start it
CALL_S = 60.0  # a search or a page takes seconds; a model waits for it
MAX_TEXT = 64 * 1024  # characters of one result: more than a model is shown at once
MAX_TOOLS = 500  # of one server; one that lists more, or lists for ever, is read no further
MAX_ABOUT = 4_096  # characters of what a server says of a tool: more is no description
MAX_SCHEMA = 16 * 1024  # characters of a tool's schema: past this its author meant a program, not a model
SHOWN = 400  # characters of an error
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)  # of a tool: it stands in questions unquoted, and in the names of files


@dataclass(frozen=True)
class Tool:
    """One tool: `name` as steps call it (SERVER.TOOL), what its server says of it, and its arguments' JSON Schema.

    `reads`: whether its server says that it only reads, None where it says nothing.
    """

    name: str
    about: str
    schema: Mapping[str, Any]
    reads: bool | None = None


@dataclass(frozen=True)
class Result:
    """What one call came to: text, perhaps structured `data`; `error`, "" if all went well; `cut`: there was more."""

    text: str
    data: Any = None
    error: str = ""
    cut: bool = False


@contextlib.asynccontextmanager
async def connected(client: Client) -> AsyncIterator[None]:
    """The client, connected within START_S."""
    import anyio

    with anyio.fail_after(START_S) as limit:
        async with client:
            limit.deadline = math.inf
            yield


async def listed(client: Client) -> list[Any]:
    """The tools that a server lists, as the SDK has them."""
    import anyio

    found: list[Any] = []
    page: Any = None
    with anyio.fail_after(START_S):
        while len(found) < MAX_TOOLS and (page is None or page.next_cursor):
            page = await client.list_tools(cursor=page and page.next_cursor)
            found += page.tools
    return found


def tool_of(found: Any) -> Tool:
    """The SDK's tool as ours, what is said of it within bounds."""
    says = getattr(found.annotations, "read_only_hint", None)
    about = (found.description or "").encode("utf-8", "replace").decode()[:MAX_ABOUT]
    try:
        short = len(json.dumps(found.input_schema, allow_nan=False)) <= MAX_SCHEMA
    except (ValueError, RecursionError):  # no JSON, or nested too deeply
        short = False
    return Tool(found.name, about, files.readable(found.input_schema) if short else {"type": "object"}, says)


async def call(client: Client, tool: str, arguments: dict[str, Any], seconds: float) -> Any:
    import anyio

    with anyio.fail_after(seconds):
        return await client.call_tool(tool, arguments, read_timeout_seconds=2 * seconds)


def result_of(found: Any, blotter: Blotter) -> Result:
    """A server's result as ours: text parts joined, what is no text named, and nothing longer than MAX_TEXT."""
    text = "\n".join(_part(one) for one in found.content).encode("utf-8", "replace").decode()
    text, data, cut = str(blotter.clean(text)), blotter.clean(found.structured_content), len(text) > MAX_TEXT
    try:
        if data is not None and len(files.canonical(data)) > MAX_TEXT:
            data, cut = None, True
    except (TypeError, ValueError):  # nested too deeply, or half a character
        data, cut = None, True
    error = " ".join(text.split())[:SHOWN] or "the tool failed and did not say why"
    return Result(text[:MAX_TEXT], data, error if found.is_error else "", cut)


def _part(part: Any) -> str:
    inner = getattr(part, "resource", part)
    if (text := getattr(inner, "text", None)) is not None:
        return str(text)
    return f"[{part.type} {getattr(inner, 'mime_type', None) or ''}, left out]".replace(" ,", ",")


def troubles() -> tuple[type[Exception], ...]:
    """What the SDK raises for a server that ends, errs, waits too long, or says what is not MCP."""
    from mcp import MCPError

    return (MCPError, OSError, ValueError, RuntimeError, ExceptionGroup, CancelledError)


def line(error: BaseException) -> str:
    if isinstance(error, ExceptionGroup):
        return line(error.exceptions[0])
    text = " ".join(str(error).split())[:SHOWN] or type(error).__name__
    return text.encode("utf-8", "replace").decode()  # it may quote a file's name of any bytes
