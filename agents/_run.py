"""How a run begins: it is made from the text of a goal, a flow and services, swept at each start, tidied by agents."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus import files, flow, schema
from bus.mailbox import ID, Mailbox, check_id
from bus.run import Run, RunError

MEMORY = "memory"  # a reserved name in the runs folder: what every run may know


def create_run(
    folder: Path, goal: str, seed: int, the_flow: Mapping[str, Any], services: Mapping[str, Any], rounds: str
) -> Run:
    """Make a run whole or not at all; FileExistsError if the name is taken."""
    if check_id(folder.name) == MEMORY:
        raise RunError(f"{folder}: the name is reserved for the shared memory; give the goal another name")
    mailboxes = [step.name for step in flow.steps(the_flow)] + [check_id(name) for name in services]
    document = {
        "schema": "run.v1",
        "name": folder.name,
        "seed": seed,
        "goal_sha256": files.sha256(goal.encode()),
        "flow": dict(the_flow),
        "services": dict(services),
    }
    files.make_folder(folder.parent, durable=True)
    files.fsync(folder.parent.parent)  # whoever made it may have been killed before
    staging = folder.parent / f".new-{folder.name}-{os.urandom(4).hex()}"
    try:
        for name in mailboxes:
            Mailbox(staging / name, durable=False).close()
        (staging / "supervisor").mkdir()
        files.replace(staging / "goal.md", goal.encode())
        files.replace(staging / "ROUNDS", f"{rounds}\n".encode())
        files.replace(staging / "run.json", files.pretty(schema.check(document, "run.v1")))
        files.sync_tree(staging)
        if os.path.lexists(folder):  # `rename` itself would replace an empty folder
            raise FileExistsError(errno.EEXIST, "is there already", str(folder))
        os.rename(staging, folder)
        files.fsync(folder.parent)
    except FileNotFoundError:  # swept: another made the run meanwhile, and has started it
        if not os.path.lexists(folder):
            raise
        raise FileExistsError(errno.EEXIST, "is there already", str(folder)) from None
    finally:
        files.remove_tree(staging)
    return Run(folder)


def sweep(run: Run) -> None:
    """Remove what killed writers left, drafts and half-made runs, and make sure of the run's own name.

    When a run starts, others may write to it: whoever loses a draft by this writes that once more (bus/files.py).
    """
    half_made = re.compile(rf"\.new-{re.escape(run.name)}-[0-9a-f]{{8}}")
    for name in filter(half_made.fullmatch, os.listdir(run.folder.parent)):
        files.remove_tree(run.folder.parent / name)
    files.fsync(run.folder.parent)
    for name in [step.name for step in run.steps] + list(run.services):
        box = run.mailbox(name)
        for folder_fd in (box.inbox_fd, box.outbox_fd, box.dead_fd):
            sweep_folder(folder_fd)


def sweep_folder(folder_fd: int) -> None:
    """Remove hidden drafts; a living writer notices."""
    for name in files.names(folder_fd):
        if name.startswith(files.DRAFT):
            with contextlib.suppress(FileNotFoundError):  # its writer lives, and has just published it
                os.unlink(name, dir_fd=folder_fd)


def tidy(box: Mailbox) -> None:
    """Remove what agents that were killed right after a reply left behind; for an agent that is about to claim."""
    for id in filter(ID.fullmatch, files.names(box.work_fd)):
        if box.answered(id) and not files.exists(f"{id}.json", box.inbox_fd):
            files.remove_tree(box.work(id))
