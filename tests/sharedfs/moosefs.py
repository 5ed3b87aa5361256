"""MooseFS: one master, one chunk server, two mounts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.sharedfs.filesystem import ADDRESS, FileSystem

LOGGERS, CHUNKS, CLIENTS, DATA = 9419, 9420, 9421, 9422  # ports of a network namespace of our own
EMPTY = Path("/var/lib/mfs/metadata.mfs.empty")  # the package's own first metadata
COMMON = """WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = {folder}/{name}
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
"""
MASTER = """EXPORTS_FILENAME = {folder}/exports.cfg
TOPOLOGY_FILENAME = {folder}/topology.cfg
MATOML_LISTEN_HOST = {address}
MATOML_LISTEN_PORT = {loggers}
MATOCS_LISTEN_HOST = {address}
MATOCS_LISTEN_PORT = {chunks}
MATOCL_LISTEN_HOST = {address}
MATOCL_LISTEN_PORT = {clients}
"""
CHUNK_SERVER = """HDD_CONF_FILENAME = {folder}/hdd.cfg
BIND_HOST = {address}
MASTER_HOST = {address}
MASTER_PORT = {chunks}
CSSERV_LISTEN_HOST = {address}
CSSERV_LISTEN_PORT = {data}
"""


class MooseFS(FileSystem):
    name, title = "moosefs", "MooseFS"
    packages = ("moosefs-master", "moosefs-chunkserver", "moosefs-client", "moosefs-cli")
    programs = ("mfsmaster", "mfschunkserver", "mfsmount", "mfscli")

    def serve(self) -> None:
        for name in ("master", "chunks", "hdd"):
            (self.folder / name).mkdir()
        shutil.copy(EMPTY, self.folder / "master" / "metadata.mfs")
        (self.folder / "exports.cfg").write_text("* / rw,alldirs,maproot=0\n")
        (self.folder / "topology.cfg").touch()
        (self.folder / "hdd.cfg").write_text(f"{self.folder}/hdd\n")
        self.start("mfsmaster", "-c", self._config("master", MASTER), "-f", "start")
        self.listening(CHUNKS)
        self.start("mfschunkserver", "-c", self._config("chunks", CHUNK_SERVER), "-f", "start")
        self.listening(DATA)

    def _config(self, name: str, text: str) -> str:
        path = self.folder / f"{name}.cfg"
        facts = {"loggers": LOGGERS, "chunks": CHUNKS, "clients": CLIENTS, "data": DATA, "address": ADDRESS}
        path.write_text((COMMON + text).format(folder=self.folder, name=name, **facts))
        return str(path)

    def client(self, point: Path) -> Sequence[str]:
        return ["mfsmount", "-f", "-H", ADDRESS, "-P", str(CLIENTS), str(point)]

    def forget_client(self, host: str) -> str:
        """End the session of a dead client, which would keep its locks for SESSION_SUSTAIN_TIME: a day, as shipped."""
        for row in self._cli("-SMS").splitlines():
            if row.startswith("inactive") and row.split("|")[3] == str(self.folder / host):
                self._cli(f"-CRS/{row.split('|')[1]}")
        return "`mfscli -CRS`"

    def _cli(self, *words: str) -> str:
        command = ["mfscli", "-p", "-s", "|", "-H", ADDRESS, "-P", str(CLIENTS), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
