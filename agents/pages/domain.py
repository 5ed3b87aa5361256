"""Tell a domain map to people in at most three pages: topics, what to know, where it fails, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.pages.page import inline

PAGE = 500  # words; what a page of print holds
MAX_PAGES = 3  # more is not read before a run goes on
MOST = 6  # claims of one kind that one topic may show; fewer where all topics together would pass MAX_PAGES
RECALLED = 3  # observations that one topic may show
HEADS = {"know": "What a specialist must know", "fails": "Where it usually fails"}
NO_SOURCE = "no source"

Row = Mapping[str, Any]


def map_report(document: Row, missing: Sequence[str], observations: Sequence[Row]) -> str:
    """The map in Markdown, with as many claims as three pages hold."""
    for most in range(MOST, -1, -1):
        lines = told(document, missing, observations, most)
        if length(lines) <= MAX_PAGES * PAGE:
            return "\n".join(lines) + "\n"
    return "\n".join([*cut(lines), "", "Cut after three pages; topics.json holds the rest."]) + "\n"


def length(lines: Sequence[str]) -> int:
    """Words of a text."""
    return sum(len(line.split()) for line in lines)


def cut(lines: Sequence[str]) -> list[str]:
    """The first lines that leave room for a last word about it."""
    kept: list[str] = []
    for line in lines:
        if length([*kept, line]) > MAX_PAGES * PAGE - 10:
            break
        kept.append(line)
    return kept


def told(document: Row, missing: Sequence[str], observations: Sequence[Row], most: int) -> list[str]:
    """The lines of the map, with at most `most` claims of each kind for a topic."""
    asked = document["asked"]
    lines = [
        f"# What {inline(document['goal'])} can teach",
        "",
        by_whom(asked),
        "",
        "| topic | best sources |",
        "|---|---|",
    ]
    for topic in document["topics"]:
        lines.append(f"| {inline(topic['title'])} | {inline(', '.join(topic['sources'][:2])) or '-'} |")
    for topic in document["topics"]:
        lines += ["", f"## {inline(topic['title'])}", "", inline(topic["why"])]
        for kind, head in HEADS.items():
            own = [one for one in topic.get("claims", ()) if one["kind"] == kind][:most]
            lines += ["", f"{head}:", "", *(f"- {inline(one['text'])} ({tied(one)})" for one in own)] if own else []
        known = [one for one in observations if topic["slug"] in one["topics"]][: min(most, RECALLED)]
        lines += ["", *(f"- recalled from {inline(one['run'])}, round {one['round']}: {inline(one['text'])}"
                        for one in known)] if known else []  # fmt: skip
    return [*lines, *gaps(document, missing)]


def by_whom(asked: Row) -> str:
    """Who drew the map, and how much of it could not be asked."""
    said = f"Drawn by {inline(asked['model'])} (profile {inline(asked['profile'])}) from the outlines of the sources. "
    said += (
        f"A claim names the source and the entry that it is tied to, or says {NO_SOURCE}: then it is the model's word."
    )
    left = asked["questions"] - asked["answered"]
    return said + (f" {left} of {asked['questions']} questions brought nothing of use." if left else "")


def tied(claim: Row) -> str:
    """What a claim rests on."""
    return f"{inline(claim['source'])}, `{claim['name'].replace('`', '')}`" if claim["source"] else NO_SOURCE


def gaps(document: Row, missing: Sequence[str]) -> list[str]:
    """What the sources lack."""
    lines = [
        f"- {inline(topic['title'])}: no source speaks of it" for topic in document["topics"] if not topic["sources"]
    ]
    lines += [f"- {inline(spec)}: fits no topic" for spec in document["unmapped"]]
    lines += [f"- {inline(one)}: missing, says the model ({NO_SOURCE})" for one in missing]
    return ["", "## Gaps", "", *(lines or ["None: every topic has a source."])]
