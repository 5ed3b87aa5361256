"""Do a run again from its call files: what was answered then is answered now, and nothing is sent to anybody.

llm/REPLAY says so: {"profiles": {role: those that the original asked, the last one first}, "lost": the calls that it
paid for and has no file of any more}.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from agents._ask import REPLAY, SERVICE
from agents.models.ledger import NAME, Tally
from bus import files
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
    marker = {"profiles": profiles(theirs, given_up, paid), "lost": sorted(paid.keys() - look.replies - given_up)}
    files.replace(ours.folder / REPLAY, files.pretty(marker), durable=True)
    for id in sorted(look.replies):
        copy(theirs.outbox_fd, ours.outbox_fd, id)
    for id in sorted(given_up):  # its letter before the request itself: nobody may claim that
        copy(theirs.dead_fd, ours.dead_fd, id)
        copy(theirs.inbox_fd, ours.inbox_fd, id)
    return len(look.replies) + len(given_up)


def profiles(box: Mailbox, given_up: Iterable[str], paid: Mapping[str, int]) -> dict[str, list[str]]:
    """The profiles that each role asked, the last one first; `paid`: the number of a call's last attempt."""
    last: dict[str, dict[str, int]] = defaultdict(dict)
    found = [(id, (box.reply(id) or {})["call"]) for id in box.listing().replies]
    for id in given_up:
        where = f"{SERVICE}/inbox/{id}.json"
        found.append((id, files.parse(files.read_bytes(f"{id}.json", dir_fd=box.inbox_fd), where)))
    for id, call in found:
        last[call["role"]][call["model"]] = max(paid.get(id, 0), last[call["role"]].get(call["model"], 0))
    return {role: sorted(own, key=lambda name: (-own[name], name)) for role, own in sorted(last.items())}


def copy(source_fd: int, target_fd: int, id: str) -> None:
    """Publish another mailbox's file under its name, unless there is one."""
    if not files.exists(f"{id}.json", target_fd):
        files.publish(target_fd, f"{id}.json", files.read_bytes(f"{id}.json", dir_fd=source_fd))
