"""The extractive teacher: facts with spans from real documentation, their wordings, and what a second round may change."""

import json
from collections import Counter, defaultdict
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import _config, _sources
from agents._agent import DONE, GAVE_UP, Agent
from agents._blocks import read
from agents._fact import Fact, checked
from agents._facts import cut, unambiguous
from agents._near import grams, jaccard, letters, words
from agents._phrases import first_sentence, plain, verb_phrase
from agents._quality import screen
from agents._select import KINDS, Scale
from agents._templates import EXAM, TEACH, templates
from agents._wording import MOST_WORDINGS, questions, worded
from agents.generate import extended, facts_of, first, generate, lacking
from bus import files, schema
from bus.run import Run

SPECS = ["pydoc:subprocess", "pydoc:threading", "pydoc:asyncio", "pydoc:logging", "pydoc:os", "pydoc:shutil"]
SPECS += ["catalogue:errno", "catalogue:signal", "catalogue:nvml"]
TOPICS = [
    {
        "slug": "processes",
        "title": "Processes",
        "why": "",
        "keywords": ["process", "subprocess", "signal"],
        "sources": [],
    },
    {"slug": "files", "title": "Files", "why": "", "keywords": ["file", "directory", "path"], "sources": []},
    {"slug": "threads", "title": "Threads", "why": "", "keywords": ["thread", "lock", "task"], "sources": []},
]
SMALL = Scale(families=200, fewest=150, of_a_kind=20)


@pytest.fixture(scope="module")
def collected():
    """(source.v1 rows, {id: text}) of documentation that is installed wherever these tests run."""
    reader, names = _sources.Reader(SPECS, []), _sources.identify(SPECS)
    read_in = {names[spec]: reader.read(spec) for spec in SPECS}
    rows = [_sources.source_row(name, source, []) for name, source in read_in.items()]
    return rows, {name: source.text for name, source in read_in.items()}


@pytest.fixture(scope="module")
def facts(collected):
    return facts_of(*collected, TOPICS)


@pytest.fixture(scope="module")
def listed(collected):
    return frozenset(row["id"] for row in collected[0] if row["origin"] in ("catalogue:errno", "catalogue:signal"))


@pytest.fixture(scope="module")
def examples(facts, listed):
    return first(facts, listed, 900, 3, SMALL)


def test_blocks_know_where_their_pieces_stand(collected):
    for text in collected[1].values():
        for block in read(text):
            for piece in [block.name, *block.pieces, *(piece.inside() for piece in block.pieces)]:
                assert text[piece.start : piece.end] == piece.text


def test_every_answer_stands_in_its_spans(collected, facts, examples):
    _, texts = collected
    assert len(facts) > 1000 and all(checked(fact, texts) for fact in facts)
    for example in examples:
        parts = [texts[span["source"]][span["start"] : span["end"]] for span in example["spans"]]
        assert words(" ".join(parts)) == words(example["answer"])
        assert len(parts) > 1 or parts[0] == example["answer"]


def test_a_shifted_span_is_found_out(collected, facts):
    fact = next(fact for fact in facts if fact.shape == "summary")
    ((source, start, end),) = fact.spans
    assert not checked(Fact(fact.shape, fact.slots, fact.answer, ((source, start + 1, end + 1),)), collected[1])


def test_rows_follow_their_schema_and_say_what_they_are(examples):
    for example in examples:
        schema.check(example, "example.v1")
        assert example["short"] == (len(example["answer"].split()) <= 6)
        assert example["template"].startswith(example["kind"])
    assert len({example["id"] for example in examples}) == len(examples)
    assert len({example["question"] for example in examples}) == len(examples)


def test_shares_of_a_data_set(examples, listed):
    kinds = Counter(example["kind"] for example in examples)
    assert all(kinds[kind] >= 20 for kind in KINDS)
    families = Counter(example["family"] for example in examples)
    assert len(families) >= 200 and max(families.values()) <= MOST_WORDINGS
    from_lists = sum(any(span["source"] in listed for span in example["spans"]) for example in examples)
    assert from_lists <= 0.4 * len(examples)
    assert 0.55 <= sum(example["short"] for example in examples) / len(examples) <= 0.9
    assert {example["topic"] for example in examples} == {topic["slug"] for topic in TOPICS}


def test_each_family_has_one_exam_wording_whose_answer_is_taught(examples):
    families = defaultdict(list)
    for example in examples:
        families[example["family"]].append(example)
    for own in families.values():
        (exam,) = [example for example in own if example["use"] == "exam"]
        assert exam["answer"] in {example["answer"] for example in own if example["use"] == "teach"}


def test_the_filter_keeps_nearly_all_of_them(examples, collected):
    kept, _ = screen(examples, collected[1])
    assert len(kept) >= 0.98 * len(examples)


def test_the_same_again_is_the_same_and_another_seed_is_not(facts, listed, examples):
    assert first(list(reversed(facts)), listed, 900, 3, SMALL) == examples
    assert first(facts, listed, 900, 4, SMALL) != examples


