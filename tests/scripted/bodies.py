"""The bytes of an answer: a chat completion, its stream, an error; and how many tokens it took."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.scripted.answers import ANSWERS, message_texts

BYTES_A_TOKEN = 4  # here every token has so many bytes
STREAM_WORDS = 8  # of a chunk


def tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN)


def texts(
    act: dict[str, Any], facts: dict[str, Any], body: dict[str, Any], chance: random.Random
) -> tuple[list[str], str]:
    """(the answer's texts, one each of `n`; why they ended)."""
    count = 1 if "n" in act["ignores"] else int(body.get("n") or 1)
    if act["call"]:
        made = [ANSWERS[act["call"]](body, chance) for _ in range(count)]
    else:
        text = act["text"]
        for name, value in {**facts, "model": body.get("model"), "last": (message_texts(body) or [""])[-1]}.items():
            text = text.replace(f"{{{name}}}", str(value))
        made = [text] * count
    most = body.get("max_tokens") or body.get("max_completion_tokens")
    if most and "max_tokens" not in act["ignores"] and any(tokens(one) > most for one in made):
        cut = [one.encode()[: most * BYTES_A_TOKEN].decode("utf-8", "ignore") for one in made]
        return cut, "length"
    return made, act["finish"]


def completion(
    act: dict[str, Any], facts: dict[str, Any], body: dict[str, Any], chance: random.Random
) -> tuple[bytes, str, dict[str, int], str]:
    """(body, content type, tokens, finish reason) of an answer."""
    said, finish = texts(act, facts, body, chance)
    used = {"input": sum(tokens(one) + 4 for one in message_texts(body)), "output": sum(map(tokens, said))}
    usage = {
        "prompt_tokens": used["input"],
        "completion_tokens": used["output"],
        "total_tokens": sum(used.values()),
    }
    head = {"id": f"scripted-{facts['nth']}", "created": 0, "model": body.get("model", "scripted")}
    streamed = bool(body.get("stream")) and "stream" not in act["ignores"] if act["stream"] is None else act["stream"]
    if streamed:
        told = usage if act["usage"] and (body.get("stream_options") or {}).get("include_usage") else None
        return _stream(head, said, finish, told, act["done"]), "text/event-stream", used, finish
    message = [
        {"role": "assistant", "content": None if act["refusal"] else one, "refusal": act["refusal"]} for one in said
    ]
    choices = [{"index": at, "message": one, "finish_reason": finish} for at, one in enumerate(message)]
    document = {**head, "object": "chat.completion", "choices": choices, **({"usage": usage} if act["usage"] else {})}
    return json.dumps(document).encode(), "application/json", used, finish


def _stream(head: dict[str, Any], said: list[str], finish: str, usage: dict[str, int] | None, done: bool) -> bytes:
    """Server-sent events: some words each, then the finish reason, then usage if it was asked for."""
    parts: list[dict[str, Any]] = []
    for at, text in enumerate(said):
        words = text.split(" ")
        for start in range(0, len(words), STREAM_WORDS):
            piece = ("" if start == 0 else " ") + " ".join(words[start : start + STREAM_WORDS])
            parts.append({"choices": [{"index": at, "delta": {"content": piece}, "finish_reason": None}]})
        parts.append({"choices": [{"index": at, "delta": {}, "finish_reason": finish}]})
    if usage:
        parts.append({"choices": [], "usage": usage})
    lines = [json.dumps({**head, "object": "chat.completion.chunk", **part}) for part in parts]
    return "".join(f"data: {line}\n\n" for line in [*lines, *(["[DONE]"] if done else [])]).encode()


def error(status: int, said: Any) -> bytes:
    """An error as OpenAI words it; `said` replaces the object where the script gives one."""
    return json.dumps({"error": said or {"message": f"scripted {status}", "type": "scripted", "code": status}}).encode()
