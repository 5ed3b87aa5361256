"""What is recorded for the power cuts: short programs that work in a folder, and say what is done.

put BOX ID     answered BOX ID SHA256     made RUN     rounds RUN N
burying BOX ID, buried BOX ID, reviving BOX ID, revived BOX ID
aside BOX ID                              from here on its reply may be moved away
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents._run import sweep, tidy
from bus import files
from bus.mailbox import Conflict
from bus.run import Run
from tests.crash.disk_record import Say
from tests.crash.power_work import FLOW, RUN, SERVICE, STEP, advance, ask, create, open_box, reply_sha256, work

ERROR = {"kind": "error", "message": "a bad day", "where": "power"}


Act = Callable[[Path, Say, bool], None]  # what a program does in a folder; True: durable


@dataclass(frozen=True)
class Scene:
    """`before` is on the disk when `act` begins. `ids`: what is asked in which mailbox, in this scene."""

    name: str
    act: Act
    ids: dict[str, list[str]]
    before: Callable[[Path], None] = lambda root: None
    tries: int = 3
    drafts: bool = False  # tried also where a draft must have a name
    kills: bool = True  # tried also with a process that is killed, and another that goes on

    @property
    def of_run(self) -> bool:
        """True if it is about a run, which is always durable."""
        return all(box.startswith(RUN) for box in self.ids)

    def act_once(self, root: Path) -> None:
        """The whole scene in this process."""
        self.before(root)
        self.act(root, lambda _: None, True)


def _put(name: str, *ids: str) -> Act:
    def act(root: Path, say: Say, durable: bool) -> None:
        box = open_box(root, name, durable)
        for id in ids:
            box.put(id, ask(name, id))
            say(f"put {name} {id}")

    return act


def _put_many(root: Path, say: Say, durable: bool) -> None:
    box = open_box(root, SERVICE, durable)
    for ids in (["m1", "m2", "m3"], ["m3", "m4"]):
        box.put_many([(id, ask(SERVICE, id)) for id in ids])
        for id in ids:
            say(f"put {SERVICE} {id}")


def _copied(root: Path, say: Say, durable: bool) -> None:
    """A person's `cp`, of which nothing is promised; then a program asks the same."""
    box = open_box(root, SERVICE, durable)
    data = files.pretty(ask(SERVICE, "m1"))
    with open(root / SERVICE / "inbox" / "m1.json", "wb", buffering=0) as file:
        file.write(data[:50])
        file.write(data[50:])
    with contextlib.suppress(FileNotFoundError):
        box.put("m1", ask(SERVICE, "m1"))
        say(f"put {SERVICE} m1")


def _serve(name: str) -> Act:
    """Put, work, answer, and ask once more."""

    def act(root: Path, say: Say, durable: bool) -> None:
        _put(name, "r1", "r2")(root, say, durable)
        box = open_box(root, name, durable)
        tidy(box)
        for claim in box.claims():
            work(claim)
            say(f"answered {name} {claim.id} {reply_sha256(root, name, claim.id)}")
        box.put("r1", ask(name, "r1"))
        say(f"put {name} r1")

    return act


def _fail(root: Path, say: Say, durable: bool) -> None:
    """A request fails, fails again and is given up; another fails once and is answered."""
    for id in ("r1", "r2"):
        say(f"put {STEP} {id}")
    box = open_box(root, STEP, durable, tries=2)
    for id in ("r1", "r2", "r1", "r2"):
        box.postpone(id, 0.0)
        claim = box.claim(id)
        assert claim is not None
        if id == "r2" and (box.work("r2") / "try-1").exists():
            work(claim)
            say(f"answered {STEP} r2 {reply_sha256(root, STEP, 'r2')}")
            continue
        claim.begin()
        if (box.work("r1") / "try-2").exists():
            say(f"burying {STEP} r1")
        claim.fail(ERROR)
    say(f"buried {STEP} r1")


def _bury(root: Path, say: Say, durable: bool) -> None:
    for what in ("put", "burying"):
        say(f"{what} {SERVICE} m1")
    box = open_box(root, SERVICE, durable)
    box.bury("m1", "name", "nobody can do this")
    say(f"buried {SERVICE} m1")


def _dead(root: Path) -> None:
    """Two dead letters of a step: one failed as often as it may, one was never tried."""
    box = open_box(root, STEP, tries=1)
    box.put("r1", ask(STEP, "r1"))
    claim = box.claim("r1")
    assert claim is not None
    claim.begin()
    claim.fail(ERROR)
    box.put("r2", ask(STEP, "r2"))
    box.bury("r2", "name", "nobody can do this")


