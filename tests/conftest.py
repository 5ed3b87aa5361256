"""Fixtures that several tests share."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bus.mailbox import Mailbox
from tests import small

STEP = "10-first"


@pytest.fixture
def step_box(tmp_path: Path) -> Iterator[Mailbox]:
    """A step's mailbox: its replies are folders."""
    with closing(Mailbox(tmp_path / STEP, hold=tmp_path / "HOLD")) as mailbox:
        yield mailbox


@pytest.fixture
def service_box(tmp_path: Path) -> Iterator[Mailbox]:
    """A service's mailbox: its replies are files; any JSON object is a request."""
    options: dict[str, Any] = {"folders": False, "request": None, "reply": None, "hold": tmp_path / "HOLD"}
    with closing(Mailbox(tmp_path / "echo", **options)) as mailbox:
        yield mailbox


@pytest.fixture
def ask() -> Callable[..., dict]:
    """A step's request for a round: what the bus itself would put."""

    def request(round: int = 1, step: str = STEP) -> dict:
        return {"schema": "request.v1", "id": f"r{round}", "step": step, "round": round}

    return request


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run; read it only."""
    folder = small.make(tmp_path_factory.mktemp("done") / "runs")
    small.work(folder)
    return folder


@pytest.fixture(scope="session")
def archive(done: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small finished run, packed: a copy of it, since what is packed stays held."""
    folder = shutil.copytree(done, tmp_path_factory.mktemp("packed") / "small")
    small.command("pack", folder)
    return Path(folder).with_name("small.tar.gz")


@pytest.fixture
def finished(done: Path, tmp_path: Path) -> Path:
    """A small finished run of one's own, to spoil."""
    shutil.copytree(done.parent.parent / "config", tmp_path / "config")
    return Path(shutil.copytree(done, tmp_path / "runs" / "small"))
