"""What is tried with each server: a list of (what should hold, whether it did) per server, by our own Tools."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from agents._job import GiveUp
from agents._servers import Server
from agents._tools import Tools
from tests.foreign.install import node
from tests.processes import ROOT

Held = tuple[str, bool, str]  # what should hold, whether it did, what was seen
PAGE = b"<html><body><h1>Collectives</h1><p>An all-gather that hangs waits for one rank.</p></body></html>"
OURS = [str(ROOT / "bin" / "mcp"), "--runs"]
MS = "@modelcontextprotocol/"
WRITING = yaml.safe_load(re.findall(r"writes: (\[[^\]]+\])", (ROOT / "config/infra.yaml").read_text())[0])


@contextmanager
def opened(
    home: Path, name: str, command: list[str], *allowed: str, writes: bool | list[str] = True, **env: str
) -> Iterator[Tools]:
    """One server's tools, in folders below `home`."""
    servers = {name: Server(name, command, env, writes)}
    tools = Tools(servers, [f"{name}.{one}" for one in allowed] or [name], home / "tools")
    tools.open()
    try:
        yield tools
    finally:
        tools.close()


def filesystem(folder: Path, home: Path) -> Iterator[Held]:
    room = home / "room"
    room.mkdir()
    (room / "a.txt").write_text("read me")
    (home / "secret.txt").write_text("not me")
    (room / "link.txt").symlink_to(home / "secret.txt")
    with opened(home, "files", [*node(folder, f"{MS}server-filesystem"), str(room)]) as tools:
        yield "its tools are listed", "files.read_text_file" in tools.known, f"{len(tools.known)} tools"
        found = tools.call("files.read_text_file", {"path": str(room / "a.txt")})
        yield "a file is read", (found.text, found.error) == ("read me", ""), found.text or found.error
        for name in ("../secret.txt", "link.txt"):
            found = tools.call("files.read_text_file", {"path": str(room / name)})
            yield f"{name} is refused, in a line", bool(found.error) and "not me" not in found.text, found.error[:60]
    with opened(home, "files", [*node(folder, f"{MS}server-filesystem"), str(room)], "read_text_file") as tools:
        found = tools.call("files.write_file", {"path": str(room / "b.txt"), "content": "x"})
        yield "a tool that is not allowed is not called", not (room / "b.txt").exists(), found.error[:60]

    said = writing(home, [*node(folder, f"{MS}server-filesystem"), str(room)], WRITING)
    yield "those of config/infra.yaml are all that write, as it says itself", said == "", said
    said = writing(home, [*node(folder, f"{MS}server-filesystem"), str(room)], [*WRITING[1:]])
    yield "one that is left out there is refused", "write_file is told to only read" in said, said[:70]


def writing(home: Path, command: list[str], writes: list[str]) -> str:
    """Why a server is refused of which these tools are said to write; "" if it is not."""
    try:
        with opened(home, "files", command, writes=writes):
            return ""
    except GiveUp as error:
        return str(error)


def memory(folder: Path, home: Path) -> Iterator[Held]:
    """The memory server on the file that our memory compiles, and ours beside it: the same graph."""
    runs = home / "runs"
    entities = [{"name": "NCCL", "entityType": "library", "observations": ["hangs", "é€😀"]}]
    relations = [{"from": "NCCL", "to": "GPU", "relationType": "runs on"}]
    with opened(home, "ours", [*OURS, str(runs)]) as tools:
        nine = {name.partition(".")[2] for name in tools.known}
        tools.call("ours.create_entities", {"entities": entities})
        tools.call("ours.create_relations", {"relations": relations})
        graph = tools.call("ours.read_graph", {}).data
    file = runs / "memory" / "memory.jsonl"
    with opened(home, "memory", node(folder, f"{MS}server-memory"), MEMORY_FILE_PATH=str(file)) as tools:
        theirs = {name.partition(".")[2] for name in tools.known}
        yield "its nine tools are among those of bin/mcp", len(theirs) == 9 and theirs <= nine, f"{len(theirs)} tools"
        found = tools.call("memory.read_graph", {})
        yield "it reads our memory.jsonl as we do", found.data == graph != {}, json.dumps(found.data)[:60]
        found = tools.call("memory.search_nodes", {"query": "hangs"})
        yield "it finds what we were told", found.data is not None and len(found.data["entities"]) == 1, found.text[:60]
        found = tools.call("memory.add_observations", {"observations": [{"entityName": "no", "contents": ["x"]}]})
        yield "its error is an error", "no" in found.error, found.error[:60]


