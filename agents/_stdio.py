"""Talk with an MCP server over its stdin and stdout, within bounds: the transport that the SDK's client is given.

The SDK's own keeps a line of any length in memory, and logs each line that is no message with a traceback. This one
ends a server that sends too long a line, and passes over noise; what a server says on stderr goes to a file, at first.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, Process

MAX_LINE = 16 * 1024 * 1024  # bytes of one message, as of a request: past this a server is broken or an attack
MAX_LOG = 256 * 1024  # bytes of stderr that are kept: the beginning says why a server did not start
GRACE_S = 2.0  # from the end of stdin to SIGTERM, and from there to SIGKILL, as the SDK has it
POLL_S = 0.02


@dataclass
class Talk:
    """What starts one server, and what became of it: `fault` says in a line why the talk ended, "" while it goes on."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    log: Path
    fault: str = ""


@contextlib.asynccontextmanager
async def talk(server: Talk) -> AsyncIterator[tuple[Any, Any]]:
    """Start a server and yield (stream of its messages, stream of ours); at the end none of its processes is left."""
    import anyio
    from mcp.shared.message import SessionMessage

    heard, hear = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    say, said = anyio.create_memory_object_stream[SessionMessage](0)
    process = await anyio.open_process(server.argv, env=server.env, cwd=server.folder, start_new_session=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, process, server, heard)
        tasks.start_soon(_write, process, said)
        tasks.start_soon(_keep, process, server.log)
        try:
            yield hear, say
        finally:
            with anyio.CancelScope(shield=True):
                hear.close()
                say.close()
                await _end(process)
            tasks.cancel_scope.cancel()


async def _read(process: Process, server: Talk, heard: Any) -> None:
    """Pass on what the server says, message by message, until it ends or breaks a bound."""
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    assert process.stdout
    async with heard:
        async for line in _lines(process.stdout, server):
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:
                continue  # noise
            try:
                await heard.send(SessionMessage(message))
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                return  # we are done with it
        server.fault = server.fault or await _how_it_ended(process)


async def _lines(stream: ByteReceiveStream, server: Talk) -> AsyncIterator[bytes]:
    import anyio

    rest = bytearray()
    with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
        while True:
            *lines, last = (await stream.receive()).split(b"\n")
            for line in lines:
                rest += line
                if rest.strip():
                    yield bytes(rest)
                rest.clear()
            rest += last
            if len(rest) > MAX_LINE:
                server.fault = f"sent a message of more than {MAX_LINE:,} bytes"
                return


async def _how_it_ended(process: Process) -> str:
    import anyio

    with anyio.move_on_after(GRACE_S):
        while process.returncode is None:
            await anyio.sleep(POLL_S)
    code = process.returncode
    if code is None:
        return "closed its stdout"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit {code}"


async def _write(process: Process, said: Any) -> None:
    import anyio

    assert process.stdin
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        async with said:
            async for one in said:
                text = one.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")


async def _keep(process: Process, path: Path) -> None:
    """Keep the beginning of what the server says on stderr; the rest is read, so that it never waits for us."""
    import anyio

    assert process.stderr
    room = MAX_LOG
    over = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)
    with contextlib.suppress(*over), open(path, "ab") as log:
        while True:
            piece = await process.stderr.receive()
            log.write(piece[:room])
            log.flush()
            room -= len(piece[:room])


async def _end(process: Process) -> None:
    """End a server and all that it started: stdin closed, then SIGTERM, then SIGKILL to the group, a grace each."""
    import anyio

    assert process.stdin
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with anyio.move_on_after(GRACE_S):
            while process.returncode is None:
                await anyio.sleep(POLL_S)
        with contextlib.suppress(ProcessLookupError):  # also of a server that has ended: what it left behind
            os.killpg(process.pid, number)
    with anyio.move_on_after(GRACE_S):  # closes its pipes first, which one that got away may hold open
        await process.aclose()
