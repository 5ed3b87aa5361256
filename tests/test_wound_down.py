"""A run whose budget ends says so once, and how to have the rest; what was answered is not paid again."""

import json
import re
import shutil
from pathlib import Path

import yaml

from tests import modelled, small, tiny
from tests.processes import ROOT
from tests.scripted.fixture import Scripted

LAST = "40-filter"


def raise_to(config: Path, usd: float) -> None:
    infra = yaml.safe_load((config / "infra.yaml").read_text())
    (config / "infra.yaml").write_text(yaml.safe_dump({**infra, "budget": {"usd": usd}}))


def line_with(text: str, words: str) -> str:
    """The one line of `text` that has these words."""
    (found,) = (line for line in text.splitlines() if words in line)
    return found


def test_what_a_step_went_without_is_made_anew_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    goal, runs = tiny.write_goal(tmp_path), tmp_path / "runs"
    run = runs / "tiny"
    with Scripted(tmp_path / "server", modelled.ANSWERS) as server:
        config = modelled.write_config(tmp_path, server.url, LAST, usd=0.02)
        ended = tiny.run(goal, runs, config)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        told = line_with(ended.stdout, "budget: usd: ")
        assert "of 0.02 is spent or reserved" in told and "models were asked nothing more" in told
        assert told.endswith(f"for more, raise it in config/infra.yaml, then see bin/status {run}")
        lacks = line_with(ended.stdout, " went without ")
        reply = json.loads((run / "30-generate/outbox/r1/reply.json").read_text())
        made = json.loads((run / "30-generate/outbox/r1/generated.json").read_text())
        assert reply["unanswered"] == {"budget": made["answers"]["unanswered: budget"]}
        assert lacks.startswith(f"30-generate r1 went without {reply['unanswered']['budget']:,} answers (budget)")
        status = tiny.command_of("status", run).splitlines()
        assert lacks in status and any(re.match(r"llm: .* dead \([\d,]+ budget\), 0 in flight", one) for one in status)

        raise_to(config, 1.0)
        paid = len(server.asked())
        ended = tiny.run(goal, runs, config)
        assert ended.returncode == 0 and "nothing to do" in ended.stdout and lacks in ended.stdout
        assert len(server.asked()) == paid

        (replied,) = re.findall(r"rm -r (\S+),", lacks)
        shutil.rmtree(ROOT / replied)
        ended = tiny.run(goal, runs, config)
        assert ended.returncode == 0 and " went without " not in ended.stdout, ended.stdout + ended.stderr
        assert len(server.asked()) == len(modelled.replies(run)) > paid
    assert json.loads((run / "30-generate/outbox/r1/generated.json").read_text())["stopped"] is None
    assert "unanswered" not in json.loads((run / LAST / "outbox/r1/reply.json").read_text())
    status = tiny.command_of("status", run)
    assert " went without " not in status and "\nbudget: " not in status  # but for letters of what nobody asks now
    tiny.command_of("check", run)


def test_a_run_that_a_budget_ends_says_so_here_and_later_and_goes_on_with_more(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs", small.step('test -e go || sleep 60; echo x >"$2/x.txt"'))
    config = tmp_path / "config"
    (config / "infra.yaml").write_text(yaml.safe_dump({"budget": {"wall_hours": 0.0005}}))
    ended = tiny.run(folder / "goal.md", folder.parent, config)
    (line,) = ended.stderr.splitlines()
    said = (
        r"budget: wall_hours: \S+ spent of 0.0005: the run ends here, and nothing of it is lost; for more, raise it in "
    )
    assert ended.returncode == 100 and re.match(f"small: {said}config/infra.yaml, then the same command goes on", line)
    assert "; it ended when the budget was spent: wall_hours: " in small.command("status", folder).stdout
    (config / "infra.yaml").write_text(yaml.safe_dump({"budget": {"wall_hours": 1}}))
    (folder / "go").touch()
    assert tiny.run(folder / "goal.md", folder.parent, config).returncode == 0
    assert "budget" not in small.command("status", folder).stdout