def everything(folder: Path, home: Path) -> Iterator[Held]:
    with opened(home, "every", node(folder, f"{MS}server-everything")) as tools:
        yield "its tools are listed", {"every.echo", "every.get-sum"} <= tools.known.keys(), f"{len(tools.known)} tools"
        found = tools.call("every.get-sum", {"a": 2, "b": 3})
        yield "a sum is added up", "5" in found.text, found.text
        found = tools.call("every.get-structured-content", {"location": "New York"})
        yield "a structured result is data", isinstance(found.data, dict), json.dumps(found.data)
        found = tools.call("every.get-tiny-image", {})
        yield "an image is named and left out", "image" in found.text and len(found.text) < 500, found.text[:60]
        seen = tools.call("every.get-env", {})
        yield "its environment has no key", "CANARY" not in seen.text and "PATH" in seen.text, f"{len(seen.text)} bytes"
        found = tools.call("every.trigger-long-running-operation", {"duration": 60, "steps": 2}, seconds=1)
        yield "a call that takes too long is given up", "no answer within 1 s" in found.error, found.error
        found = tools.call("every.echo", {"message": "still here"})
        yield "and the next one is answered", "still here" in found.text, found.text
        found = tools.call("every.get-sum", {"a": "two"})
        yield "wrong arguments are an error", bool(found.error), found.error[:60]


def fetch(folder: Path, home: Path) -> Iterator[Held]:
    server = [str(folder / "bin/mcp-server-fetch"), "--ignore-robots-txt"]
    with served() as url, opened(home, "fetch", server) as tools:
        found = tools.call("fetch.fetch", {"url": url})
        yield "it keeps from private addresses unless told otherwise", "Refused" in found.error, found.error[23:90]
    with served() as url, opened(home, "fetch", [*server, "--allow-private-ips"]) as tools:
        found = tools.call("fetch.fetch", {"url": url})
        yield "a page of a loopback server is read as text", "waits for one rank" in found.text, found.text[:60]
        found = tools.call("fetch.fetch", {"url": f"{url}missing"})
        yield "a page that is not there is an error", "404" in found.error, found.error[:60]
        found = tools.call("fetch.fetch", {"url": "file:///etc/hostname"})
        yield "a file: address is an error", bool(found.error), found.error[:60]


def git(folder: Path, home: Path) -> Iterator[Held]:
    repository = home / "repository"
    who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid"]
    for words in (
        ["init", "-q", str(repository)],
        ["-C", str(repository), "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *who, *words], check=True)
    server = [str(folder / "bin/mcp-server-git"), "--repository", str(repository)]
    with opened(home, "git", server, "git_log", "git_status") as tools:
        yield "only what is allowed is known", sorted(tools.known) == ["git.git_log", "git.git_status"], "2 tools"
        found = tools.call("git.git_log", {"repo_path": str(repository)})
        yield "a log is read", "first" in found.text, " ".join(found.text.split())[:60]
        found = tools.call("git.git_log", {"repo_path": str(ROOT)})
        yield "another repository is refused", bool(found.error), found.error[:60]


CLIENT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
const [command, ...args] = process.argv.slice(2);
const client = new Client({ name: "foreign", version: "1" });
await client.connect(new StdioClientTransport({ command, args }));
const call = async (name, args) => (await client.callTool({ name, arguments: args }));
const tools = (await client.listTools()).tools.map((one) => one.name);
await call("create_entities", { entities: [{ name: "A", entityType: "t", observations: ["one"] }] });
const graph = (await call("read_graph", {})).structuredContent;
const wrong = await call("status", { run: "../x" });
console.log(JSON.stringify({ tools, graph, wrong: wrong.isError === true }));
await client.close();
"""


def client(folder: Path, home: Path) -> Iterator[Held]:
    """The TypeScript SDK's own client, which came with the npm servers, on bin/mcp."""
    script = folder / "client.mjs"
    script.write_text(CLIENT)
    done = subprocess.run(["node", str(script), *OURS, str(home / "runs")], capture_output=True, text=True, timeout=120)
    said: dict[str, Any] = (
        json.loads(done.stdout) if done.returncode == 0 else {"tools": [], "graph": {}, "wrong": False}
    )
    seen = f"{len(said['tools'])} tools" if said["tools"] else done.stderr.strip()[-60:]
    yield "it lists the tools of bin/mcp", len(said["tools"]) == 13, seen
    there = [{"name": "A", "entityType": "t", "observations": ["one"]}]
    yield "what it tells the memory is there", said["graph"].get("entities") == there, json.dumps(said["graph"])[:60]
    yield "a wrong name is an error to it", said["wrong"], str(said["wrong"])


@contextmanager
def served() -> Iterator[str]:
    """The address of one page on this machine, until the end of the block."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


TRIALS: dict[str, Callable[[Path, Path], Iterator[Held]]] = {
    f"{MS}server-filesystem": filesystem,
    f"{MS}server-memory": memory,
    f"{MS}server-everything": everything,
    "mcp-server-fetch": fetch,
    "mcp-server-git": git,
    f"{MS}sdk": client,
}
