"""Archives as an enemy would make them: a real one, changed."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from bus import files


class Forged:
    """An archive in the making: the members of a real one, to be changed; the manifest follows the files."""

    def __init__(self, archive: Path) -> None:
        self.members: list[tuple[tarfile.TarInfo, bytes]] = []
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                self.members.append((member, file.read() if file else b""))
        self.manifest = json.loads(self.members.pop()[1])
        self.listed = True

    def add(
        self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, at: int | None = None, **more: Any
    ) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, len(data)
        for key, value in more.items():
            setattr(member, key, value)
        self.members.insert(len(self.members) if at is None else at, (member, data))
        if self.listed and kind == tarfile.REGTYPE:
            self.manifest["files"][name.partition("/")[2]] = {"sha256": files.sha256(data), "bytes": len(data)}

    def change(self, name: str, data: bytes, **more: Any) -> None:
        """Other bytes, or another mode, for a file of the run; the manifest agrees."""
        at = next(at for at, (member, _) in enumerate(self.members) if member.name.partition("/")[2] == name)
        member, _ = self.members.pop(at)
        self.add(member.name, data, at=at, **{"mode": member.mode, **more})

    def file(self, name: str, data: bytes, **more: Any) -> None:
        """A further file of the run, with the folders that it needs."""
        top, known = self.manifest["run"], {member.name for member, _ in self.members}
        for parent in reversed(list(Path(name).parents)[:-1]):
            if f"{top}/{parent}" not in known:
                self.add(f"{top}/{parent}", kind=tarfile.DIRTYPE, mode=0o755)
        self.add(f"{top}/{name}", data, **more)

    def save(self, path: Path) -> Path:
        data = files.canonical(self.manifest)
        last = tarfile.TarInfo(f"{self.manifest['run']}/MANIFEST.json")
        last.size = len(data)
        with tarfile.open(path, "w:gz") as tar:
            for member, content in [*self.members, (last, data)]:
                tar.addfile(member, io.BytesIO(content))
        return path
