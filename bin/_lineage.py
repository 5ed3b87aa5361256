"""Where a run came from and where it went: lineage.json, packed.json, and what bin/pack writes into HOLD.

Archives are told by the sha256 of their bytes. Nothing here names a host, a path or a time, so that two packs of a run,
and two runs unpacked from one archive, are the same bytes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from bus import files, schema
from bus.run import Run

LINEAGE, PACKED = "lineage.json", "packed.json"
HOLD_BYTES = 1000  # of a HOLD that are read: a sentence
SHOWN = 12  # characters of a sha256 that are told: enough to know it again
_OURS = "bin/pack"  # what a HOLD of ours begins with; one that a person made is empty, or says something else
READING = f"{_OURS} reads this run; if it was killed, go on with: rm HOLD\n"


def packed(folder: Path) -> list[str]:
    """The archives that were made of a run, the newest last; raises BadFile or Invalid."""
    try:
        document = schema.check(files.read_json(folder / PACKED), "packed.v1")
    except FileNotFoundError:
        return []
    return list(document["archives"])


def lineage(folder: Path) -> list[dict[str, str]]:
    """{sha256, run} of the archives that a run came from, the oldest first; raises BadFile or Invalid."""
    try:
        document = schema.check(files.read_json(folder / LINEAGE), "lineage.v1")
    except FileNotFoundError:
        return []
    return list(document["archives"])


def note_packed(folder: Path, before: list[str], sha256: str) -> None:
    """Leave an archive's sha256 behind in the run that it was made of."""
    archives = [*(one for one in before if one != sha256), sha256]
    document = schema.check({"schema": "packed.v1", "archives": archives}, "packed.v1")
    files.replace(folder / PACKED, files.pretty(document), durable=True)


def note_unpacked(folder: Path, sha256: str, name: str) -> None:
    """Write into an unpacked run which archive it came from, after those that its forebears came from."""
    archives = [*lineage(folder), {"sha256": sha256, "run": name}]
    document = schema.check({"schema": "lineage.v1", "archives": archives}, "lineage.v1")
    files.replace(folder / LINEAGE, files.pretty(document))


def note_hold(run: Run, archive: str, sha256: str) -> None:
    """Keep the run held from now on: its copy goes on elsewhere, and both at once would do the work twice."""
    text = f"{_OURS}: packed as {archive} (sha256 {sha256}); the copy goes on elsewhere; to go on here: rm HOLD\n"
    files.replace(run.hold, text.encode("utf-8", "replace"), durable=True)


def take_back(run: Run, before: list[str], said: str | None) -> None:
    """Forget an archive that did not come to be: packed.json says again what it said before.

    So does HOLD, if it `said` something of ours; None for one that was not touched.
    """
    if said is not None:
        files.replace(run.hold, f"{said}\n".encode("utf-8", "replace"), durable=True)
    if before:
        files.replace(run.folder / PACKED, files.pretty({"schema": "packed.v1", "archives": before}), durable=True)
    else:
        (run.folder / PACKED).unlink(missing_ok=True)


def let_go(run: Run) -> None:
    """Remove the HOLD that was made to read the run; any other stays."""
    if hold_says(run) == READING.strip():
        run.hold.unlink(missing_ok=True)


def hold_says(run: Run) -> str:
    """The first line of a run's HOLD; "" where it is empty, no text, or not there."""
    with contextlib.suppress(FileNotFoundError, PermissionError, files.BadFile):
        return files.read_bytes(run.hold, HOLD_BYTES).decode("utf-8", "replace").strip().partition("\n")[0]
    return ""


def is_ours(run: Run) -> bool:
    """True if bin/pack made the HOLD, now or before; it is not packed, a person's is."""
    return hold_says(run).startswith(_OURS)


def relation(here: Run, there: Run) -> str:
    """How two runs are related, in words, as far as their own files tell."""
    import _replay  # brings in the books of model calls, which packing does without

    if here.folder.resolve() == there.folder.resolve():
        return "the same folder twice"
    if said := _replay.relation(here, there):
        return said
    for key, what in (("goal_sha256", "goal"), ("seed", "seed")):
        if here.document[key] != there.document[key]:
            return f"two runs of different {what}s, which are no copies of each other"
    lines = [[one["sha256"] for one in lineage(run.folder)] for run in (here, there)]
    made = [packed(run.folder) for run in (here, there)]
    for mine, others, who in ((lines[1], made[0], "the second was"), (lines[0], made[1], "the first was")):
        if shared := [sha256 for sha256 in mine if sha256 in others]:
            whose = "first" if others is made[0] else "second"
            return f"{who} unpacked from an archive of the {whose} (sha256 {shared[-1][:SHOWN]})"
    if shared := [sha256 for sha256 in lines[0] if sha256 in lines[1]]:
        return f"both come from one archive (sha256 {shared[-1][:SHOWN]})"
    return "the same goal and seed, but not known to be related"
