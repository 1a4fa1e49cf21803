"""DVC's list of what its processes read and write: kept in memory, and removed where it is half written."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

CORRUPT = "Unable to read RWLock-file"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_GET_IN = 30.0
# Memory that every Linux has as a folder. The first one is not emptied when a user logs out.
MEMORY = (Path("/run/lock"), Path("/dev/shm"))


def repair(root: Path) -> bool:
    """Remove the list of a workspace if it is half written, for DVC would refuse everything from then on.

    What it named is lost: of two processes at one stage training still refuses the second. Returns whether it was so.
    """
    path = _list(root)
    if _read(path) is not None:
        return False
    with _guarded(path):
        if _read(path) is not None:  # somebody was only just writing it
            return False
        path.resolve().unlink()
        return True


def keep_in_memory(root: Path) -> None:
    """Have DVC write the list of a workspace to memory, by a link, where the machine has such a folder.

    DVC writes it anew eight times for every stage, also for one that is up to date, and ext4 has it wait each time
    until the last one is on the disk. The list names living processes only, so nothing is lost with the memory.
    """
    path = _list(root)
    folder = next((each for each in MEMORY if each.is_mount() and os.access(each, os.W_OK)), None)
    if folder is None or path.is_symlink() or not (root / ".dvc").is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"neurop-{uuid.uuid4().hex}"
    with _guarded(path):
        if not path.is_symlink() and _read(path) == {}:  # no other flow was first, and no process is in the list
            for each in (path.with_name("rwlock.lock"), path):  # a copy of the workspace shares both
                link = each.with_name(f"{name}.link")
                link.symlink_to(folder / f"{name}.{each.name}")
                os.replace(link, each)


def forget(root: Path) -> None:
    """Free the memory of a workspace that is about to be removed."""
    for path in (_list(root), _list(root).with_name("rwlock.lock")):
        if path.is_symlink():
            path.resolve().unlink(missing_ok=True)


def _list(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "rwlock"


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """While the block runs DVC leaves the list as it is."""
    from dvc.lock import LockError, make_lock

    guard = make_lock(str(path.with_name("rwlock.lock")))  # DVC's own
    until = time.monotonic() + SECONDS_TO_GET_IN
    while True:
        try:
            guard.lock()
            break
        except LockError:
            if time.monotonic() > until:
                raise UserError(f"{path} is held by another process; end that first") from None
            time.sleep(SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        guard.unlock()


def _read(path: Path) -> dict[str, object] | None:
    """What the list says of processes; None if it is half written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    return {key: value for key, value in found.items() if value} if isinstance(found, dict) else None


def main() -> None:
    """For the working directory."""
    keep_in_memory(Path())


if __name__ == "__main__":
    main()
