"""Do a run again from its call files: what was answered then is answered now, and nothing is sent to anybody."""

from __future__ import annotations

from collections import Counter, defaultdict

from agents._ask import REPLAY, SERVICE
from bus import files
from bus.run import Run


def replay(run: Run, original: Run) -> int:
    """Give a run the answered calls of another; returns how many. The same again adds nothing.

    The marker comes first: a run that was not given all of them says which one is missing, and asks nobody.
    """
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    theirs, ours = original.mailbox(SERVICE), run.mailbox(SERVICE)
    found = sorted(theirs.listing().replies)
    for id in found:
        if (reply := theirs.reply(id)) is not None:
            asked[reply["call"]["role"]][reply["call"]["model"]] += 1
    roles = {role: models.most_common(1)[0][0] for role, models in sorted(asked.items())}
    files.replace(ours.folder / REPLAY, files.pretty(roles), durable=True)
    for id in found:
        if not ours.answered(id):
            files.publish(ours.outbox_fd, f"{id}.json", files.read_bytes(f"{id}.json", dir_fd=theirs.outbox_fd))
    return len(found)