def test_teach_and_exam_wordings_are_disjoint_and_not_alike():
    sides = {use: [one for one in templates() if one.use == use] for use in (TEACH, EXAM)}
    assert len({one.id for one in templates()}) == len(templates()) == len({one.text for one in templates()})
    for exam in sides[EXAM]:
        for teach in sides[TEACH]:
            assert not grams(words(exam.text), 5) & grams(words(teach.text), 5), (exam.text, teach.text)
            assert jaccard(letters(words(exam.text)), letters(words(teach.text))) < 0.6, (exam.text, teach.text)


def test_wordings_of_a_shape_share_their_slots():
    by_shape = defaultdict(list)
    for one in templates():
        by_shape[one.shape].append(one)
    for own in by_shape.values():
        assert len({one.kind for one in own}) == 1 and sum(one.use == TEACH for one in own) >= 3
        assert all(one.text.endswith(("?", ".")) and "{" in one.text for one in own)


def test_a_comparison_merges_the_families_of_what_it_compares(facts, examples):
    owners = {example["answer"]: example["family"] for example in examples}
    met = 0
    for example in examples:
        if example["template"].startswith("comparison") and ": " in example["answer"]:
            others = [owners[fact.answer] for fact in facts if fact.answer in owners and answers_part(fact, example)]
            met += len(others) > 1
            assert set(others) <= {example["family"]}
    assert met


def answers_part(fact: Fact, example: dict) -> bool:
    spans = {(span["source"], span["start"], span["end"]) for span in example["spans"]}
    return len(fact.spans) == 1 and fact.spans[0] in spans


def test_no_answer_of_a_family_stands_in_another_family(examples):
    said = defaultdict(set)
    for example in examples:
        for text in (example["question"], example["answer"]):
            for length in range(1, 9):
                for run in grams(words(text), length):
                    said[run].add(example["family"])
    templated = {word for one in templates() for word in words(one.text)}
    for example in examples:
        answer = words(example["answer"])
        if len(answer) <= 8 and not templated.issuperset(answer):
            assert said[answer] == {example["family"]}, example


def test_a_second_round_keeps_the_first_and_adds_to_its_focus(facts, examples):
    grown = extended(examples, facts, ["files"], len(examples) + 150, 3)
    assert grown[: len(examples)] == examples
    new = grown[len(examples) :]
    assert 150 <= len(new) < 150 + MOST_WORDINGS
    old_families = {example["family"] for example in examples}
    assert any(example["family"] in old_families for example in new)
    assert sum(example["topic"] == "files" for example in new) > 0.8 * len(new)  # a new family comes whole
    assert max(Counter(example["family"] for example in grown).values()) <= MOST_WORDINGS
    assert set(Counter(e["family"] for e in grown if e["use"] == "exam").values()) == {1}
    assert len({example["question"] for example in grown}) == len(grown)
    assert extended(examples, facts, ["files"], len(examples) + 150, 3) == grown
    assert len(extended(grown, facts, ["threads"], len(grown) + 20, 3)) >= len(grown) + 20


def test_what_is_lacking_is_said(examples):
    assert lacking(examples, 9, SMALL) == ""
    assert "families of facts (9 facts), and an exam needs 450" in lacking(examples, 9, Scale())
    assert "pairs of the kind" in lacking([e for e in examples if e["kind"] == "qa"], 9, SMALL)


def test_a_question_with_two_answers_is_no_question():
    one, other = (Fact("value", (("name", "x"),), answer, (("s", 0, 1),)) for answer in "12")
    assert unambiguous([one, other]) == [] and unambiguous([one, one]) == [one, one]


def test_a_family_without_an_exam_wording_is_not_used():
    fact = Fact("number", (("number", "12"), ("sort", "errno name")), "ENOMEM", (("s", 0, 6),))
    assert worded([fact], "f-000000000000", 5, 0) == []
    assert len(questions(fact, TEACH, "f-000000000000", 0)) == 3


DOCUMENT = """# demo

## demo.Box

Kind: class

Signature: `demo.Box(size: int = 4096) -> None`

Bases: `demo.Container`, `object`.

Summary: Holds a fixed number of values and returns the oldest first.

Parameters:

- `size` (int; default `4096`): How many values it holds at most. More are refused.

Warning: A full box refuses every further value without an error.

Example:

```python
>>> box = Box(size=2)
```

## Errors raised in demo

- `ValueError` in `Box.__init__`: The size of a box cannot be negative
- `KeyError` in `find.inner`: There is no value of that name

## Constants of demo

- `BOX_LIMIT` = `65536`: the most values of all boxes together
"""


