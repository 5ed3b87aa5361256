"""A child of a job: what it says is heard, and whatever it prints ends nothing."""

from pathlib import Path

from agents import _child
from bus import files
from tests import small
from tests.processes import run

BIG = str(10**30)  # past 64 bits
HEARD = {  # line -> what is heard of it
    '{"say": "x", "loss": 0.5, "step": 3}': ("x", {"loss": 0.5, "step": 3}),
    '{"say": "x", "text": 1, "self": 2, "s": 3}': ("x", {"text": 1, "self": 2, "s": 3}),
    '{"say": "x", "a": "1", "b": [1], "c": null, "d": {"e": 1}}': ("x", {}),
    '{"say": "x", "a": NaN, "b": Infinity, "c": 1e999, "d": ' + BIG + ', "e": -1}': ("x", {"e": -1}),
    '{"say": "\\ud800", "\\udfff": 1}': ("\ufffd" * 3, {"\ufffd" * 3: 1}),
    '{"say": ""}': ("", {}),
}
PASSED_OVER: tuple[str, ...] = (
    '{"say": 5}',
    '{"say": null}',
    '{"say": ["x"]}',
    '{"said": "x"}',
    '{"say": "x"',
    '["say"]',
    "{",
    "say",
)
PASSED_OVER += ('{"say": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"say": "x", "n": ' + "9" * 5000 + "}")


def test_what_a_child_says_is_heard_and_what_it_only_prints_is_not(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("\n".join([*HEARD, *PASSED_OVER, "the last\n"]))
    heard: list = []
    said = lambda *what: heard.append(what)  # noqa: E731
    _child.run(["cat", "lines"], tmp_path / "log", name="cat", cwd=tmp_path, env={}, pass_fds=(), heard=said)
    assert heard == list(HEARD.values())
    for text, numbers in heard:
        files.canonical({"say": text, **numbers})
    assert (tmp_path / "log").read_text().endswith("the last\n")


def test_a_job_goes_on_whatever_its_command_says(tmp_path: Path) -> None:
    lines = ['{"say": 5}', '{"say": "x", "text": 1, "s": 2, "say ": 3}', '{"say": "y", "n": 1e999, "m": ' + BIG + "}"]
    printed = "; ".join(f"echo '{line}'" for line in lines)
    folder = small.make(tmp_path / "runs", small.step(f'{printed}; echo hi >"$2/x.txt"'))
    ended = run(*small.agent(folder, "10-one")[1:], cwd=small.ROOT)
    assert ended.returncode == 0, ended.stderr
    assert "10-one: x\n10-one: y\n" in ended.stderr and "10-one: r1: done" in ended.stdout
