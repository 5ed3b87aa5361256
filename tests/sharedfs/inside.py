"""All trials on one file system, inside namespaces of its own: `python -m tests.sharedfs.inside NAME FOLDER SEED`.

Prints one JSON object a line: {"row": …} as soon as it is known, or {"not_tried": why}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.sharedfs import gluster, late, locks, looks, moosefs, notice, sshfs, storm
from tests.sharedfs.filesystem import HOSTS, FileSystem, NotTried, own_network
from tests.sharedfs.row import Row

ALL: tuple[type[FileSystem], ...] = (
    sshfs.Sshfs,
    sshfs.SshfsFresh,
    moosefs.MooseFS,
    gluster.Gluster,
)


def trials(fs: FileSystem, seed: int) -> Iterator[Row]:
    yield from looks.run(fs)
    yield from locks.run(fs)
    yield from late.run(fs)
    yield from storm.run(fs, seed)
    yield from notice.run(fs)


def main(name: str, folder: str, seed: str) -> None:
    fs = next(one for one in ALL if one.name == name)(Path(folder))
    try:
        own_network()
        fs.serve()
        for host in HOSTS:
            fs.mount(host)
    except NotTried as why:
        print(json.dumps({"not_tried": str(why)}))
        return
    began = time.monotonic()
    for row in trials(fs, int(seed)):
        print(json.dumps({"row": asdict(row), "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
