"""Programs that die, hang, refuse to stop or lose their supervisor; all of them real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agents._supervise import BEAT_FD, Child, Program, Supervisor
from bus.wake import Bell, is_network
from tests.processes import PATIENCE_S, environment, eventually, is_alive, start

GOOD = """
import os, signal, subprocess, sys, threading
from agents._beat import Beat
claim = sys.argv[1] if len(sys.argv) > 1 else None
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
child = subprocess.Popen(["sleep", "600"])
beat = Beat(lambda: {"claim": claim, "age_s": 0.0, "pids": [os.getpid(), child.pid]}, over.set)
beat.now()
over.wait()
child.kill()
child.wait()
"""
STUBBORN = """
import os, signal, subprocess, sys, time
from agents._beat import Beat
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sh", "-c", "trap '' TERM; while true; do sleep 1; done"])
beat = Beat(lambda: {"claim": None, "pids": [os.getpid(), child.pid]}, lambda: None)
time.sleep(600)
"""


class Watched:
    """A supervisor whose tick runs a test's own steps, one after another; it ends with the last one."""

    def __init__(self, programs: list[Program], *steps: Callable[["Watched"], object], **settings) -> None:
        self.events: list[tuple[str, dict]] = []
        self.steps, self.end = list(steps), time.monotonic() + PATIENCE_S
        self.pids: set[int] = set()
        self.supervisor = Supervisor(programs, self.tick, self.log, **settings)
        self.supervisor.run()
        assert not self.steps, f"not all steps were reached; {self.events}"

    def log(self, event: str, **facts) -> None:
        self.events.append((event, facts))

    def tick(self, children: dict[str, Child]) -> bool:
        for child in children.values():
            self.pids.update(child.beat.get("pids", ()))
        while self.steps and self.steps[0](self):
            self.steps.pop(0)
        return not self.steps or time.monotonic() > self.end

    def child(self, name: str = "a") -> Child:
        return self.supervisor.children[name]

    def seen(self, event: str) -> list[dict]:
        return [facts for one, facts in self.events if one == event]

    def beats(self) -> bool:
        return all(child.beat for child in self.supervisor.children.values())

    def none_left(self) -> bool:
        return not any(map(is_alive, self.pids))


def program(code: str = GOOD, *arguments: str, name: str = "a", minutes: float = 60.0) -> Program:
    return Program(name, [sys.executable, "-c", code, *arguments], minutes, env=environment())


def kill(number: int) -> Callable[[Watched], object]:
    def step(watched: Watched) -> bool:
        child = watched.child()
        assert child.process is not None
        child.process.send_signal(number)
        return True

    return step


def test_a_killed_program_is_started_again_and_its_children_end() -> None:
    watched = Watched(
        [program(), program(name="b")],
        Watched.beats,
        kill(signal.SIGKILL),
        lambda w: w.child().restarts == 1 and w.beats() and len(w.pids) == 6,
        lambda w: sum(map(is_alive, w.pids)) == 4,
    )
    assert watched.seen("ended") == [{"program": "a", "how": "ended: SIGKILL", "restart_in_s": 0.0}]
    assert watched.child("b").restarts == 0
    assert watched.none_left()


def test_what_dies_again_and_again_waits_longer_and_is_given_up_with_a_line() -> None:
    watched = Watched(
        [program("raise SystemExit(3)"), program(name="b")], lambda w: w.child().given_up, back_off_s=(0.0, 0.01, 0.02)
    )
    assert [facts["restart_in_s"] for facts in watched.seen("ended")] == [0.0, 0.01, 0.02]
    assert watched.seen("given up") == [
        {"program": "a", "why": "ended: exit 3, 4 times in a row; not started again"},
    ]
    assert not watched.child("b").given_up


def test_what_is_killed_again_and_again_but_gets_on_is_not_given_up() -> None:
    done = GOOD.replace('"age_s": 0.0', '"age_s": 0.0, "done": 1')
    killed = [step for _ in range(5) for step in (Watched.beats, kill(signal.SIGKILL), lambda w: not w.child().beat)]
    watched = Watched([program(done)], *killed, Watched.beats, back_off_s=(0.0, 0.01, 0.02))
    assert [facts["restart_in_s"] for facts in watched.seen("ended")] == [0.0] * 5
    assert not watched.child().given_up and watched.child().restarts == 5


