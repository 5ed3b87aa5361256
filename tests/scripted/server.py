"""Serve a script over HTTP/1.1 on loopback, in one thread; log each request as a line of JSON when it has ended.

A line holds nth, try, rule, at_s, took_s, at_once, method, path, headers (names), head (its lines, but for the
authorization), authorization, body, status, finish, tokens, and three that tests count by: `billed` (an answer was
made, whether or not it arrived), `whole` (all of it was sent) and `hung_up` (the client left first).
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import http
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

from tests.scripted import bodies
from tests.scripted.ceiling import Ceiling
from tests.scripted.reveal import revealed
from tests.scripted.script import Script

LONGEST_HEAD = 65536  # bytes
DRIPS = 20  # pieces of a body that drips
BURIED_S = 3600.0  # how long a silent server says nothing, if the client has that much patience


class Server:
    """One script, served."""

    def __init__(self, script: Script, log: int) -> None:
        self.script, self.log = script, log
        self.ceiling = Ceiling(script.ceiling, script.bursts)
        self.began = time.monotonic()

    async def start(self, port: int) -> int:
        """Listen on loopback; returns the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=LONGEST_HEAD, backlog=512)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False if the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        lower = {key.lower(): value for key, value in headers.items()}
        data = await reader.readexactly(int(lower.get("content-length", 0)))
        row: dict[str, Any] = {"at_s": self._now(), "method": method, "path": path, "headers": list(headers)}
        row["head"] = [line for line in head if not line.lower().startswith("authorization:")]
        row |= {"authorization": lower.get("authorization"), "billed": False, "whole": False, "hung_up": False}
        exchange = Exchange(reader, writer, row, self._write)
        try:
            await self._answer(exchange, data)
        except ConnectionError:
            row["hung_up"] = True
        finally:  # also where the server itself is ended in the middle
            self._write(row)
        return exchange.stays and lower.get("connection", "").lower() != "close"

    def _write(self, row: dict[str, Any]) -> None:
        """Log a request, once."""
        if "took_s" not in row:
            row["took_s"] = round(self._now() - row["at_s"], 6)
            os.write(self.log, json.dumps(row).encode() + b"\n")

    def _now(self) -> float:
        return round(time.monotonic() - self.began, 6)

    async def _answer(self, exchange: Exchange, data: bytes) -> None:
        row = exchange.row
        if row["path"].endswith("/models"):
            listed = json.dumps({"object": "list", "data": [{"id": "scripted", "object": "model"}]}).encode()
            status = self.script.models
            return await exchange.send(status, listed if status == 200 else bodies.error(status, None))
        try:
            row["body"] = json.loads(data)
            assert row["path"].endswith("/chat/completions") and row["method"] == "POST"
        except (ValueError, AssertionError):
            return await exchange.send(404 if data else 400, bodies.error(404, None))
        facts, act, chance = self.script.choose(row["body"])
        act = revealed(act, row["authorization"])
        row |= facts
        full = self.ceiling.take(time.monotonic())
        row["at_once"] = self.ceiling.at_once
        if full:
            row["rule"], act = full[0], {**self.script.default, "status": 429, "retry_after": full[1], "wire": "whole"}
            return await exchange.act(act | {"latency_s": 0.0, "raw": None}, facts, chance)
        try:
            await exchange.act(act, facts, chance)
        finally:
            self.ceiling.leave()


class Exchange:
    """One answer on its way to one client; what was done is kept in `row`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        row: dict[str, Any],
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self.reader, self.writer, self.row, self.write = reader, writer, row, write
        self.stays = True

    async def act(self, act: dict[str, Any], facts: dict[str, Any], chance: random.Random) -> None:
        """Wait, then answer by the script."""
        latency = act["latency_s"]
        seconds = BURIED_S if act["wire"] == "silent" else latency if not isinstance(latency, list) else None
        if await self._left_within(chance.uniform(*latency) if seconds is None else seconds):
            return
        data, kind = self._made(act, facts, chance)
        if act["wire"] in ("hang up", "silent"):
            self.stays = False
            return
        more = [f"Retry-After: {_retry_after(act['retry_after'])}"] if act["retry_after"] is not None else []
        more += [f"Location: {act['redirect']}"] if act["redirect"] else []
        more += [f"{name}: {value}" for name, value in act["headers"].items()]
        await self.send(act["status"], data, act["type"] or kind, more, act["wire"], act["drip_s"])

    async def _left_within(self, seconds: float) -> bool:
        """True if the client hangs up within so many seconds."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.reader.read(1)  # nothing comes but the end: a client sends no second request first
                    self.row["hung_up"], self.stays = True, False
        return bool(self.row["hung_up"])

    def _made(self, act: dict[str, Any], facts: dict[str, Any], chance: random.Random) -> tuple[bytes, str]:
        row = self.row
        row["status"] = act["status"]
        if act["raw"] is not None:
            return act["raw"].encode(), "text/html" if act["raw"].lstrip().startswith("<") else "application/json"
        if act["status"] != 200 or act["error"]:
            return bodies.error(act["status"], act["error"]), "application/json"
        data, kind, row["tokens"], row["finish"] = bodies.completion(act, facts, row["body"], chance)
        row["billed"] = act["wire"] != "silent"
        return data, kind

    async def send(
        self,
        status: int,
        data: bytes,
        kind: str = "application/json",
        more: list[str] | None = None,
        wire: str = "whole",
        drip_s: float = 0.0,
    ) -> None:
        """Write an answer, as whole as the wire lets it be."""
        self.row["status"] = status
        words = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Scripted"
        lines = [f"HTTP/1.1 {status} {words}", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *(more or [])]
        head = "\r\n".join([*lines, "", ""]).encode()
        if wire == "drip":
            self.writer.write(head)
            step = -(-len(data) // DRIPS) or 1
            for at in range(0, len(data), step):
                self.writer.write(data[at : at + step])
                await self.writer.drain()
                if await self._left_within(drip_s):
                    return
            self.row["whole"] = True
            return
        self.row["whole"] = wire != "cut"
        self.stays = self.stays and wire not in ("cut", "close")
        self.write(self.row)  # before the answer: who has it may look into the log
        self.writer.write(head + (data[: len(data) // 2] if wire == "cut" else data))
        await self.writer.drain()


def _retry_after(value: Any) -> str:
    """Seconds as they are, or {"date_s": n} as the date in so many seconds."""
    return email.utils.formatdate(time.time() + value["date_s"], usegmt=True) if isinstance(value, dict) else str(value)
