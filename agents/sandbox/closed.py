"""Run code that a model wrote, closed in: no network, an empty environment, one folder to write to, and limits.

    ran = closed(["python", "train.py"], work=folder)      ran.exit, ran.output, ran.timed_out

`sandbox: bwrap` (the default): bubblewrap shows it Python, the system's programs and its folder, as WORK. `landlock`,
for machines where bubblewrap cannot run: the kernel refuses it other files and the network, and little else; the
result says `reduced`. `refuse`: it is not run. `proof.prove` tries whether all this holds on a machine.

What is not held: the disk may be filled, in files of at most `file_bytes`. Links that it leaves in its folder may point
anywhere, so whoever reads that folder afterwards follows none.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.sandbox.cgroup import NoCgroup, limited
from agents.sandbox.walls import MB, OURS, WORK, Limits, Program, Refused, bubblewrap, landlock

__all__ = ["MB", "WORK", "Limits", "Ran", "Refused", "closed"]

WALLS = {"bwrap": bubblewrap, "landlock": landlock}  # `sandbox:` of infra.yaml; a third one is `refuse`
PIECE = 65536  # bytes that a pipe holds


@dataclass(frozen=True)
class Ran:
    """How a closed run ended. `exit` is 128 + the number of a signal for a death by one, as in a shell."""

    exit: int
    output: str  # stdout and stderr, mixed as they came
    cut: bool  # whether output has lost its beginning
    timed_out: bool
    seconds: float
    reduced: bool  # Landlock held it, not bubblewrap
    grouped: bool  # a control group counted its memory and processes, all together


def closed(
    argv: Sequence[str],
    work: Path,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    *,
    how: str = "bwrap",
    gpu: bool = False,
    shown: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run `argv` closed in, in the folder `work`, to its end; raises Refused. `python` as argv[0] is this interpreter.

    `how`: `sandbox:` of infra.yaml. `shown`: files and folders that it may read, too, each at its own real path. `env`:
    all of its environment. `gpu` gives it the GPUs, and then takes a control group for its memory: CUDA reserves far
    more addresses than it uses, so RLIMIT_AS would end it. The run ends with the thread that called this.
    """
    if how == "refuse":
        raise Refused("sandbox: refuse, so code of a model is not run; choose another in config/infra.yaml")
    argv = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
    real = [one.resolve(strict=True) for one in (work, *shown)]
    with contextlib.ExitStack() as stack:
        enter, grouped = _group(stack, limits, gpu)
        program = Program(argv, real[0], limits, real[1:], dict(env or {}), gpu, grouped)
        told, tell = os.pipe()
        stack.callback(os.close, told)
        began = time.monotonic()
        try:
            child = _started([*enter, *WALLS[how](program, tell)], tell)
        finally:
            os.close(tell)
        output, cut, timed_out = _watched(child, limits)
        took = time.monotonic() - began
        code = _code(child.returncode, output, os.read(told, PIECE), timed_out)
    return Ran(code, output, cut, timed_out, took, how != "bwrap", grouped)


def _started(words: Sequence[str], tell: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[tell],
        start_new_session=True,
    )


def _group(stack: contextlib.ExitStack, limits: Limits, gpu: bool) -> tuple[list[str], bool]:
    """(the words that enter a control group of its own, whether there is one); raises Refused for a GPU without."""
    try:
        return stack.enter_context(limited(limits.memory, limits.processes + OURS)), True
    except NoCgroup as error:
        if gpu:
            what = "so nothing limits a GPU program's memory; run as root, or let this user have /sys/fs/cgroup"
            raise Refused(f"sandbox: no control group can be made ({error}), {what}") from None
        return [], False


def _watched(child: subprocess.Popen[bytes], limits: Limits) -> tuple[str, bool, bool]:
    """(the end of its output, whether there was more, whether its time ran out), once it has ended."""
    assert child.stdout
    kept, end, cut = bytearray(), time.monotonic() + limits.seconds, False
    timed_out = False
    with child.stdout as stream:
        output = select.poll()  # not select(), which refuses a descriptor past 1,023
        output.register(stream, select.POLLIN)
        try:
            while output.poll(1000 * max(0.0, end - time.monotonic())):
                if not (piece := os.read(stream.fileno(), PIECE)):
                    break
                kept += piece
                if len(kept) > limits.output_bytes + PIECE:
                    cut, kept = True, kept[-limits.output_bytes :]
                if time.monotonic() > end:  # one that always writes
                    break
            child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            with contextlib.suppress(ProcessLookupError):  # bubblewrap's death ends the namespace, with all in it
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    cut = cut or len(kept) > limits.output_bytes
    return kept[-limits.output_bytes :].decode("utf-8", "replace"), cut, timed_out


def _code(code: int, output: str, status: bytes, timed_out: bool) -> int:
    """The program's exit code; raises Refused when the sandbox could not be made and so nothing was run.

    `status`: JSON documents; an `exit-code` is among them, or a `running`, only if the program was started.
    """
    told = [json.loads(line) for line in status.splitlines() if line.strip()]
    exits = [one["exit-code"] for one in told if "exit-code" in one]
    if exits:
        return int(exits[0])
    if code < 0 or timed_out:
        return 128 + signal.SIGKILL if timed_out else 128 - code
    if any("running" in one for one in told):
        return code
    why = (output.strip() or f"exit {code}").splitlines()[-1]
    raise Refused(f"sandbox: cannot be made here ({why}); see `sandbox:` in config/infra.yaml")
