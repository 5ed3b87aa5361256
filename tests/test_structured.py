"""What comes out of a model's answer: the document that was meant, or a reason, and never a part."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.models.structured import Unfit, instruction, parsed, wanted

ANY: dict[str, Any] = {}
OBJECT: dict[str, Any] = {"type": "object"}
PAIR = {
    "type": "object",
    "properties": {"question": {"type": "string", "minLength": 3}, "score": {"type": "integer"}},
    "required": ["question", "score"],
    "additionalProperties": False,
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
DOCUMENTS = st.dictionaries(st.text(), VALUES) | st.lists(VALUES)
# Text around a document: anything but the brackets that could begin another one, and the mark of thoughts.
NOISE = st.text(st.characters(exclude_characters="[]{}<", exclude_categories=["Cs"]), max_size=30)
ROUGH_TEXT = st.text(st.sampled_from("ab '\"\\\n\t,:[]{}#/*🙂"), max_size=8)
ROUGH = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | ROUGH_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ROUGH_TEXT, inner, max_size=3),
    max_leaves=8,
)
ROUGH_DOCUMENTS = st.dictionaries(ROUGH_TEXT, ROUGH, max_size=3) | st.lists(ROUGH, max_size=3)


def text_of(value: Any, draw: Any) -> str:
    """A document as a careless model writes it: either quote, bare line breaks, Python's words, commas, comments."""
    space = draw(st.sampled_from(["", " ", "\n", " // a } note\n", " # [ \n", "/* ' { */"]))
    comma = draw(st.sampled_from(["", ",", " ,\n"]))
    if isinstance(value, dict):
        inner = ",".join(
            f"{space}{text_of(key, draw)}{space}:{text_of(one, draw)}" for key, one in sorted(value.items())
        )
        return "{" + inner + (comma if value else "") + space + "}"
    if isinstance(value, list):
        return "[" + f"{space},".join(text_of(one, draw) for one in value) + (comma if value else "") + space + "]"
    if isinstance(value, str):
        return quoted(value, draw(st.sampled_from("\"'")), draw(st.booleans()))
    return draw(st.sampled_from([json.dumps(value), repr(value)]))


def quoted(value: str, quote: str, bare: bool) -> str:
    inner = value.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return quote + (inner if bare else inner.replace("\n", "\\n").replace("\t", "\\t")) + quote


def same(found: Any, meant: Any) -> bool:
    """Equal, and of the same types: True is not 1."""
    return json.dumps(found, sort_keys=True) == json.dumps(meant, sort_keys=True)


@settings(deadline=None)  # no test asserts a time
@given(DOCUMENTS, NOISE, NOISE, st.booleans(), st.sampled_from([None, 2]))
def test_any_document_comes_back_out_of_any_noise(
    document: Any, before: str, after: str, fence: bool, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=fence, indent=indent)
    inside = f"```json\n{text}\n```" if fence else text
    found, mended = parsed(f"{before}\n{inside}\n{after}", ANY)
    assert same(found, document)
    assert ("a code fence" in mended) == (fence or "```" in before + after)


@settings(deadline=None)  # no test asserts a time
@given(ROUGH_DOCUMENTS, st.data())
def test_any_document_comes_back_however_carelessly_it_was_written(document: Any, data: st.DataObject) -> None:
    assert same(parsed(text_of(document, data.draw), ANY)[0], document)


@settings(deadline=None)  # no test asserts a time
@given(ROUGH_DOCUMENTS, NOISE, st.data())
def test_no_beginning_of_a_document_is_ever_used(document: Any, before: str, data: st.DataObject) -> None:
    text = text_of(document, data.draw)
    for length in range(len(text)):
        with pytest.raises(Unfit):
            parsed(before + text[:length], ANY)


@settings(deadline=None)  # no test asserts a time
@given(DOCUMENTS, st.data())
def test_no_beginning_of_strict_json_is_ever_used(document: Any, data: st.DataObject) -> None:
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()))
    with pytest.raises(Unfit):
        parsed(text[: data.draw(st.integers(0, len(text) - 1))], ANY)


@settings(deadline=None)  # no test asserts a time
@given(st.text(st.sampled_from("{}[]\"'\\,:1a \n#/*-.`<think>NoneTrue"), max_size=40))
def test_whatever_is_said_either_fits_or_is_refused(text: str) -> None:
    try:
        document, _ = parsed(text, ANY)
    except Unfit as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(document, dict | list)


