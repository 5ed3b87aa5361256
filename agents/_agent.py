"""What every agent does around its one job: wait, claim, work, commit or record the failure, beat, stop.

    raise SystemExit(main(research))        the whole of an agent's last line

The function gets a Job. A step's function writes artifacts; a service's returns its reply document.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agents import _child, _config
from agents._ask import NotReplayed
from agents._beat import Beat
from agents._child import ChildFailed
from agents._codes import BUSY, DONE, FAILED, GAVE_UP, USAGE, WAITING
from agents._job import GiveUp, Job
from agents._run import tidy
from bus import files, schema, tries
from bus.claim import Claim
from bus.run import Run, RunError
from bus.wake import Bell

FULL_BYTES = 1024 * 1024  # a child that fails with less than this free failed for want of room
IDLE_BYTES = 40 * 1024 * 1024  # a waiting agent holds about 32 MB; one that holds more after a job starts itself anew
SAID = 500  # characters of what a job says that a beat carries: beats are short, logs have the whole
Work = Callable[..., Any]


class Busy(Exception):
    """Another process does what only one may do; one line."""


class Later(Exception):
    """What a request needs is not there just now, and nothing is wrong with it; it is put off by `wait_s`, untried."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Stopped(BaseException):
    """SIGTERM or Ctrl-C arrived while a job was running; a BaseException so that no job swallows it."""


