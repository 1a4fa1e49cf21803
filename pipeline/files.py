"""Outputs written beside their place and renamed into it, so that no reader sees half a file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of the file `path`; rename it to `path` if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling directory; it takes the place of `path` if the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def remedy(path: Path | str) -> str:
    """What brings a missing or damaged output back: Git, if it is kept there, else DVC."""
    if "results/paper/" in Path(path).as_posix():
        return f"`git checkout {path}` brings it back"
    return f"delete {path} and run `dvc repro`" if Path(path).exists() else "run `dvc repro` to make it"


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON with sorted keys: equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file. Raises `UserError` if it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {remedy(path)}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); {remedy(path)}") from None


def write_parquet(path: Path | str, table: pa.Table) -> None:
    """Write a table with zstd and without pandas metadata: equal tables give equal bytes."""
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")


def read_parquet(path: Path | str, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file. Raises `UserError` if it is missing, truncated or lacks a column."""
    if not Path(path).exists():
        raise UserError(f"{path} is missing; {remedy(path)}")
    # Not pyarrow's read_table: it imports pandas, for which every training would wait 0.4 s.
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names if columns is None else columns
            return file.read(columns).select(columns)
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); {remedy(path)}") from None


def digest(value: Any) -> str:
    """SHA-256 (hex, 16 characters) of a JSON-able value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_files(paths: list[Path]) -> str:
    """SHA-256 (hex, 16 characters) of the names and contents of files, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]
