"""What runs learned: make an observation, read those that are kept, pick those that matter for a goal.

An observation's id is the hash of its content, so telling twice is telling once, and a file never changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bus import files, schema

SHARED = "memory"  # runs/memory, beside the runs: a reserved run name
LIMIT = 40  # observations recalled at most: more than a person would read in a report
KINDS = ("recommendation", "fix", "failure", "result")  # the most useful first, where all else is equal
_WORD = re.compile(r"[a-z0-9]{3,}")
_COMMON = frozenset(("and", "are", "for", "from", "not", "that", "the", "this", "use", "what", "when", "with"))

Observation = dict[str, Any]


def observation(kind: str, run: str, round: int, topics: Iterable[str], text: str, data: dict[str, Any]) -> Observation:
    """An observation.v1 document whose id is derived from everything else in it."""
    content = {"kind": kind, "run": run, "round": round, "topics": sorted(set(topics)), "text": text, "data": data}
    return {"schema": "observation.v1", "id": identity(content), **content}


def identity(document: Observation) -> str:
    """The id that an observation must have: `o-` and 20 hex digits of its content's sha256."""
    content = {key: value for key, value in document.items() if key not in ("schema", "id")}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"o-{files.sha256(text.encode('utf-8', 'surrogatepass'))[:20]}"


def check(document: Any) -> Observation:
    """The document, if it is an observation with its own id; raises bus.schema.Invalid."""
    found: Observation = schema.check(document, "observation.v1")
    if found["id"] != (own := identity(found)):
        raise schema.Invalid(f"observation.v1: id: {found['id']} is not the id of this content, {own}")
    return found


def load(folder: Path, extra: Iterable[Observation] = ()) -> tuple[list[Observation], list[str]]:
    """All observations of a folder and `extra`, by id, each once; and one line for each file that is not one.

    A missing folder holds none. Torn, foreign and misnamed files are skipped, and named.
    """
    found, problems = {document["id"]: document for document in extra}, []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            document = check(files.read_json(path))
            if path.stem != document["id"]:
                raise schema.Invalid(f"its name is not its id, {document['id']}")
        except (files.BadFile, schema.Invalid) as error:
            problems.append(f"{path.name}: not an observation: {str(error).replace(str(path), 'the file')}; remove it")
        else:
            found[document["id"]] = document
    return [found[name] for name in sorted(found)], problems


def own(run_folder: Path) -> list[Observation]:
    """What this run itself told its memory, asked and answered alike: a moved run still knows it."""
    told = []
    for box, unwrap in (("inbox", lambda found: found), ("outbox", lambda found: found.get("observation"))):
        for path in sorted((run_folder / "memory" / box).glob("[!.]*.json")):
            try:
                told.append(check(unwrap(files.read_json(path))))
            except (files.BadFile, schema.Invalid, AttributeError, FileNotFoundError):
                continue  # half-written by hand, or answered and unlinked meanwhile; the mailbox names what is wrong
    return told


def gather(run_folder: Path, round: int) -> tuple[list[Observation], list[str]]:
    """Shared and own observations that a run may know in `round`: of its own, only those of earlier rounds."""
    told = own(run_folder)
    later = {document["id"] for document in told if document["round"] >= round}
    known, problems = load(run_folder.parent / SHARED / "observations", told)
    return [document for document in known if document["id"] not in later], problems


def recall(
    observations: Iterable[Observation], goal_topics: Sequence[str], limit: int = LIMIT, run: str = ""
) -> list[Observation]:
    """The observations that matter for a goal, the most relevant first.

    Relevant is what a run of this name learned, what shares a word with the goal's topics (`goal_topics`: slugs,
    titles or both), and any failure or fix that is about no topic, since machines fail in every run alike. This
    run's come first, its last round before the others; then by shared words, then by kind, then by id.
    """
    wanted = words(" ".join(goal_topics))
    ranked = []
    for document in observations:
        shared = len(wanted & words(" ".join(document["topics"])))
        mine = document["run"] == run
        general = not document["topics"] and document["kind"] in ("failure", "fix")
        if mine or shared or general:
            rank = (not mine, -document["round"] if mine else 0, -shared, KINDS.index(document["kind"]), document["id"])
            ranked.append((rank, document))
    return [document for _, document in sorted(ranked, key=lambda pair: pair[0])[:limit]]


def words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold())) - _COMMON


def priors(recalled: Iterable[Observation], slugs: Iterable[str]) -> dict[str, Observation]:
    """For each topic the most relevant recalled result about it: one that gives a score over some items."""
    wanted, found = set(slugs), {}
    for document in recalled:
        data = document["data"]
        topic, score, n = data.get("topic"), data.get("score"), data.get("n")
        usable = document["kind"] == "result" and isinstance(score, int | float) and isinstance(n, int) and n > 0
        if usable and topic in wanted and topic not in found:
            found[topic] = document
    return found


def graph(observations: Iterable[Observation]) -> list[dict[str, Any]]:
    """The observations as lines of the MCP memory server's file: entities first, then relations between them.

    Runs and topics are the entities; their names carry what they are, because a run may be called like a topic.
    """
    entities: dict[tuple[str, str], list[str]] = {}
    relations = set()
    for found in sorted(observations, key=lambda document: (document["run"], document["round"], document["id"])):
        run, line = ("run", found["run"]), f"r{found['round']} {found['kind']}: {found['text']}"
        entities.setdefault(run, []).append(line)
        for slug in found["topics"]:
            entities.setdefault(("topic", slug), []).append(f"{found['run']} {line}")
            relations.add((f"run {found['run']}", f"topic {slug}", f"has {found['kind']} about"))
    nodes = [{"type": "entity", "name": f"{kind} {name}", "entityType": kind, "observations": lines}
             for (kind, name), lines in sorted(entities.items())]  # fmt: skip
    edges = [{"type": "relation", "from": a, "to": b, "relationType": how} for a, b, how in sorted(relations)]
    return nodes + edges
