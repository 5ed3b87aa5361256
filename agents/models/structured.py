"""Read the one JSON document that a model was asked for; mend only what cannot change its meaning.

Mended are: text, a fence or thoughts around it, single quotes, trailing commas, comments, Python's True, False and
None, line breaks within strings. Never guessed at: what is cut off, two documents, a key given twice, NaN.

json-repair and its like complete what is cut off, without a word; json5 knows no None and no text around. Both would
need this file's tokens first, to prove where a document ends, and with them the standard parser is enough.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

from bus import files

MAX_DEPTH = 100  # open brackets; orjson writes 254, and nobody asks a model for more than a few
MAX_ERRORS = 3  # of a schema: what is told to a model at once
MAX_SHOWN = 160  # characters of one error
NEAR = 20  # characters before and after a fault that an error quotes
KEPT = 256  # validators: a run asks by a handful of schemas
_ASKED = (
    "Answer with one JSON document and nothing else: no text around it, no code fence, no comments. "
    "It must follow this JSON schema:\n"
)
_THOUGHTS = re.compile(r"\s*<think(?:ing)?>")  # how reasoning models begin where the server leaves their thoughts in
_THOUGHT = re.compile(r"</think(?:ing)?>")
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)
    |(?P<double>"[^"\\]*(?:\\.[^"\\]*)*")
    |(?P<single>'[^'\\]*(?:\\.[^'\\]*)*')
    |(?P<torn>["']|/\*)
    |(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)
    |(?P<number>-?\d[\w.+-]*)|(?P<word>[^\W\d]\w*)
    |(?P<space>\s+)|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"{": "}", "[": "]"}
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_ASIDE = re.compile(r"[\[{][\w\s.-]*(?:,[\w\s.-]+)*[\]}]")  # brackets of prose: [1], [see below], {name}
_ESCAPE = re.compile(r"\\(.)|([\"\x00-\x1f])", re.DOTALL)


class Unfit(Exception):
    """A text that holds no such document; says what is wrong and where, in one line that can be sent to the model."""


def wanted(schema: Mapping[str, Any], capabilities: frozenset[str]) -> dict[str, Any]:
    """What a request's body needs so that the server itself keeps to the schema; {} where it can do neither.

    With `json_object` alone the server only promises JSON: the words of `instruction` must be sent as well.
    """
    if "json_schema" in capabilities:
        named = {"name": "answer", "strict": _is_strict(schema), "schema": dict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if "json_object" in capabilities and schema.get("type") == "object":
        return {"response_format": {"type": "json_object"}}
    return {}


def _is_strict(schema: Any) -> bool:
    """True if every object names all its keys as required and no others: OpenAI answers 400 to other strict schemas."""
    if isinstance(schema, list):
        return all(_is_strict(one) for one in schema)
    if not isinstance(schema, Mapping):
        return True
    keys = schema.get("properties")
    if schema.get("type") == "object" or isinstance(keys, Mapping):
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(keys or ()):
            return False
    return all(_is_strict(one) for one in schema.values())


def instruction(schema: Mapping[str, Any]) -> str:
    """The words that ask for a document by schema, for a server that cannot be told otherwise."""
    return _ASKED + orjson.dumps(schema).decode()


def check_schema(schema: Any) -> None:
    """Raise ValueError for what no answer can be checked by: a request may hold any document as its schema."""
    try:
        _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def parsed(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """(document, what was mended) of a model's answer: an object or a list that follows `schema`; raises Unfit.

    A bare string or number is no document: of a number, nobody can say whether it was cut off.
    """
    mended: list[str] = []
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except Unfit:
        if text.lstrip()[:1] in ("{", "["):
            raise
        document, mended = _found(text, schema)  # words before it, of which NaN is one
    except (ValueError, RecursionError):
        document, mended = _found(text, schema)
    if not isinstance(document, dict | list):
        raise Unfit("the answer is neither a JSON object nor a list")
    _check(document, schema)
    return document, mended


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unfit(f"the key {twice!r} stands twice in one object")
    return made


def _no_constant(name: str) -> None:
    raise Unfit(f"{name} is no JSON; use null where there is no number")


# -- where the document is ------------------------------------------------------------------------------------


def _found(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The one document in a text, and what had to be mended; raises Unfit."""
    at, mended = 0, []
    if _THOUGHTS.match(text):
        if not (ends := _THOUGHT.search(text)):
            raise Unfit("the answer is cut off within its thoughts")
        at, mended = ends.end(), ["thoughts before it"]
    found: list[tuple[int, Any]] = []
    outside = ""
    while opens := re.compile(r"[\[{]").search(text, at):
        outside += text[at : opens.start()]
        at, document, faults = _document(text, opens.start(), schema)
        if faults is None:
            outside += text[opens.start() : at]
        elif not found:
            found, mended = [(opens.start(), document)], [*mended, *faults]
        elif json.dumps(document, sort_keys=True) != json.dumps(found[0][1], sort_keys=True):  # to == 1 is True
            lines = [text.count("\n", 0, place) + 1 for place in (found[0][0], opens.start())]
            raise Unfit(f"it holds two different JSON documents, in line {lines[0]} and in line {lines[1]}; send one")
    if not found:
        raise Unfit("the answer holds no JSON object or list")
    return found[0][1], mended + _around(outside + text[at:])


