"""Have a model look for documents with tools, and keep what the tools said, word for word, as sources.

The model only chooses what is looked up. What it says itself is thrown away: a source is what a tool returned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.asking.material import RULE, line, quoted
from agents.sources.reader import Source

LEAST = 400  # characters: less is a list of hits or a message, and holds no fact worth a pair
MOST = 200_000  # characters of one document: some 50,000 tokens, as long as a manual
TITLE = 100  # characters
ABOUT = 300  # characters of a topic that a question quotes
DONE: dict[str, Any] = {"type": "string", "maxLength": 1000}  # what it was good for; nobody reads it
_ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def question(topic: Mapping[str, Any], about: str, sources: Sequence[str]) -> str:
    """The task for one topic: what to look for, and what is there already."""
    known = "\n".join(line(one, TITLE) for one in sources) or "none"
    subject = f"{line(topic['title'], TITLE)}: {line(about, ABOUT)}"
    return "\n\n".join(
        [
            quoted("topic", subject),
            quoted("sources", known),
            "Find documents that teach this topic and that are not among its sources yet. Search if you can, then open"
            f" what looks best, whole: only what a tool returns is kept. {RULE} End with a sentence on what you found.",
        ]
    )


def documents(results: Iterable[tuple[str, Mapping[str, Any], Any]]) -> list[Source]:
    """The results that are documents, each once, as sources of unknown licence, from (tool, arguments, Result)."""
    found: dict[str, Source] = {}
    for tool, arguments, result in results:
        text = _ESCAPES.sub("", result.text)[:MOST].strip()
        if result.error or len(text) < LEAST:
            continue
        origin = f"tool:{tool} {json.dumps(arguments, ensure_ascii=False, sort_keys=True)}"
        title = line(next((one.lstrip("# ") for one in text.splitlines() if one.strip()), origin), TITLE)
        found.setdefault(text, Source(line(origin, 1000), title, "file", None, None, f"# {title}\n\n{text}\n"))
    return list(found.values())
