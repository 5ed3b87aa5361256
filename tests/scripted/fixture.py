"""Start and stop a scripted server, and read what it was asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.processes import ROOT, environment

STOP_S = 30.0  # from SIGTERM to SIGKILL: it only has lines to write


class Scripted:
    """A scripted server in a process of its own; a context manager. `url` ends in /v1, as in config/infra.yaml.

    `folder` gets script.json, log.jsonl and stderr.txt. After `stop`, `start` comes back on the same port.
    """

    def __init__(self, folder: Path, script: dict[str, Any] | None = None, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file, self._script, self._errors = (folder / one for one in ("log.jsonl", "script.json", "stderr.txt"))
        self._script.write_text(json.dumps({**(script or {}), **more}))
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> Scripted:
        """Returns once it answers; raises RuntimeError with its own words if it does not start."""
        argv = [sys.executable, "-m", "tests.scripted", str(self._script), "--log", str(self.log_file), "--with-parent"]
        argv += ["--port", str(self.port)]
        with open(self._errors, "ab") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.stop()
            raise RuntimeError(f"the scripted server did not start: {self._errors.read_text()}")
        self.port = int(line)
        return self

    def stop(self) -> None:
        """End it; what it was working on is logged, too."""
        if self._process:
            self._process.terminate()
            try:
                self._process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
            self._process = None

    def log(self) -> list[dict[str, Any]]:
        """Every request that has ended so far, in the order of their ends."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def asked(self) -> list[dict[str, Any]]:
        """The questions among them: what was not GET /v1/models."""
        return [row for row in self.log() if "nth" in row]

    def billed(self) -> list[dict[str, Any]]:
        """The questions that a provider would bill: an answer was made, whether or not it arrived."""
        return [row for row in self.asked() if row["billed"]]

    def __enter__(self) -> Scripted:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
