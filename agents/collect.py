"""Read every source of the goal as Markdown, each with its origin, licence, version and sha256.

    bin/agent collect runs/gpu-ops --once

Reads   goal.md
        10-research/topics.json   topics.v1: which topics each source is for
Writes  sources/*.md     one file per source; the format is in agents/sources/reader.py
        sources.jsonl    source.v1: what each one is and where it is from; no times, so that it repeats byte for byte
        retrieved.json   retrieved.v1: when each one was read
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from agents._agent import GiveUp, main
from agents._job import Job
from agents.sources.reader import Reader, Source, Unreadable, identify, source_row


def collect(job: Job) -> None:
    """Read the sources in the goal's order; one that was read in an earlier try is not read again."""
    topics = job.read("10-research/topics.json")["topics"]
    specs = list(job.goal.sources)
    identities = identify(specs)
    reader = Reader(specs, job.allowed_paths)
    rows, times = [], []
    for number, spec in enumerate(specs):
        job.say(f"reading {spec}", step=number + 1, total=len(specs))
        identity = identities[spec]
        kept = job.once(f"read/{identity}.json", functools.partial(read, reader, spec))
        source = Source(**kept["source"])
        job.write(f"sources/{identity}.md", source.text)
        rows.append(source_row(identity, source, topics_of(spec, topics)))
        times.append({"id": identity, "origin": spec, "retrieved": kept["retrieved"]})
    job.write("sources.jsonl", rows)
    job.write("retrieved.json", {"schema": "retrieved.v1", "sources": times})


def read(reader: Reader, spec: str) -> dict[str, Any]:
    """Return one source and when it was read; a source that cannot be read is the goal's fault, the network is not."""
    try:
        source = reader.read(spec)
    except Unreadable as error:
        raise GiveUp(str(error), kind="goal") from None
    return {"source": source.as_dict(), "retrieved": datetime.now(UTC).isoformat(timespec="seconds")}


def topics_of(spec: str, topics: list[dict[str, Any]]) -> list[str]:
    """Return the slugs of the topics that research found a source good for, in the goal's order."""
    return [topic["slug"] for topic in topics if spec in topic["sources"]]


if __name__ == "__main__":
    raise SystemExit(main(collect))
