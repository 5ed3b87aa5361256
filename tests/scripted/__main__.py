"""python -m tests.scripted SCRIPT.json [--log LOG.jsonl] [--port N] [--with-parent]

Prints its port as the first line, and serves until SIGTERM (with --with-parent, also until its stdin closes).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.scripted.script import Script
from tests.scripted.server import Server


async def serve(script: Script, log: Path, port: int, with_parent: bool) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if with_parent:  # a test that is killed must leave no server behind
        loop.add_reader(sys.stdin.fileno(), ended.set)
    print(await Server(script, descriptor).start(port), flush=True)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted", description="Serve a script on loopback.")
    parser.add_argument("script", type=Path, help="see tests/scripted/script.py")
    parser.add_argument("--log", type=Path, help="a line of JSON each request (SCRIPT.log.jsonl)")
    parser.add_argument("--port", type=int, default=0, help="a free one, if not given")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin closes")
    given = parser.parse_args()
    script = Script(json.loads(given.script.read_bytes()))
    asyncio.run(serve(script, given.log or given.script.with_suffix(".log.jsonl"), given.port, given.with_parent))


if __name__ == "__main__":
    main()
