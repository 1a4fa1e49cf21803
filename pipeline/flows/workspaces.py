"""Workspaces: clones of this clone, at its commit, with settings of their own, that share its DVC cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import digest, write_text
from pipeline.flows.repair import forget, keep_in_memory

FOLDER = Path(".scratch") / "workspaces"
# Older ones go: what is in them is in the cache, too.
KEPT = 4
# `dvc repro` rewrites its lock, and settings are what a workspace is for.
MAY_DIFFER = ("dvc.lock", "params.yaml")


def commit(clone: Path) -> str:
    """The commit of a clone. Raises `UserError` if it has other code than that."""
    try:
        changed = _git(clone, "status", "--porcelain", "--untracked-files=no").splitlines()
        found = _git(clone, "rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{clone.name} is no Git clone ({error}); machines meet at a commit") from None
    names = [line[3:] for line in changed if line[3:] not in MAY_DIFFER]
    if names:
        raise UserError(
            f"{', '.join(names[:3])} differs from the commit; commit it: other machines have the commit only"
        )
    return found


@contextmanager
def workspace(clone: Path, at: str, params: str) -> Iterator[Path]:
    """A workspace with the code of the commit `at` and the settings `params`; it stays there for the next time.

    Raises `UserError` if the clone is at another commit.
    """
    here = commit(clone)
    if here != at:
        raise UserError(f"this clone is at commit {here[:12]} and the flow at {at[:12]}; check that out here")
    folder = (clone / FOLDER).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / digest([at, params])[:16]
    with open(folder / f"{place.name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (place / "params.yaml").exists():
            _make(clone.resolve(), place, at, params)
        os.utime(place)
        fcntl.flock(file, fcntl.LOCK_SH)  # others may use it too, and nobody removes it
        _remove_old(folder)
        yield place


def _make(clone: Path, place: Path, at: str, params: str) -> None:
    partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        subprocess.run(
            ["git", "clone", "--quiet", "--shared", "--no-checkout", str(clone), str(partial)],
            check=True,
            capture_output=True,
        )
        _git(partial, "checkout", "--quiet", "--detach", at)
        local = clone / ".dvc" / "config.local"
        text = local.read_text(encoding="utf-8") if local.exists() else ""
        write_text(partial / ".dvc" / "config.local", f"{text}\n[cache]\n    dir = {clone / '.dvc' / 'cache'}\n")
        shutil.rmtree(place, ignore_errors=True)
        write_text(partial / "params.yaml", params)
        keep_in_memory(partial)
        os.replace(partial, place)
    except subprocess.CalledProcessError as error:
        raise UserError(f"no workspace can be made of this clone: {error.stderr!s:.300}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    """Remove all but the newest workspaces, unless somebody is in them."""
    places = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for place in places[:-KEPT]:
        with open(folder / f"{place.name.lstrip('.').partition('.')[0]}.lock", "w") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            forget(place)
            shutil.rmtree(place, ignore_errors=True)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.rstrip("\n")