def test_what_cannot_be_started_is_given_up() -> None:
    watched = Watched([Program("a", ["/no/such/program"])], lambda w: w.child().given_up, back_off_s=(0.0,))
    assert "cannot be started: [Errno 2]" in watched.child().given_up


def test_a_stopped_program_is_hung_and_is_replaced() -> None:
    watched = Watched(
        [program()],
        Watched.beats,
        kill(signal.SIGSTOP),
        lambda w: w.seen("hung"),
        lambda w: w.child().restarts == 1 and w.beats(),
        silent_s=3.0,
    )
    assert watched.seen("hung")[0] == {"program": "a", "why": "no beat for 3 s", "claim": None}
    assert watched.none_left()


def test_a_claim_that_is_too_old_ends_its_program() -> None:
    old = GOOD.replace('"age_s": 0.0', '"age_s": 100.0')
    watched = Watched(
        [program(old, "r1", minutes=1.0), program(old, "r1", name="b")],
        lambda w: w.child().restarts == 1,
        silent_s=30.0,
    )
    assert watched.seen("hung")[0] == {"program": "a", "why": "a claim older than 1 minutes", "claim": "r1"}
    assert watched.child("b").restarts == 0


def test_stop_leaves_no_process_of_any_group() -> None:
    watched = Watched([program(), program(STUBBORN, name="b")], Watched.beats, grace_s=1.0)
    assert len(watched.pids) == 4 and watched.none_left()


def test_children_of_a_dead_program_that_do_not_stop_are_killed() -> None:
    watched = Watched(
        [program(STUBBORN)],
        Watched.beats,
        kill(signal.SIGKILL),
        lambda w: w.child().restarts == 1 and w.beats() and len(w.pids) == 4,
        lambda w: sum(map(is_alive, w.pids)) == 2,
        grace_s=0.5,
    )
    assert watched.none_left()


SUPERVISOR = f"""
import sys
from agents._supervise import Program, Supervisor
def tick(children):
    pids = [pid for child in children.values() for pid in child.beat.get("pids", ())]
    if len(pids) == 2:
        print(*pids, flush=True)
    return False
Supervisor([Program("a", [sys.executable, "-c", {GOOD!r}])], tick, lambda *a, **b: None).run()
"""


def test_programs_stop_when_their_supervisor_is_killed() -> None:
    supervisor = start("-c", SUPERVISOR)
    assert supervisor.stdout is not None
    pids = [int(one) for one in supervisor.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_alive, pids))
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not any(map(is_alive, pids)), "the program and its child have ended")
    supervisor.stdout.close()


def test_by_hand_a_beat_does_nothing_and_a_childs_child_has_none() -> None:
    code = f"import os; from agents._beat import Beat; print(Beat(dict, exit).descriptor, '{BEAT_FD}' in os.environ)"
    for env in (environment(), environment(**{BEAT_FD: "no number"})):
        shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert shown.stdout == "-1 False\n"


# -- waiting ------------------------------------------------------------------------------------------------


def test_a_bell_is_rung_by_new_names_and_not_by_their_end(tmp_path: Path) -> None:
    with Bell([tmp_path]) as bell:
        assert bell.watching and not bell.wait(0)
        (tmp_path / "a").touch()
        assert bell.wait(PATIENCE_S) and not bell.wait(0)
        (tmp_path / "a").write_text("more")
        os.chmod(tmp_path / "a", 0o600)
        (tmp_path / "a").unlink()
        assert not bell.wait(0.1), "an agent does not wake itself by finishing a request"
        (tmp_path.parent / "outside").touch()
        os.rename(tmp_path.parent / "outside", tmp_path / "b")
        assert bell.wait(PATIENCE_S)
        for n in range(5000):
            (tmp_path / f"n{n}").touch()
        assert bell.wait(0) and not bell.wait(0), "many events are one ring"
        bell.ring()
        assert bell.wait(PATIENCE_S)


def test_without_a_watch_the_poll_does_it_all(tmp_path: Path) -> None:
    with Bell([tmp_path / "none"]) as bell:
        assert not bell.watching
        assert not bell.wait(0.01)
        bell.ring()
        assert bell.wait(PATIENCE_S)


def test_a_signal_handler_may_ring(tmp_path: Path) -> None:
    with Bell([tmp_path]) as bell:
        before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert bell.wait(PATIENCE_S)
        finally:
            signal.signal(signal.SIGALRM, before)


def test_here_is_no_network_file_system() -> None:
    assert not is_network(Path("/proc")) and not is_network(Path("/"))
