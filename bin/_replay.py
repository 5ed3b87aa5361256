"""Do a run again from its call files: what was answered then is answered now, and nothing is sent to anybody.

llm/REPLAY says so: {"of": the original's name, "profiles": {role: [profile, model] that it asked, the last first},
"lost": the calls that it paid for and has no file of any more}. Beside the calls it brings what no call tells, see
agents/_original.py.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agents._ask import REPLAY, SERVICE
from agents._original import BROUGHT, FETCHED, SOURCES, TEXTS, Original
from agents.models.ledger import NAME, Tally
from bus import files, schema
from bus.mailbox import Mailbox
from bus.run import Run


def replay(run: Run, original: Run) -> int:
    """Give a run the calls that another asked, answered or given up; returns how many. The same again adds nothing.

    The marker comes first: a run that was not given all of them says which one is missing, and asks nobody.
    """
    theirs, ours = original.mailbox(SERVICE), run.mailbox(SERVICE)
    look = theirs.listing()
    given_up = (look.dead - look.replies) & look.requests
    paid = {line["call"]: line["n"] for line in Tally(theirs.folder / NAME).lines()}
    lost = sorted(paid.keys() - look.replies - given_up)
    marker = {"of": original.document["name"], "profiles": profiles(theirs, given_up, paid), "lost": lost}
    files.replace(ours.folder / REPLAY, files.pretty(marker), durable=True)
    for id in sorted(look.replies):
        copy(theirs.outbox_fd, ours.outbox_fd, id)
    for id in sorted(given_up):  # its letter before the request itself: nobody may claim that
        copy(theirs.dead_fd, ours.dead_fd, id)
        copy(theirs.inbox_fd, ours.inbox_fd, id)
    for step, round in original.listings()[0]:
        bring(run, original, step, round)
    return len(look.replies) + len(given_up)


def bring(run: Run, original: Run, step: str, round: int) -> None:
    """Give a run what else it cannot find again of one reply; raises BadFile for what is not as it was replied."""
    artifacts = (original.reply(step, round) or {"artifacts": {}})["artifacts"]
    folder = original.folder / step / "outbox" / f"r{round}"
    found = {}
    for name in sorted(wanted(folder, artifacts)):
        found[name] = files.read_bytes(folder / files.inside(name))
        if files.sha256(found[name]) != artifacts[name]["sha256"]:
            raise files.BadFile(f"{folder / name}: its bytes are not those that were replied; restore it")
    there = Original(run, step, round).folder
    for name, data in found.items():
        place = (there / name).parent
        files.make_folder(place, durable=True)
        folder_fd = os.open(place, files.FOLDER)
        try:
            with contextlib.suppress(FileExistsError):
                files.publish(folder_fd, os.path.basename(name), data)
        finally:
            os.close(folder_fd)


def wanted(folder: Path, artifacts: Iterable[str]) -> Iterator[str]:
    """The artifacts of a reply that a replay needs; of the sources those that were fetched alone."""
    named = [name for name in artifacts if any(fnmatch.fnmatchcase(name, pattern) for pattern in BROUGHT)]
    rows = files.read_bytes(folder / SOURCES).splitlines() if SOURCES in named else []
    fetched = {row["file"] for row in map(parsed, rows) if row["origin"].startswith(FETCHED)}
    yield from (name for name in named if name in fetched or not fnmatch.fnmatchcase(name, TEXTS))


def parsed(line: bytes) -> dict[str, Any]:
    return dict(schema.check(files.parse(line, SOURCES), "source.v1"))


def replayed(again: Run) -> str | None:
    """The name of the run that a run replays; None for one that replays none, or does not say which."""
    with contextlib.suppress(FileNotFoundError, files.BadFile):
        marker = files.read_json(again.folder / SERVICE / REPLAY)
        return marker.get("of") if isinstance(marker, dict) else None
    return None


def relation(here: Run, there: Run) -> str:
    """How one of two runs replays the other, in words; "" if neither says so."""
    if (name := replayed(there)) and name == replayed(here):
        return f"both replay a run {name}"
    for again, original, who in ((there, here, "second replays the first"), (here, there, "first replays the second")):
        if SERVICE in again.services and replayed(again) == original.document["name"]:
            own, theirs = (calls(run.mailbox(SERVICE)) for run in (again, original))
            foreign = f", but for {len(own - theirs):,} that it has not" if own - theirs else ""
            return f"the {who}, from its {len(own & theirs):,} calls{foreign}"
    return ""


def calls(box: Mailbox) -> frozenset[str]:
    """The calls of a mailbox that were answered or given up."""
    look = box.listing()
    return look.replies | look.dead


def profiles(box: Mailbox, given_up: Iterable[str], paid: Mapping[str, int]) -> dict[str, list[tuple[str, str]]]:
    """(profile, model) that each role asked, the last ones first; `paid`: the number of a call's last attempt."""
    last: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    found = [(id, (box.reply(id) or {})["call"]) for id in box.listing().replies]
    for id in given_up:
        where = f"{SERVICE}/inbox/{id}.json"
        found.append((id, files.parse(files.read_bytes(f"{id}.json", dir_fd=box.inbox_fd), where)))
    for id, call in found:
        asked = call["profile"], call["model"]
        last[call["role"]][asked] = max(paid.get(id, 0), last[call["role"]].get(asked, 0))
    return {role: sorted(own, key=lambda one: (-own[one], one)) for role, own in sorted(last.items())}


def copy(source_fd: int, target_fd: int, id: str) -> None:
    """Publish another mailbox's file under its name, unless there is one."""
    if not files.exists(f"{id}.json", target_fd):
        files.publish(target_fd, f"{id}.json", files.read_bytes(f"{id}.json", dir_fd=source_fd))
