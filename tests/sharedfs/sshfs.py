"""sshfs: two mounts over one sshd of our own. Its locks stay within one client: the weakest that the bus must bear."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.sharedfs.filesystem import ADDRESS, FileSystem

PORT = 2222
SERVER = """Port {port}
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
PasswordAuthentication no
UsePAM no
Subsystem sftp internal-sftp
"""


class Sshfs(FileSystem):
    """As it comes: names and attributes are cached for 20 s."""

    name, title, how = "sshfs", "sshfs", "as it comes"
    packages = ("sshfs", "openssh-server")
    programs = ("sshfs", "sshd", "ssh-keygen")
    options = ""
    stale_s = 21.0

    def serve(self) -> None:
        (self.folder / "export").mkdir()
        for key in ("host", "key"):
            self.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
        config = self.folder / "sshd_config"
        config.write_text(SERVER.format(port=PORT, address=ADDRESS, folder=self.folder))
        self.call("mount", "-t", "tmpfs", "none", "/run")  # of this namespace only: sshd insists on its folder there
        Path("/run/sshd").mkdir(mode=0o755)
        sshd = subprocess.run(["which", "sshd"], capture_output=True, text=True, check=True).stdout.strip()
        self.start(sshd, "-D", "-e", "-f", str(config))  # it starts itself again, so it must be named in full
        self.listening(PORT)

    def client(self, point: Path) -> Sequence[str]:
        ssh = f"IdentityFile={self.folder}/key,UserKnownHostsFile=/dev/null,StrictHostKeyChecking=no,LogLevel=ERROR"
        more = ["-o", self.options] if self.options else []
        return ["sshfs", "-f", "-p", str(PORT), "-o", ssh, *more, f"{ADDRESS}:{self.folder}/export", str(point)]

    def backing(self) -> list[Path]:
        return [self.folder / "export"]


class SshfsFresh(Sshfs):
    """With the names uncached, which the bus needs in order to see the other host's files in time."""

    name, how = "sshfs-fresh", "`-o dir_cache=no`"
    options = "dir_cache=no"
    stale_s = 0.0
