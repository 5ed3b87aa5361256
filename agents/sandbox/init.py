"""What `apart.py` starts: give a command a pid namespace of its own, and end as it does.

bubblewrap is not used here: it takes a SIGTERM for itself, and tells a death by signal as an exit code. So there are
three processes. The outer one stays where it was, passes signals on, and at last exits, or dies, as the command did;
`init`, process 1 of the namespace, reaps; the command is its child. When the outer one dies, the kernel ends the rest.
With --reap, where no namespace can be had, `init` does so, as the parent of whoever loses one.

Every command waits for this module, so it imports little: pathlib and contextlib alone would take 10 ms of 30.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

from agents.sandbox.syscalls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    call,
    drop_capabilities,
    prctl,
)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000  # <linux/sched.h>
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 19  # <linux/mount.h>
# What would undo the namespace, were the command root: unmounting its /proc, reading memory, opening hidden files by
# handle. By number: DAC_READ_SEARCH, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF, CHECKPOINT_RESTORE.
DROPPED = (2, 16, 17, 19, 21, 38, 39, 40)
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
GONE = signal.SIGALRM  # what `init` hears with --reap when the outer one has died
CANNOT = 125  # the exit code when there is no namespace; commands that tell of others, like `env`, use it so
NOT_FOUND = 127  # as shells exit for a command that cannot be run


def main(words: Sequence[str]) -> None:
    """Run the command after `--` apart, and end as it does."""
    split = list(words).index("--")
    command, reap = list(words[split + 1 :]), "--reap" in words[:split]
    hidden = [] if reap else list(words[1:split:2])
    given = _read("/proc/self/environ").split("\0")  # os.environ may have an LC_CTYPE that Python has put there
    env = dict(one.split("=", 1) for one in given if "=" in one)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        if not reap:
            _isolate()
    except OSError as error:
        _refuse(error)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD, GONE})
    told, tell = os.pipe()
    outer, child = os.getpid(), os.fork()
    if child == 0:
        try:
            _adopt(outer) if reap else _enter(hidden)
        except OSError as error:
            _refuse(error)
        _init(command, env, tell, mask, reap)
    os.close(tell)
    status = _wait(child)
    _end(int(os.read(told, 16) or status))  # nothing was told: init was killed, or could not begin


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return os.fsdecode(file.read())


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _refuse(error: OSError) -> None:
    full = error.errno == errno.ENOSPC  # of which the kernel's text would speak of a disk
    why = "user.max_pid_namespaces or user.max_user_namespaces is used up" if full else error.strerror
    os.write(2, f"no pid namespace of its own ({why}); allow user namespaces on this machine\n".encode())
    os._exit(CANNOT)


def _isolate() -> None:
    """New pid and mount namespaces for the children to come; in a user namespace where we may not make them else."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        call("unshare", CLONE_NEWPID | CLONE_NEWNS)
    except PermissionError:
        call("unshare", CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")  # the kernel wants it so before a map by no root
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    call("mount", b"none", b"/", None, MS_REC | MS_SLAVE, None)  # what is mounted here stays unseen outside


def _enter(hidden: Sequence[str]) -> None:
    """As process 1 of the namespace: mount what it may see, and give up what would undo that."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    for path in hidden:
        if os.path.exists(path):
            call("mount", b"/dev/null", os.fsencode(path), None, MS_BIND, None)
    drop_capabilities(DROPPED)


def _adopt(outer: int) -> None:
    """Without a namespace: become the parent of whoever loses one below, out of the reach of a signal to the group."""
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, GONE)
    if os.getppid() != outer:  # it died before that was asked for
        os._exit(CANNOT)


def _init(command: list[str], env: dict[str, str], tell: int, mask: set[int], reap: bool) -> None:
    """Start the command, reap, tell how the command ended; never returns."""
    child = os.fork()
    if child == 0:
        os.close(tell)
        _exec(command, env, mask)
    status = _wait(child)
    if reap:
        _end_rest()
    os.write(tell, str(status).encode())
    os._exit(0)  # and the kernel ends whatever else is left in a namespace


def _end_rest() -> None:
    """Kill every child; theirs are ours then, until there is none."""
    while left := _read(f"/proc/self/task/{os.getpid()}/children").split():
        for one in left:
            os.kill(int(one), signal.SIGKILL)
        for one in left:
            os.waitpid(int(one), 0)


def _exec(command: list[str], env: dict[str, str], mask: set[int]) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores for itself
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvpe(command[0], command, env)
    except OSError as error:
        os.write(2, f"{command[0]}: cannot be run: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)


def _wait(child: int) -> int:
    """Pass signals on until `child` has ended; returns its wait status. Any other child is reaped."""
    while True:
        heard = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD, GONE})
        if heard.si_signo == GONE:
            return int(signal.SIGKILL)  # as a wait status
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code <= 0:  # sent by a process; what a terminal sends, the command has heard itself
                os.kill(child, heard.si_signo)
            continue
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:  # `child` is among them at last, so there is always one
            if reaped[0] == child:
                return reaped[1]


def _end(status: int) -> None:
    """End this process as another did: by its exit code or by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        prctl(PR_SET_DUMPABLE, 0)  # the command has left a core where one is wanted; ours would tell nothing
        if -code != signal.SIGKILL:  # which has no handler
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
        code = 128 - code
    os._exit(code)