def _revive(root: Path, say: Say, durable: bool) -> None:
    for id in ("r1", "r2"):
        for what in ("put", "burying", "buried"):
            say(f"{what} {STEP} {id}")
    box = open_box(root, STEP, durable, tries=1)
    for id in ("r1", "r2"):
        say(f"reviving {STEP} {id}")
        box.revive(id)
        say(f"revived {STEP} {id}")
    claim = box.claim("r1")
    assert claim is not None
    work(claim)
    say(f"answered {STEP} r1 {reply_sha256(root, STEP, 'r1')}")


def go_on(scene: Scene, asks_first: bool = False) -> Act:
    """Another process, later: works on what it finds, and asks everything of the scene again before or after that."""

    def act(root: Path, say: Say, durable: bool) -> None:
        if scene.of_run:
            run = Run(root / RUN) if (root / RUN).exists() else create(root)
            sweep(run)  # as whoever starts a run does
            say(f"made {RUN}")
            advance(run, say)
            return
        for name, ids in scene.ids.items():
            box = open_box(root, name, durable, scene.tries)
            tidy(box)
            for asked in (ids,) if asks_first else ([], ids):
                for id in asked:
                    with contextlib.suppress(Conflict):  # half of a person's `cp`
                        box.put(id, ask(name, id))
                        say(f"put {name} {id}")
                for claim in box.claims():
                    work(claim)
                    say(f"answered {name} {claim.id} {reply_sha256(root, name, claim.id)}")

    return act


# -- runs ---------------------------------------------------------------------------------------------------


def _create(root: Path, say: Say, durable: bool) -> None:
    run = create(root)
    say(f"made {RUN}")
    run.want_rounds(2)
    say(f"rounds {RUN} 2")


def _made(root: Path) -> None:
    create(root).close()


def _chain(root: Path, say: Say, durable: bool) -> None:
    say(f"made {RUN}")
    advance(Run(root / RUN), say)


def _changed(root: Path) -> None:
    """A run that is done; then its goal is changed."""
    run = create(root)
    advance(run, lambda _: None)
    run.close()
    files.replace(root / RUN / "goal.md", b"another goal\n")


def _aside(root: Path, say: Say, durable: bool) -> None:
    """The first step's reply is stale, is set aside, and made again."""
    say(f"made {RUN}")
    for step in FLOW:
        sha256 = reply_sha256(root, f"{RUN}/{step}", "r1")
        say(f"put {RUN}/{step} r1")
        say(f"answered {RUN}/{step} r1 {sha256}")
    say(f"aside {RUN}/10-make r1")
    advance(Run(root / RUN), say)


def _boxes(root: Path) -> None:
    for name in (SERVICE, STEP):
        open_box(root, name).close()


def _asked(root: Path) -> None:
    for name, id in ((SERVICE, "m1"), (STEP, "r1"), (STEP, "r2")):
        open_box(root, name).put(id, ask(name, id))


_STEPS = {f"{RUN}/{step}": ["r1"] for step in FLOW}
SCENES = (
    Scene("put into a new mailbox", _put(SERVICE, "m1"), {SERVICE: ["m1"]}),
    # Folders above a mailbox that a killed process made may be lost with it: nobody else knows that they are new.
    Scene("put into a new mailbox in a new folder", _put("new/llm", "m1"), {"new/llm": ["m1"]}, kills=False),
    Scene("put", _put(SERVICE, "m1", "m2", "m1"), {SERVICE: ["m1", "m2"]}, _boxes, drafts=True),
    Scene("put_many", _put_many, {SERVICE: ["m1", "m2", "m3", "m4"]}, _boxes, drafts=True),
    Scene("cp, then put of the same", _copied, {SERVICE: ["m1"]}, _boxes),
    Scene("a service answers", _serve(SERVICE), {SERVICE: ["r1", "r2"]}, _boxes, drafts=True),
    Scene("a step answers", _serve(STEP), {STEP: ["r1", "r2"]}, _boxes, drafts=True),
    Scene("fail", _fail, {STEP: ["r1", "r2"]}, _asked),
    Scene("bury", _bury, {SERVICE: ["m1"]}, _asked),
    Scene("revive", _revive, {STEP: ["r1", "r2"]}, _dead, tries=1),
    Scene("make a run", _create, _STEPS),
    Scene("a run's steps", _chain, _STEPS, _made),
    Scene("a stale reply", _aside, _STEPS, _changed),
)
