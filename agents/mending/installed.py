"""Ask the installed libraries, in a child process, what they accept; nothing heavy is imported here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent
# The libraries whose changes break training scripts. Other packages are only asked whether they are there.
LIBRARIES = frozenset("accelerate bitsandbytes datasets huggingface_hub peft torch transformers trl".split())
LAST = 2000  # characters of the child's standard error in a message: the traceback's end


class Installed:
    """The answers of one child, each asked once; use as a context manager, or the child outlives its use."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._child: subprocess.Popen[str] | None = None
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # closed at exit
        self._known: dict[str, dict[str, Any]] = {}

    def ask(self, name: str) -> dict[str, Any]:
        """Return the answer of training/signatures.py on a dotted name; RuntimeError where the child has died."""
        if name not in self._known:
            self._known[name] = self._asked(name)
        return self._known[name]

    def version(self, library: str) -> str | None:
        """Return the installed version; None where the library is not installed."""
        version = self.ask(library).get("version")
        return version if isinstance(version, str) else None

    def _asked(self, name: str) -> dict[str, Any]:
        child = self._child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps({"name": name}) + "\n")
            child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            self._said.seek(0)
            last = self._said.read()[-LAST:].strip()
            raise RuntimeError(f"{self._python}: it ended when asked for {name}; run it by hand: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._python, "-m", "training.signatures"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
        )

    def close(self) -> None:
        """End the child at once: it holds nothing, and the libraries' own way out takes seconds."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