@pytest.mark.parametrize(
    ("text", "document", "mended"),
    [
        ('{"a": 1}', {"a": 1}, []),
        ('```json\n{"a": 1}\n```', {"a": 1}, ["a code fence"]),
        ('Sure!\n{"a": 1}\nAnything else?', {"a": 1}, ["text around it"]),
        ("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}, ["single quotes"]),
        ('{"a": [1, 2,], }', {"a": [1, 2]}, ["trailing commas"]),
        ('{"a": True, "b": None, "c": "None"}', {"a": True, "b": None, "c": "None"}, ["Python's constants"]),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}, ["line breaks or quotes within strings"]),
        ('{"a": 1, // as asked\n "b": 2}', {"a": 1, "b": 2}, ["comments"]),
        ('{"a": "http://x/#1", "b": 1.5e-3,}', {"a": "http://x/#1", "b": 0.0015}, ["trailing commas"]),
        ('<think>{"a": 2}? no</think>{"a": 1}', {"a": 1}, ["thoughts before it"]),
        ('By [1] and [see, below], {name}: {"a": 1}', {"a": 1}, ["text around it"]),
        ('{"a": 1}\n\nthat is, {"a":1}', {"a": 1}, ["text around it"]),
    ],
)
def test_mended(text: str, document: Any, mended: list[str]) -> None:
    found, done = parsed(text, OBJECT)
    assert same(found, document)
    assert done == mended


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object or list"),
        ("I would rather not.", "no JSON object or list"),
        ("42", "neither a JSON object nor a list"),
        ('"a"', "neither a JSON object nor a list"),
        ('{"a": "b', "line 1, column 1 never closes"),
        ('Here:\n  {"a": {"b": 1}', "line 2, column 3 never closes"),
        ('[{"a": 1}, {"a"', "never closes"),
        ('{"a": 1 // }', "never closes"),
        ('<think>it may be {"a": 1}', "within its thoughts"),
        ('{"a": 1}\n{"a": 2}', "two different JSON documents, in line 1 and in line 2"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("{'a': 1, 'a': 2,}", "'a' stands twice"),
        ('{"a": 1} or {"a": true}', "two different"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity,}', "Infinity is no JSON"),
        ('{"a": 1e999}', "cannot be kept"),
        ('{"a": 18446744073709551616}', "cannot be kept"),
        ('{"a": "\\ud800"}', "cannot be kept"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ("[" * 300 + "]" * 300, "cannot be kept"),
        ("'" + "[" * 300 + "]" * 300, "more than 100 brackets"),
        ("[" * 100_000, "more than 100 brackets"),
        ('{"a": [1}', "closes what it did not open"),
        ('{"a": [1, 2, ...]}', "is wrong"),
        ('{"a": "he said "so" twice"}', "is wrong"),
        ('{"a": oops} or {"b": 1}', "is wrong"),
        ("{,}", "is wrong"),
        ("[1,,]", "is wrong"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        parsed(text, ANY)


def test_what_breaks_the_schema_is_told_with_its_place() -> None:
    with pytest.raises(Unfit) as error:
        parsed('{"question": "a", "score": "high"}', PAIR)
    assert "question: " in str(error.value) and "score: " in str(error.value)
    with pytest.raises(Unfit, match="the document: "):
        parsed("{}", PAIR)
    assert parsed('{"question": "why", "score": 1}', PAIR) == ({"question": "why", "score": 1}, [])


def test_a_schema_that_points_elsewhere_reads_nothing(tmp_path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="disabled"):
        parsed("{}", {"$ref": f"file://{tmp_path}/other.json"})


def test_what_is_asked_of_a_server_goes_by_what_it_can() -> None:
    asked = wanted(PAIR, frozenset({"json_schema", "json_object"}))["response_format"]
    assert asked["type"] == "json_schema" and asked["json_schema"]["strict"] is True
    assert asked["json_schema"]["schema"] == PAIR
    assert wanted(PAIR, frozenset({"json_object", "stream"})) == {"response_format": {"type": "json_object"}}
    assert wanted({"type": "array"}, frozenset({"json_object"})) == {}, "that mode knows objects only"
    assert wanted(PAIR, frozenset()) == {}


@pytest.mark.parametrize(
    "loose",
    [
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {**PAIR, "required": ["question"]},
        {"type": "array", "items": {**PAIR, "additionalProperties": True}},
    ],
)
def test_strict_is_asked_for_only_where_the_schema_is(loose: dict[str, Any]) -> None:
    asked = wanted(loose, frozenset({"json_schema"}))["response_format"]
    assert asked["json_schema"]["strict"] is False


def test_the_words_hold_the_schema_in_a_line_of_its_own() -> None:
    assert json.loads(instruction(PAIR).splitlines()[-1]) == PAIR
