"""GlusterFS: one daemon with a replicated volume, two mounts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.sharedfs.filesystem import ADDRESS, FileSystem

BRICKS = 3
STATE = ("/run", "/var/lib/glusterd", "/var/log/glusterfs")  # compiled into the daemon


class Gluster(FileSystem):
    """Every file on three bricks. Spread over bricks it is not for the bus: two clients can both win a `link` there."""

    name, title, how = "gluster", "Gluster", "3 copies"
    packages = ("glusterfs-server", "glusterfs-client")
    programs = ("glusterd", "gluster", "glusterfs")

    def serve(self) -> None:
        for folder in STATE:  # hidden in this namespace: what this machine's own Gluster knows is not touched
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.call("mount", "-t", "tmpfs", "none", folder)
        for brick in self.backing():
            brick.mkdir()
        self.start("glusterd", "-N", "--log-level", "WARNING")
        self.until(lambda: self._gluster("volume", "list") == 0, "glusterd does not answer")
        names = [f"{ADDRESS}:{brick}" for brick in self.backing()]
        self.call("gluster", "--mode=script", "volume", "create", "shared", "replica", str(BRICKS), *names, "force")
        self.call("gluster", "--mode=script", "volume", "start", "shared")

    def _gluster(self, *words: str) -> int:
        return subprocess.run(["gluster", "--mode=script", *words], stdout=self.log, stderr=self.log).returncode

    def client(self, point: Path) -> Sequence[str]:
        glusterfs = shutil.which("glusterfs") or "glusterfs"
        return [glusterfs, "--no-daemon", f"--volfile-server={ADDRESS}", "--volfile-id=/shared", str(point)]

    def backing(self) -> list[Path]:
        return [self.folder / f"brick{n}" for n in range(1, BRICKS + 1)]
