"""Opens a bundle that came from elsewhere: nothing of it is believed before it is checked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.offsite.manifest import FORMAT, NAME, Entry, File, Manifest

# Entries take a few KiB each.
LARGEST_MANIFEST = 2**26
ENCRYPTED = 1


class Archive:
    """A bundle whose members are exactly the files that its manifest names, with the sizes that it names.

    Raises `UserError` for anything else: paths that lead elsewhere, links, other files, compressed or encrypted ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                self.manifest = self._manifest(file)
                self._check_members(file.infolist())
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
            raise self.wrong(_line(error)) from None

    def wrong(self, why: str) -> UserError:
        """The error that says what is wrong with this bundle."""
        return UserError(f"{self.path} is no bundle to import: {why}; nothing was imported")

    def read(self, entry: Entry, name: str) -> bytes:
        """A file of an entry. Raises `UserError` if one of its bytes is not what the manifest says."""
        member = f"{entry.place}/{name}"
        try:
            with zipfile.ZipFile(self.path) as file:
                content = file.read(member)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise self.wrong(_line(error)) from None
        if File.of(content) != entry.files[name]:
            raise self.wrong(f"{member} is not what the manifest says")
        return content

    def _manifest(self, file: zipfile.ZipFile) -> Manifest:
        info = file.getinfo(NAME)
        self._check_member(info, LARGEST_MANIFEST)
        manifest = Manifest.model_validate_json(file.read(info))
        if manifest.format != FORMAT:
            raise ValueError(f"its format is {manifest.format}, and this program reads {FORMAT}")
        return manifest

    def _check_members(self, infos: list[zipfile.ZipInfo]) -> None:
        expected: dict[str, int] = {}
        for entry in self.manifest.entries:
            if set(entry.files) != set(entry.expected):
                raise self.wrong(f"{entry.place} has other files than {', '.join(entry.expected)}")
            for name, file in entry.members.items():
                if name in expected:
                    raise self.wrong(f"{name} is in the manifest twice")
                expected[name] = file.size
        names = sorted(info.filename for info in infos if info.filename != NAME)
        if names != sorted(expected) or len(infos) != len(names) + 1:
            stray = sorted(set(names) ^ set(expected)) or [NAME]
            raise self.wrong(f"its files are not those of its manifest ({stray[0]})")
        for info in infos:
            if info.filename != NAME:
                self._check_member(info, expected[info.filename])
        if sum(info.file_size for info in infos) > self.path.stat().st_size:
            raise self.wrong("its files are larger than itself")

    def _check_member(self, info: zipfile.ZipInfo, most: int) -> None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.is_dir():
            raise self.wrong(f"{info.filename} is no plain file")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED:
            raise self.wrong(f"{info.filename} is not stored as it is")
        if info.file_size > most:
            raise self.wrong(f"{info.filename} has {info.file_size} bytes, and {most} are allowed")


def _line(error: Exception) -> str:
    """What is wrong, in a few words."""
    if isinstance(error, ValidationError):
        finding = error.errors()[0]
        return f"its manifest: {'.'.join(map(str, finding['loc']))}: {finding['msg']}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip("'\"") or type(error).__name__
