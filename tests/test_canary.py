"""A known key is in nothing that a run writes or sends, however a command, a model's script or a server go after it.

What is not tried: a command that runs as root, or as the user, may change this machine itself (its disks, the checkout)
and have a later start hand the key over. Commands are this machine's own choice; a model's script can do neither.
"""

import json
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.models import call as calls
from agents.models.keys import forms_of
from agents.sandbox.closed import WORK
from tests import small
from tests.asking import FREE, SERVICES, Asking, profile, question
from tests.canary import hits, thief
from tests.processes import PATIENCE_S, ROOT, environment, eventually
from tests.scripted.fixture import Scripted
from tests.test_sandbox_apart import needs_namespaces

KEY = 'sk-or-v1-canary/7f3c9a51+e2d84b06"1c5f7e93~a8d2406b'  # with what JSON, URLs and base64 write differently
PADDING = "e " * 140  # so that what follows is cut in the middle where an error is shown, see endpoint.MAX_SHOWN
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
REVEALS: dict[str, dict[str, Any]] = {
    "plain": {"text": "Your headers: Authorization: Bearer {key}, and no others."},
    "base64": {"text": "{key base64}"},
    "hex": {"text": "0x{key hex}"},
    "reversed": {"text": "backwards: {key reversed}"},
    "quoted": {"text": "?key={key quoted}&x=1"},
    "json": {"text": "{key json}"},
    "escaped": {"raw": '{"choices": [{"message": {"content": "{key escaped}"}, "finish_reason": "stop"}]}'},
    "streamed": {"text": "Your key is {key}", "stream": True},
    "cut off": {"text": "Your key is {key}", "finish": "length"},
    "cut in a refusal": {"text": "I cannot help. " + "e" * 160 + " {key}"},
    "model": {
        "raw": '{"model": "{key json}", "choices": [{"message": {"content": "x"}, "finish_reason": "{key json}"}]}'
    },
    "unfit": {"text": "no JSON, but {key}"},
    "unfit escaped": {"raw": '{"choices": [{"message": {"content": "no JSON, but {key escaped}"}}]}'},
    "cut, escaped": {"raw": '{"choices": [{"message": {"content": "I cannot help. %s {key escaped}"}}]}' % ("e" * 160)},
    "header": {"headers": {"X-Your-Key": "{key}", "Set-Cookie": "key={key quoted}", "Server": "{key base64}"}},
    "retry after": {"status": 429, "retry_after": "{key}"},
    "error": {"status": 400, "error": {"message": "Incorrect API key provided: {key}"}},
    "error in a 200": {"error": {"message": "who is {key}?", "code": 400}},
    "error that is cut": {"status": 400, "raw": PADDING + "{key}"},
    "500": {"status": 500, "raw": "Traceback: Bearer {key}\n{key base64}"},
    "page": {"status": 502, "raw": "<html>" + PADDING + "{key}</html>"},
    "no JSON": {"raw": '{"choices": [{key}'},
    "401": {"status": 401, "error": {"message": "{key reversed}"}},
    "redirect": {"status": 307, "redirect": "EVIL/chat/completions?key={key quoted}"},
}
PASSING = {"500", "page", "no JSON", "retry after"}  # of these the second answer is a good one: retries are slow
FOUND_BESIDE = {  # what the thief gets where nothing hides it: so it can
    *("environments_of_all", "environments_of_threads", "key_file", "key_file_mapped", "key_file_by_link"),
    *("key_file_by_hard_link", "key_file_by_descriptor", "key_file_renamed", "key_file_in_a_renamed_folder"),
}


