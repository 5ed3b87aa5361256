"""Fixtures that several tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.mailbox import Mailbox

STEP = "10-first"


@pytest.fixture
def step_box(tmp_path: Path) -> Iterator[Mailbox]:
    """A step's mailbox: its replies are folders."""
    with Mailbox(tmp_path / STEP, hold=tmp_path / "HOLD") as mailbox:
        yield mailbox


@pytest.fixture
def service_box(tmp_path: Path) -> Iterator[Mailbox]:
    """A service's mailbox: its replies are files; any JSON object is a request."""
    with Mailbox(tmp_path / "echo", folders=False, request=None, reply=None, hold=tmp_path / "HOLD") as mailbox:
        yield mailbox


@pytest.fixture
def ask() -> Callable[..., dict]:
    """A step's request for a round: what the bus itself would put."""

    def request(round: int = 1, step: str = STEP) -> dict:
        return {"schema": "request.v1", "id": f"r{round}", "step": step, "round": round}

    return request