def test_what_is_cut_from_a_document():
    found = {(fact.shape, fact.answer) for fact in cut("demo", DOCUMENT)}
    assert found == {
        ("summary", "Holds a fixed number of values and returns the oldest first."),
        ("named", "demo.Box"),
        ("signature", "demo.Box(size: int = 4096) -> None"),
        ("base", "demo.Container"),
        ("parameter", "How many values it holds at most."),
        ("parameter-named", "size"),
        ("default", "4096"),
        ("caution", "A full box refuses every further value without an error."),
        ("example", "box = Box(size=2)"),
        ("message-of", "The size of a box cannot be negative"),
        ("message", "Box"),
        ("message-of", "There is no value of that name"),
        ("message", "find"),
        ("constant", "the most values of all boxes together"),
        ("constant-named", "BOX_LIMIT"),
        ("value", "65536"),
    }


def test_entries_of_a_catalogue():
    text = "# Errors\n\n## errno\n\n- `EIO` (5): Input/output error\n\n## Raised\n\n- `OSError`: raised for `EIO` (5)\n"
    assert {(fact.shape, fact.answer) for fact in cut("c", text, "errno")} == {
        ("meaning", "Input/output error"),
        ("symbol", "EIO"),
        ("number", "EIO"),
        ("raised-for", "OSError"),
    }


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Return the size.", ("return the size", "returns the size")),
        ("Returns the size", ("return the size", "returns the size")),
        ("Copies a file and closes it.", ("copy a file and close it", "copies a file and closes it")),
        ("Flush and close.", ("flush and close", "flushes and close")),
        ("Wrapper around a stream.", None),
        ("The size.", None),
    ],
)
def test_verb_phrases(text, phrase):
    assert verb_phrase(text) == phrase


@pytest.mark.parametrize(
    "text",
    [
        "See the notes for it.",
        "The values are:",
        "Call f(x first",
        "As described above it waits.",
        "It is `open.",
        "of the",
    ],
)
def test_fragments_are_not_plain(text):
    assert not plain(text, 20)


@given(st.text("ab.?! (`\n", max_size=30))
def test_a_first_sentence_is_the_beginning(text):
    (piece,) = read(f"# x\n\nSummary: x{text}".partition("\n\n\n")[0])[0].pieces[:1]
    assert piece.text.startswith(first_sentence(piece).text)


GOAL = """---
name: demo
sources: [pydoc:errno]
examples: 700
---
## Topics
- **Files**: file, path
"""


def make_run(folder, collected, scale):
    """A run whose research and collect have been answered by hand."""
    flow = {
        name: dict(_config.load().flow[name]) for name in ("10-research", "20-collect", "30-generate", "80-improve")
    }
    flow["10-research"]["reads"], flow["80-improve"]["reads"] = ["goal.md"], ["30-generate/examples/*.jsonl"]
    flow["30-generate"]["settings"] = {"scale": scale}
    run = Run.create(folder, GOAL, 3, flow, {}, "1")
    rows, texts = collected
    topics = {"schema": "topics.v1", "goal": "demo", "topics": [t | {"why": "x"} for t in TOPICS], "unmapped": []}
    sources = {f"sources/{name}.md": text.encode() for name, text in texts.items()}
    times = {"schema": "retrieved.v1", "sources": []}
    answer(run, "10-research", {"topics.json": files.canonical(topics), "report.md": b""})
    answer(run, "20-collect", sources | {"sources.jsonl": b"".join(map(files.canonical, rows)),
                                         "retrieved.json": files.canonical(times)})  # fmt: skip
    return run


def answer(run, step, artifacts):
    run.advance()
    claim = next(iter(run.mailbox(step).claims()))
    for name, data in artifacts.items():
        path = claim.begin() / "out" / name if claim.folder is None else claim.folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    claim.commit_folder({"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0})


def test_the_step_writes_one_file_per_kind_and_the_same_bytes_again(tmp_path, collected):
    made = []
    for name in ("one", "two"):
        run = make_run(tmp_path / name, collected, {"families": 200, "fewest": 150, "of_a_kind": 20})
        run.advance()
        assert Agent(generate, run, "30-generate", _config.load(), loud=False).once() == DONE
        folder = run.folder / "30-generate" / "outbox" / "r1" / "examples"
        made.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert made[0] == made[1] and list(made[0]) == sorted(f"{kind}.jsonl" for kind in KINDS)
    for data in made[0].values():
        ids = [json.loads(line)["id"] for line in data.splitlines()]
        assert ids == sorted(ids)


def test_a_goal_with_too_few_facts_is_given_up_in_one_line(tmp_path, collected):
    rows, texts = collected
    few = [row for row in rows if row["origin"] == "pydoc:shutil"]
    run = make_run(tmp_path / "run", (few, {row["id"]: texts[row["id"]] for row in few}), {})
    run.advance()
    assert Agent(generate, run, "30-generate", _config.load(), loud=False).once() == GAVE_UP
    said = json.loads((run.folder / "30-generate" / "dead" / "r1.json").read_text())
    line = json.dumps(said)
    assert "goals/demo.md: its sources give" in line and "add sources" in line


def test_the_shapes_asked_about_are_all_worded(facts):
    shapes = {one.shape for one in templates()}
    assert {fact.shape for fact in facts} <= shapes
    for one, other in combinations(sorted(shapes), 2):
        assert one != other
