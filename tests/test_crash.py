"""The short form of every part of `make crash`."""

import pytest

from tests.crash.__main__ import PARTS
from tests.processes import start


@pytest.mark.parametrize("part", PARTS)
def test_no_promise_is_broken(part: str) -> None:
    child = start("-m", "tests.crash", "--quick", part)
    out, error = child.communicate(timeout=300)
    assert child.returncode == 0, out + error
    assert "| held |" in out
