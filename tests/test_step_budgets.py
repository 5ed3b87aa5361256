"""Budgets of single steps in wall time and GPU hours, and a run that winds down to the best it has at the cap."""

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from agents import _budget, _config
from agents._supervise import Child, Program
from agents.models.ledger import BudgetGone, Ledger
from agents.models.profile import Price
from bus.run import Run
from tests import modelled, small, tiny
from tests.processes import ROOT
from tests.scripted.fixture import Scripted


def supervise_command() -> ModuleType:
    loader = SourceFileLoader("supervise_command", str(ROOT / "bin" / "supervise"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def budget(config: Path, step: str, **limits: float) -> None:
    (config / "infra.yaml").write_text(yaml.safe_dump({"budget": {"steps": {step: limits}}}))


def test_a_step_that_works_too_long_ends_the_run_and_names_its_budget(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs", small.step("sleep 60"))
    budget(tmp_path / "config", "10-one", wall_hours=0.0005)
    ended = small.command("supervise", folder, "--config", tmp_path / "config")
    assert ended.returncode == 100 and "budget: steps.10-one.wall_hours:" in ended.stdout, ended.stdout + ended.stderr
    beat = json.loads((folder / "supervisor/heartbeat.json").read_text())
    assert beat["state"] == "budget" and "infra.yaml" in beat["why"]


def test_another_step_s_budget_is_its_own(tmp_path: Path) -> None:
    flow = small.step("sleep 2; echo x >$2/x.txt")
    folder = small.make(tmp_path / "runs", flow)
    swarm = {"flow": {**flow, "20-two": flow["10-one"]}, "services": small.SERVICES}  # which this run has not
    (tmp_path / "config" / "swarm.yaml").write_text(yaml.safe_dump(swarm))
    budget(tmp_path / "config", "20-two", wall_hours=0.0001)
    ended = small.command("supervise", folder, "--config", tmp_path / "config")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_gpu_time_of_replies_and_of_the_try_at_work_count_together(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs", small.step("true"))
    budget(tmp_path / "config", "10-one", gpu_hours=1.0)
    keeper = supervise_command().Keeper(Run(folder), _config.load(tmp_path / "config"))
    child = Child(Program("10-one", ["true"]), beat={"claim": "r2", "age_s": 1.0, "gpu_s": 1900.0})
    earlier = {("10-one", 1): {"gpu_s": 1800.0, "seconds": 1.0}, ("20-two", 1): {"gpu_s": 9000.0, "seconds": 1.0}}
    limits = {"gpu_hours": 1.0}
    assert keeper.step_gone(child, earlier, limits).startswith("budget: steps.10-one.gpu_hours: 1.03 spent of 1;")
    assert keeper.step_gone(child, {}, limits) == ""
    child.beat["claim"] = None  # it rests
    assert keeper.step_gone(child, earlier, limits) == ""


def test_dollars_of_a_step_are_those_of_its_gpu_time_and_of_its_model_calls(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs", small.step("true"))
    infra = {"usd_per_gpu_hour": 2.0, "budget": {"steps": {"10-one": {"usd": 3.0}}}}
    (tmp_path / "config" / "infra.yaml").write_text(yaml.safe_dump(infra))
    (folder / "llm").mkdir(exist_ok=True)
    run, config = Run(folder), _config.load(tmp_path / "config")
    keeper = supervise_command().Keeper(run, config)
    child = Child(Program("10-one", ["true"]), beat={"claim": "r2", "age_s": 1.0, "gpu_s": 1800.0})
    earlier = {("10-one", 1): {"gpu_s": 0.0, "seconds": 1.0, "usd": 1.5}, ("20-two", 1): {"usd": 9.0}}
    limits = {"usd": 3.0}
    assert keeper.step_gone(child, earlier, limits) == ""
    limit, price, most = _budget.call_limits(run, config), Price(0, 1_000_000), (0, 1)  # $1 a call
    for step in ("10-one", "20-two"):
        books = Ledger(folder / "llm", limit, lambda step: {"10-one": 1.5}.get(step, 0.0))
        assert books.reserve("a", step, "p", price, most)
        books.close()
    again = Ledger(folder / "llm", limit, lambda step: {"10-one": 1.5}.get(step, 0.0))
    with pytest.raises(BudgetGone, match=r"budget: steps.10-one.usd: 2.5 of 3 is spent or reserved"):
        again.reserve("b", "10-one", "p", price, most)
    keeper.calls.look()
    assert keeper.step_gone(child, earlier, limits).startswith("budget: steps.10-one.usd: 3.5 spent of 3;")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": {"50-train": {"hours": 1}}}, "steps: 50-train: unknown key 'hours'"),
        ({"steps": {"50-train": {"gpu_hours": -1}}}, "gpu_hours: -1 is not a number"),
        ({"call": {"wall_hours": 1}}, "call: unknown key 'wall_hours'"),
        ({"steps": {"30-genrate": {"usd": 1}}}, r"there is no step '30-genrate' in .*; did you mean 30-generate\?"),
    ],
    ids=str,
)
def test_a_budget_that_is_no_budget_is_told(tmp_path: Path, given: dict, told: str) -> None:
    (tmp_path / "swarm.yaml").write_text("flow: {30-generate: {agent: generate}, 50-train: {agent: train}}\n")
    (tmp_path / "infra.yaml").write_text(yaml.safe_dump({"budget": given}))
    with pytest.raises(_config.ConfigError, match=told):
        _config.load(tmp_path)


def test_at_the_cap_the_run_goes_on_to_its_report_with_what_there_was(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", modelled.ANSWERS) as server:
        config = modelled.write_config(tmp_path, server.url, usd=0.02)
        ended = tiny.run(tiny.write_goal(tmp_path), tmp_path / "runs", config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = tmp_path / "runs" / "tiny"
    told = json.loads(tiny.artifacts(run, "30-generate")["generated.json"])
    assert told["stopped"].startswith("budget: usd:") and 0 < told["pairs"] < told["wanted"]
    rows = [json.loads(line) for line in tiny.artifacts(run, "40-filter")["train.jsonl"].splitlines()]
    assert rows and (run / "80-improve/outbox/r1/reply.json").exists()
    report = tiny.artifacts(run, "70-report")["report.md"].decode()
    chunks = told["chunks"]
    left_out = chunks["all"] - chunks["answered"]
    assert f"{left_out} of {chunks['all']} pieces of the sources were left out; budget: usd:" in report
    assert "calls were given up (budget)" in report
    ledger = [json.loads(line) for line in (run / "llm/ledger.jsonl").read_text().splitlines()]
    assert sum(line["usd"] or 0.0 for line in ledger if line["event"] == "settle") <= 0.02
