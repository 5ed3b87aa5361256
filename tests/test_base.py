"""The embedded base: a stable name without torch, held-out text that it never sees, a folder that is always whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training import base, corpus

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "training.base", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_same_settings_have_the_same_recipe():
    assert run("--recipe") == run("--recipe")
    assert json.loads(run("--recipe")) == base.recipe(base.TOKENS, 0)


def test_every_setting_changes_the_recipe():
    plans = [base.recipe(1000, 0), base.recipe(1001, 0), base.recipe(1000, 1), base.recipe(1000, 0, {"layers": 2})]
    assert len({plan["recipe"] for plan in plans}) == len(plans)


def test_recipe_and_passages_need_no_torch():
    code = (
        "import sys; from training import answer, base, corpus, gpu, pretrain, sft; base.recipe(1, 0);"
        "corpus.general(3); heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_enough_passages_and_always_the_same(tmp_path):
    run("--general", "80", "--out", str(tmp_path / "a.jsonl"))
    run("--general", "80", "--out", str(tmp_path / "b.jsonl"))
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 80
    assert all(len(row["text"]) > 100 for row in rows)


def fold(text: str) -> str:
    return " ".join(text.split()).lower()


def test_the_base_sees_no_held_out_paragraph():
    train, held_out = corpus.split()
    assert 0.04 < len(held_out) / (len(train) + len(held_out)) < 0.06
    assert not {document.name for document in train} & {document.name for document in held_out}
    seen = {fold(part) for text in corpus.training_texts() for part in corpus.paragraphs(text)}
    whole = [part for row in corpus.general(80) for part in corpus.paragraphs(row["text"])[:-1]]  # the last may be cut
    assert whole and not [part for part in whole if fold(part) in seen]


def test_a_model_that_exists_is_left_alone(tmp_path):
    (tmp_path / "base.json").write_text("{}")
    assert "nothing to do" in run("--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["base.json"]


def test_whoever_publishes_first_wins(tmp_path, capsys):
    for name in (".draft", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "base.json").write_text(name)
    base.publish(tmp_path / ".draft", tmp_path / "model")
    assert (tmp_path / "model" / "base.json").read_text() == "model"
    assert "another process" in capsys.readouterr().out


def test_a_folder_in_the_way_is_an_error(tmp_path):
    for name in (".draft", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "something").touch()
    with pytest.raises(OSError):
        base.publish(tmp_path / ".draft", tmp_path / "model")
