"""One call to a model as a document: what makes it the same question, and what its answer holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bus import files

Message = Mapping[str, str]  # {role: system | user | assistant, content}
HASH = 40  # hex digits of the sha256 that name a call: no two of a run's calls will ever share them


def question(
    role: str,
    profile: str,
    model: str,
    messages: Sequence[Message],
    parameters: Mapping[str, Any],
    answer_schema: Mapping[str, Any] | None = None,
    sample: int = 0,
    step: str = "",
) -> dict[str, Any]:
    """call.v1: a question to a profile, as it names its model; `sample` tells apart answers wanted more than once."""
    return {
        "schema": "call.v1",
        "role": role,
        "profile": profile,
        "model": model,  # or another, put under the same profile, would take the answers of the first
        "messages": [dict(one) for one in messages],
        "parameters": dict(sorted(parameters.items())),
        "answer_schema": answer_schema,
        "sample": sample,
        "step": step,  # who asked first: for the books, and no part of the hash
    }


def hash_of(call: Mapping[str, Any]) -> str:
    """The ID of a call: the same question, asked the same way, has the same one wherever it is asked."""
    return files.sha256(files.canonical({key: value for key, value in call.items() if key != "step"}))[:HASH]


def bytes_of(call: Mapping[str, Any]) -> int:
    """Bytes of everything that is sent: no tokeniser makes more tokens of them, since a token holds a byte or more."""
    schema = call["answer_schema"]
    told = sum(len(one["content"].encode("utf-8", "replace")) for one in call["messages"])
    return told + (len(files.canonical(schema)) if schema else 0)
