"""An llm agent that fails as nobody foresaw: with an error that quotes its keys.

python -m tests.canary.broken RUN --watch
"""

from typing import Any

from agents._agent import main
from agents._job import Job
from agents.llm import Desk


class Broken(Desk):
    def answer(self, job: Job) -> dict[str, Any]:
        assert self.exchange
        raise RuntimeError(f"could not send Authorization: Bearer {self.exchange.keys['one']}")


if __name__ == "__main__":
    raise SystemExit(main(Broken.answer, agent="llm", kind=Broken))
