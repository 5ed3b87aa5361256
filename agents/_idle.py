"""While a call only waits, the death of its agent says nothing against it: many wait in one process, any may kill it.

Without this, each call that a slow server has in hand would be given up with the fifth agent that a machine loses.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from bus.claim import BEGUN, Claim


@contextlib.contextmanager
def idle(claim: Claim) -> Iterator[None]:
    """Take the mark off a service's request, by which its agent's death is counted, and put it back in the end."""
    mode = stat.S_IMODE(os.fstat(claim.descriptor).st_mode)
    _chmod(claim, mode & ~BEGUN)
    try:
        yield
    finally:
        _chmod(claim, mode)


def _chmod(claim: Claim, mode: int) -> None:
    with contextlib.suppress(OSError):  # another user's file, or a disk that can only be read by now: as it was
        os.fchmod(claim.descriptor, mode)
