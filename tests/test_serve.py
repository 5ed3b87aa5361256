"""The protocol as a server speaks it that others wrote, `transformers serve` on an embedded base: make serve-check."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from agents._ask import Unanswered
from agents.models import endpoint
from agents.models.profile import Profile
from tests.asking import Asking, profile, question
from tests.processes import ROOT, environment, eventually

pytestmark = pytest.mark.skipif(
    not (find_spec("fastapi") and find_spec("openai")), reason="the extra of requirements-serve.txt is not installed"
)
MICRO = "--tokens 6000 --vocabulary 600 --hidden 48 --layers 1 --intermediate 96 --batch 4 --sequence 64".split()
SERVE = "from transformers.cli.transformers import main; main()"  # as the command `transformers`, wherever that lies
SMALL = {"max_tokens": 12, "temperature": 0.0}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(URL, model) of a server that was started for these tests, with no network."""
    folder = tmp_path_factory.mktemp("serve")
    build = [sys.executable, "-m", "training.base", "--out", str(folder / "base"), "--threads", "1", *MICRO]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", SERVE, "serve", str(folder / "base"), "--device", "cpu", "--host", "127.0.0.1"]
    env = environment(HF_HUB_OFFLINE="1", HF_HOME=str(folder), OMP_NUM_THREADS="1")
    with open(folder / "log.txt", "wb") as log:
        child = subprocess.Popen([*argv, "--port", str(port)], cwd=folder, env=env, stdout=log, stderr=log)
    try:
        eventually(lambda: child.poll() is not None or is_open(port), "transformers serve listens")
        assert child.poll() is None, (folder / "log.txt").read_text()
        yield f"http://127.0.0.1:{port}/v1", str(folder / "base")
    finally:
        child.terminate()
        child.wait(30)


def is_open(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def run(folder: Path, served: tuple[str, str], **more: object) -> Asking:
    one = profile(served[0], model=served[1], concurrency=4, timeout_s=60, max_output=12, **more)
    return Asking(folder, {"one": one}, {"teacher": {"prefer": "one", **SMALL}})


def test_a_question_through_the_mailbox_is_answered_and_counted(served: tuple[str, str], tmp_path: Path) -> None:
    there = run(tmp_path, served)
    assert requests.get(f"{served[0]}/models", timeout=30).status_code == 500  # it lists a hub cache: here is none
    with there.agent():
        answers = dict(there.asker().all("teacher", [question(f"What is {name}?") for name in ("EIO", "EPERM", "ls")]))
    for answer in answers.values():
        assert not isinstance(answer, Unanswered), answer
        assert answer["model"].startswith(served[1]) and [one["status"] for one in answer["attempts"]] == [200]
        assert answer["tokens"]["counted"] and 0 < answer["tokens"]["output"] <= 12 < answer["tokens"]["input"]
        assert (answer["finish"] == "length") == (answer["tokens"]["output"] == 12)
        assert answer["finish"] != "length" or answer["error"]["kind"] == "truncated"
    assert {one["event"] for one in there.ledger()} == {"reserve", "settle"}


def test_a_schema_that_it_ignores_gives_an_error_and_keeps_the_text(served: tuple[str, str], tmp_path: Path) -> None:
    there = run(tmp_path, served, capabilities=["json_schema"])
    with there.agent():
        answer = there.ask("Who is it?", schema=PERSON)
    assert answer["parsed"] is None and answer["error"]["kind"] in ("truncated", "unfit")
    assert all(one["status"] == 200 for one in answer["attempts"])


def test_a_model_that_it_does_not_serve_is_refused_and_says_so(served: tuple[str, str], tmp_path: Path) -> None:
    there = run(tmp_path, (served[0], "default"))
    with there.agent():
        answer = there.ask("Who is it?")
    assert isinstance(answer, Unanswered) and answer.kind == "model"
    assert "400" in answer.message and "requested 'default'" in answer.message


def test_its_stream_tells_the_same_as_its_document(served: tuple[str, str]) -> None:
    asked = Profile("one", served[0], served[1], timeout_s=60)
    told = []
    for streams in (False, True):
        messages = [{"role": "user", "content": "What is EIO?"}]
        answer = endpoint.ask(endpoint.session(), asked, "", messages, {**SMALL, "stream": streams})
        told.append((answer.text.strip(), answer.finish, answer.model, answer.tokens))
    assert told[0] == told[1] and told[0][3].counted