class Agent:
    """One process that serves one mailbox of one run."""

    def __init__(self, work: Work, run: Run, mailbox: str, config: _config.Config, loud: bool) -> None:
        self.work, self.run, self.name, self.config, self.loud = work, run, mailbox, config, loud
        self.mailbox = run.mailbox(mailbox)
        self.stopping = threading.Event()
        self.bell = Bell([self.mailbox.folder / "inbox"])
        self.job: Job | None = None
        self._in_job = False
        self._done = 0  # requests that this process has answered
        self._said: dict[str, Any] = {"say": "", "numbers": {}}
        self.beat = Beat(lambda: {**self._describe(), "done": self._progress()}, self._supervisor_gone)

    def _describe(self) -> dict[str, Any]:
        job = self.job
        if job is None:
            return {"claim": None, "age_s": 0.0, "say": "", "numbers": {}, "gpu_s": 0.0}
        return {"claim": job.id, "age_s": job.facts()["seconds"], "gpu_s": job.gpu_seconds(), **self._said}

    def _progress(self) -> int:
        """How often this process got on: by a reply, or by what the job that it is at has kept."""
        job = self.job
        return self._done + (job is not None and job.got_on)

    def _supervisor_gone(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # the handler runs in the main thread, where the job is

    def _heard(self, said: dict[str, Any]) -> None:
        self._said = {**said, "say": said["say"][:SAID]}
        self.beat.now()
        if self.loud:
            click.echo(f"{self.name}: {said['say']}", err=True)

    def _stop(self, *_: object) -> None:
        self.stopping.set()
        self.bell.ring()
        if self._in_job:
            self._in_job = False  # once: a second signal must not cut the clean-up of the first
            raise Stopped

    def watch(self) -> int:
        """Serve until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        tidy(self.mailbox)
        self.serve()
        return DONE

    def serve(self) -> None:
        """Work on one claim after another until told to stop."""
        grown = False
        with self.bell:
            while not self.stopping.is_set():
                worked = False
                for claim in self.mailbox.claims():
                    if self.stopping.is_set():
                        claim.release()
                        break
                    self._attempt(claim)
                    worked = True
                grown = grown or worked
                if grown and resident() > IDLE_BYTES and not (self.mailbox.postponed() or self.stopping.is_set()):
                    self._start_anew()
                self.bell.wait()

    def _start_anew(self) -> None:
        """Replace this process by a fresh one of the same pid, so that what a job left in memory does not stay."""
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own descriptor
                    os.set_inheritable(int(name), False)
        self.beat.keep()
        os.execv(sys.executable, sys.orig_argv)

    def once(self) -> int:
        """Do one pending request, by hand; the exit code says how it went."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.run.advance()
        tidy(self.mailbox)
        for claim in self.mailbox.claims():
            return self._attempt(claim)
        return self._nothing(self.mailbox.listing())

    def _nothing(self, listing: Any) -> int:
        """Why nothing was claimed, in one line, and its exit code."""
        if listing.pending:
            id = listing.pending[0]
            state = self.mailbox.state(id)
            code, why = {
                "running": (BUSY, "another agent holds it"),
                "held": (BUSY, f"the run is held; remove {self.run.hold}"),
                "failed": (FAILED, f"its last try failed; see {self.mailbox.work(id)}"),
            }.get(str(state), (BUSY, "it could not be claimed just now; try again"))
            return self._tell(code, f"{id}: {why}")
        if stuck := sorted(listing.dead - listing.replies):
            return self._tell(GAVE_UP, f"{stuck[0]}: given up; see {self.mailbox.folder / 'dead' / stuck[0]}.json")
        if self.name in self.run.services:
            return self._tell(DONE, "nothing is asked")
        if self.run.hold.exists():
            return self._tell(BUSY, f"the run is held; remove {self.run.hold}")
        replied, _ = self.run.listings()
        rounds = range(1, min(self.run.rounds, 1 + len(replied)) + 1)
        open_rounds = [n for n in rounds if (self.name, n) not in replied]
        if not open_rounds:
            return self._tell(DONE, "every round that is wanted has its reply; nothing to do")
        missing = sorted(f"{step} r{n}" for step, n in self.run.step(self.name).needs(open_rounds[0]) - set(replied))
        return self._tell(WAITING, f"r{open_rounds[0]} waits for {', '.join(missing) or 'its turn'}")

    def _tell(self, code: int, text: str) -> int:
        click.echo(f"{self.name}: {text}", err=code != DONE)
        return code

    def _attempt(self, claim: Claim) -> int:
        """Work on one claim to its end, whatever that is; returns the exit code that tells it."""
        try:
            return self._work(claim)
        except (OSError, files.BadFile) as error:  # not even the failure could be recorded: a full or failing disk
            self.mailbox.postpone(claim.id, tries.DISK_WAIT_S)
            claim.release()
            return self._tell(FAILED, f"{claim.id}: {error}; nothing was lost, it is tried again")
        finally:
            self.job = None
            self.beat.now()

    def answer(self, job: Job) -> Any:
        """What the work makes of a job; a signal interrupts it, and nothing that records how it ended."""
        try:
            self._in_job = True
            if self.stopping.is_set():  # before the line above, when nothing was raised
                raise Stopped
            if self.config.tools.get(job.step):
                job.tools  # noqa: B018  # started and checked at the beginning, or the job fails before it costs anything
            return self.work(job)
        finally:
            self._in_job = False
            job.close()

    def _work(self, claim: Claim) -> int:
        job: Job | None = None
        try:
            self.job = job = Job(self.run, claim, self.config, self.stopping, self._heard)
            self._commit(job, claim, self.answer(job))
        except Stopped:
            if claim.mailbox.folders:
                claim.fail(self._error(job, "stopped", "asked to stop"))
            claim.release()
            return self._tell(128 + signal.SIGTERM, f"{claim.id}: stopped; the same command goes on")
        except Later as error:
            claim.mailbox.postpone(claim.id, error.wait_s)
            claim.release()
            return self._tell(FAILED, f"{claim.id}: {error}; it is looked at again in {error.wait_s:g} s")
        except (GiveUp, NotReplayed) as error:
            claim.give_up(getattr(error, "kind", "replay"), str(error))
            return self._tell(GAVE_UP, f"{claim.id}: given up: {error}")
        except ChildFailed as error:
            if error.exit == GAVE_UP:
                claim.give_up("refused", str(error))
                return self._tell(GAVE_UP, f"{claim.id}: given up: {error}")
            facts = {"exit": error.exit, "signal": error.signal, "last_lines": error.last_lines}
            full = free_bytes(self.run.folder) < FULL_BYTES
            kind = "disk" if full else "death" if error.signal else "child"
            claim.fail(self._error(job, kind, str(error), **facts))
            return self._tell(FAILED, f"{claim.id}: {error}")
        except Exception as error:  # the one place: a job may fail in any way, and every way is recorded
            kind = "disk" if files.is_full(error) else "error"
            text = f"{type(error).__name__}: {error}"
            claim.fail(self._error(job, kind, text, traceback=traceback.format_exc()))
            return self._tell(FAILED, f"{claim.id}: {text}")
        return DONE

    def _commit(self, job: Job, claim: Claim, answer: Any) -> None:
        if claim.mailbox.folders:
            job.prove()
            new = claim.commit_folder(job.facts())
            self.run.advance()
        else:
            new = claim.commit_file(answer)
        self._done += 1
        if self.loud:
            self._tell(DONE, f"{claim.id}: {'done' if new else 'was answered already'}")

    def _error(self, job: Job | None, kind: str, message: str, **facts: Any) -> dict[str, Any]:
        where = str(job.folder.relative_to(self.run.folder)) if job and job.folder else self.name
        seconds = job.facts()["seconds"] if job else 0.0
        return {"kind": kind, "message": message, "where": where, "seconds": seconds, **facts}


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of a folder; 0 where nobody can tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def find_mailbox(run: Run, agent: str, step: str | None) -> str:
    """The mailbox that an agent serves in a run: the named step, or the one step or service of that agent."""
    if step:
        return step if step in run.services else run.step(step).name
    found = [one.name for one in run.steps if one.agent == agent or one.name == agent]
    found += [name for name, entry in run.services.items() if entry.get("agent") == agent]
    if len(found) == 1:
        return found[0]
    served = ", ".join(one.name for one in run.steps)
    what = "serves no mailbox" if not found else f"serves {', '.join(found)}; name one with --step"
    raise RunError(f"{agent}: {what} of {run.name}; its steps are {served}")


def main(work: Work, agent: str | None = None, kind: type[Agent] = Agent) -> int:
    """The command line of an agent of some kind; returns its exit code."""
    name = agent or Path(inspect.getfile(work)).stem
    about = inspect.getdoc(sys.modules[work.__module__]) or ""

    @click.command(name, help=f"{about.splitlines()[0]}\n\nExample: bin/agent {name} runs/gpu-ops --once")
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--once/--watch", default=True, help="Do one pending request (the default), or serve until stopped.")
    @click.option("--step", help="The mailbox, where this agent serves several.")
    @click.option("--config", type=click.Path(path_type=Path), default=_config.FOLDER, help="The config folder.")
    def command(run: Path, once: bool, step: str | None, config: Path) -> int:
        opened = Run(run)
        _child.adopt()
        served = kind(work, opened, find_mailbox(opened, name, step), _config.load(config), loud=once)
        return served.once() if once else served.watch()

    try:
        return int(command.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return USAGE
    except (RunError, _config.ConfigError) as error:
        click.echo(f"{name}: {error}", err=True)
        return USAGE
    except Busy as error:
        click.echo(f"{name}: {error}", err=True)
        return BUSY
    except (files.BadFile, schema.Invalid) as error:  # a damaged reply, or a link: nothing may be built on it
        click.echo(f"{name}: {error}; see bin/check", err=True)
        return FAILED
