"""Skills: their front matter holds, what they tell an agent to type exists, and bin/skills shows them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SKILLS = sorted(ROOT.glob("skills/*/SKILL.md"))
EXPECTED = (
    "data-generation", "data-quality", "domain-research", "evaluation", "fine-tuning", "gpu-monitoring",
    "source-collection",
)  # fmt: skip
FLOW = yaml.safe_load((ROOT / "config/swarm.yaml").read_text())["flow"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

each_skill = pytest.mark.parametrize("path", SKILLS, ids=lambda path: path.parent.name)


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "bin/skills"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=30)


def copy_of_skills(tmp_path: Path, front: str) -> Path:
    """A checkout of bin/ and one skill `x` with this front matter; returns its bin/skills."""
    for name in ("agents/__init__.py", "agents/_front_matter.py", "bin/_start.py", "bin/skills"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "bin/skills").chmod(0o755)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "skills/x").mkdir(parents=True)
    (tmp_path / "skills/x/SKILL.md").write_text(front + "\n# x\n")
    return tmp_path / "bin/skills"


def test_the_seven_are_there() -> None:
    assert set(EXPECTED) <= {path.parent.name for path in SKILLS}


@each_skill
def test_front_matter(path: Path) -> None:
    front = yaml.safe_load(path.read_text().split("---\n")[1])
    assert front["name"] == path.parent.name
    assert 20 <= len(front["description"]) <= 120
    assert all(re.fullmatch(r"(skill|package|command):\S+", requirement) for requirement in front.get("requires", []))


@each_skill
def test_length_and_shape(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert 40 <= len(lines) <= 90
    for heading in ("## Traps", "## Done when"):
        assert heading in lines
    assert path.read_text().count("```") % 2 == 0


@each_skill
def test_what_it_tells_to_type_exists(path: Path) -> None:
    text = path.read_text()
    commands = set(re.findall(r"(?<![\w./])bin/[a-z]+", text))
    assert commands, "a skill for agents names at least one command of this project"
    assert {name for name in commands if not (ROOT / name).is_file()} == set()
    assert set(re.findall(r"`make ([a-z]+)", text)) <= TARGETS
    assert set(re.findall(r"bin/agent ([a-z]+)", text)) <= {step.get("agent") for step in FLOW.values()}
    assert set(re.findall(r"\b\d\d-[a-z]+\b", text)) <= FLOW.keys()
    files = {f"training/{name}.py" for name in re.findall(r"training[./](?!json\b)([a-z]+)", text)}
    assert {name for name in files if not (ROOT / name).is_file()} == set()


@each_skill
def test_files_it_names_are_written_by_that_step(path: Path) -> None:
    for step, name in re.findall(r"(\d\d-[a-z]+)/outbox/r1/([\w.*/-]+\.\w+)", path.read_text()):
        assert name in FLOW[step]["writes"], f"{step} does not write {name}"


@each_skill
def test_its_requirements_are_skills_packages_or_commands_that_exist(path: Path) -> None:
    front = yaml.safe_load(path.read_text().split("---\n")[1])
    pinned = {line.split("==")[0].lower() for line in (ROOT / "requirements.txt").read_text().splitlines()}
    for requirement in front.get("requires", []):
        kind, name = requirement.split(":")
        assert kind != "skill" or (ROOT / "skills" / name / "SKILL.md").is_file()
        assert kind != "package" or name.lower() in pinned


def test_lists_every_skill_from_another_folder(tmp_path: Path) -> None:
    listed = run(cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [path.parent.name for path in SKILLS]


def test_prints_one_with_its_requirements(tmp_path: Path) -> None:
    shown = run("data-quality", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(
        "requires skill:data-generation: met\nrequires package:rensa: met\n\n# Data quality\n"
    )
    assert shown.stdout.endswith((ROOT / "skills/data-quality/SKILL.md").read_text()[-200:])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fine-tunning", "did you mean fine-tuning?"),
        ("zzz", "run bin/skills"),
        ("../../etc", "run bin/skills"),
        ("", "run"),
    ],
)
def test_unknown_name_is_one_line_and_2(name: str, hint: str) -> None:
    shown = run(name)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert hint in shown.stderr and "skill" in shown.stderr


def test_a_missing_requirement_is_shown(tmp_path: Path) -> None:
    front = "---\nname: x\ndescription: d\nrequires: [command:no-such-program, package:no-such-package, skill:y]\n---\n"
    command = copy_of_skills(tmp_path, front)
    listed = subprocess.run([str(command)], capture_output=True, text=True, timeout=30)
    assert listed.stdout == "x  d [command:no-such-program, package:no-such-package, skill:y]\n"
    shown = subprocess.run([str(command), "x"], capture_output=True, text=True, timeout=30)
    assert shown.stdout.count(": missing\n") == 3


@pytest.mark.parametrize(
    ("front", "what"),
    [
        ("# no front matter\n", "front matter"),
        ("---\nname: x\n---\n", "description"),
        ("---\nname: y\ndescription: d\n---\n", "'y'"),
        ("---\nname: x\ndescription: d\nrequire: []\n---\n", "'require'"),
        ("---\nname: x\ndescription: d\nrequires: [trl]\n---\n", "'trl'"),
        ("---\nname: x\ndescription: d\nrequires: trl\n---\n", "requires"),
        ("---\nname: [\n---\n", "YAML"),
    ],
)
def test_a_broken_skill_is_one_line_that_names_it(tmp_path: Path, front: str, what: str) -> None:
    shown = subprocess.run([str(copy_of_skills(tmp_path, front)), "x"], capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert shown.stderr.startswith("bin/skills: skills/x/SKILL.md: ") and what in shown.stderr