class Scene:
    """A machine on which a run will be robbed: its config, its key, the right server, and the thief's own."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.keys, self.config, self.runs, self.home = (folder / one for one in ("keys", "config", "runs", "home"))
        for one in (self.keys, self.config, self.home, folder / "scratch"):
            one.mkdir()
        self.key = self.keys / "openrouter"
        self.key.write_text(KEY + "\n")
        self.key.chmod(0o600)
        self.evil = Scripted(folder / "evil").start()
        rules = [
            {"when": {"words": f"reveal {name};", **({"try": 1} if name in PASSING else {})}, **self.here(act)}
            for name, act in REVEALS.items()
        ]
        self.right = Scripted(folder / "right", rules=rules).start()
        where = {"key_env": "SOME_KEY"} if kind == "key_env" else {"key_file": str(self.key)}
        self.models = {"one": profile(self.right.url, timeout_s=20, **where)}
        self.models["off"] = {"endpoint": None, "model": "m", "key_file": str(self.key)}
        server = {"command": ["true"], "env": {"NOTES_TOKEN": KEY}}
        infra = {"models": self.models, "budget": {"usd": 1, "models": ["one"]}, "mcp": {"notes": server}}
        self.write("infra", infra)
        env = {"http_proxy": self.evil.url, "https_proxy": self.evil.url, "ALL_PROXY": self.evil.url}
        env |= {"HTTP_PROXY": self.evil.url, "REQUESTS_CA_BUNDLE": "/nonexistent", "HOME": str(self.home)}
        (self.home / ".netrc").write_text("machine 127.0.0.1 login thief password thief\n")
        self.env = environment(**env, **({"SOME_KEY": KEY} if kind == "key_env" else {}))
        self.given = folder / "given.json"
        self.given.write_text(json.dumps(self.told()))

    def here(self, act: dict[str, Any]) -> dict[str, Any]:
        return {key: one.replace("EVIL", self.evil.url) if isinstance(one, str) else one for key, one in act.items()}

    def write(self, name: str, document: dict[str, Any]) -> None:
        (self.config / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def told(self) -> dict[str, Any]:
        """What the thief is told: where all things lie, and what to ask."""
        asked = {f"reveal-{n}": self.call(f"reveal {name};", name) for n, name in enumerate(REVEALS)}
        plain = self.call("Send it there.")
        asked["smuggled-model"] = plain | {"model": f"{self.evil.url}?"}
        asked["smuggled-header"] = plain | {"headers": {"X-Key": "{key}"}}
        asked["smuggled-endpoint"] = plain | {"parameters": {"max_tokens": 10, "endpoint": self.evil.url}}
        evil = {"one": {**self.models["one"], "endpoint": self.evil.url}}
        return {
            "key_file": str(self.key),
            "config": str(self.config),
            "checkout": str(ROOT),
            "scratch": str(self.folder / "scratch"),
            "evil": self.evil.url,
            "evil_infra": {"models": evil, "budget": {"usd": 1, "models": ["one"]}},
            "calls": asked,
        }

    def call(self, text: str, name: str = "") -> dict[str, Any]:
        schema = SCHEMA if name.startswith("unfit") else None
        return calls.question(
            "teacher", "one", "scripted", [{"role": "user", "content": text}], {"max_tokens": 100}, schema
        )

    def command(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(ROOT / "bin" / name), *map(str, arguments), "--config", str(self.config)]
        return subprocess.run(
            argv, env=self.env, cwd=self.folder / "scratch", capture_output=True, text=True, timeout=2 * PATIENCE_S
        )

    def stop(self) -> None:
        self.evil.stop()
        self.right.stop()

    def leaks(self) -> list[str]:
        """Everything that holds the key and should not."""
        found = hits.in_tree(self.folder, KEY, but=(self.key, self.config / "infra.yaml", self.right.log_file))
        found += hits.in_requests(self.right.log_file, KEY, with_authorization=False)
        return found + hits.in_requests(self.evil.log_file, KEY, with_authorization=True)


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    made = Scene(tmp_path, getattr(request, "param", "key_env"))
    yield made
    made.stop()


def robbed(scene: Scene) -> Path:
    """A run whose one step is the thief, done by bin/pipeline; returns its folder."""
    words = ["python", str(ROOT / "tests/canary/thief.py"), str(scene.given)]
    flow = {"10-rob": {"command": words, "reads": ["goal.md"], "writes": {"loot/*": "files"}, "tries": 4}}
    roles = {"teacher": {"prefer": "one", "max_tokens": 100}}
    scene.write("swarm", {"flow": flow, "services": SERVICES, "roles": roles})
    goal = scene.folder / "scratch" / "goal.md"
    goal.write_text(small.GOAL)
    ended = scene.command("pipeline", goal, "--runs", scene.runs, "--rounds", "1")
    (scene.folder / "pipeline.txt").write_text(ended.stdout + ended.stderr)
    (run,) = (path.parent for path in scene.runs.glob("*/run.json"))
    assert (run / "10-rob/outbox/r1/reply.json").exists(), ended.stdout + ended.stderr
    return run


@needs_namespaces
@pytest.mark.parametrize("scene", ["key_env", "key_file"], indirect=True)
def test_a_run_that_is_robbed_loses_no_key(scene: Scene) -> None:
    run = robbed(scene)
    saw = json.loads((run / "10-rob/outbox/r1/loot/attempts.json").read_text())
    assert set(saw) == {way.__name__ for way in thief.WAYS} | {"send_away"} and len(thief.WAYS) > 30, saw
    assert not [way for way, what in saw.items() if "is not apart" in what]
    for way in ("own_environment", "command_lines", "config_folder", "replies_of_models", "books_and_logs"):
        assert not saw[way].startswith("refused"), saw[way]
    assert "bytes" in saw["send_away"] and scene.evil.log()[-1]["body"], "what it got has left the machine"
    revealed = [row for row in scene.right.asked() if "reveal" in str(row["body"])]
    assert {row["rule"] for row in revealed} >= set(range(len(REVEALS))), "the server has said every form of the key"
    brought = run.parent / "brought.tar.gz"
    packed = scene.command("pack", run, "--out", brought)
    assert packed.returncode == 0, packed.stderr
    scene.command("unpack", brought, "--runs", scene.folder / "there", "--trust")
    unpacked = scene.folder / "there" / run.name
    asked = scene.command("ask", "teacher", "Who are you, elsewhere?", "--json", "--run", unpacked)
    (scene.folder / "asked.txt").write_text(asked.stdout + asked.stderr)
    assert asked.returncode == 0 and "elsewhere" in str(scene.right.asked()[-1]["body"]), asked.stderr
    assert {row["authorization"] for row in scene.right.asked()} == {f"Bearer {KEY}"}, "no .netrc, and the key arrived"
    assert all("X-Thief" in row["headers"] for row in scene.evil.log()), "nobody else went there"
    assert scene.leaks() == []


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
@needs_namespaces
def test_a_script_of_a_model_gets_nothing(scene: Scene) -> None:
    """Run closed in, by a process whose environment holds the key."""
    work = scene.folder / "closed"
    work.mkdir()
    script = (ROOT / "tests/canary/thief.py").read_text("utf-8")
    (work / "given.json").write_text(scene.given.read_text())
    code = "import sys; from pathlib import Path; from agents.sandbox.closed import closed\n"
    code += "print(closed(['python', '-c', sys.argv[1], 'given.json'], Path(sys.argv[2])))"
    argv = [sys.executable, "-c", code, script, str(work)]
    ended = subprocess.run(argv, env=scene.env, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    (scene.folder / "closed.txt").write_text(ended.stdout + ended.stderr)
    saw = json.loads((work / "loot" / "attempts.json").read_text())
    assert set(saw) == {way.__name__ for way in thief.WAYS} | {"send_away"}, saw
    nothing = {"key_file", "config_folder", "git_settings_and_objects", "home", "send_away", "temporary_files"}
    assert {way for way in nothing if not saw[way].startswith("refused")} == set(), saw
    assert scene.evil.log() == [] and WORK in (work / "loot" / "own_environment.txt").read_text()
    assert scene.leaks() == []


def test_the_thief_can_steal_and_the_search_can_find(scene: Scene) -> None:
    """What the other tests prove, proved to prove something: beside others, with no wall, the thief has the key."""
    ways = sorted({*FOUND_BESIDE, "send_away"})
    scene.given.write_text(json.dumps(scene.told() | {"ways": ways}))
    loot = scene.folder / "stolen"
    loot.mkdir()
    with subprocess.Popen(["sleep", "60"], env={"SOME_KEY": KEY}) as holder:
        argv = [sys.executable, str(ROOT / "tests/canary/thief.py"), str(scene.given)]
        subprocess.run(argv, cwd=loot, env={}, check=True, timeout=2 * PATIENCE_S)
        holder.kill()
    found = {Path(one).stem for one in scene.leaks() if "/stolen/" in one}
    assert found >= FOUND_BESIDE, found
    assert hits.in_requests(scene.evil.log_file, KEY, with_authorization=True), "and it is gone"


@pytest.mark.parametrize("form", sorted(forms_of(KEY)))
def test_the_search_finds_every_form_and_half_of_one(form: str, tmp_path: Path) -> None:
    half = form[len(form) // 2 :]
    for name, text in {"whole": form, "half": half}.items():
        (tmp_path / name).write_text(f"x{text}x")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "half", "half")
    (tmp_path / "link").symlink_to(f"/nowhere/{half.replace('/', ':')}")
    (tmp_path / "not").write_text(KEY[:9] + "x" * 99)
    assert {Path(one).name for one in hits.in_tree(tmp_path, KEY)} >= {"whole", "half", "x.tar.gz"}
    assert str(tmp_path / "not") not in hits.in_tree(tmp_path, KEY)


# -- what the llm agent leaves when it fails --------------------------------------------------------------------


def keyed(folder: Path) -> Asking:
    """A run whose llm agent has the key, and nobody to ask."""
    models = {"one": profile("http://127.0.0.1:1/v1", key_env="SOME_KEY", price=FREE)}
    there = Asking(folder, models)
    (there.config / "infra.yaml").write_text(
        yaml.safe_dump({"models": models, "budget": {"usd": 1, "models": ["one"]}})
    )
    return there


def test_an_error_that_quotes_a_key_is_recorded_without_it(tmp_path: Path) -> None:
    there = keyed(tmp_path)
    there.asker().put([there.asker().call("teacher", question("Who is it?"))])
    argv = [sys.executable, "-m", "tests.canary.broken", *there.argv()[3:]]
    with open(tmp_path / "said.txt", "wb") as said:
        child = subprocess.Popen(argv, cwd=ROOT, env=environment(SOME_KEY=KEY), stdout=said, stderr=said)
        eventually(lambda: list(there.llm.glob("work/*/try-1/crash.json")))
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
    (crash,) = (json.loads(path.read_bytes()) for path in there.llm.glob("work/*/try-1/crash.json"))
    assert "could not send Authorization: Bearer [key]" in crash["message"] and "[key]" in crash["traceback"]
    assert "Bearer [key]" in (tmp_path / "said.txt").read_text()
    assert hits.in_tree(tmp_path, KEY) == []


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGQUIT])
def test_it_leaves_no_core(tmp_path: Path, number: int) -> None:
    """Beside a process that does, where this machine keeps cores in the folder where one died."""
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    there = keyed(tmp_path)
    env = environment(SOME_KEY=KEY)
    for name, argv in {"agent": there.argv(), "other": ["sleep", "60"]}.items():
        (tmp_path / name).mkdir()
        limit = lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # noqa: E731
        child = subprocess.Popen(argv, cwd=tmp_path / name, env=env, preexec_fn=limit)
        if name == "agent":
            eventually(lambda: (there.llm / "ledger.jsonl").exists())
            core = next(one for one in Path(f"/proc/{child.pid}/limits").read_text().splitlines() if "core" in one)
            assert core.split()[4:6] == ["0", "0"]
        child.send_signal(number)
        assert child.wait(PATIENCE_S) == -number
    cores = {path.parent.name for path in tmp_path.glob("*/core*")}
    assert cores <= {"other"}
    assert not hits.in_tree(tmp_path / "agent", KEY)
