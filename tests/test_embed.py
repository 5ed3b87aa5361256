"""Near-duplicates by embeddings: the child on a real model, and the setting of 40-filter that asks for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agents._codes import DONE
from agents.exam.meaning import REASON, group
from bus import schema
from tests.habits import MADE
from tests.planted import changed, example
from tests.processes import PATIENCE_S, ROOT
from tests.test_filter_step import EXAMPLES, SMALL, SOURCES, do, feed, made, make_run, rows
from tests.test_training import micro

__all__ = ["micro"]
TEXTS = {
    "a": ("one", "What does copy2 do? It copies data and metadata of a file."),
    "b": ("one", "What does copy2 do? It copies data and metadata of the file."),
    "c": ("one", "Which signal ends a process at once? SIGKILL, which nobody can catch."),
    "d": ("two", "What does copy2 do? It copies data and metadata of a file."),
    "e": ("one", "What does copy2 do? It copies data and metadata of a file!"),
}


def near(folder: Path, model: Path, texts: dict[str, tuple[str, str]], cosine: float) -> list[dict]:
    listed, out = folder / "texts.jsonl", folder / "near.jsonl"
    listed.write_text(
        "".join(json.dumps({"id": id, "group": one, "text": text}) + "\n" for id, (one, text) in texts.items())
    )
    command = [sys.executable, "-m", "training.embed", "--model", model, "--texts", listed, "--out", out]
    said = subprocess.run(
        [*map(str, command), "--near", str(cosine), "--threads", "1"],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=PATIENCE_S,
    ).stdout  # fmt: skip
    assert all("say" in json.loads(line) for line in said.splitlines())
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_texts_that_say_the_same_are_found_within_their_group(tmp_path, micro):
    found = near(tmp_path, micro, TEXTS, 0.99)
    assert {row["id"]: row["near"] for row in found} == {"b": "a", "e": "a"}
    assert all(0.99 <= row["cosine"] <= 1.0001 for row in found)
    assert near(tmp_path, micro, {}, 0.99) == []
    every = near(tmp_path, micro, TEXTS, -1)
    assert {row["id"]: row["near"] for row in every}.keys() == {"b", "c", "e"}  # "d" is alone in its group


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"question": "Say what `pkg0.call_0` is for."}, True),
        ({"question": "Say what `pkg0.call_1` is for."}, False),
        ({"template": "qa.2"}, False),
        ({"answer": "It waits for 5 seconds."}, False),
    ],
)
def test_only_examples_of_one_template_about_the_same_names_and_numbers_are_compared(change, same):
    one = EXAMPLES[0]
    assert (group({**one, **change}) == group(one)) is same


def test_the_filter_drops_what_an_embedding_finds_where_it_is_asked_to(tmp_path, micro):
    fact = {"answer": EXAMPLES[0]["answer"], "span": EXAMPLES[0]["spans"][0], "topic": "topic-0"}
    fact["family"] = EXAMPLES[0]["family"]
    worded = example("qa.1", "pkg0.call_0", fact) | {"template": "qa.model-teach", "kind": "qa", "made": MADE}
    pair = changed(worded, question="Which effect does `pkg0.call_0` have, as a matter of fact?", id="e-00000000000a")
    same = changed(
        pair, question="Which effects are had by `pkg0.call_0`, and that as a matter of fact?", id="e-00000000000b"
    )
    other = changed(pair, question="Which effect does `pkg0.call_9` have, as a matter of fact?", id="e-00000000000c")
    every = [*EXAMPLES, pair, same, other]
    for setting in (None, str(micro)):
        run = make_run(tmp_path / ("asked" if setting else "not"), SMALL, embeddings=setting)
        feed(run, every, SOURCES)
        assert do(run) == DONE
        dropped = [schema.check(row, "dropped.v1") for row in rows(made(run)["dropped.jsonl"])]
        found = [row for row in dropped if row["reason"] == REASON]
        assert [row["id"] for row in found] == ([same["id"]] if setting else [])
        if setting:
            assert found[0]["detail"].startswith(f"says what {pair['id']} says, cosine 0.9")
            assert REASON in made(run)["card.md"].decode()
