"""Checks of what another machine says that a stage has written, before a byte of it is put anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import UserError

# What stages write. None of it runs when it is read.
SUFFIXES = (".safetensors", ".parquet", ".json", ".csv", ".svg", ".md", ".tex", ".html", ".css", ".py")
LARGEST_MIB = 16 * 1024


def check_entry(name: str, entry: Mapping[str, Any], outs: Sequence[str]) -> None:
    """Raises `UserError` unless the entry of the stage `name` names exactly its own outputs, of a size we take."""
    found = entry.get("outs") or []
    paths = sorted(str(out.get("path")) for out in found)
    if paths != sorted(outs):
        raise UserError(f"the entry of {name} names other outputs than its stage has ({', '.join(paths)[:200]})")
    size = sum(int(out.get("size", 0)) for out in found)
    if size > LARGEST_MIB << 20:
        raise UserError(f"the entry of {name} holds {size >> 20} MiB; more than {LARGEST_MIB} MiB are not taken")
    for out in found:
        if out.get("isexec"):
            raise UserError(f"the entry of {name} makes {out.get('path')} executable")


def check_names(place: str, names: Sequence[str]) -> None:
    """Raises `UserError` for files of the directory `place` that lie elsewhere or are of a kind no stage writes."""
    for name in [place, *names]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise UserError(f"{place} holds {name!r}, which lies outside it; nothing is taken")
    for name in names:
        if PurePosixPath(name).suffix not in SUFFIXES:
            raise UserError(f"{place} holds {name!r}, a kind of file that no stage writes; nothing is taken")
