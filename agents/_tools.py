"""The tools that a step may call: MCP servers, started for its job and ended with it. Each call leaves a file.

    result = job.tools.call("files.read_file", {"path": "a.txt"})      result.text, result.data, result.error

A server is another's program, chosen by this machine's config: it runs apart (agents/sandbox/apart.py), in a clean
environment and a folder of its own, and what it says is data of bounded length. No call raises: what went wrong is the
result's `error`, in a line that a model may read.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import _session
from agents._job import GiveUp
from agents._servers import Server, may_read, split
from agents._session import Result, Tool
from agents._stdio import Talk, talk
from agents.models.keys import Blotter
from agents.sandbox.apart import apart, why_not
from agents.sandbox.environment import SECRET, clean_environment
from bus import files

if TYPE_CHECKING:
    from mcp import Client

MAX_ARGUMENTS = 64 * 1024  # bytes; a model that writes more is repeating itself


class NoServer(Exception):
    """A server that cannot be used just now: the next try may find it well."""


class Tools:
    """The allowed tools of one job, by name in `known`; open it before use, and close it."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        allowed: Sequence[str],
        folder: Path,
        say: Callable[[str], None] = lambda text: None,
        keep: Callable[[str, dict[str, Any]], None] = lambda name, document: None,
        hide: Sequence[Path] = (),
        first: int = 1,
        limit_s: float = math.inf,
    ) -> None:
        """`folder` gets the calls' files, numbered from `first`, and `keep` is told of each; `hide` reads as empty.

        All calls together may take `limit_s` seconds.
        """
        self.known: dict[str, Tool] = {}
        self._servers = {name: servers[name] for name in dict.fromkeys(split(one)[0] for one in allowed)}
        self._allowed, self._folder, self._say, self._keep, self._hide = allowed, folder, say, keep, hide
        self._limit_s = self._left_s = limit_s
        self._stack, self._numbers = contextlib.ExitStack(), itertools.count(first)
        self._clients: dict[str, tuple[Client, Talk]] = {}
        self._blotter = Blotter(
            value for one in self._servers.values() for name, value in one.env.items() if SECRET.search(name)
        )

    def open(self) -> Tools:
        """Start the servers and check that what is allowed is there; raises NoServer, GiveUp."""
        if not self._servers:
            return self
        from anyio.from_thread import start_blocking_portal

        if why := why_not():
            self._say(f"tools: their servers run beside all other processes: {why}")
        self._folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._portal = _entered(stack, start_blocking_portal())
            for server in self._servers.values():
                self._say(f"starts the MCP server {server.name}")
                self._connect(stack, server)
            self._stack = stack.pop_all()
        return self

    def close(self) -> None:
        """End the servers, and all that they started."""
        if self._servers:
            with contextlib.suppress(*_session.troubles()):
                self._stack.close()
        self._clients.clear()

    def call(self, name: str, arguments: Mapping[str, Any], seconds: float = _session.CALL_S) -> Result:
        """Call a tool, wait for it at most so long, and leave a file of it."""
        began = time.monotonic()
        if wrong := refused(name, arguments, self.known):
            result, arguments = Result("", error=wrong), {}
        elif self._left_s <= 0:
            said = f"not called: the calls of this step have taken {self._limit_s:g} s, as long as they may"
            result = Result("", error=said)
        else:
            result = self._called(name, arguments, min(seconds, self._left_s))
        took = time.monotonic() - began
        self._left_s -= took
        self._record(name, arguments, result, took)
        return result

    # -- how it is done -------------------------------------------------------------------------------------

    def _connect(self, stack: contextlib.ExitStack, server: Server) -> None:
        from mcp import Client
        from mcp_types import Implementation

        from agents._command import located

        home = self._folder / server.name
        home.mkdir(exist_ok=True)
        words = [*([] if why_not() else apart(self._hide)), *located(list(server.command))]
        started = Talk(words, clean_environment(server.env), home, self._folder / f"{server.name}.log")
        client = Client(
            talk(started),
            client_info=Implementation(name="mailroom", version="1"),
            cache=None,
        )
        try:
            _entered(stack, self._portal.wrap_async_context_manager(_session.connected(client)))
            listed = self._wait(_session.listed, client)
        except _session.troubles() as error:
            why = started.fault or (
                f"not there within {_session.START_S:g} s" if isinstance(error, TimeoutError) else _session.line(error)
            )
            raise NoServer(f"mcp: {server.name}: {why}; it said: {_last(started.log)}") from None
        self._allow(server, [one for one in listed if _session.NAME.fullmatch(one.name)])
        if odd := [one.name for one in listed if not _session.NAME.fullmatch(one.name)]:
            self._say(f"mcp: {server.name}: {len(odd)} tools left out, whose names are none: {odd[0][:100]!r}")
        self._clients[server.name] = (client, started)

    def _allow(self, server: Server, listed: Sequence[Any]) -> None:
        """Know the allowed tools of a server; raises GiveUp for one that it has not, or that writes against our word.

        The word is `writes:` of infra.yaml, by which the wiring was checked. A server that says nothing is believed.
        """
        there = {one.name: _session.tool_of(one) for one in listed}
        where = f"mcp: {server.name}: writes:"
        for name in () if isinstance(server.writes, bool) else server.writes:
            if name not in there:
                raise GiveUp(f"{where} the server has no tool {name!r}; {_hint(name, list(there))}", "tools")
        for entry in self._allowed:
            name = split(entry)[1]
            if split(entry)[0] != server.name:
                continue
            if name and name not in there:
                hint = _hint(name, list(there))
                raise GiveUp(f"tools: {entry}: the server {server.name} has no tool {name!r}; {hint}", "tools")
            for one in [there[name]] if name else there.values():
                if one.reads is False and may_read(one.name, server.writes):
                    said = (
                        f"is told to only read, and its server says that it writes (readOnlyHint); name it in {where}"
                    )
                    raise GiveUp(f"tools: {entry}: {one.name} {said}", "tools")
                full = f"{server.name}.{one.name}"
                self.known[full] = replace(one, name=full)

    def _called(self, name: str, arguments: Mapping[str, Any], seconds: float) -> Result:
        server, tool = split(name)
        client, started = self._clients[server]
        if started.fault:
            return Result("", error=f"the server {server} {started.fault}")
        try:
            return _session.result_of(self._wait(_session.call, client, tool, dict(arguments), seconds), self._blotter)
        except TimeoutError:
            return Result("", error=f"no answer within {seconds:g} s")
        except _session.troubles() as error:
            what = f"the server {server} {started.fault}" if started.fault else _session.line(error)
            return Result("", error=str(self._blotter.clean(what)))

    def _wait(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What a coroutine makes of its arguments, in the thread of the servers; an interruption cancels it."""
        future = self._portal.start_task_soon(work, *arguments)
        try:
            return future.result()
        finally:
            future.cancel()

    def _record(self, name: str, arguments: Mapping[str, Any], result: Result, seconds: float) -> None:
        document = {
            "schema": "tool.v1",
            "tool": name,
            "arguments": self._blotter.clean(dict(arguments)),
            "text": result.text,
            "data": result.data,
            "error": result.error,
            "cut": result.cut,
            "seconds": round(seconds, 3),
        }
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80]
        path, document = self._folder / f"{next(self._numbers):04}-{plain}.json", files.readable(document)
        self._folder.mkdir(exist_ok=True)
        files.replace(path, files.pretty(document))
        self._keep(path.name, document)


def refused(name: str, arguments: Any, known: Mapping[str, Tool]) -> str:
    """Why a call is not made at all, in a line; "" if it is."""
    if name not in known:
        return f"there is no tool {name[:100]!r} here; {_hint(name, list(known))}"
    if not isinstance(arguments, Mapping):
        return "the arguments must be a JSON object"
    try:
        length = len(files.canonical(dict(arguments)))
    except (TypeError, ValueError) as error:
        return f"the arguments are no JSON: {_session.line(error)}"
    return f"the arguments have {length:,} bytes, more than {MAX_ARGUMENTS:,}" if length > MAX_ARGUMENTS else ""


def _entered(stack: contextlib.ExitStack, what: contextlib.AbstractContextManager[Any]) -> Any:
    """Enter, and leave with the stack as if nothing was raised: an error would come back in a group of errors."""
    made = what.__enter__()
    stack.callback(what.__exit__, None, None, None)
    return made


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"


def _last(log: Path) -> str:
    """The last line that a server wrote on stderr."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip()[: _session.SHOWN] if lines else "nothing"
    return "nothing"
