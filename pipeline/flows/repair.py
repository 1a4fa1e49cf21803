"""DVC's list of what its processes read and write, where one of them was killed while it wrote the list."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipeline.errors import UserError

CORRUPT = "Unable to read RWLock-file"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_GET_IN = 30.0


def repair(root: Path) -> bool:
    """Remove the list of a workspace if it is half written, for DVC would refuse everything from then on.

    What it named is lost: of two processes at one stage training still refuses the second. Returns whether it was so.
    """
    from dvc.lock import LockError, make_lock

    path = root / ".dvc" / "tmp" / "rwlock"
    if _sound(path):
        return False
    until = time.monotonic() + SECONDS_TO_GET_IN
    while True:
        try:
            with make_lock(str(path.with_name("rwlock.lock"))):  # DVC's own guard of the list
                if _sound(path):  # somebody was only just writing it
                    return False
                path.unlink()
                return True
        except LockError:
            if time.monotonic() > until:
                raise UserError(f"{path} is half written and held by another process; end that first") from None
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _sound(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False
