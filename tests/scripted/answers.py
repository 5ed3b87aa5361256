"""Answers that depend on the question: a table of functions (request body, its own chance) -> text."""

from __future__ import annotations

import json
import random
import re
from typing import Any

PAIRS = 5  # at most, where no schema says how many
LEAST = 25  # characters of a sentence that is worth a question
_QUOTED = (r"<source[^>]*>(.*?)</source>", r'"""(.*?)"""', r"```\w*\n(.*?)```")  # how prompts quote material
_SENTENCE = re.compile(r"[^\s.!?][^.!?\n]*[.!?]")
_WORDS = (
    "kernel buffer stream driver socket timeout rank worker cache allocator tensor checkpoint loader version container "
    "scheduler firmware topology barrier gradient precision handle descriptor signal quota mount clock cable switch fan"
).split()
_QUESTION, _ANSWER = re.compile("question|instruction|prompt", re.I), re.compile("answer|response|output", re.I)
_EXAM = re.compile("^exam", re.I)  # the same question in other words
_SPAN = re.compile("span|quote|support|evidence|verbatim", re.I)


def echo(body: dict[str, Any], chance: random.Random) -> str:
    """The last message, as it came."""
    return message_texts(body)[-1] if message_texts(body) else ""


def json_for_schema(body: dict[str, Any], chance: random.Random) -> str:
    """A document that follows the schema that was asked for; {} where none was."""
    schema = schema_of(body)
    return json.dumps(fill(schema, schema, chance), ensure_ascii=False) if schema else "{}"


def qa_pairs(body: dict[str, Any], chance: random.Random) -> str:
    """Questions on the quoted source, each answered by a sentence of it, word for word.

    {"pairs": [{question, answer, span}]}, or by the schema that was asked for: its first list of objects is filled,
    each text by its name.
    """
    sentences = [one for one in _SENTENCE.findall(source_of(body)) if len(one) >= LEAST] or ["There is no source."]
    schema = schema_of(body) or {
        "type": "object",
        "properties": {"pairs": {"type": "array", "items": _object("question", "answer", "span")}},
        "required": ["pairs"],
    }
    made = fill(schema, schema, chance)
    lists = [made] if isinstance(made, list) else [one for one in made.values() if isinstance(one, list)]
    rows = schema if isinstance(made, list) else next(_lists(schema), {})
    if not lists:  # one pair for the whole answer
        return json.dumps(_named(made, chance.choice(sentences)), ensure_ascii=False)
    count = min(rows.get("maxItems", PAIRS), max(len(sentences), rows.get("minItems", 1)))
    item = _resolved(rows.get("items", {}), schema)
    picked = chance.sample(sentences, min(count, len(sentences)))
    lists[0][:] = [_named(fill(item, schema, chance), picked[at % len(picked)]) for at in range(count)]
    return json.dumps(made, ensure_ascii=False)


def scenarios(body: dict[str, Any], chance: random.Random) -> str:
    """Ten error scenarios of words drawn by chance; the last one repeats the first."""

    def said(count: int) -> str:
        return " ".join(chance.choice(_WORDS) for _ in range(count))

    rows = [{name: said(9) for name in ("symptom", "message", "cause", "fix", "check")} for _ in range(9)]
    return json.dumps({"scenarios": [*rows, rows[0]]})


def fair_judge(body: dict[str, Any], chance: random.Random) -> str:
    """The answer that shares more words with the reference is better, wherever it stands."""
    text = message_texts(body)[-1]
    told = {one: set(found.split()) for one, found in re.findall(r'<\w+ id="(\w+)">\n(.*?)\n</', text, re.DOTALL)}
    first, second = (len(told.get(one, set()) & told.get("reference", set())) for one in ("first", "second"))
    better = "neither" if first == second else "first" if first > second else "second"
    return json.dumps({"reason": "It agrees with the reference.", "better": better})


ANSWERS = {
    "echo": echo,
    "json for schema": json_for_schema,
    "qa pairs": qa_pairs,
    "scenarios": scenarios,
    "fair judge": fair_judge,
}


def _object(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {one: {"type": "string"} for one in names}, "required": list(names)}


def _lists(schema: dict[str, Any]) -> Any:
    return (one for one in schema.get("properties", {}).values() if one.get("type") == "array")


def _named(row: Any, sentence: str) -> Any:
    """A row whose texts are what their names say."""
    if not isinstance(row, dict):
        return row
    about = " ".join(sentence.split()[:6]).strip(".,;:")
    for key, value in row.items():
        if isinstance(value, str):
            other = f"On “{about}”, which statement holds?"
            for pattern, text in (
                (_EXAM, other),
                (_QUESTION, f"What is said of “{about}”?"),
                (_SPAN, sentence),
                (_ANSWER, sentence),
            ):
                if pattern.search(key):
                    row[key] = text
                    break
    return row


def message_texts(body: dict[str, Any]) -> list[str]:
    """The texts of a request's messages, in order."""
    return [str(one.get("content", "")) for one in body.get("messages", []) if isinstance(one, dict)]


def source_of(body: dict[str, Any]) -> str:
    """The longest quoted text of the messages; the longest message where nothing is quoted."""
    texts = message_texts(body)
    found = [one for text in texts for pattern in _QUOTED for one in re.findall(pattern, text, re.DOTALL)]
    return max(found or texts or [""], key=len)


def schema_of(body: dict[str, Any]) -> dict[str, Any]:
    """The schema that a request asks for: by response_format, else the last line of a message that holds one."""
    asked = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    if isinstance(asked, dict):
        return asked
    for line in reversed("\n".join(message_texts(body)).splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if {"type", "properties", "anyOf", "enum"} & set(found):
                return found
    return {}


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema with its $ref within the same document followed, and of several choices the first taken."""
    while True:
        if ref := schema.get("$ref"):
            schema = root
            for part in ref.lstrip("#/").split("/"):
                schema = schema[part]
        elif choices := schema.get("anyOf") or schema.get("oneOf"):
            schema = choices[0]
        else:
            return schema


def fill(schema: dict[str, Any], root: dict[str, Any], chance: random.Random) -> Any:
    """A value that follows a schema of the plain kind: types, enum, const, lengths, ranges; no patterns."""
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chance.choice(schema["enum"])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {key: fill(one, root, chance) for key, one in schema.get("properties", {}).items()}
    if kind == "array":
        least = schema.get("minItems", 1)
        count = chance.randint(least, max(least, min(schema.get("maxItems", least + 2), least + 2)))
        return [fill(schema.get("items", {}), root, chance) for _ in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        number = chance.randint(int(low), int(schema.get("maximum", low + 9)))
        return number if kind == "integer" else float(number)
    if kind == "boolean":
        return chance.random() < 0.5
    if kind == "null":
        return None
    words = " ".join(chance.choice("a grey cat sat on the warm mat again".split()) for _ in range(6))
    return (words + "." * schema.get("minLength", 0))[: schema.get("maxLength", 10_000)]
