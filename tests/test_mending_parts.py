"""The parts of the mending: splices for any layout of a call, the child's answers, what is written into a script."""

import ast
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mending import table
from agents.mending.installed import Installed
from agents.mending.notebook import plain
from agents.mending.splice import Change, Mend, Splice, Text, without_all


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with Installed() as one:
        yield one


SPACE = st.sampled_from(["", " ", "\n    ", "\n\n  ", "  # a, b)\n    ", " \\\n "])


@given(st.lists(st.tuples(SPACE, SPACE), min_size=1, max_size=6), st.booleans(), st.sets(st.integers(0, 5)), SPACE)
def test_any_arguments_go_from_any_layout(gaps: list[tuple[str, str]], comma: bool, gone: set[int], end: str) -> None:
    parts = [f"{before}é{place}=(1, '#,'){after}" for place, (before, after) in enumerate(gaps)]
    text = Text(f"f({','.join(parts)}{',' if comma else ''}{end})  # é\n")
    call = next(node for node in ast.walk(ast.parse(text.data)) if isinstance(node, ast.Call))
    gone = {place for place in gone if place < len(parts)}
    spans = [text.span(one) for one in call.keywords]
    after, changes = text.apply([Mend(without_all(text, spans, gone), [Change(1, "", "")])])
    left = next(node for node in ast.walk(ast.parse(after.data)) if isinstance(node, ast.Call))
    assert [one.arg for one in left.keywords] == [f"é{place}" for place in range(len(parts)) if place not in gone]
    assert len(changes) == 1 and len(after.origin) == after.data.count(b"\n") + 1


def test_mends_that_overlap_wait_and_lines_are_remembered() -> None:
    text = Text("one\ntwo\nthree\n")
    first = Mend([Splice(0, 3, "1\n1\n1")], [Change(1, "first", "")])
    over = Mend([Splice(2, 5, "x"), Splice(8, 9, "y")], [Change(1, "over", "")])
    last = Mend([Splice(8, 13, "3")], [Change(3, "last", "")])
    after, changes = text.apply([first, over, last])
    assert after.data == b"1\n1\n1\ntwo\n3\n" and [one.what for one in changes] == ["first", "last"]
    assert after.origin == [1, 1, 1, 2, 3, 4]
    assert after.apply([Mend([Splice(10, 11, "4")], [Change(5, "again", "")])])[1] == [Change(3, "again", "")]


def test_lines_of_a_notebook_only_where_python_refuses_them() -> None:
    text = "x = '''\n!ls\n'''\ny = 5\\\n%3\nfiles = !ls\nget_ipython().system('ls')\nprint?\n%%time\n"
    after, changes = plain(text)
    wanted = ["x = '''", "!ls", "'''", "y = 5\\", "%3", "pass  # files = !ls", "pass  # get_ipython().system('ls')"]
    assert after.split("\n") == [*wanted, "pass  # print?", "pass  # %%time", ""]
    assert [one.line for one in changes] == [6, 7, 8, 9]


def test_the_child_tells_what_there_is(installed: Installed) -> None:
    trainer = installed.ask("trl.SFTTrainer")
    assert trainer["configs"][0] == "trl.SFTConfig" and "transformers.Trainer" in trainer["is"] and not trainer["open"]
    assert "self" not in trainer["parameters"] and trainer["required"] == ["model"]
    loss = installed.ask("transformers.Trainer.compute_loss")
    assert loss["positional"][:2] == ["model", "inputs"] and loss["parameters"]["return_outputs"] == "False"
    assert installed.ask("transformers.nowhere.HfDeepSpeedConfig")["found"] == ["transformers.integrations.deepspeed"]
    assert installed.ask("peft.nothing") == {
        "name": "peft.nothing",
        "library": "peft",
        "version": installed.version("peft"),
        "exists": False,
        "found": [],
    }
    assert installed.ask("no_such_library.x")["missing"] == "no_such_library"
    assert installed.ask("not a name")["error"] == "not a dotted name"


def test_every_entry_of_the_table_is_whole_and_names_what_there_is(installed: Installed) -> None:
    """Each new name of the table exists in the installed versions, and each old one is gone."""
    everything = json.loads((table.HERE / "renames.json").read_text("utf-8"))
    for entry in everything["keywords"]:
        assert entry["why"] and table.numbers(entry["from"]) and entry["kind"] in KINDS, entry
        whole = installed.ask(entry["target"].replace("torch.AdamW", "torch.optim.AdamW"))
        if "*" in entry["target"] or whole["open"]:
            continue
        if entry["kind"] == "value":
            assert entry["name"] in whole["parameters"], entry
            continue
        assert entry["old"] not in whole["parameters"], entry
        assert entry.get("new", "") in ["", *whole["parameters"]], entry
    for entry in everything["symbols"]:
        assert not installed.ask(entry["old"])["exists"], entry
        if entry["kind"] == "supply":
            assert entry["old"].rpartition(".")[2] in table.supplied(entry["new"])
        else:
            assert installed.ask(entry["new"])["exists"], entry


KINDS = ("rename", "drop", "wrap", "gather", "swallowed", "pin", "value")


def test_versions_are_compared_as_numbers() -> None:
    assert table.numbers("5.0.0rc1") == (5, 0, 0) and table.numbers("2.13.0+cpu") == (2, 13, 0)
    assert table.numbers("0.9") < table.numbers("0.20") < table.numbers("1.0")


def test_the_supplied_collator_trains_on_answers_alone() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: at for at, word in enumerate("<pad> Q: A: a b c d".split())}, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")
    found: dict = {}
    exec(table.supplied("completion_only.txt"), found)
    make = found["DataCollatorForCompletionOnlyLM"]
    rows = [{"input_ids": tokenizer.encode(text)} for text in ("Q: a A: b Q: c A: d", "Q: a A: b", "a b")]
    one = make("A:", tokenizer=tokenizer)(rows)
    assert one["labels"].tolist() == [[-100] * 7 + [6], [-100] * 3 + [4] + [-100] * 4, [-100] * 8]
    assert one["attention_mask"].sum(1).tolist() == [8, 4, 2] and one["input_ids"][1, 4:].tolist() == [0] * 4
    turns = make(response_template="A:", instruction_template="Q:", tokenizer=tokenizer)(rows)
    assert turns["labels"][0].tolist() == [-100, -100, -100, 4, -100, -100, -100, 6]
