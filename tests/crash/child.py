"""Run a part of a test in a forked child, with a deadline, and as another user where that is wanted."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SHOWN = 3000  # characters of what was wrong
NOBODY = 65534  # a user who owns nothing; root may become one


def in_child(job: Callable[[], dict[str, Any]], patience_s: int, user: int | None = None) -> dict[str, Any]:
    """What `job` returns, in a child; {"broken": why} where it hung for `patience_s`, died or raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            signal.alarm(patience_s)  # unhandled: it ends the child whatever it waits for
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            os.write(write, json.dumps(job()).encode())
            code = 0
        finally:
            if code and (error := sys.exc_info()[1]):
                _tell(write, error)
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as end:
        text = end.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        hung = os.WTERMSIG(status) == signal.SIGALRM
        return {"broken": f"hung for {patience_s} s" if hung else f"died of signal {os.WTERMSIG(status)}"}
    return dict(json.loads(text)) if text else {"broken": f"ended with {os.waitstatus_to_exitcode(status)}"}


def _tell(write: int, error: BaseException) -> None:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    text = " ".join(" ".join([text, *getattr(error, "__notes__", [])]).split())  # hypothesis notes its example
    os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    os.write(write, json.dumps({"broken": text[:_SHOWN]}).encode())


def peak_bytes() -> int:
    """The most memory that this process has held; a forked child begins with what its parent holds then."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