def _around(outside: str) -> list[str]:
    """What the text around a document is called in the list of what was mended."""
    rest = re.sub(r"```[\w-]*", "", outside)
    return (["a code fence"] if rest != outside else []) + (["text around it"] if rest.strip() else [])


def _document(text: str, start: int, schema: Mapping[str, Any]) -> tuple[int, Any, list[str] | None]:
    """(its end, the document, what was mended) of the bracket at `start`; None for the last where it is mere prose."""
    end, strict, mended = _rewritten(text, start)
    aside = _ASIDE.fullmatch(text, start, end)
    if aside and text[start] == "[" and schema.get("type") == "object":
        return end, None, None
    try:
        return end, json.loads(strict, object_pairs_hook=_once, parse_constant=_no_constant), mended
    except ValueError as error:
        if aside:
            return end, None, None
        if not isinstance(error, json.JSONDecodeError):  # an integer of more digits than Python reads
            raise Unfit(f"{_place(text, start)}: {error}") from None
        near = strict[max(0, error.pos - NEAR) : error.pos + NEAR]
        raise Unfit(f"the JSON that begins in {_place(text, start)} is wrong: {error.msg}, near {near!r}") from None


def _rewritten(text: str, start: int) -> tuple[int, str, list[str]]:
    """(end, strict JSON, what was mended) of the document that opens at `start`; raises Unfit if it does not close."""
    expected: list[str] = []
    made: list[str] = []  # tokens without space and comments, so that a comma's neighbours are its neighbours
    mended: dict[str, None] = {}  # in the order of the text, each once
    for token in _TOKEN.finditer(text, start):
        kind, said = str(token.lastgroup), token.group()
        if kind == "torn":
            break
        if kind == "close":
            if said != expected.pop():
                raise Unfit(f"{_place(text, token.start())}: {said!r} closes what it did not open")
            if len(made) > 1 and made[-1] == "," and made[-2] not in ("[", "{", ","):
                del made[-1]
                mended["trailing commas"] = None
        elif kind == "open":
            expected.append(_CLOSES[said])
            if len(expected) > MAX_DEPTH:
                raise Unfit(f"{_place(text, token.start())}: more than {MAX_DEPTH} brackets are open")
        else:
            said = _strict(kind, said, mended)
        made += [said] if said else []
        if not expected:
            return token.end(), " ".join(made), list(mended)
    raise Unfit(f"the answer is cut off: what opens in {_place(text, start)} never closes")


def _strict(kind: str, said: str, mended: dict[str, None]) -> str:
    """One token as strict JSON has it; "" for what it has not."""
    if kind in ("space", "comment"):
        mended |= {"comments": None} if kind == "comment" else {}
        return ""
    if kind == "word" and said in _PYTHON:
        mended["Python's constants"] = None
        return _PYTHON[said]
    if kind not in ("double", "single"):
        return said
    inner = _ESCAPE.sub(_escaped, said[1:-1])
    if kind == "single":
        mended["single quotes"] = None
    elif inner != said[1:-1]:
        mended["line breaks or quotes within strings"] = None
    return f'"{inner}"'


def _escaped(found: re.Match[str]) -> str:
    """A character of a string as JSON escapes it: a bare line break or quote gets its escape, an escaped ' loses it."""
    escaped, bare = found.groups()
    if bare:
        return json.dumps(bare)[1:-1]
    return "'" if escaped == "'" else found.group()


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


# -- whether it fits ------------------------------------------------------------------------------------------


@functools.lru_cache(KEPT)
def _validator(canonical: bytes) -> Any:
    # offline: a schema may come from a request's file, and its $ref must not make this process read or fetch anything
    return jsonschema_rs.validator_for(json.loads(canonical), offline=True)


def _check(document: Any, schema: Mapping[str, Any]) -> None:
    """Raises Unfit if a document breaks its schema or cannot be written down again, ValueError for a bad schema."""
    validator = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    try:
        files.canonical({"parsed": {"": document}})  # deeper than a reply has it: a limit of depth is met here
    except (TypeError, ValueError) as error:  # half a character, or a number past 64 bits
        raise Unfit(f"a value cannot be kept: {error}") from None
    errors = [_told(error) for _, error in zip(range(MAX_ERRORS), validator.iter_errors(document), strict=False)]
    if errors:
        raise Unfit("the answer does not follow its schema: " + "; ".join(errors))


def _told(error: Any) -> str:
    where, what = "/".join(map(str, error.instance_path)), " ".join(str(error.message).split())
    return f"{where or 'the document'}: {what if len(what) <= MAX_SHOWN else what[:MAX_SHOWN] + '…'}"
