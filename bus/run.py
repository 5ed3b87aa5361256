"""One run folder: its flow, its mailboxes, and putting what is due. Nothing in it names a host or an absolute path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bus import files, flow, schema, tries
from bus.mailbox import Mailbox, check_id

FOREVER = 10**9  # rounds: "forever"


class RunError(Exception):
    """A run that cannot be made or opened; one line: where, what, what to do."""


class Progress(NamedTuple):
    """What a look at a run did: the requests that it put, the stale replies that it set aside, as (mailbox, ID)."""

    put: list[tuple[str, str]]
    stale: list[tuple[str, str]]


class Run:
    """A run on disk. Opening reads run.json; mailboxes are opened on first use and kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self.name, self.hold = self.folder.name, self.folder / "HOLD"
        try:
            self.document = schema.check(files.read_json(self.folder / "run.json"), "run.v1")
            self.steps = flow.steps(self.document["flow"])
            self.services: Mapping[str, Any] = {check_id(name): one for name, one in self.document["services"].items()}
        except FileNotFoundError:
            raise RunError(f"{folder}: is no run (it has no run.json); see 'ls runs'") from None
        except (files.BadFile, schema.Invalid, flow.BadFlow) as error:
            raise RunError(f"{folder}: run.json is damaged: {error}; restore it from a copy") from None
        self.seed = int(self.document["seed"])
        self._mailboxes: dict[str, Mailbox] = {}
        self._replies: dict[flow.Key, tuple[tuple[int, int, int], dict[str, Any]]] = {}

    def close(self) -> None:
        while self._mailboxes:
            self._mailboxes.popitem()[1].close()

    @property
    def rounds(self) -> int:
        """The rounds wanted, from the file ROUNDS (a number or `forever`); 1 where it cannot be read."""
        try:
            text = files.read_bytes(self.folder / "ROUNDS", 64).decode("ascii", "replace").strip()
        except (FileNotFoundError, files.BadFile):
            return 1
        return FOREVER if text == "forever" else max(1, int(text)) if text.isdecimal() else 1

    def want_rounds(self, rounds: int | str) -> None:
        files.replace(self.folder / "ROUNDS", f"{rounds}\n".encode(), durable=True)

    def step(self, name: str) -> flow.Step:
        for step in self.steps:
            if step.name == name:
                return step
        raise RunError(f"{self.name}: there is no step {name}; it has {', '.join(s.name for s in self.steps)}")

    def mailbox(self, name: str) -> Mailbox:
        """The mailbox of a step or of a service, opened once."""
        if name not in self._mailboxes:
            if (entry := self.services.get(name)) is None:
                kind: dict[str, Any] = {"tries": self.step(name).tries}
            else:
                kind = {"folders": False, "request": entry.get("request"), "reply": entry.get("reply")}
                kind["tries"] = int(entry.get("tries", flow.DEFAULT_TRIES))
            self._mailboxes[name] = Mailbox(self.folder / name, hold=self.hold, **kind)
        return self._mailboxes[name]

    def reply(self, step: str, round: int) -> dict[str, Any] | None:
        """A step's reply document, kept after the first reading: it never changes, but its folder may be another."""
        box, id = self.mailbox(step), f"r{round}"
        try:
            status = os.stat(id, dir_fd=box.outbox_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)  # a disk uses its inodes again
        before, reply = self._replies.get((step, round), (None, None))
        if before != stamp and (reply := box.reply(id)) is not None:
            self._replies[(step, round)] = (stamp, reply)
        return reply

    def listings(self) -> tuple[dict[flow.Key, dict[str, Any]], set[flow.Key]]:
        """({(step, round): reply}, {(step, round) asked}) over all steps; each inbox is read before its outbox."""
        looks = {step.name: self.mailbox(step.name).listing() for step in self.steps}
        asked = {(name, n) for name, look in looks.items() for id in look.requests | look.dead if (n := round_of(id))}
        rounds = [(name, n) for name, look in looks.items() for id in look.replies if (n := round_of(id))]
        replied = {key: reply for key in sorted(rounds) if (reply := self.reply(*key)) is not None}
        return replied, asked

    def advance(self) -> Progress:
        """Set aside stale replies, take back requests that came too early, put what is due; twice adds nothing."""
        progress = Progress([], [])
        if os.path.lexists(self.hold):
            return progress
        replied, asked = self.listings()
        own = {"goal.md": files.sha256_file(self.folder / "goal.md")}
        for name, n in flow.stale(replied, own):
            judged = replied.pop((name, n))  # by now another may have set it aside, and an agent made it again
            if self.reply(name, n) is judged and self.set_aside(name, f"r{n}"):
                progress.stale.append((name, f"r{n}"))
        for name, n in asked - replied.keys():  # such as when a reply that they read was lost
            if not all(self.mailbox(step).answered(f"r{m}") for step, m in self.step(name).needs(n)):
                self.mailbox(name).withdraw(f"r{n}")
        last = min(self.rounds, 1 + max((n for _, n in replied), default=0))
        for step, n in flow.due(self.steps, set(replied), asked, last):
            if self.mailbox(step.name).put(f"r{n}", flow.request(step, n)):
                progress.put.append((step.name, f"r{n}"))
        return progress

    def set_aside(self, step: str, id: str) -> bool:
        """Move a reply out of the way, to STEP/stale/ID-K; False if another did so first."""
        box, count = self.mailbox(step), 1
        tries.make(folder := box.folder / "stale")
        files.fsync(box.folder)
        while os.path.lexists(folder / f"{id}-{count}"):
            count += 1
        try:
            os.rename(id, folder / f"{id}-{count}", src_dir_fd=box.outbox_fd)
        except FileNotFoundError:
            return False
        return True

    def done(self) -> bool:
        """True if every step has replied for every round that is wanted."""
        if self.rounds >= FOREVER:
            return False
        replied, _ = self.listings()
        return all((step.name, n) in replied for step in self.steps for n in range(1, self.rounds + 1))


def round_of(id: str) -> int | None:
    """The round of an ID such as r12, or None for other IDs."""
    return int(id[1:]) if id[:1] == "r" and id[1:].isdecimal() and id[1] != "0" else None
