"""The train step's own part: what it hands to the trainer."""

import pytest

from agents._job import GiveUp
from agents.train import flags


def test_settings_of_a_run_that_was_unpacked_name_no_path() -> None:
    assert flags({"max_steps": 20, "rate": 0.5}) == ["--max-steps", "20", "--rate", "0.5"]
    for value in ("/home/user/.ssh", "--out", True, None, ["x"]):
        with pytest.raises(GiveUp, match="is no number"):
            flags({"out": value})
